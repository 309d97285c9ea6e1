"""Where the fits end: independent starts of many sources, each run to its optimum.

Where the model has lines or edges, the band is scanned for places where they could stand (`scan`), as more starts.

The search is coarse first: most of a start's way is run at the fidelity SEARCH, where a call costs a fifteenth. Starts
that arrive at the same place become one, and every place that is left is followed to its optimum, on the problem's own
grid (`minimise`) or on the search's, made exact at the best of them (`corrected`). No place is dropped for being
bad: the starts that end there are the evidence that there is no other.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.fitting.levenberg_marquardt import Late, LevenbergMarquardt
from xrayflow.fitting.objective import Objective
from xrayflow.fitting.scan import place_parameters, scanned_starts
from xrayflow.folding import SEARCH
from xrayflow.problem import Problem

COARSE_ITERATIONS, COARSE_TOLERANCE = 60, 0.01
ITERATIONS, TOLERANCE = 60, 1e-3
"""A row stops when a step promises to lower the goal (a -2 log posterior, a statistic) by less than the tolerance."""

NEAR = 20.0
"""In -2 log posterior: modes within this of the best are part of the posterior's support."""

DISTINCT = 1.0
"""Two modes closer than this Mahalanobis distance are one."""

SAME, SAME_VALUE = 0.3, 0.05
"""Two starts closer than this Mahalanobis distance, and in the goal's value, have arrived at one place."""


@dataclass(frozen=True)
class Minima:
    """Where the starts of a batch ended.

    Attributes:
        x: (source, start, parameter) place in the box.
        value: (source, start) of the goal; infinite where a start has none.
        information: (source, start, parameter, parameter) half its curvature at x.
        converged: (source, start).
        evaluations: (source,).
    """

    x: Float[Tensor, "source start parameter"]
    value: Float[Tensor, "source start"]
    information: Float[Tensor, "source start parameter parameter"]
    converged: Bool[Tensor, "source start"]
    evaluations: Int[Tensor, " source"]

    @property
    def best(self) -> Float[Tensor, "source parameter"]:
        """The place of the lowest end of each source."""
        return self.x[torch.arange(self.x.shape[0]), self.value.argmin(-1)]

    def beside(self, others: Minima, spent: Int[Tensor, " source"]) -> Minima:
        """These, then the ends of other starts.

        Args:
            others: Of the same sources.
            spent: Evaluations that it took to find those starts.
        """
        return Minima(
            x=torch.cat([self.x, others.x], dim=1),
            value=torch.cat([self.value, others.value], dim=1),
            information=torch.cat([self.information, others.information], dim=1),
            converged=torch.cat([self.converged, others.converged], dim=1),
            evaluations=self.evaluations + others.evaluations + spent,
        )


@dataclass(frozen=True)
class Modes:
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

    def beside(self, starts: Int[Tensor, " source"]) -> Modes:
        """With one more start, which ended where another did.

        Args:
            starts: Which, of each source.
        """
        own = torch.arange(starts.numel())
        v, objective, information = (
            torch.cat([part, part[own, starts][:, None]], dim=1) for part in (self.v, self.objective, self.information)
        )
        return Modes(v, objective, information, self.evaluations)

    def log_evidence(self, source: int, starts: Int[Tensor, " chosen"]) -> Float[Tensor, " chosen"]:
        """Natural log of what Laplace's method says that some optima of a source hold, up to a constant."""
        information = self.information[source, starts]
        evidence: Tensor = -0.5 * self.objective[source, starts] - 0.5 * torch.linalg.slogdet(information)[1]
        return evidence

    def distinct(self, near: float = NEAR) -> list[Int[Tensor, " distinct"]]:
        """For each source the numbers of its distinct modes, best first.

        Args:
            near: How far above the best one they may be.
        """
        value = torch.where(torch.isfinite(self.objective), self.objective, torch.inf)
        apart = distances(self.v, self.information) > DISTINCT**2
        kept = []
        for source, order in enumerate(value.argsort(dim=-1).tolist()):
            chosen: list[int] = []
            for i in order:
                if not value[source, i] <= value[source, order[0]] + near or not torch.isfinite(value[source, i]):
                    break
                if bool(apart[source, i, chosen].all()):
                    chosen.append(i)
            kept.append(torch.tensor(chosen, dtype=torch.int64))
        return kept

    def select(self, sources: Int[Tensor, " chosen"]) -> Modes:
        """The optima of some of the sources."""
        return Modes(self.v[sources], self.objective[sources], self.information[sources], self.evaluations[sources])


