"""The verdict: were the numbers computed right, does the model describe the data, and what else should a user know?

All thresholds stand here, with their reasons. A flag is a fact, never a failure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.inference.checks.predictive import Predictive
from xrayflow.inference.weights import most_pareto_k, weighted_quantile
from xrayflow.prior import Marginal, Prior
from xrayflow.statistics import AMPLITUDE

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

REACH = 3.0
"""Lengths of a 90 % interval within which the edge of a normal prior's box is looked for."""

EDGE_CELLS, EDGE_DENSITY = 20, 0.3
"""So is one whose density at the edge of the box (the outermost tenth of the way from there to the far end of the 90 %
interval) is this part of its peak: the data allow the edge within 1.5 standard deviations."""

SCALE_SHIFT = 0.5
"""Half widths of the 68 % interval by which a median moves with the scale of a prior, from which that is said."""

LEAST_SCALE_ESS = 50.0
"""Effective draws under the other scale that tell its median to a seventh of a standard deviation."""

LIKELIHOODS = {
    "approximate": "the likelihood is approximate",
    "profile": "XSPEC's statistic stands in the place of the likelihood, which is biased where bins hold few counts",
}
"""What is said of one that gives no reason of its own."""

FAR_SD, AT_EDGE = 3.0, 0.97
"""Prior standard deviations, or part of the way to its edge, beyond which a nuisance's median is said to be far out."""

