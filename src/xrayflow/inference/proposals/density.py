"""A density of one source in probit coordinates: what a proposal is mixed of.

The prior is one of them, so that no region of it is out of reach; so are ridges that were followed, what an ensemble
explored, and what a network says. Each keeps a floor of every proposal, however little the weights make of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.prior import log_standard_normal


class Density(Protocol):
    """A normalised density of one source, in probit coordinates: a part of its proposal."""

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        """Draws."""
        ...

    def log_density(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, " draw"]:
        """Natural log of the density that `sample` draws from."""
        ...


@dataclass(frozen=True)
class PriorDensity:
    """The prior, N(0, I) in probit coordinates.

    Attributes:
        parameters: How many.
    """

    parameters: int

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        """Draws."""
        return torch.randn((draws, self.parameters), generator=generator, dtype=torch.float64)

    def log_density(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, " draw"]:
        """Natural log of the density."""
        return log_standard_normal(v)