def minimise(
    problem: Problem,
    starts: Float[Tensor, "source start parameter"],
    objective: str = "probit",
    near: bool = False,
) -> Modes:
    """Run every start of every source to its optimum.

    Args:
        problem: The batch.
        starts: Probit coordinates.
        objective: "probit" or "scale", see `goal`.
        near: The starts stand near their optima: no coarse search.
    """
    goal = Objective.of(problem, objective)
    ends = find_minima(goal, goal.from_theta(problem.prior.to_theta(starts)), coarse=not near)
    if not near and place_parameters(problem.model):
        looks, spent = scanned_starts(problem.at(SEARCH), objective, ends.best)
        ends = ends.beside(find_minima(goal, looks), spent)
    return Modes(goal.to_probit(ends.x), ends.value, goal.in_probit(ends.x, ends.information), ends.evaluations)


def follow_leaders(
    goal: Objective,
    x: Float[Tensor, "source start parameter"],
    leader: Int[Tensor, "source start"],
    able: Bool[Tensor, "source start"],
    iterations: int,
    late: Late | None = None,
) -> tuple[LevenbergMarquardt, Int[Tensor, " row"], Int[Tensor, "source start"]]:
    """One row for each place that leads and is able: the rows, their sources, the row of every start (-1: none)."""
    of, at = ((leader == torch.arange(leader.shape[1])) & able).nonzero(as_tuple=True)
    rows = x[of, at]
    ends = LevenbergMarquardt(goal, rows, torch.zeros_like(rows, dtype=torch.bool), of)
    ends.run(TOLERANCE, iterations, late)
    row = torch.full(leader.shape, -1)
    row[of, at] = torch.arange(of.numel())
    return ends, of, row.gather(1, leader)


def find_minima(goal: Objective, starts: Float[Tensor, "source start parameter"], coarse: bool = True) -> Minima:
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
    cheap = goal.at(SEARCH)
    found = descend(cheap.pull(), starts, held, COARSE_ITERATIONS, COARSE_TOLERANCE)
    evaluations = found.evaluations
    if not goal.pulled:
        both = torch.cat([starts, found.x], dim=1)
        found = descend(cheap, both, torch.zeros_like(both, dtype=torch.bool), COARSE_ITERATIONS, COARSE_TOLERANCE)
        evaluations = evaluations + found.evaluations
    leader = leaders_of(found)
    ends, of, row = follow_leaders(goal, found.x, leader, torch.ones_like(leader, dtype=torch.bool), ITERATIONS)
    return Minima(
        x=ends.x[row],
        value=torch.where(torch.isfinite(ends.value), ends.value, torch.inf)[row],
        information=ends.hessian[row],
        converged=ends.converged[row],
        evaluations=evaluations.index_add(0, of, ends.evaluations),
    )


def descend(
    goal: Objective, x: Tensor, held: Tensor, iterations: int, tolerance: float, late: Late | None = None
) -> Minima:
    """Run every start on the goal's own grid.

    Args:
        goal: Of the batch.
        x: (source, start, parameter) places in the box.
        held: The same shape: coordinates that keep their place.
        iterations, tolerance, late: See `LevenbergMarquardt.run`.
    """
    sources, count, parameters = x.shape
    of = torch.arange(sources).repeat_interleave(count)
    ends = LevenbergMarquardt(goal, x.reshape(-1, parameters), held.reshape(-1, parameters), of)
    ends.run(tolerance, iterations, late)
    value = torch.where(torch.isfinite(ends.value), ends.value, torch.inf)
    return Minima(
        x=ends.x.reshape(x.shape),
        value=value.reshape(sources, count),
        information=ends.hessian.reshape(*x.shape, parameters),
        converged=ends.converged.reshape(sources, count),
        evaluations=ends.evaluations.reshape(sources, count).sum(-1),
    )


def distances(
    x: Float[Tensor, "source start parameter"], information: Float[Tensor, "source start parameter parameter"]
) -> Float[Tensor, "source start start"]:
    """Squared Mahalanobis distance of every place (second axis) from every other, by the other's curvature (third)."""
    difference = x[:, :, None, :] - x[:, None, :, :]
    found: Tensor = (difference[..., None, :] @ information[:, None] @ difference[..., None])[..., 0, 0]
    return found


def leaders_of(ends: Minima) -> Int[Tensor, "source start"]:
    """For each start the best one that arrived at its place (often itself)."""
    sources, count, _ = ends.x.shape
    value = ends.value
    order = value.argsort(stable=True, dim=-1)
    distance2 = distances(ends.x, ends.information).mT
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
