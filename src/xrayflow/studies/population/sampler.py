"""The few parameters of a distribution over sources, sampled as the posteriors of spectra are.

Optima make Student-t components, beside which stands the prior; a few rounds shape them by their own weighted draws;
then the proposal is frozen, and only fresh draws of it are the answer. So there are an effective sample size, a Pareto
k and an evidence, and no chain to wait for. The optimiser starts from draws of the prior and from guesses that the data
suggest: of two normals, draws of the prior alone often end at one normal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from xrayflow.inference import (
    Components,
    Proposal,
    StudentMixture,
    WeightedDraws,
    balance_heuristic,
    effective_sample_size,
    log_mean_weight,
    pareto_k,
    refined,
    root_of_inverse,
)
from xrayflow.prior import log_standard_normal

Numbers = NDArray[np.float64]
LogLikelihood = Callable[[Numbers], Numbers]
"""(hyper, parameter) in probit coordinates -> (hyper,) natural log, up to a constant."""

SCOUTS, STARTS = 256, 4
"""Draws of the prior, and how many of them, and of guesses, the best and far from each other, are optimised."""

APART = 0.3
"""In probit coordinates: nearer starts are one."""

PRIOR_PART = 0.05
"""Of every proposal."""

PILOT, ROUNDS, ENOUGH, CALM = 1000, 8, 0.3, 0.4
"""Draws of a round that shapes the proposal, rounds at most, and the part of effective draws, and Pareto k below which,
that is good enough."""

BLOCK, WANTED, MOST = 2000, 1000.0, 20_000
"""Fresh draws at a time, effective ones that are wanted, and fresh draws at most."""

SEARCH = {"maxfev": 2000, "xatol": 1e-3, "fatol": 1e-3, "adaptive": True}
"""Second differences say the widths only at an optimum that was reached."""

STEP = 1e-3
"""For second differences at an optimum, in units of its own width there."""


@dataclass(frozen=True, eq=False)
class HyperDraws:
    """Weighted draws of the parameters of a distribution.

    Attributes:
        v: (draw, parameter) probit coordinates.
        log_weight: (draw,).
        evaluations: Of the likelihood, everything together.
    """

    v: Numbers
    log_weight: Numbers
    evaluations: int

    @property
    def ess(self) -> float:
        """Effective sample size."""
        return float(effective_sample_size(torch.from_numpy(self.log_weight)))

    @property
    def pareto_k(self) -> float:
        """Tail shape of the weights."""
        return pareto_k(self.log_weight)

    @property
    def log_evidence(self) -> float:
        """Natural log of the integral over the prior, up to the likelihood's constant."""
        return float(log_mean_weight(torch.from_numpy(self.log_weight)))

    @property
    def weights(self) -> Numbers:
        """(draw,) normalised."""
        weight = np.exp(self.log_weight - self.log_weight.max())
        return np.asarray(weight / weight.sum())


class _Target:
    """The posterior density in probit coordinates, counting how often it is asked."""

    def __init__(self, log_likelihood: LogLikelihood) -> None:
        self.log_likelihood, self.evaluations = log_likelihood, 0

    def __call__(self, v: Numbers) -> Numbers:
        self.evaluations += v.shape[0]
        found = self.log_likelihood(v) + log_standard_normal(torch.from_numpy(v)).numpy()
        return np.where(np.isnan(found), -np.inf, found)


