"""Posteriors with a known density that no Gaussian fits, in the shape of a `Problem` of one source."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xrayflow.fitting import Modes
from xrayflow.prior import Marginal, Prior, log_standard_normal


@dataclass(frozen=True)
class Bent:
    """A banana in the first two of three probit coordinates; the likelihood is normalised in v, flat prior N(0, I).

    Attributes:
        bend: How strongly the second coordinate follows the square of the first.
        width: Its width about that parabola.
    """

    bend: float = 0.5
    width: float = 0.05

    @property
    def prior(self) -> Prior:
        """The unit cube; theta is the cube's coordinate."""
        return Prior(tuple(Marginal(f"toy.p{i}", "", 0.0, 1.0, "linear") for i in range(3)))

    def log_likelihood(self, theta: Tensor) -> Tensor:
        """ln L(theta) of every draw."""
        v = torch.special.ndtri(theta.clamp(1e-300, 1.0 - 1e-16))
        return -0.5 * ((v[..., 1] - self.bend * v[..., 0] ** 2) / self.width) ** 2

    def log_target(self, v: Tensor, power: float = 1.0) -> Tensor:
        """ln of likelihood^power x prior in probit coordinates."""
        return power * self.log_likelihood(self.prior.to_theta(v)) + log_standard_normal(v)

    def log_evidence(self) -> float:
        """ln of the integral of L N(v; 0, I), by quadrature."""
        v0 = torch.linspace(-8.0, 8.0, 4001, dtype=torch.float64)
        # Gaussian product in v1: N(v1; 0, 1) x unnormalised Gaussian of this width about m
        m, total = self.bend * v0**2, 1.0 + self.width**2
        inner = self.width / math.sqrt(total) * torch.exp(-0.5 * m * m / total)
        outer = torch.exp(-0.5 * v0 * v0) / math.sqrt(2.0 * math.pi)
        return math.log(float(torch.trapezoid(inner * outer, v0)))

    def modes(self) -> Modes:
        """The mode at the vertex with its curvature."""
        information = torch.diag(torch.tensor([1.0, 1.0 + 1.0 / self.width**2, 1.0], dtype=torch.float64))
        return Modes(
            v=torch.zeros((1, 1, 3), dtype=torch.float64),
            objective=torch.zeros((1, 1), dtype=torch.float64),
            information=information[None, None],
            evaluations=torch.zeros(1, dtype=torch.int64),
        )
