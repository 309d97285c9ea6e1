"""What the posterior says of features that are hardly there: made once for a source, from its fit without them.

The others are fitted with the feature gone. There the expected counts are linear in its strength, so the gradient and
Fisher's information say for each place and width how strong it may be and how the others follow: with g and H in the
strength N and the others o,

    a = g_N,     b = H_NN - H_No H_oo^-1 H_oN,     best N = a / b,     error = b^-1/2,     f = -H_oo^-1 H_oN.

One evaluation with its slopes for each cell of place and width, no fit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.fitting import Modes, Objective, descend
from xrayflow.inference.proposals.faint import Cells, Faint, FaintFeature, log_seen
from xrayflow.inference.proposals.student import root_of_inverse
from xrayflow.models import features_of
from xrayflow.problem import Problem

FINEST, COARSER = 0.5, 1.7
"""Widths: the first cell ends at this part of the step between places, and each is so many times as wide as the one
before."""

APART = 1.0
"""Widths of a feature that its places are apart, where that is more than their step."""

BEYOND = 1.5
"""Times as wide as the one before is a cell outside the band."""

LEAST, RATIO = 0.05, 1.15
"""Strengths: the first cell ends at this part of the smallest error, and each edge is so many times the one before."""

GONE = -7.0
"""In prior standard deviations: a strength where a feature is gone."""

Columns = tuple[int, int | None, int]
"""Of place, width and strength among the parameters; a width that is held is None."""

STARTS, ITERATIONS, TOLERANCE = 6, 30, 1e-2
"""Of the fit without a feature: from so many modes."""


def faint_parts(problem: Problem, modes: Modes, source: int) -> tuple[Faint, ...]:
    """Densities where features of one source are hardly there: each alone, and all of them.

    Args:
        problem: The batch, corrected at its modes.
        modes: Where its starts ended.
        source: Its number.
    """
    every = [
        (one.place, one.shape[0] if one.shape else None, one.strength)
        for one in features_of(problem.model)
        if one.place is not None and len(one.shape) <= 1
    ]
    if not every:
        return ()
    at = torch.tensor([source])
    (distinct,) = modes.select(at).distinct()
    if distinct.numel() == 0:
        return ()
    alone = problem.select(at)  # the same digits in any company
    v = modes.v[source, distinct[:STARTS]]
    sets = [[one] for one in every] + ([every] if len(every) > 1 else [])
    made = [_without(alone, v, gone) for gone in sets]
    return tuple(one for one in made if one is not None)


def _without(problem: Problem, v: Float[Tensor, "mode parameter"], gone: Sequence[Columns]) -> Faint | None:
    """Where some features are hardly there; None where no fit is without them."""
    base = _fitted_without(problem, v, gone)
    own = [column for columns in gone for column in columns if column is not None]
    others = [column for column in range(problem.parameters) if column not in own]
    here = problem.target_curvature(base[None, None])
    information = here.information[0, 0][others][:, others]
    if not others or not bool(torch.isfinite(information).all()):
        return None
    factor = root_of_inverse(information)
    middle = base[others] + factor @ (factor.T @ here.gradient[0, 0, others])
    found = [_feature(problem, base, columns, others, factor) for columns in gone]
    if any(one is None for one in found):
        return None
    return Faint(problem.prior, tuple(one for one in found if one is not None), middle, factor)


def _fitted_without(
    problem: Problem, v: Float[Tensor, "mode parameter"], gone: Sequence[Columns]
) -> Float[Tensor, " parameter"]:
    """The best fit with some features gone, in probit coordinates."""
    goal = Objective.of(problem, "probit")
    starts, held = v.clone(), torch.zeros_like(v, dtype=torch.bool)
    for columns in gone:
        starts[:, columns[2]] = GONE
        held[:, [column for column in columns if column is not None]] = True
    x = goal.from_theta(problem.prior.to_theta(starts[None]))
    ends = descend(goal, x, held[None], ITERATIONS, TOLERANCE)
    return goal.to_probit(ends.best)[0]


def _feature(
    problem: Problem, base: Float[Tensor, " parameter"], columns: Columns, others: list[int], factor: Tensor
) -> FaintFeature | None:
    """What the data say of one feature at every place and width."""
    cells, theta = _cells(problem, base, columns)
    slope = problem.prior.slope(base).repeat(theta.shape[0], 1)
    scale = float(problem.prior.box.hi[columns[2]] - problem.prior.box.lo[columns[2]])
    slope[:, columns[2]] = scale
    found = problem.curvature(theta[None], slope[None])
    coupled = found.information[0][:, others, columns[2]] @ factor
    bend = found.information[0][:, columns[2], columns[2]] - coupled.square().sum(-1)
    push = found.gradient[0][:, columns[2]]
    if not bool((torch.isfinite(bend) & torch.isfinite(push)).all()):
        return None
    error = bend.clamp(min=1e-12).rsqrt()
    best = push * error.square()
    edges, strength = _strengths(problem, base, columns[2], scale * float(error.min()))
    middle = torch.cat([0.5 * edges[1:2], (edges[1:-1] * edges[2:]).sqrt()])
    log_ratio = log_seen(middle / scale, best[:, None], error[:, None])
    follow = -(coupled @ factor.T) / scale
    return FaintFeature.of(columns, cells, strength, log_ratio, follow)


def _cells(problem: Problem, base: Tensor, columns: Columns) -> tuple[Cells, Float[Tensor, "cell parameter"]]:
    """Cells of place and width, and theta in the middle of each."""
    keV, box = problem.data.places(), problem.prior.box
    place, width, _ = columns
    step = float(keV.diff().median()) if keV.numel() > 1 else float(keV[0])
    if width is None:
        sizes, unit = [0.0], torch.tensor([0.0, 1.0], dtype=torch.float64)
    else:
        edges = _widths(float(box.lo[width]), float(box.hi[width]), step)
        sizes = (edges[1:] * edges[:-1].clamp(min=1e-2 * step)).sqrt().tolist()
        unit = _in_unit(problem, base, width, edges)
    rows, places = [], []
    for size in sizes:
        edges = _places(keV, float(box.lo[place]), float(box.hi[place]), max(APART * size / step, 1.0))
        theta = problem.prior.to_theta(base).repeat(len(edges) - 1, 1)
        theta[:, place] = 0.5 * (edges[1:] + edges[:-1])
        if width is not None:
            theta[:, width] = size
        rows.append(theta)
        places.append(_in_unit(problem, base, place, edges))
    return Cells.of(unit, places), torch.cat(rows)


def _widths(low: float, high: float, step: float) -> Float[Tensor, " edge"]:
    """Edges of widths: what is not resolved is one cell."""
    edges, at = [low], FINEST * step
    while at < high / COARSER**0.5:
        if at > low:
            edges.append(at)
        at *= COARSER
    return torch.tensor([*edges, high], dtype=torch.float64)


def _places(keV: Float[Tensor, " place"], low: float, high: float, times: float) -> Float[Tensor, " edge"]:
    """Edges of places, from end to end of the prior's box: at some of those in the band, and wider ones beyond.

    Args:
        keV: Places in the band.
        low, high: The box.
        times: Steps between places that a cell is wide.
    """
    inside = keV[:: max(int(times), 1)]
    step = inside.diff() if inside.numel() > 1 else inside.new_tensor([1.0])
    inside = inside - 0.5 * torch.cat([step[:1], step])
    below = _outwards(float(inside[0]), -float(step[0]), low)
    above = _outwards(float(inside[-1]), float(step[-1]), high)
    edges = torch.tensor([*below[::-1], *inside.tolist(), *above], dtype=torch.float64)
    return torch.cat([edges.new_tensor([low]), edges[(edges > low) & (edges < high)], edges.new_tensor([high])])


def _outwards(start: float, way: float, stop: float) -> list[float]:
    """Edges from a place on, ever further apart, until `stop`."""
    found, at = list[float](), start + way
    while (stop - at) * way > 0.0:
        found.append(at)
        way *= BEYOND
        at += way
    return found


def _strengths(problem: Problem, base: Tensor, column: int, least: float) -> tuple[Tensor, Tensor]:
    """Edges of strengths, and where they are in the prior's unit interval."""
    low, high = float(problem.prior.box.lo[column]), float(problem.prior.box.hi[column])
    edges, at = [low], max(LEAST * least, 1e-12 * high)
    while at < high:
        if at > low:
            edges.append(at)
        at *= RATIO
    theta = torch.tensor([*edges, high], dtype=torch.float64)
    return theta, _in_unit(problem, base, column, theta)


def _in_unit(problem: Problem, base: Tensor, column: int, values: Float[Tensor, " value"]) -> Float[Tensor, " value"]:
    """Where values of one parameter are in the prior's unit interval; the first at 0, the last at 1."""
    theta = problem.prior.to_theta(base).repeat(values.numel(), 1)
    theta[:, column] = values
    unit: Tensor = torch.special.ndtr(problem.prior.to_probit(theta)[:, column])
    unit[0], unit[-1] = 0.0, 1.0
    return unit