def sample(
    log_likelihood: LogLikelihood,
    guesses: Numbers,
    generator: torch.Generator,
    progress: Callable[[float], None] | None = None,
) -> HyperDraws:
    """Weighted draws of a posterior in few dimensions.

    Args:
        log_likelihood: Of the data.
        guesses: (guess, parameter) where an optimum may be; the prior of all parameters is N(0, I).
        generator: Source of randomness.
        progress: Is told the part that is done.
    """
    tell = progress or (lambda part: None)
    target, parameters = _Target(log_likelihood), guesses.shape[1]
    first = Proposal(_modes(target, guesses, generator), (Components.prior(parameters, PRIOR_PART),))
    tell(0.3)
    proposal, rounds = first, list[WeightedDraws]()
    for number in range(ROUNDS):
        rounds.append(_drawn(target, proposal, PILOT, generator))
        tell(0.3 + 0.4 * (number + 1) / ROUNDS)
        if number > 0 and rounds[-1].ess > ENOUGH * PILOT and pareto_k(rounds[-1].log_weight[0].numpy()) < CALM:
            break
        proposal = refined(balance_heuristic(rounds), first, generator)
    blocks = list[WeightedDraws]()
    while not blocks or (len(blocks) * BLOCK < MOST and WeightedDraws.chain(blocks).ess < WANTED):
        blocks.append(_drawn(target, proposal, BLOCK, generator))
        tell(0.7 + 0.3 * len(blocks) * BLOCK / MOST)
    found = WeightedDraws.chain(blocks)
    return HyperDraws(found.v[0].numpy(), found.log_weight[0].numpy(), target.evaluations)


def _drawn(target: _Target, proposal: Proposal, draws: int, generator: torch.Generator) -> WeightedDraws:
    v = proposal.sample(draws, [generator])
    return WeightedDraws.of(proposal, v, torch.from_numpy(target(v[0].numpy()))[None])


def _modes(target: _Target, guesses: Numbers, generator: torch.Generator) -> StudentMixture:
    """Student-t components at the optima that several starts find."""
    parameters = guesses.shape[1]
    scouts = torch.randn((SCOUTS, parameters), generator=generator, dtype=torch.float64).numpy()
    starts = [start for places in (guesses, scouts) for start in _best_apart(target, places)]
    found = list[tuple[float, Numbers]]()
    for start in starts:
        end = minimize(lambda v: -float(target(v[None])[0]), start, method="Nelder-Mead", options=SEARCH)
        if np.isfinite(end.fun) and all(np.abs(end.x - other).max() > 0.1 * APART for _, other in found):
            found.append((float(end.fun), end.x))
    best = min((value for value, _ in found), default=0.0)
    means = [place for value, place in found if value < best + 20.0] or [np.zeros(parameters)]
    roots = torch.stack([root_of_inverse(torch.from_numpy(_information(target, place))) for place in means])
    share = torch.full((1, len(means)), -float(np.log(len(means))), dtype=torch.float64)
    return StudentMixture(share, torch.from_numpy(np.stack(means))[None], roots[None])


def _best_apart(target: _Target, places: Numbers) -> list[Numbers]:
    """The highest places that are not near a higher one."""
    found = list[Numbers]()
    for place in places[np.argsort(-target(places))]:
        if len(found) < STARTS and all(np.abs(place - other).max() > APART for other in found):
            found.append(place)
    return found


def _information(target: _Target, place: Numbers) -> Numbers:
    """Minus the second derivatives of the log density, no smaller than the prior's."""
    size = place.size
    step = np.full(size, STEP)
    eye = np.eye(size)
    here = target(place[None])[0]
    for _ in range(12):  # until a step changes the density by about a half: differences then have digits
        change = here - target(np.concatenate([place + eye * step, place - eye * step])).reshape(2, size).min(0)
        wide = (change < 0.1) & (step < 0.5)
        if not wide.any():
            break
        step = np.where(wide, 2.0 * step, step)
    pairs = [(i, j) for i in range(size) for j in range(i, size)]
    corners = [place + a * step * eye[i] + b * step * eye[j] for i, j in pairs for a in (1, -1) for b in (1, -1)]
    values = np.where(np.isfinite(found := target(np.stack(corners))), found, here - 50.0).reshape(-1, 4)
    matrix = np.zeros((size, size))
    for (i, j), (both, right, left, none) in zip(pairs, values, strict=True):
        curvature = -(both - right - left + none) / (4.0 * step[i] * step[j])
        matrix[i, j] = matrix[j, i] = curvature
    value, vector = np.linalg.eigh(matrix)
    return np.asarray((vector * np.maximum(value, 1.0)) @ vector.T)
