"""From weighted draws up the log of the posterior over what the draws know: where that leads, the draws are thin.

With s(v) a mixture fitted to the weighted draws and H the target's information, a row goes along

    (H + lambda diag H) dv = grad (ln target - ln s),        |dv| <= radius,

and stays only where ln target - ln s rises. In what is thin the first term holds it on the posterior's sheet, as a
Newton step would; along the sheet the second drives it outwards, to where the draws do not follow. The step is taken in
the coordinates w in which sheets are flat: w + (dw / dv) dv.

On a posterior that the draws know, s falls more slowly than the target on all sides and every row comes to rest at
once.

Source: Farrell, Birkisson & Funke 2015, SIAM J. Sci. Comput. 37, A2026 (deflation: what is known is divided out).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.fitting import ROWS_TOGETHER
from xrayflow.inference.proposals.counts_coordinates import Coordinates
from xrayflow.inference.proposals.profiles import FINEST
from xrayflow.inference.proposals.student import StudentMixture
from xrayflow.statistics import Curvature

V = Float[Tensor, "source draw parameter"]
Rows = Float[Tensor, "row parameter"]

STEPS = 20
FIRST, LONGEST, SHORTEST = 0.3, 0.7, 0.01
"""Radius, in prior standard deviations: the first, the largest, and the one at which a row rests."""

WIDER, NARROWER = 1.5, 0.5
"""Factors of the radius after a step that was taken, and after one that was not."""

FIRST_DAMPING, EASE, STIFFEN = 1e-2, 0.3, 3.0
LEAST_DAMPING, MOST_DAMPING = 1e-6, 1e6

STILL = 0.05
"""A row rests where a step gains less than this, in natural logarithm."""

LOST = 12.0
"""In natural log below the best start: no row goes down further than this on its way."""

CLIMB = 2.0
"""A row comes so many times closer to the best start in a step, at most: in natural log of the target. One that could
not come within `LOST` of it in the steps that are left is given up, as most from the prior of a bright spectrum."""

OUTERMOST = 5.0
"""In prior standard deviations: nothing of a posterior is beyond."""

TINY = 1e-4
"""Part of a step by which the direction of dw is measured."""


class Ground(Protocol):
    """A target in probit coordinates, of a batch of sources, as `Problem`."""

    def log_target(self, v: V) -> Float[Tensor, "source draw"]:
        """Natural log of its density, up to a constant; -inf where there is none."""
        ...

    def target_curvature(self, v: V) -> Curvature:
        """Gradient of that, and a positive definite information."""
        ...

    def select(self, sources: Int[Tensor, " chosen"]) -> Ground:
        """Some of the sources."""
        ...


@dataclass(frozen=True)
class Places:
    """Where rows came: one each time that a row moved, and its start.

    Attributes:
        source: Of the row.
        v: Where.
        log_target: There.
        information: Likewise.
        step: How far from the place before; the first radius for a start.
    """

    source: Int[Tensor, " place"]
    v: Float[Tensor, "place parameter"]
    log_target: Float[Tensor, " place"]
    information: Float[Tensor, "place parameter parameter"]
    step: Float[Tensor, " place"]

    def select(self, chosen: Tensor) -> Places:
        """Some of the places."""
        return Places(
            self.source[chosen],
            self.v[chosen],
            self.log_target[chosen],
            self.information[chosen],
            self.step[chosen],
        )

    @classmethod
    def joined(cls, parts: list[Places]) -> Places:
        """Places end to end."""
        columns = zip(*((p.source, p.v, p.log_target, p.information, p.step) for p in parts), strict=True)
        return cls(*(torch.cat(column) for column in columns))


def ascend(
    ground: Ground, coordinates: Coordinates, known: StudentMixture, start: V
) -> tuple[Places, Int[Tensor, " source"]]:
    """Run every start until it rests.

    Args:
        ground: The target of a batch.
        coordinates: To step in.
        known: What its draws know.
        start: Of every source.

    Returns:
        The places, and the evaluations of each source; a curvature counts as one for each parameter.
    """
    sources, rows, parameters = start.shape
    of = torch.arange(sources).repeat_interleave(rows)
    ascent = Ascent(ground, coordinates, known, of, start.reshape(-1, parameters))
    found = Places.joined(ascent.run())
    return found, torch.zeros(sources, dtype=torch.int64).index_add_(0, of, ascent.evaluations)


class Ascent:
    """The state of some rows: where they stand, what is known there, and how far they may go."""

    def __init__(
        self, ground: Ground, coordinates: Coordinates, known: StudentMixture, source: Int[Tensor, " row"], x: Rows
    ) -> None:
        self.ground, self.coordinates, self.known, self.source = ground, coordinates, known, source
        self.x, self.w = x.clone(), torch.zeros_like(x)
        rows, parameters = x.shape
        self.log_target = x.new_full((rows,), -torch.inf)
        self.rise = x.new_full((rows,), -torch.inf)
        self.force = torch.zeros_like(x)
        self.information = torch.eye(parameters, dtype=x.dtype).repeat(rows, 1, 1)
        self.radius = x.new_full((rows,), FIRST)
        self.damping = x.new_full((rows,), FIRST_DAMPING)
        self.evaluations = torch.zeros(rows, dtype=torch.int64)

    def run(self) -> list[Places]:
        """Every place that a row comes to."""
        every = torch.arange(self.x.shape[0])
        active = torch.cat([self._set_out(part) for part in torch.split(every, ROWS_TOGETHER)])
        highest = self.x.new_full((int(self.source.max()) + 1,), -torch.inf)
        highest = highest.scatter_reduce(0, self.source[active], self.log_target[active], "amax")[self.source]
        deepest = highest - LOST
        found = [self._places(active, self.x.new_full((active.numel(),), FIRST))]
        for left in range(STEPS, 0, -1):
            active = active[self.log_target[active] > highest[active] - LOST * CLIMB**left]
            if active.numel() == 0:
                break
            going = []
            for part in torch.split(active, ROWS_TOGETHER):
                on, places = self._advance(part, deepest)
                going.append(on)
                found.append(places)
            active = torch.cat(going)
        return found

    def _set_out(self, rows: Tensor) -> Tensor:
        """What is known where rows start; those that have a place to start from."""
        v = self.x[rows]
        target, known, score = self._at(rows, v)
        able = torch.isfinite(target)
        self._settle(rows[able], v[able], target[able], (target - known)[able], score[able])
        return rows[able]

    def _advance(self, rows: Tensor, deepest: Float[Tensor, " row"]) -> tuple[Tensor, Places]:
        """One step of some rows: those that go on, and the places that they came to."""
        step, promised = self._step(rows)
        known_way = torch.isfinite(step).all(-1)  # elsewhere the target's curvature is no number
        rows, step, promised = rows[known_way], step[known_way], promised[known_way]
        trial = self._taken(rows, step)
        inside = (trial.abs() < OUTERMOST).all(-1)  # elsewhere a target is dear, and a step is refused
        target, known = torch.full_like(promised, -torch.inf), torch.zeros_like(promised)
        score = torch.zeros_like(trial)
        if bool(inside.any()):
            target[inside], known[inside], score[inside] = self._at(rows[inside], trial[inside])
        gain = target - known - self.rise[rows]
        taken = torch.isfinite(gain) & (gain > 0) & (target > torch.minimum(self.log_target[rows], deepest[rows]))
        moved = rows[taken]
        self.damping[rows] = (self.damping[rows] * torch.where(taken, EASE, STIFFEN)).clamp(LEAST_DAMPING, MOST_DAMPING)
        self.radius[rows] = (self.radius[rows] * torch.where(taken, WIDER, NARROWER)).clamp(max=LONGEST)
        self._settle(moved, trial[taken], target[taken], (target - known)[taken], score[taken])
        rests = torch.where(taken, gain < STILL, promised < STILL) | (self.radius[rows] < SHORTEST)
        return rows[~rests], self._places(moved, step[taken].norm(dim=-1))

    def _at(self, rows: Tensor, v: Rows) -> tuple[Tensor, Tensor, Rows]:
        """Natural log of the target and of what is known, and the gradient of the latter."""
        self.evaluations[rows] += 1
        of = self.source[rows]
        known, score = self.known.select(of).with_score(v[:, None])
        return self.ground.select(of).log_target(v[:, None])[:, 0], known[:, 0], score[:, 0]

    def _settle(self, rows: Tensor, v: Rows, log_target: Tensor, rise: Tensor, score: Rows) -> None:
        """Rows stand at new places: the forces and the information there."""
        if rows.numel() == 0:
            return
        self.x[rows], self.log_target[rows], self.rise[rows] = v, log_target, rise
        of = self.source[rows]
        self.w[rows] = self.coordinates.select(of).into(v[:, None])[:, 0]
        curvature = self.ground.select(of).target_curvature(v[:, None])
        self.force[rows] = curvature.gradient[:, 0] - score
        self.information[rows] = curvature.information[:, 0]
        self.evaluations[rows] += v.shape[-1]

    def _step(self, rows: Tensor) -> tuple[Rows, Float[Tensor, " row"]]:
        """Where rows go next, and what that promises."""
        information, force = self.information[rows], self.force[rows]
        diagonal = information.diagonal(dim1=-2, dim2=-1)
        damped = information + torch.diag_embed(self.damping[rows, None] * diagonal)
        step = torch.linalg.solve_ex(damped, force[..., None])[0][..., 0]
        step = step * (self.radius[rows] / step.norm(dim=-1).clamp(min=1e-300)).clamp(max=1.0)[:, None]
        promised = (force * step).sum(-1) - 0.5 * (step[:, None, :] @ information @ step[..., None])[:, 0, 0]
        return step, promised

    def _taken(self, rows: Tensor, step: Rows) -> Rows:
        """Where steps lead, on a fine grid: last digits depend on the company."""
        coordinates, w = self.coordinates.select(self.source[rows]), self.w[rows]
        ahead = coordinates.into((self.x[rows] + TINY * step)[:, None])[:, 0]
        v = coordinates.back((w + (ahead - w) / TINY)[:, None])[:, 0]
        return torch.round(v * FINEST) / FINEST

    def _places(self, rows: Tensor, step: Tensor) -> Places:
        """Where rows stand."""
        return Places(self.source[rows], self.x[rows], self.log_target[rows], self.information[rows].clone(), step)
