"""The verdict: were the numbers computed right, does the model describe the data, and what else should a user know?

All thresholds stand here, with their reasons. A flag is a fact, never a failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.inference.importance import most_pareto_k
from xrayflow.inference.predictive import Predictive
from xrayflow.prior import Prior

FAILED_ESS = 30.0
"""Fewer effective draws than this describe no interval: quantiles of 5 parameters scatter by more than a third."""

GRID_SPREAD = 0.3
"""Standard deviation over draws of the log-likelihood's change on a finer grid: weights then change by a third."""

UNCOVERED_WEIGHT = 0.02
"""A single draw at an optimum would carry more than this share of all weight: the proposal hardly goes there."""

ACCEPTABLE_P, BAD_P = 0.01, 0.001
MOST_DEVIATION = 4.0
"""Standard deviations of a windowed residual: among ~60 independent windows chance gives one in 250 spectra."""

BAD_DEVIANCE, BAD_EXCESS = 2.0, 0.10
EDGE_SHARE = 0.01
"""A 90 % interval that reaches the outer 1 % of the box is a limit."""

PRIOR_SD = 0.75
"""Posterior sd in probit units (the prior has 1) above which the data say little."""


@dataclass(frozen=True)
class Computation:
    """Were the numbers computed right? `certified`, `approximate` or `failed`, with reasons."""

    status: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class FitQuality:
    """Does the model describe the data? `acceptable`, `poor` or `bad`.

    Attributes:
        status: The answer.
        p_value: Posterior predictive p-value of the deviance.
        worst_energies: [(lo, hi)] keV where windowed residuals are beyond `MOST_DEVIATION`, worst first, five at most.
        reasons: In words.
    """

    status: str
    p_value: float
    worst_energies: tuple[tuple[float, float], ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """What a computation is judged by.

    Attributes:
        ess: Effective sample size of the fresh draws of the frozen proposal.
        wanted: The ess asked for.
        draws: How many fresh draws were weighed.
        pareto_k: Tail shape of their weights.
        peak_share: Largest share of all weight that one draw at an optimum would carry.
        grid_spread: Standard deviation over draws of ln L (finer grid) - ln L.
        likelihood_kind: "exact", "approximate" or "profile".
    """

    ess: float
    wanted: float
    draws: int
    pareto_k: float
    peak_share: float
    grid_spread: float
    likelihood_kind: str


def judge_computation(evidence: Evidence) -> Computation:
    """Whether the numbers can be relied upon."""
    limit = most_pareto_k(evidence.draws)
    reasons = []
    if evidence.ess < FAILED_ESS:
        failure = f"only {evidence.ess:.0f} effective draws of {evidence.draws}: no proposal fits this posterior"
        return Computation("failed", (failure,))
    if evidence.ess < evidence.wanted:
        reasons.append(f"{evidence.ess:.0f} effective draws of {evidence.draws}, {evidence.wanted:.0f} were asked for")
    if not evidence.pareto_k < limit:
        reasons.append(f"the weights have a heavy tail (Pareto k {evidence.pareto_k:.2f}, limit {limit:.2f})")
    if evidence.peak_share > UNCOVERED_WEIGHT:
        reasons.append("an optimum that the starts found is hardly covered by the draws")
    if not evidence.grid_spread <= GRID_SPREAD:
        reasons.append(f"the energy grid is too coarse (ln L scatters by {evidence.grid_spread:.2f} on a finer one)")
    if evidence.likelihood_kind != "exact":
        reasons.append("the background's own error is not in the likelihood yet: the background is taken as known")
    if reasons:
        return Computation("approximate", tuple(reasons))
    return Computation("certified", (f"{evidence.ess:.0f} effective draws of {evidence.draws} with exact weights",))


def judge_fit(
    predictive: Predictive, deviance: float, dof: int, spectrum_edges: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> FitQuality:
    """Whether the model describes the data, and where not.

    Args:
        predictive: The posterior predictive check.
        deviance: At the best fit.
        dof: Bins - free parameters.
        spectrum_edges: (bin,) lower and upper energies of the bins, keV.
    """
    beyond = np.abs(predictive.deviation) > MOST_DEVIATION
    regions = _regions(beyond, predictive.deviation, *spectrum_edges)
    energies = tuple((lo, hi) for lo, hi, _, _ in regions)
    p, reduced = predictive.p_value, deviance / max(dof, 1)
    excess = float(np.max(np.abs(predictive.excess[beyond]), initial=0.0))
    words = []
    if p < ACCEPTABLE_P:
        words.append(
            f"data like these come from the model in {_share(p)} of simulations (deviance / dof {reduced:.2f})"
        )
    if regions:
        places = ", ".join(
            f"{lo:.2f}-{hi:.2f} keV ({sd:+.0f} sd, {100 * predictive.excess[at]:+.0f} %)" for lo, hi, sd, at in regions
        )
        words.append(f"the data leave the model at {places}")
    if p >= ACCEPTABLE_P and not beyond.any():
        return FitQuality("acceptable", p, (), (f"data like these are usual for the model (p = {p:.2f})",))
    bad = p < BAD_P and (reduced > BAD_DEVIANCE or excess > BAD_EXCESS)
    return FitQuality("bad" if bad else "poor", p, energies, tuple(words))


def _share(p: float) -> str:
    """A p-value in words: the smallest that the simulations can tell is an upper limit."""
    return "less than 0.1 %" if p < BAD_P else f"{100.0 * p:.1f} %"


def _regions(
    beyond: NDArray[np.bool_], deviation: NDArray[np.float64], lo: NDArray[np.float64], hi: NDArray[np.float64]
) -> list[tuple[float, float, float, int]]:
    """Runs of bins beyond the limit with one sign: (lo, hi, largest deviation, its bin), worst first, five at most."""
    sign = np.where(beyond, np.sign(deviation), 0.0)
    cuts = np.flatnonzero(np.diff(sign)) + 1
    found = []
    for run in np.split(np.arange(sign.size), cuts):
        if run.size and sign[run[0]] != 0:
            at = int(run[np.argmax(np.abs(deviation[run]))])
            found.append((float(lo[run[0]]), float(hi[run[-1]]), float(deviation[at]), at))
    return sorted(found, key=lambda region: -abs(region[2]))[:5]


def find_flags(prior: Prior, theta: Tensor, weights: NDArray[np.float64], optima: int) -> tuple[str, ...]:
    """Facts about the posterior: `upper_limit:NAME`, `lower_limit:NAME`, `prior_dominated:NAME`, `several_modes`.

    Args:
        prior: Of the free parameters.
        theta: (draw, parameter).
        weights: (draw,) normalised.
        optima: Distinct optima within reach of the best.
    """
    v = prior.to_probit(theta).numpy()
    unit = torch.special.ndtr(torch.from_numpy(v)).numpy()
    mean = weights @ v
    sd = np.sqrt(weights @ (v - mean) ** 2)
    flags: list[str] = []
    for i, name in enumerate(prior.names):
        lo, hi = weighted_quantile(unit[:, i], weights, np.array([0.05, 0.95]))
        if sd[i] > PRIOR_SD:
            flags.append(f"prior_dominated:{name}")
            continue
        if lo < EDGE_SHARE:
            flags.append(f"upper_limit:{name}")
        if hi > 1.0 - EDGE_SHARE:
            flags.append(f"lower_limit:{name}")
    if optima > 1:
        flags.append("several_modes")
    return tuple(flags)


def overall(computation: Computation, fit: FitQuality) -> str:
    """`certified` = both best; `do-not-trust` = computation failed or fit bad; else `approximate`."""
    if computation.status == "failed" or fit.status == "bad":
        return "do-not-trust"
    if computation.status == "certified" and fit.status == "acceptable":
        return "certified"
    return "approximate"


def weighted_quantile(
    values: NDArray[np.float64], weights: NDArray[np.float64], q: Sequence[float] | NDArray[np.float64]
) -> NDArray[np.float64]:
    """Quantiles of weighted draws, linear between the mid-points of the cumulated weights."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order])
    middle = (cumulative - 0.5 * weights[order]) / cumulative[-1]
    quantiles: NDArray[np.float64] = np.interp(np.asarray(q), middle, values[order])
    return quantiles
