"""Walking along the lines of a posterior: profiles of every parameter, from every optimum to both sides.

At each place the parameter is held and the others are optimised; the walk ends where the posterior is lost. The next
place is foretold by the cubic through the last two, and how far off that was sets the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.fitting import FAR, Modes, Objective, descend
from xrayflow.inference.proposals.student import root_of_inverse
from xrayflow.problem import Problem

FIRST_STEP = 1.5
"""In Laplace's standard deviations."""

LONGEST, SHORTEST = 0.7, 0.1
"""Of a step: in prior standard deviations; in Laplace's, where the posterior was lost."""

LOST = 16.0
"""In -2 log posterior density above the optimum: exp(-8) of its density."""

OUTERMOST = 3.5
"""In prior standard deviations: no walk goes further."""

STEPS = 12
ITERATIONS, TOLERANCE = 10, 0.05

EASY, HARD = 1.0, 6.0
"""How far off the foretold place was, in the others' standard deviations: the next step is longer or shorter."""

STEEP = 6.0
"""In -2 log posterior density: a rise in one step after which the next is shorter."""

GROW, SHRINK, RETREAT = 1.5, 0.6, 0.35
"""Factors of the step where it was easy, where it was hard, and where it lost a posterior that was not falling yet."""

FINEST = 2.0**16
"""Places in a prior standard deviation, of the grid that every place is put on: what a batch adds in the last digits of
one is not handed on to the next."""

OPTIMA = 2
"""From which a source is walked, at most."""


@dataclass(frozen=True)
class PathPoints:
    """Where the walks went: one row per place, those of one line not in order.

    Attributes:
        source, optimum, held: Of the line.
        v: Probit coordinates.
        rise: -2 log posterior density above the line's optimum.
        information: At the place.
    """

    source: Int[Tensor, " row"]
    optimum: Int[Tensor, " row"]
    held: Int[Tensor, " row"]
    v: Float[Tensor, "row parameter"]
    rise: Float[Tensor, " row"]
    information: Float[Tensor, "row parameter parameter"]

    def select(self, rows: Tensor) -> PathPoints:
        """Some of the places."""
        return PathPoints(
            self.source[rows],
            self.optimum[rows],
            self.held[rows],
            self.v[rows],
            self.rise[rows],
            self.information[rows],
        )

    @classmethod
    def joined(cls, parts: list[PathPoints]) -> PathPoints:
        """Places end to end."""
        columns = zip(*((p.source, p.optimum, p.held, p.v, p.rise, p.information) for p in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))


@dataclass(frozen=True)
class Anchors:
    """Optima to walk from: one row each.

    Attributes:
        source, optimum: Which.
        v: Where they are.
        value: -2 log posterior density, up to a constant.
        information: Half its curvature.
    """

    source: Int[Tensor, " row"]
    optimum: Int[Tensor, " row"]
    v: Float[Tensor, "row parameter"]
    value: Float[Tensor, " row"]
    information: Float[Tensor, "row parameter parameter"]


def walk(
    problem: Problem, optima: Modes, chosen: Sequence[Int[Tensor, " distinct"]]
) -> tuple[list[PathPoints], Int[Tensor, " source"]]:
    """Walk every parameter from every chosen optimum to both sides.

    Args:
        problem: The batch.
        optima: Where the starts ended.
        chosen: Distinct optima of each source, best first.

    Returns:
        The places, and the likelihood evaluations of each source. Nothing is walked where only one parameter is free.
    """
    evaluations = torch.zeros(problem.sources, dtype=torch.int64)
    pairs = [(source, int(i)) for source, index in enumerate(chosen) for i in index[:OPTIMA]]
    if not pairs or optima.v.shape[-1] < 2:
        return [], evaluations
    source, optimum = torch.tensor(pairs, dtype=torch.int64).T
    anchors = Anchors(
        source, optimum, *(of[source, optimum] for of in (optima.v, optima.objective, optima.information))
    )
    ground = ProfiledObjective(Objective.of(problem, "probit"), problem, evaluations)
    paths = ProfilePaths(ground, anchors)
    return paths.settled(paths.run()), evaluations


