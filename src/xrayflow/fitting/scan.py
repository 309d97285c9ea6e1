"""Starts for lines and edges: a feature held at one place of the band after the other, the rest of the model at rest.

A narrow feature has a minimum of its own wherever noise looks like one, and independent starts meet the right one only
if they begin within a resolution element of it. So the band is scanned half a resolution element at a time: the other
parameters of the feature are the best of some combinations, all parameters but the place follow, and the lowest places
along the band become starts. docs/decisions/0022-lines-are-scanned-for.md says what happened without.

Source: the scan is XSPEC's `steppar` along a line's energy, as people do it by hand.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.fitting.levenberg_marquardt import ROWS_TOGETHER, Late, LevenbergMarquardt
from xrayflow.fitting.objective import Objective
from xrayflow.models import Model
from xrayflow.problem import Problem

SHAPES = 24
"""Combinations of a feature's other parameters that are tried at each place."""

DECADES = 6.0
"""Below its upper edge, where the norms of those combinations lie that have a box on a linear scale."""

ITERATIONS, TOLERANCE = 8, 0.1
"""Of the optimiser at each place: a rough value ranks them."""

LOOKS = 6
"""Places that become starts, for each feature."""


def place_parameters(model: Model) -> list[int]:
    """Numbers of the free parameters that are places of features.

    Args:
        model: Its expression.
    """
    return [number for number, parameter in enumerate(model.free) if parameter.is_place]


def scanned_starts(
    problem: Problem, objective: str, best: Float[Tensor, "source parameter"], late: Late | None = None
) -> tuple[Float[Tensor, "source start parameter"], Int[Tensor, " source"]]:
    """The lowest places of every feature along the band.

    Args:
        problem: The batch, at the fidelity of searches.
        objective: As for `Objective.of`.
        best: Coordinates of the best fit so far, in the box.
        late: Whether a limit of time has been reached: features that are left are not scanned for.

    Returns:
        Coordinates in the box, `LOOKS` for each feature (the best fit's where it has fewer valleys), and the
        evaluations of each source.
    """
    places = place_parameters(problem.model)
    starts = best[:, None, :].repeat(1, LOOKS * len(places), 1)
    evaluations = torch.zeros(problem.sources, dtype=torch.int64)
    for source in range(problem.sources):  # each alone: the same digits in any company
        alone = problem.select(torch.tensor([source]))
        lowest = best[source]
        for number, place in enumerate(places):
            if late is not None and late():
                break
            ends, values, spent = _scan(alone, objective, lowest, place, late)
            evaluations[source] += spent
            chosen = _valleys(values)[:LOOKS]
            rows = LOOKS * number + torch.arange(chosen.numel())
            starts[source, rows] = ends[chosen]
            if chosen.numel():
                lowest = ends[chosen[0]]
    return starts, evaluations


def _scan(
    problem: Problem, objective: str, start: Float[Tensor, " parameter"], place: int, late: Late | None
) -> tuple[Float[Tensor, "place parameter"], Float[Tensor, " place"], int]:
    """Where all but the place come to rest, at each of a batch of one; the evaluations."""
    goal, own = Objective.of(problem, objective), problem.model.free[place].component
    keV = problem.data.places()
    theta = goal.to_theta(start)[None].repeat(keV.numel(), 1)
    theta[:, place] = keV
    box = problem.prior.box
    x = goal.from_theta(theta)
    x = x[(keV > box.lo[place]) & (keV < box.hi[place])]
    if x.shape[0] == 0:
        return x, x[:, 0], 0
    others = [i for i, one in enumerate(problem.model.free) if one.component == own and i != place]
    trial = x[:, None, :].repeat(1, SHAPES, 1)
    if others:  # the first is as in the best fit
        trial[:, 1:, others] = _drawn(goal, problem, SHAPES - 1, others)
    of = torch.zeros(trial[..., 0].numel(), dtype=torch.int64)
    parts = torch.split(trial.flatten(0, 1), ROWS_TOGETHER)
    value = torch.cat([goal.select(of[: part.shape[0]]).value(part) for part in parts])
    value = torch.where(torch.isfinite(value), value, torch.inf).reshape(trial.shape[:2])
    rows = trial[torch.arange(x.shape[0]), value.argmin(-1)]
    held = torch.zeros_like(rows, dtype=torch.bool)
    held[:, place] = True
    ends = LevenbergMarquardt(goal, rows, held, of[: rows.shape[0]]).run(TOLERANCE, ITERATIONS, late)
    return ends.x, ends.value, value.numel() + int(ends.evaluations.sum())


def _drawn(goal: Objective, problem: Problem, draws: int, columns: list[int]) -> Float[Tensor, "draw column"]:
    """Draws of the prior of some parameters, always the same; norms of a linear box are spread over decades.

    A normal prior may be a speck of its box, and what a line can be is one of a norm's linear box.
    """
    u = torch.rand((draws, len(columns)), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    v = torch.zeros((draws, problem.parameters), dtype=torch.float64)
    v[:, columns] = torch.special.ndtri(u)
    theta, box = problem.prior.to_theta(v), problem.prior.box
    for column, own in zip(columns, u.T, strict=True):
        if problem.model.free[column].is_norm and not (box.is_log[column] or box.is_normal[column]):
            theta[:, column] = box.hi[column] * 10.0 ** (-DECADES * own)
    return goal.from_theta(theta)[:, columns]


def _valleys(values: Float[Tensor, " place"]) -> Int[Tensor, " valley"]:
    """Places lower than their neighbours, the lowest first."""
    padded = torch.nn.functional.pad(torch.where(torch.isfinite(values), values, torch.inf), (1, 1), value=torch.inf)
    low = (padded[1:-1] <= padded[:-2]) & (padded[1:-1] <= padded[2:]) & torch.isfinite(padded[1:-1])
    found = low.nonzero()[:, 0]
    return found[values[found].argsort()]
