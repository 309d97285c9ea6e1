"""A density of the model's parameters, made one of the likelihood's nuisances too.

A network knows nothing of the nuisances. From a mode on they follow the parameters as its curvature says:

    q(v, n) = q(v) t(n; n0 - H_nn^-1 H_nv (v - v0), H_nn^-1),

v0 and n0 the mode, H the information there. Far from the mode the line is held where it is `FARTHEST` widths away.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.proposals.density import Density
from xrayflow.inference.proposals.student import log_student, root_of_inverse, student_scale

FARTHEST = 5.0
"""Standard deviations that the nuisances' middle moves with the parameters, at most."""


@dataclass(frozen=True)
class WithNuisances:
    """Of one source.

    Attributes:
        own: Density of the model's parameters.
        place: (parameter + nuisance,) the mode.
        slope: (nuisance, parameter) how the nuisances follow.
        factor: (nuisance, nuisance) lower Cholesky factor of their covariance.
        width: (nuisance,) their standard deviations with the parameters free.
    """

    own: Density
    place: Float[Tensor, " parameter"]
    slope: Float[Tensor, "nuisance own"]
    factor: Float[Tensor, "nuisance nuisance"]
    width: Float[Tensor, " nuisance"]

    @classmethod
    def of(cls, own: Density, place: Tensor, information: Tensor, nuisances: int) -> WithNuisances:
        """From a mode.

        Args:
            own: Density of the model's parameters.
            place, information: Of the mode, nuisances last.
            nuisances: How many.
        """
        free = place.numel() - nuisances
        factor = root_of_inverse(information[free:, free:])
        slope = -factor @ (factor.T @ information[free:, :free])
        width = root_of_inverse(information).square().sum(-1).sqrt()[free:]
        return cls(own, place, slope, factor, width)

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        """Draws."""
        v = self.own.sample(draws, generator)
        z = torch.randn((draws, self.factor.shape[0]), generator=generator, dtype=torch.float64)
        away = (z @ self.factor.T) * student_scale(draws, generator)[:, None]
        return torch.cat([v, self._middle(v) + away], dim=1)

    def log_density(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, " draw"]:
        """Natural log of the density."""
        free = self.slope.shape[1]
        away = v[:, free:] - self._middle(v[:, :free])
        white = torch.linalg.solve_triangular(self.factor, away.T, upper=False)
        distance2 = white.square().sum(0)
        return (
            self.own.log_density(v[:, :free]) + log_student(distance2[None, :, None], self.factor[None, None])[0, :, 0]
        )

    def _middle(self, v: Tensor) -> Tensor:
        """(draw, nuisance)"""
        free = self.slope.shape[1]
        away = (v - self.place[:free]) @ self.slope.T
        return self.place[free:] + torch.maximum(torch.minimum(away, FARTHEST * self.width), -FARTHEST * self.width)