@dataclass(frozen=True)
class ProfiledObjective:
    """What is walked on: the goal, its problem, and the evaluations that it has cost each source."""

    goal: Objective
    problem: Problem
    evaluations: Int[Tensor, " source"]

    def settle(self, source: Tensor, v: Tensor, held: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the coordinates that are not held come to rest: place, value and information."""
        goal = self.goal
        x = goal.from_theta(goal.problem.prior.to_theta(v))
        ends = descend(goal.select(source), x[:, None], held[:, None], ITERATIONS, TOLERANCE)
        self.evaluations.index_add_(0, source, ends.evaluations)
        information = goal.in_probit(ends.x[:, 0], ends.information[:, 0])
        at = torch.round(goal.to_probit(ends.x[:, 0]) * FINEST) / FINEST
        return torch.where(held, v, at), ends.value[:, 0], information

    def alone(self, source: int, v: Tensor) -> tuple[Float[Tensor, " row"], Float[Tensor, "row parameter parameter"]]:
        """-2 log posterior density and half its curvature at places of one source."""
        problem = self.problem.select(torch.tensor([source]))
        self.evaluations[source] += v.shape[0] * (1 + v.shape[1])
        return -2.0 * problem.log_target(v[None])[0], problem.target_curvature(v[None]).information[0]


class ProfilePaths:
    """The state of all walks: a row is one parameter of one optimum, to one side."""

    def __init__(self, ground: ProfiledObjective, anchors: Anchors) -> None:
        optima, parameters = anchors.v.shape
        self.ground, self.anchors = ground, anchors
        self.home = torch.arange(optima).repeat_interleave(2 * parameters)
        self.held = torch.arange(parameters).repeat_interleave(2).repeat(optima)
        self.side = torch.tensor([-1.0, 1.0], dtype=anchors.v.dtype).repeat(optima * parameters)
        self.v = anchors.v[self.home]
        self.before = self.v.clone()
        self.rise = torch.zeros_like(self.side)
        if optima:
            self.width = root_of_inverse(anchors.information).square().sum(-1).sqrt()[self.home, self.held]
            self.step = (FIRST_STEP * self.width).clamp(max=LONGEST)
            self.slope, _ = others_of(anchors.information[self.home], self.held)
            self.last = self.slope.clone()

    def run(self) -> list[PathPoints]:
        """Walk until every row is done; the places of the anchors come first."""
        active = torch.arange(self.home.numel())
        if active.numel() == 0:
            return []
        start = active[::2]
        found = [self._places(start, self.v[start], self.rise[start], self.anchors.information[self.home[start]])]
        for _ in range(STEPS):
            active = active[self._room(active) > SHORTEST]
            if active.numel() == 0:
                break
            active, places = self._advance(active)
            found.append(places)
        return found

    def settled(self, found: list[PathPoints]) -> list[PathPoints]:
        """The same places with rises and information that owe nothing to the company of a source."""
        if not found:
            return []
        every = PathPoints.joined(found)
        rise, information = every.rise.clone(), every.information.clone()
        for source in sorted(set(every.source.tolist())):
            rows = (every.source == source).nonzero()[:, 0]
            here, bends = self.ground.alone(source, every.v[rows])
            rise[rows], information[rows] = here, bends
            for optimum in sorted(set(every.optimum[rows].tolist())):
                line = rows[every.optimum[rows] == optimum]
                rise[line] = rise[line] - rise[line[0]]  # the anchor's place comes first
        return [replace(every, rise=rise, information=information)]

    def _advance(self, active: Tensor) -> tuple[Tensor, PathPoints]:
        """One step of some rows: those that go on, and the places that they found."""
        held, width = self.held[active], self.width[active]
        ahead = self._foretold(active, torch.minimum(self.step[active], self._room(active)))
        fixed = torch.nn.functional.one_hot(held, self.v.shape[1]).bool()
        v, value, information = self.ground.settle(self.anchors.source[self.home[active]], ahead, fixed)
        rise = value - self.anchors.value[self.home[active]]
        slope, factor = others_of(information, held)
        missed = (v - ahead).gather(1, other_index(held, v.shape[1]))
        off = torch.linalg.solve_triangular(factor, missed[..., None], upper=False).square().sum((-2, -1)).sqrt()
        kept = torch.isfinite(rise) & (rise < LOST)
        again = ~kept & (self.rise[active] < 0.25 * LOST) & (self.step[active] > SHORTEST * width)
        # a place where the posterior is lost is still the end of a line that was falling
        shown = kept | (torch.isfinite(rise) & ~again)
        places = self._places(active[shown], v[shown], rise[shown], information[shown])
        hard = (off > HARD) | ((rise - self.rise[active]).abs() > STEEP)
        change = torch.where(hard, SHRINK, torch.where(off < EASY, GROW, 1.0))
        self.step[active] = (self.step[active] * torch.where(kept, change, RETREAT)).clamp(max=LONGEST)
        on = active[kept]
        self.before[on], self.last[on] = self.v[on], self.slope[on]
        self.v[on], self.rise[on], self.slope[on] = v[kept], rise[kept], slope[kept]
        return active[kept | again], places

    def _room(self, rows: Tensor) -> Tensor:
        """How far a row may still go."""
        return OUTERMOST - self.side[rows] * self.v[rows, self.held[rows]]

    def _places(self, rows: Tensor, v: Tensor, rise: Tensor, information: Tensor) -> PathPoints:
        home = self.home[rows]
        return PathPoints(self.anchors.source[home], self.anchors.optimum[home], self.held[rows], v, rise, information)

    def _foretold(self, rows: Tensor, length: Tensor) -> Tensor:
        """(row, parameter) where the lines should be: straight on, or along the cubic of the last two places."""
        held, v, before = self.held[rows], self.v[rows], self.before[rows]
        row, other = torch.arange(rows.numel()), other_index(held, v.shape[1])
        here, there, further = v[row, held], before[row, held], self.side[rows] * length
        moved = here != there
        ends = torch.stack([before.gather(1, other), v.gather(1, other)])
        slopes = torch.stack([self.last[rows], self.slope[rows]])
        gap = torch.where(moved, here - there, 1.0)
        cubic = hermite(ends, slopes, gap, (here + further - there) / gap)
        straight = ends[1] + further[:, None] * slopes[1]
        ahead = v.clone().scatter_(1, other, torch.where(moved[:, None], cubic, straight))
        ahead[row, held] = here + further
        return ahead.clamp(-FAR, FAR)


def others_of(
    information: Float[Tensor, "row parameter parameter"], held: Int[Tensor, " row"]
) -> tuple[Float[Tensor, "row other"], Float[Tensor, "row other other"]]:
    """Slope with which the others follow the held parameter, and the root of their covariance."""
    rows, parameters = torch.arange(held.numel()), information.shape[-1]
    other = other_index(held, parameters)
    kept = information[rows[:, None, None], other[:, :, None], other[:, None, :]]
    factor = root_of_inverse(kept)
    pull = information[rows[:, None], other, held[:, None]]
    return -(factor @ (factor.mT @ pull[..., None]))[..., 0], factor


def other_index(held: Int[Tensor, " row"], parameters: int) -> Int[Tensor, "row other"]:
    """The parameters that are not held, in order."""
    index = torch.arange(parameters - 1).expand(held.numel(), -1)
    return index + (index >= held[:, None])


def hermite(
    ends: Float[Tensor, "2 row other"],
    slopes: Float[Tensor, "2 row other"],
    length: Float[Tensor, " row"],
    part: Float[Tensor, " row"],
) -> Float[Tensor, "row other"]:
    """The cubic curve between two ends with given slopes, at a part of its length (0..1; beyond: extrapolated)."""
    part, rest, rise = part[:, None], 1.0 - part[:, None], ends[1] - ends[0]
    bend = rest * (slopes[0] * length[:, None] - rise) - part * (slopes[1] * length[:, None] - rise)
    return rest * ends[0] + part * ends[1] + part * rest * bend
