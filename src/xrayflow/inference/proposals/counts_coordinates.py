"""Coordinates in which the norm is replaced by the counts that it gives.

Data fix the counts far better than any parameter. Where two parameters may trade for each other (a cold disc for its
norm, a scattered fraction for both), the posterior is a thin bent sheet in the parameters; with

    w_norm = ln(expected counts in the noticed bins)

in the place of the norm it is flat: counts are linear in the norm, so this is a shear of ln norm along the others, of
unit determinant, and what is thin stays thin in one coordinate only. Of several norms the first becomes the level, the
others their ratio to it. The other coordinates are the prior's probits.

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
from xrayflow.prior import FAR
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
        model = problem.model
        norms = [i for i, parameter in enumerate(model.free) if parameter.is_norm]
        linked = {name for parameter in model.parameters if parameter.link is not None for name in parameter.link.names}
        whole = len(norms) == sum(parameter.is_norm for parameter in model.parameters)
        alone = all(model.free[i].name not in linked and problem.prior.marginals[i].lo >= 0.0 for i in norms)
        return cls(problem.at(SEARCH), tuple(norms) if whole and alone else ())

    def into(self, v: V) -> V:
        """Probit coordinates -> w."""
        if not self.norms:
            return v
        first, *others = self.norms
        theta = self.problem.prior.to_theta(v)
        w = v.clone()
        w[..., first] = self._log_counts(theta)
        for other in others:
            w[..., other] = torch.log(theta[..., other] / theta[..., first])
        return w

    def back(self, w: V) -> V:
        """w -> probit coordinates; an edge of the box for what lies beyond it, and where the model gives no number."""
        if not self.norms:
            return w
        first, *others = self.norms
        inside = w.clone()
        inside[..., list(self.norms)] = 0.0
        theta = self.problem.prior.to_theta(inside)
        theta[..., first] = 1.0
        for other in others:
            theta[..., other] = torch.exp(w[..., other])
        factor = torch.exp(w[..., first] - self._log_counts(theta))
        theta[..., list(self.norms)] *= factor[..., None]
        norms = self.problem.prior.to_probit(theta)[..., list(self.norms)]
        v = w.clone()
        v[..., list(self.norms)] = torch.where(torch.isnan(norms), FAR, norms)  # no posterior is there
        return v

    def log_slope(self, v: V) -> Float[Tensor, "source draw"]:
        """ln |dw / dv|."""
        if not self.norms:
            return torch.zeros_like(v[..., 0])
        chosen = list(self.norms)
        theta, slope = self.problem.prior.to_theta(v), self.problem.prior.slope(v)
        return torch.log(slope[..., chosen] / theta[..., chosen]).sum(-1)

    def select(self, sources: Tensor) -> CountsCoordinates:
        """The coordinates of some of the sources."""
        return CountsCoordinates(self.problem.select(sources), self.norms) if self.norms else self

    def _log_counts(self, theta: Float[Tensor, "source draw parameter"]) -> Float[Tensor, "source draw"]:
        return torch.log(self.problem.expected_counts(theta))


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
