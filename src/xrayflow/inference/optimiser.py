"""Where the fits end: independent starts of many sources, each run to its optimum.

The search is coarse first: most of a start's way is run on an energy grid of `PER_DECADE` bins per decade, where a call
costs a tenth. Starts that arrive at the same place become one, and every place that is left is followed to its optimum
on the problem's own grid. No place is dropped for being bad: the starts that end there are the evidence that there is
no other.

`minimise` serves the proposal; `optimise` is the fit that people know, with errors from Fisher's information.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.errors import DataError, XrayflowWarning, nearest
from xrayflow.folding import Grid
from xrayflow.inference.best_fit import BestFit, Ends, best_of
from xrayflow.inference.build import Question, build_problem
from xrayflow.inference.goal import FAR, Goal
from xrayflow.inference.guide import Guide
from xrayflow.inference.levenberg import Descent
from xrayflow.models import Model
from xrayflow.ogip import Observation
from xrayflow.prior import Prior
from xrayflow.problem import Problem
from xrayflow.seeds import generator_for
from xrayflow.statistics import Choice

OBJECTIVES = ("posterior", "statistic")

CANDIDATES = 64
"""Prior draws from which each start takes the likeliest."""

GUIDED_STARTS = 4
"""Of a source with a guide, half of all at most: it knows where the answer is, the rest look for what it missed."""

GUIDED_CANDIDATES = 4
"""Draws of the guide per start that comes from it; the likeliest of all are taken."""

PER_DECADE = 120.0
"""Bins of the coarse grid: 1.9 % wide, where a CCD resolves 2-30 %."""

WORTHWHILE = 2.0
"""A coarse grid must have this many times fewer bins than the problem's own."""

ROWS = 256
"""Rows that run together."""

COARSE_ITERATIONS, COARSE_TOLERANCE = 60, 0.01
ITERATIONS, TOLERANCE = 60, 1e-3
"""A row stops when a step promises to lower the goal (a -2 log posterior, a statistic) by less than the tolerance."""

SAME, SAME_VALUE = 0.3, 0.05
"""Two starts closer than this Mahalanobis distance, and in the goal's value, have arrived at one place."""


@dataclass(frozen=True)
class Optima:
    """Where the starts ended.

    Attributes:
        v: (source, start, parameter) probit coordinates.
        objective: (source, start) -2 log posterior density (or the statistic), up to the same constant for all.
        information: (source, start, parameter, parameter) half its curvature at v, by Fisher's information.
        evaluations: Likelihood evaluations per source, on any grid (a Jacobian counts as one for each parameter).
    """

    v: Float[Tensor, "source start parameter"]
    objective: Float[Tensor, "source start"]
    information: Float[Tensor, "source start parameter parameter"]
    evaluations: Int[Tensor, " source"]

    def log_evidence(self, source: int, starts: Int[Tensor, " chosen"]) -> Float[Tensor, " chosen"]:
        """Natural log of what Laplace's method says that some optima of a source hold, up to a constant."""
        information = self.information[source, starts]
        evidence: Tensor = -0.5 * self.objective[source, starts] - 0.5 * torch.linalg.slogdet(information)[1]
        return evidence

    def select(self, sources: Int[Tensor, " chosen"]) -> Optima:
        """The optima of some of the sources."""
        return Optima(self.v[sources], self.objective[sources], self.information[sources], self.evaluations[sources])


