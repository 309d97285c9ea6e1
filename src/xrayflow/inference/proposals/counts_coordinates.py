"""Coordinates in which the norm is replaced by the counts that it gives.

They are those of `networks.Level`, with the counts of a whole batch, one source a row: a posterior that is a thin bent
sheet in the parameters is flat in them, and what is thin stays thin in one coordinate only.

A walk and a mixture that take hundreds of components in v need a few in w.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.folding import SEARCH
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.student import StudentMixture
from xrayflow.networks import Level
from xrayflow.problem import Problem

V = Float[Tensor, "source draw parameter"]


class Coordinates(Protocol):
    """Coordinates w of a batch in which what is thin is flat."""

    def into(self, v: V) -> V:
        """Probit coordinates -> w."""
        ...

    def back(self, w: V) -> V:
        """And back."""
        ...

    def log_slope(self, v: V) -> Float[Tensor, "source draw"]:
        """ln |dw / dv|."""
        ...

    def select(self, sources: Int[Tensor, " chosen"]) -> Coordinates:
        """Those of some of the sources."""
        ...


@dataclass(frozen=True)
class CountsCoordinates:
    """The coordinates w of a batch.

    Attributes:
        problem: Of the same sources, on any grid: its expected counts are a coordinate and nothing else.
        norms: Places of the norms among the free parameters; without any, w is v.
    """

    problem: Problem
    norms: tuple[int, ...]

    @classmethod
    def of(cls, problem: Problem) -> CountsCoordinates:
        """The coordinates of a problem; v itself where the counts are not proportional to norms that are free."""
        cheap = problem.at(SEARCH)
        return cls(cheap, Level.of(problem.model, problem.prior, cheap.expected_counts).norms)

    def into(self, v: V) -> V:
        """Probit coordinates -> w."""
        return self._level.into(v) if self.norms else v

    def back(self, w: V) -> V:
        """w -> probit coordinates; an edge of the box for what lies beyond it, and where the model gives no number."""
        return self._level.back(w) if self.norms else w

    def log_slope(self, v: V) -> Float[Tensor, "source draw"]:
        """ln |dw / dv|."""
        return self._level.log_slope(v) if self.norms else torch.zeros_like(v[..., 0])

    def select(self, sources: Tensor) -> CountsCoordinates:
        """The coordinates of some of the sources."""
        return CountsCoordinates(self.problem.select(sources), self.norms) if self.norms else self

    @property
    def _level(self) -> Level:
        return Level(self.problem.prior, self.norms, self.problem.expected_counts)


@dataclass(frozen=True)
class MixtureInCoordinates:
    """A t-mixture in coordinates w, as a part of one source's proposal.

    Attributes:
        coordinates: Of this source.
        mixture: Likewise.
    """

    coordinates: Coordinates
    mixture: StudentMixture

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        """Draws."""
        w = Proposal(self.mixture, (Components.none(),)).sample(draws, [generator])
        return self.coordinates.back(w)[0]

    def log_density(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, " draw"]:
        """Natural log of the density; -inf where the coordinates are no numbers."""
        at = v[None]
        density = self.mixture.log_density(self.coordinates.into(at))[0] + self.coordinates.log_slope(at)[0]
        return torch.where(torch.isnan(density), -torch.inf, density)
