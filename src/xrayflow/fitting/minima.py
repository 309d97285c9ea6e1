"""Where starts end on one goal: many rows run down together, and which of them have arrived at the same place."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.fitting.levenberg_marquardt import Late, LevenbergMarquardt
from xrayflow.fitting.objective import Objective

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


def follow_leaders(
    goal: Objective,
    x: Float[Tensor, "source start parameter"],
    leader: Int[Tensor, "source start"],
    able: Bool[Tensor, "source start"],
    iterations: int,
    tolerance: float,
    late: Late | None = None,
) -> tuple[LevenbergMarquardt, Int[Tensor, " row"], Int[Tensor, "source start"]]:
    """One row for each place that leads and is able: the rows, their sources, the row of every start (-1: none)."""
    of, at = ((leader == torch.arange(leader.shape[1])) & able).nonzero(as_tuple=True)
    rows = x[of, at]
    ends = LevenbergMarquardt(goal, rows, torch.zeros_like(rows, dtype=torch.bool), of)
    ends.run(tolerance, iterations, late)
    row = torch.full(leader.shape, -1)
    row[of, at] = torch.arange(of.numel())
    return ends, of, row.gather(1, leader)


def led(
    goal: Objective,
    x: Float[Tensor, "source start parameter"],
    leader: Int[Tensor, "source start"],
    iterations: int,
    tolerance: float,
    late: Late | None = None,
) -> Minima:
    """Run every start that leads; the others end where theirs does.

    Args:
        goal: Of the batch.
        x: Places in the box.
        leader: The start that each follows, often itself.
        iterations, tolerance, late: See `LevenbergMarquardt.run`.
    """
    every = torch.ones_like(leader, dtype=torch.bool)
    ends, of, row = follow_leaders(goal, x, leader, every, iterations, tolerance, late)
    return Minima(
        x=ends.x[row],
        value=torch.where(torch.isfinite(ends.value), ends.value, torch.inf)[row],
        information=ends.hessian[row],
        converged=ends.converged[row],
        evaluations=torch.zeros(x.shape[0], dtype=torch.int64).index_add(0, of, ends.evaluations),
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