STRAINED = math.log(2.0)
"""ln amplitude of the calibration modes above its nominal value from which the model is in doubt."""

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
        likelihood_why: Why it is not exact, and what that does to the answer.
        own_grid: Whether the energy grid was ours to choose; a user's is the answer's, however coarse.
        missing_tail: What is said of a tail that may be missing; empty where none may be.
        stopped: What is said of a limit that ended the work; empty where none did.
    """

    ess: float
    wanted: float
    draws: int
    pareto_k: float
    peak_share: float
    grid_spread: float
    likelihood_kind: str
    likelihood_why: str = ""
    own_grid: bool = True
    missing_tail: str = ""
    stopped: str = ""


def judge_computation(evidence: Evidence) -> Computation:
    """Whether the numbers can be relied upon."""
    limit = most_pareto_k(evidence.draws)
    reasons = [evidence.stopped] if evidence.stopped else []
    if evidence.ess < FAILED_ESS:
        failure = f"only {evidence.ess:.0f} effective draws of {evidence.draws}: no proposal fits this posterior"
        return Computation("failed", (*reasons, failure))
    if evidence.ess < evidence.wanted:
        reasons.append(f"{evidence.ess:.0f} effective draws of {evidence.draws}, {evidence.wanted:.0f} were asked for")
    if not evidence.pareto_k < limit:
        reasons.append(f"the weights have a heavy tail (Pareto k {evidence.pareto_k:.2f}, limit {limit:.2f})")
    if evidence.peak_share > UNCOVERED_WEIGHT:
        reasons.append("an optimum that the starts found is hardly covered by the draws")
    if not evidence.grid_spread <= GRID_SPREAD:
        whose = "the energy grid" if evidence.own_grid else "the energy grid that was given"
        reasons.append(f"{whose} is too coarse (ln L scatters by {evidence.grid_spread:.2f} on a finer one)")
    if evidence.missing_tail:
        reasons.append(evidence.missing_tail)
    if evidence.likelihood_kind != "exact":
        reasons.append(evidence.likelihood_why or LIKELIHOODS[evidence.likelihood_kind])
    if reasons:
        return Computation("approximate", tuple(reasons))
    return Computation("certified", (f"{evidence.ess:.0f} effective draws of {evidence.draws} with exact weights",))


class Doubt(Protocol):
    """What speaks against a fit beside its deviance and residuals."""

    @property
    def reason(self) -> str:
        """In words."""
        ...


def judge_fit(predictive: Predictive, deviance: float, dof: int, doubts: Sequence[Doubt] = ()) -> FitQuality:
    """Whether the model describes the data, and where not.

    Args:
        predictive: The posterior predictive check.
        deviance: At the best fit.
        dof: Bins - free parameters.
        doubts: What else speaks against it; a fit with any is not acceptable.
    """
    if dof <= 0:
        return FitQuality("acceptable", predictive.p_value, (), ("as many parameters as bins: nothing can be tested",))
    beyond = np.abs(predictive.deviation) > MOST_DEVIATION
    regions = _regions(beyond, predictive.deviation, predictive.window_lo, predictive.window_hi)
    energies = tuple((lo, hi) for lo, hi, _, _ in regions)
    p, reduced = predictive.p_value, deviance / dof
    excess = float(np.max(np.abs(predictive.excess[beyond]), initial=0.0))
    words = []
    if p < ACCEPTABLE_P:
        words.append(
            f"data like these come from the model in {in_percent(p)} of simulations (deviance / dof {reduced:.2f})"
        )
    if regions:
        places = ", ".join(
            f"{lo:.2f}-{hi:.2f} keV ({sd:+.0f} sd, {100 * predictive.excess[at]:+.0f} %)" for lo, hi, sd, at in regions
        )
        words.append(f"the data leave the model at {places}")
    words += [doubt.reason for doubt in doubts]
    if p >= ACCEPTABLE_P and not beyond.any() and not doubts:
        return FitQuality("acceptable", p, (), (f"data like these are usual for the model (p = {p:.2f})",))
    bad = p < BAD_P and (reduced > BAD_DEVIANCE or excess > BAD_EXCESS)
    return FitQuality("bad" if bad else "poor", p, energies, tuple(words))


def in_percent(p: float) -> str:
    """A p-value in words: the smallest that the simulations can tell is an upper limit."""
    return "less than 0.1 %" if p < BAD_P else f"{100.0 * p:.1f} %"


def _regions(
    beyond: NDArray[np.bool_], deviation: NDArray[np.float64], lo: NDArray[np.float64], hi: NDArray[np.float64]
) -> list[tuple[float, float, float, int]]:
    """Runs of windows beyond the limit with one sign: (lo, hi, largest deviation, its bin), worst first, five at most.

    Runs whose windows overlap tell of one excess.
    """
    sign = np.where(beyond, np.sign(deviation), 0.0)
    cuts = np.flatnonzero(np.diff(sign)) + 1
    found: list[tuple[float, float, float, int]] = []
    for run in np.split(np.arange(sign.size), cuts):
        if run.size and sign[run[0]] != 0:
            at = int(run[np.argmax(np.abs(deviation[run]))])
            own = float(lo[run].min()), float(hi[run].max()), float(deviation[at]), at
            if found and found[-1][2] * own[2] > 0 and own[0] < found[-1][1] and found[-1][0] < own[1]:
                before = found.pop()
                worst = before if abs(before[2]) > abs(own[2]) else own
                own = min(before[0], own[0]), max(before[1], own[1]), worst[2], worst[3]
            found.append(own)
    return sorted(found, key=lambda region: -abs(region[2]))[:5]


@dataclass(frozen=True)
class OtherScale:
    """What a parameter's posterior would be if its prior were uniform in the other scale.

    Attributes:
        name: XSPEC's.
        scale, other: "log" or "linear": that of the answer, and the other.
        median, other_median: Under each.
        reliable: Whether the draws suffice to tell the other median.
    """

    name: str
    scale: str
    other: str
    median: float
    other_median: float
    reliable: bool

    @property
    def reason(self) -> str:
        """In words, with both numbers."""
        words = {"log": "logarithmic", "linear": "linear"}
        about = "" if self.reliable else "about "
        return (
            f"{self.name} depends on the prior's scale: median {self.median:.4g} with the {words[self.scale]} prior, "
            f"{about}{self.other_median:.4g} with a {words[self.other]} one (--prior '{self.name}="
            f"{'lin' if self.other == 'linear' else 'log'}:lo:hi')"
        )


def other_scales(
    prior: Prior, default_scales: Sequence[str], theta: Tensor, weights: NDArray[np.float64]
) -> tuple[OtherScale, ...]:
    """Parameters whose median moves much with the scale of their default prior; told by weights, not by a new answer.

    A prior uniform in theta instead of log theta multiplies the weights by theta.

    Args:
        prior: The answer's.
        default_scales: Of each free parameter of the model; a scale that the user chose is not doubted.
        theta: (draw, parameter).
        weights: (draw,) normalised.
    """
    found = []
    for marginal, default, column in zip(prior.marginals, default_scales, theta.numpy().T, strict=False):
        if marginal.mean is not None or marginal.scale != default or marginal.lo <= 0.0:
            continue
        factor = column if marginal.scale == "log" else 1.0 / column
        changed = weights * factor / (weights @ factor)
        low, median, high = weighted_quantile(column, weights, [0.16, 0.5, 0.84])
        (moved,) = weighted_quantile(column, changed, [0.5])
        if abs(moved - median) > SCALE_SHIFT * 0.5 * (high - low):
            other = "linear" if marginal.scale == "log" else "log"
            ess = 1.0 / float((changed**2).sum())
            found.append(
                OtherScale(marginal.name, marginal.scale, other, float(median), float(moved), ess >= LEAST_SCALE_ESS)
            )
    return tuple(found)


@dataclass(frozen=True)
class FarNuisance:
    """A nuisance whose posterior leaves what was believed of it.

    Attributes:
        name: Its name.
        median: Of the posterior.
        sd: Of its prior about 0.
    """

    name: str
    median: float
    sd: float

    @property
    def reason(self) -> str:
        """In words."""
        if self.name == AMPLITUDE:
            return (
                f"the errors of the response would have to be {math.exp(self.median):.1f} times what is known of them: "
                "the model lacks something, or --systematic modes:A with a larger A suits this response"
            )
        return (
            f"{self.name} is {self.median:.2g}, where 0 +- {self.sd:g} was expected: the background may stand in for "
            "what the model lacks, or is not that of this source"
        )


def far_nuisances(prior: Prior, first: int, theta: Tensor, weights: NDArray[np.float64]) -> tuple[FarNuisance, ...]:
    """Nuisances with a normal prior whose medians are far out in it.

    Args:
        prior: The answer's.
        first: Its first nuisance.
        theta: (draw, parameter).
        weights: (draw,) normalised.
    """
    found = []
    for i, marginal in enumerate(prior.marginals[first:], first):
        (median,) = weighted_quantile(theta[:, i].numpy(), weights, [0.5])
        if marginal.mean is None or marginal.sd is None:
            continue
        if marginal.name == AMPLITUDE:
            if median > STRAINED:
                found.append(FarNuisance(marginal.name, float(median), marginal.sd))
        elif abs(median - marginal.mean) > min(FAR_SD * marginal.sd, AT_EDGE * (marginal.hi - marginal.mean)):
            found.append(FarNuisance(marginal.name, float(median), marginal.sd))
    return tuple(found)


def find_flags(
    prior: Prior,
    theta: Tensor,
    weights: NDArray[np.float64],
    optima: int,
    scales: Sequence[OtherScale] = (),
) -> tuple[str, ...]:
    """Facts about the posterior: `upper_limit:NAME`, `lower_limit:NAME`, `prior_dominated:NAME`, `several_modes`.

    Args:
        prior: Of the free parameters.
        theta: (draw, parameter).
        weights: (draw,) normalised.
        optima: Distinct optima within reach of the best.
        scales: Parameters that depend on the scale of their prior.
    """
    moved = {scale.name for scale in scales}
    v = prior.to_probit(theta).numpy()
    unit = torch.special.ndtr(torch.from_numpy(v)).numpy()
    mean = weights @ v
    sd = np.sqrt(weights @ (v - mean) ** 2)
    flags: list[str] = []
    for i, name in enumerate(prior.names):
        marginal = prior.marginals[i]
        place = unit[:, i] if marginal.sd is None else _place(theta[:, i].numpy(), weights, marginal)
        lo, hi = weighted_quantile(place, weights, np.array([0.05, 0.95]))
        if sd[i] > PRIOR_SD or name in moved:
            flags.append(f"prior_dominated:{name}")
        if sd[i] > PRIOR_SD:
            continue
        if lo < EDGE_SHARE or _allows_zero(place, weights, hi):
            flags.append(f"upper_limit:{name}")
        if hi > 1.0 - EDGE_SHARE or _allows_zero(1.0 - place, weights, 1.0 - lo):
            flags.append(f"lower_limit:{name}")
    if optima > 1:
        flags.append("several_modes")
    return tuple(flags)


def _place(values: NDArray[np.float64], weights: NDArray[np.float64], marginal: Marginal) -> NDArray[np.float64]:
    """(draw,) 0..1 between the edges of the box, as far as these are within reach of the posterior.

    A normal prior has no edge of its own: where it is a tenth of its peak it ends no more than anywhere.
    """
    low, high = weighted_quantile(values, weights, np.array([0.05, 0.95]))
    reach = REACH * (high - low)
    lo, hi = max(marginal.lo, low - reach), min(marginal.hi, high + reach)
    return np.asarray((values - lo) / max(hi - lo, 1e-300)).clip(0.0, 1.0)


def _allows_zero(unit: NDArray[np.float64], weights: NDArray[np.float64], far: float) -> bool:
    """Whether a marginal in the unit cube is nearly as dense at 0 as at its peak.

    Args:
        unit: (draw,) 0..1.
        weights: (draw,) normalised.
        far: The end of the 90 % interval away from 0.
    """
    mass, _ = np.histogram(unit, EDGE_CELLS, (0.0, far), weights=weights)
    smooth = np.convolve(mass, np.full(3, 1.0 / 3.0), "valid")
    return bool(mass[: EDGE_CELLS // 10].mean() > EDGE_DENSITY * smooth.max())


def overall(computation: Computation, fit: FitQuality) -> str:
    """`certified` = both best; `do-not-trust` = computation failed or fit bad; else `approximate`."""
    if computation.status == "failed" or fit.status == "bad":
        return "do-not-trust"
    if computation.status == "certified" and fit.status == "acceptable":
        return "certified"
    return "approximate"
