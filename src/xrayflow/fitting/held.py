"""Fits with some parameters held at given values: what intervals and grids of parameters are made of.

Every held value is a row of one batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xrayflow.errors import ModelError, nearest
from xrayflow.fitting.fit import AT_LIMIT, BestFit, best_of
from xrayflow.fitting.minima import descend
from xrayflow.fitting.objective import Objective

ITERATIONS, TOLERANCE = 60, 1e-5
"""Of the fit at each held value."""


class HasBestFit(Protocol):
    """An answer that can say where it fits best."""

    def best_fit(self) -> BestFit:
        """The fit."""
        ...


class HeldFits:
    """A fit as a place in the box, and fits with some coordinates held."""

    def __init__(self, fit: BestFit) -> None:
        self.fit = fit
        self.goal: Objective = fit.goal
        place = self.goal.from_theta(torch.from_numpy(fit.theta))[None, None]
        ends = descend(self.goal, place, torch.zeros_like(place, dtype=torch.bool), ITERATIONS, TOLERANCE)
        self.best, self.base = ends.x[0, 0], float(ends.value[0, 0])
        self.information = ends.information[0, 0]
        self.evaluations = int(ends.evaluations[0])

    def fitted(self, x: Float[Tensor, "row parameter"], held: Bool[Tensor, "row parameter"]) -> tuple[Tensor, Tensor]:
        """Where the free coordinates end, and the goal there."""
        ends = descend(self.goal, x[None], held[None], ITERATIONS, TOLERANCE)
        self.evaluations += int(ends.evaluations[0])
        return ends.x[0], ends.value[0]

    def followed(self, columns: Sequence[int], moved: Float[Tensor, "row held"]) -> Float[Tensor, "row parameter"]:
        """Where the quadratic approximation puts the others when some coordinates are moved to given places."""
        held = torch.zeros_like(self.best, dtype=torch.bool)
        held[list(columns)] = True
        stuck = ~held & ((self.best <= AT_LIMIT) | (self.best >= 1.0 - AT_LIMIT))
        others = (~held & ~stuck).nonzero()[:, 0]
        x = self.best.expand(moved.shape[0], -1).clone()
        x[:, list(columns)] = moved
        pull = (moved - self.best[list(columns)]) @ self.information[list(columns)][:, others]
        inverse, failed = torch.linalg.inv_ex(self.information[others[:, None], others])
        follow = -pull @ inverse
        if int(failed) == 0 and bool(torch.isfinite(follow).all()):
            x[:, others] = (self.best[others] + follow).clamp(0.0, 1.0)
        return x


def refitted(fit: BestFit, x: Tensor) -> BestFit:
    """The best fit that a place leads to."""
    goal = fit.goal
    ends = descend(goal, x[None, None], torch.zeros_like(x, dtype=torch.bool)[None, None], ITERATIONS, TOLERANCE)
    found = best_of(fit.problem, fit.objective, goal, ends, 0)
    return replace(found, evaluations=found.evaluations + fit.evaluations)


def fit_of(fit: BestFit | HasBestFit) -> BestFit:
    """The fit itself, or that of an answer."""
    return fit if isinstance(fit, BestFit) else fit.best_fit()


def column_of(fit: BestFit, name: str) -> int:
    """The column of theta that a name means."""
    for column, known in enumerate(fit.names):
        if known.lower() == name.strip().lower():
            return column
    raise ModelError(f"{fit.problem.model.text} has no free parameter '{name}'{nearest(name, fit.names)}")
