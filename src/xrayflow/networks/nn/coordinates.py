"""theta <-> the coordinates that a flow works in: the prior's probits, or the paper's z-scores."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xrayflow.prior import FAR, Prior, Theta


class Coordinates(nn.Module):
    """theta <-> the coordinates x that the flow works in; theta in the parameters' units."""

    def fit(self, theta: Float[Tensor, "source parameter"]) -> None:
        """Fill the buffers, where there are some.

        Args:
            theta: Thousands of draws of the training prior.
        """

    def from_theta(self, theta: Theta) -> Theta:
        """theta -> x.

        Args:
            theta: Parameters.
        """
        raise NotImplementedError

    def to_theta(self, x: Theta) -> Theta:
        """x -> theta in float64; differentiable.

        Args:
            x: Coordinates.
        """
        raise NotImplementedError

    def log_slope(self, theta: Theta) -> Float[Tensor, "*batch"]:
        """ln |dx / dtheta|, summed over parameters.

        Args:
            theta: Parameters.
        """
        raise NotImplementedError


class Probit(Coordinates):
    """The probit of the training prior's unit cube: nothing leaks over an edge."""

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.prior = prior

    def from_theta(self, theta: Tensor) -> Tensor:
        """theta -> v."""
        return self.prior.to_probit(theta)

    def to_theta(self, x: Tensor) -> Tensor:
        """v -> theta."""
        return self.prior.to_theta(x.double())

    def log_slope(self, theta: Tensor) -> Tensor:
        """-inf outside the box, where no v leads."""
        v = self.prior.to_probit(theta)
        slope = -torch.log(self.prior.slope(v)).sum(-1)
        return torch.where((v.abs() < FAR).all(-1), slope, -torch.inf)


class Standardised(Coordinates):
    """The paper's: z-scores of log10 theta, or of theta where its box is linear. Draws can leave the box."""

    mean: Tensor
    spread: Tensor

    def __init__(self, prior: Prior) -> None:
        super().__init__()
        self.logarithmic = [marginal.scale == "log" for marginal in prior.marginals]
        self.register_buffer("mean", torch.zeros(len(self.logarithmic), dtype=torch.float64))
        self.register_buffer("spread", torch.ones(len(self.logarithmic), dtype=torch.float64))

    def fit(self, theta: Tensor) -> None:
        """Means and spreads."""
        scaled = self._scaled(theta)
        self.mean, self.spread = scaled.mean(0), scaled.std(0)

    def from_theta(self, theta: Tensor) -> Tensor:
        """theta -> z."""
        z: Tensor = (self._scaled(theta) - self.mean) / self.spread
        return z

    def to_theta(self, x: Tensor) -> Tensor:
        """z -> theta."""
        scaled = x.double() * self.spread + self.mean
        return torch.stack(
            [10.0 ** scaled[..., i] if log else scaled[..., i] for i, log in enumerate(self.logarithmic)], dim=-1
        )

    def log_slope(self, theta: Tensor) -> Tensor:
        """The slope of the z-score."""
        parts = [
            -torch.log(theta[..., i] * math.log(10.0)) if log else torch.zeros_like(theta[..., i])
            for i, log in enumerate(self.logarithmic)
        ]
        slope: Tensor = torch.stack(parts, dim=-1).sum(-1) - torch.log(self.spread).sum()
        return slope

    def _scaled(self, theta: Tensor) -> Tensor:
        return torch.stack(
            [
                torch.log10(theta[..., i].clamp(min=1e-300)) if log else theta[..., i]
                for i, log in enumerate(self.logarithmic)
            ],
            dim=-1,
        )