def starting_points(
    problem: Problem, starts: int, generators: list[torch.Generator], guide: Guide | None = None
) -> tuple[Tensor, Tensor]:
    """Independent starts: from the prior, and some from the guide where a source has one.

    Args:
        problem: The batch.
        starts: Of each source.
        generators: One per source.
        guide: Of the same sources.

    Returns:
        (source, start, parameter) probit coordinates, and the evaluations per source.
    """
    coarse = coarser(problem) or problem
    present = torch.zeros(problem.sources, dtype=torch.bool) if guide is None else guide.present
    places = torch.empty((problem.sources, starts, len(problem.prior.marginals)), dtype=torch.float64)
    tried = torch.zeros(problem.sources, dtype=torch.int64)
    for sources, guided in ((~present).nonzero()[:, 0], 0), (present.nonzero()[:, 0], min(GUIDED_STARTS, starts // 2)):
        if sources.numel() == 0:
            continue
        some, own = coarse.select(sources), [generators[i] for i in sources.tolist()]
        places[sources, guided:] = _prior_starts(some, starts - guided, own)
        tried[sources] = (starts - guided) * CANDIDATES
        if guide is not None and guided:
            places[sources, :guided] = _guided_starts(some, guide.select(sources), guided, own)
            tried[sources] += guided * GUIDED_CANDIDATES
    return places, tried


def _prior_starts(problem: Problem, starts: int, generators: list[torch.Generator]) -> Tensor:
    """(source, start, parameter) the likeliest of `CANDIDATES` prior draws each, scaled to the observed counts.

    The expected counts are linear in the norms, so all norms of a draw are multiplied by the factor (within the box)
    that meets the observed total.
    """
    shape = (starts * CANDIDATES, len(problem.prior.marginals))
    v = torch.stack([torch.randn(shape, generator=generator, dtype=torch.float64) for generator in generators])
    theta = problem.prior.to_theta(v)
    expected = problem.expected(theta)
    norms = [i for i, parameter in enumerate(problem.model.free) if parameter.is_norm]
    if norms:
        factor = _matching_factor(problem, theta, expected, norms)
        expected = expected * factor[..., None]
        theta = theta.clone()
        theta[..., norms] = theta[..., norms] * factor[..., None]
        v = problem.prior.to_probit(theta).clamp(-FAR, FAR)
    value = problem.noise.log_likelihood(expected).reshape(problem.sources, starts, CANDIDATES)
    value = torch.where(torch.isfinite(value), value, -torch.inf)
    best = value.argmax(-1)[..., None, None].expand(-1, -1, 1, v.shape[-1])
    return v.reshape(problem.sources, starts, CANDIDATES, -1).gather(2, best)[:, :, 0]


def _guided_starts(problem: Problem, guide: Guide, starts: int, generators: list[torch.Generator]) -> Tensor:
    """(source, start, parameter) the likeliest of the guide's draws."""
    v = guide.sample(starts * GUIDED_CANDIDATES, generators).to(torch.float64).clamp(-FAR, FAR)
    value = problem.log_likelihood(problem.prior.to_theta(v))
    best = torch.where(torch.isfinite(value), value, -torch.inf).topk(starts, dim=1).indices
    return v.gather(1, best[..., None].expand(-1, -1, v.shape[-1]))


def minimise(
    problem: Problem,
    starts: Float[Tensor, "source start parameter"],
    objective: str = "probit",
    near: bool = False,
) -> Optima:
    """Run every start of every source to its optimum.

    Args:
        problem: The batch.
        starts: Probit coordinates.
        objective: "probit" or "scale", see `goal`.
        near: The starts stand near their optima: no coarse search.
    """
    goal = Goal.of(problem, objective)
    ends = find_ends(goal, goal.from_theta(problem.prior.to_theta(starts)), coarse=not near)
    x_slope = 1.0 / goal.probit_slope(ends.x).clamp(min=1e-300)
    information = x_slope[..., :, None] * ends.information * x_slope[..., None, :]
    return Optima(goal.to_probit(ends.x), ends.value, information, ends.evaluations)


def find_ends(goal: Goal, starts: Float[Tensor, "source start parameter"], coarse: bool = True) -> Ends:
    """Follow every start, on a coarse grid first.

    A goal that is not pulled is searched twice on the coarse grid: from the starts, and from where the pulled goal
    leads them. The first finds minima at the edges, the second those that a start stranded on an edge would miss.

    Args:
        goal: Of the batch, one row per source.
        starts: Places in the box.
        coarse: Whether to search on a coarse grid.

    Returns:
        The ends, as many as starts, or twice as many where there were two searches.
    """
    held = torch.zeros_like(starts, dtype=torch.bool)
    if not coarse:
        return descend(goal, starts, held, ITERATIONS, TOLERANCE)
    cheap = goal.on(coarser(goal.problem) or goal.problem)
    found = descend(cheap.pull(), starts, held, COARSE_ITERATIONS, COARSE_TOLERANCE)
    evaluations = found.evaluations
    if not goal.pulled:
        both = torch.cat([starts, found.x], dim=1)
        found = descend(cheap, both, torch.zeros_like(both, dtype=torch.bool), COARSE_ITERATIONS, COARSE_TOLERANCE)
        evaluations = evaluations + found.evaluations
    sources, count, _ = found.x.shape
    leader = _leaders(found)
    # one row per place that is left; the others take over what it finds
    of, at = (leader == torch.arange(count)).nonzero(as_tuple=True)
    rows = found.x[of, at][:, None]
    ends = descend(goal.select(of), rows, torch.zeros_like(rows, dtype=torch.bool), ITERATIONS, TOLERANCE)
    row = torch.zeros((sources, count), dtype=torch.int64)
    row[of, at] = torch.arange(of.numel())
    row = row.gather(1, leader)
    return Ends(
        x=ends.x[row, 0],
        value=ends.value[row, 0],
        information=ends.information[row, 0],
        converged=ends.converged[row, 0],
        evaluations=evaluations.index_add(0, of, ends.evaluations),
    )


def descend(goal: Goal, x: Tensor, held: Tensor, iterations: int, tolerance: float) -> Ends:
    """Run every start on the goal's own grid.

    Args:
        goal: Of the batch.
        x: (source, start, parameter) places in the box.
        held: The same shape: coordinates that keep their place.
        iterations, tolerance: See `Descent.run`.
    """
    sources, count, parameters = x.shape
    source_of_row = torch.arange(sources).repeat_interleave(count)
    parts = [
        Descent(goal.select(of), rows, fixed).run(tolerance, iterations)
        for of, rows, fixed in zip(
            torch.split(source_of_row, ROWS),
            torch.split(x.reshape(-1, parameters), ROWS),
            torch.split(held.reshape(-1, parameters), ROWS),
            strict=True,
        )
    ]
    value = torch.cat([part.value for part in parts]).reshape(sources, count)
    return Ends(
        x=torch.cat([part.x for part in parts]).reshape(x.shape),
        value=torch.where(torch.isfinite(value), value, torch.inf),
        information=torch.cat([part.hessian for part in parts]).reshape(*x.shape, parameters),
        converged=torch.cat([part.converged for part in parts]).reshape(sources, count),
        evaluations=torch.cat([part.evaluations for part in parts]).reshape(sources, count).sum(-1),
    )


def coarser(problem: Problem) -> Problem | None:
    """The problem on a subset of its own energy edges; None where that would not be much cheaper."""
    edges = problem.fold.grid.energy_edges
    number = np.floor(PER_DECADE * np.log10(edges / edges[0]))
    kept = np.append(np.flatnonzero(np.diff(number, prepend=-1.0)), edges.size - 1)
    kept = np.unique(kept)
    if kept.size * WORTHWHILE > edges.size:
        return None
    return problem.with_grid(Grid(edges[kept], f"{problem.fold.grid.description}, thinned for the search"))


def _leaders(ends: Ends) -> Int[Tensor, "source start"]:
    """For each start the best one that arrived at its place (often itself)."""
    sources, count, _ = ends.x.shape
    value = ends.value
    order = value.argsort(stable=True, dim=-1)
    difference = ends.x[:, :, None, :] - ends.x[:, None, :, :]
    distance2 = (difference[..., None, :] @ ends.information[:, :, None] @ difference[..., None])[..., 0, 0]
    near = torch.maximum(distance2, distance2.mT) < SAME**2
    near &= (value[:, :, None] - value[:, None, :]).abs() < SAME_VALUE
    near &= ends.converged[:, :, None] & ends.converged[:, None, :]
    leader = torch.arange(count).expand(sources, -1).clone()
    leads = torch.zeros((sources, count), dtype=torch.bool)
    every = torch.arange(sources)
    for place in range(count):
        own = order[:, place]
        candidates = near[every, own] & leads
        taken = candidates.any(-1)
        best = torch.where(candidates, value, torch.inf).argmin(-1)
        leader[every, own] = torch.where(taken, best, own)
        leads[every, own] = ~taken
    return leader


def optimise(
    observation: Observation,
    model: str | Model | None = None,
    prior: Iterable[str] | Prior | None = None,
    freeze: Mapping[str, float] | None = None,
    link: Mapping[str, str] | None = None,
    systematic: float | None = None,
    energies: Sequence[tuple[float, float]] | None = None,
    channels: tuple[int, int] | None = None,
    grouping: str | None = None,
    statistic: str = "auto",
    grid: Grid | None = None,
    objective: str = "posterior",
    starts: int = 8,
    seed: int = 0,
) -> BestFit:
    """The best fit of one spectrum, from independent cold starts.

    Args:
        observation: From `read_observation`.
        model, prior, freeze, link, systematic, energies, channels, grouping, statistic, grid: As `infer`.
        objective: "posterior" (the mode that `infer` calls best) or "statistic" (XSPEC's, as its `fit`; a systematic
            error has no place in it).
        starts: Independent starts.
        seed: The same seed and file give the same starts.

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    question = Question(model, prior, freeze, link, systematic, energies, channels, grouping, statistic, grid)
    return optimise_batch([observation], question, objective, starts, seed)[0]


def optimise_batch(
    observations: Sequence[Observation],
    question: Question | None = None,
    objective: str = "posterior",
    starts: int = 8,
    seed: int = 0,
) -> list[BestFit]:
    """The best fits of spectra that share one RMF, found together.

    Args:
        observations: From `read_observation`, at least one.
        question: What is asked of them.
        objective: "posterior" or "statistic", as in `optimise`.
        starts: Independent starts.
        seed: The same seed and file give the same starts.

    Raises:
        XrayflowError: Anything that a user can mend: files, names, ranges, data without counts.
    """
    problem, choices = build_problem(observations, question or Question(), objective)
    return optimise_problem(problem, choices, objective, starts, seed)


def optimise_problem(
    problem: Problem,
    choices: Sequence[Choice],
    objective: str = "posterior",
    starts: int = 8,
    seed: int = 0,
    guide: Guide | None = None,
) -> list[BestFit]:
    """The best fit of each source of a problem.

    Args:
        problem: The batch.
        choices: XSPEC's statistic of each source.
        objective: "posterior" or "statistic".
        starts: Independent starts.
        seed: Of the starts, with each file's hash.
        guide: Of the same sources: some of the starts come from it, see `starting_points`.

    Raises:
        DataError: An unknown objective, or less than one start.
    """
    if objective not in OBJECTIVES:
        raise DataError(f"objective '{objective}' does not exist{nearest(objective, OBJECTIVES)}")
    if starts < 1:
        raise DataError(f"starts = {starts}: give at least one")
    if objective == "statistic" and bool((problem.noise.systematic > 0).any()):
        warnings.warn(
            "XSPEC's statistic has no place for --systematic; it is ignored here, objective 'posterior' has it",
            XrayflowWarning,
            stacklevel=3,
        )
    generators = [generator_for(seed, spectrum.observation.pha.sha256) for spectrum in problem.spectra]
    first, tried = starting_points(problem, starts, generators, guide)
    goal = Goal.of(problem, "statistic" if objective == "statistic" else "scale", choices)
    ends = find_ends(goal, goal.from_theta(problem.prior.to_theta(first)))
    ends = replace(ends, evaluations=ends.evaluations + tried)
    return [best_of(problem, choices, objective, goal, ends, source) for source in range(problem.sources)]


def _matching_factor(problem: Problem, theta: Tensor, expected: Tensor, norms: list[int]) -> Tensor:
    """(source, draw) what all norms are multiplied by to meet the observed net counts, held in the box."""
    noise = problem.noise
    background = noise.total(torch.zeros_like(expected[:, :1]))[:, 0]
    net = ((noise.counts - background) * noise.used).sum(-1).clamp(min=1.0)
    factor = net[:, None] / expected.sum(-1).clamp(min=1e-300)
    lo = torch.tensor([problem.prior.marginals[i].lo for i in norms], dtype=theta.dtype)
    hi = torch.tensor([problem.prior.marginals[i].hi for i in norms], dtype=theta.dtype)
    norm = theta[..., norms]
    smallest = (lo / norm).amax(-1)
    largest = (hi / norm).amin(-1)
    return torch.minimum(torch.maximum(factor, smallest), largest)
