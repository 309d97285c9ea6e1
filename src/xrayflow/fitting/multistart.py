"""Where the fits end: independent starts of many sources, each run to its optimum.

Where the model has lines or edges, the band is scanned for places where they could stand (`scan`), as more starts.

The search is coarse first (`first_ends`): most of a start's way is run at the fidelity SEARCH, where a call costs a
fifteenth. Starts
that arrive at the same place become one, and every place that is left is followed to its optimum, on the problem's own
grid (`minimise`) or on the search's, made exact at the best of them (`corrected`). No place is dropped for being
bad: the starts that end there are the evidence that there is no other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.fitting.first_ends import COARSE_ITERATIONS, COARSE_TOLERANCE, first_ends
from xrayflow.fitting.minima import Minima, descend, distances, leaders_of, led
from xrayflow.fitting.objective import Objective
from xrayflow.fitting.scan import place_parameters, scanned_starts
from xrayflow.folding import SEARCH
from xrayflow.problem import Problem

ITERATIONS, TOLERANCE = 60, 1e-3
"""A row stops when a step promises to lower the goal (a -2 log posterior, a statistic) by less than the tolerance."""

NEAR = 20.0
"""In -2 log posterior: modes within this of the best are part of the posterior's support."""

DISTINCT = 1.0
"""Two modes closer than this Mahalanobis distance are one."""


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
        order = value.argsort(dim=-1)
        within = torch.isfinite(value) & (value <= value.amin(-1, keepdim=True) + near)
        apart = (distances(self.v, self.information) > DISTINCT**2).numpy()
        kept = []
        for source, count in enumerate(within.sum(-1).tolist()):
            chosen: list[int] = []
            for i in order[source, :count].tolist():
                if apart[source, i, chosen].all():
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
    if not coarse:
        return descend(goal, starts, torch.zeros_like(starts, dtype=torch.bool), ITERATIONS, TOLERANCE)
    cheap = goal.at(SEARCH)
    found = first_ends(cheap.pull(), starts)
    evaluations = found.evaluations
    if not goal.pulled:
        both = torch.cat([starts, found.x], dim=1)
        found = descend(cheap, both, torch.zeros_like(both, dtype=torch.bool), COARSE_ITERATIONS, COARSE_TOLERANCE)
        evaluations = evaluations + found.evaluations
    ends = led(goal, found.x, leaders_of(found), ITERATIONS, TOLERANCE)
    return replace(ends, evaluations=evaluations + ends.evaluations)
