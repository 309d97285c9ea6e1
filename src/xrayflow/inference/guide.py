"""The seam for what already knows the answer roughly: a trained network's posterior of every source of a batch.

A guide is read, never trusted: it gives some of the optimiser's starts and a share of every proposal, its density is
part of the weights, and where it is wrong the other parts of the proposal carry the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xrayflow.inference.parts import Part
from xrayflow.networks import Homes


class Guide(Protocol):
    """Normalised densities in probit coordinates of the answer's prior, one per source."""

    @property
    def name(self) -> str:
        """What it goes by in products."""
        ...

    @property
    def present(self) -> Bool[Tensor, " source"]:
        """Whether this source has one; the others are never asked."""
        ...

    def sample(self, draws: int, generators: list[torch.Generator]) -> Float[Tensor, "source draw parameter"]:
        """Draws, one generator per source; finite for the sources that have one."""
        ...

    def log_density(self, v: Float[Tensor, "source draw parameter"]) -> Float[Tensor, "source draw"]:
        """Natural log of the density that `sample` draws from; -inf where it cannot draw, and for absent sources."""
        ...

    def seen_from(self, source: int, homes: Homes) -> Sequence[Part]:
        """What the guide says of one source when its optima are known: a part for each; none where it knows no more.

        Args:
            source: Its number in the batch.
            homes: Its distinct optima.
        """
        ...

    def select(self, sources: Tensor) -> Guide:
        """The guide of some of the sources."""
        ...


@dataclass(frozen=True)
class GuidePart:
    """The guide of one source as a part of its proposal, whose share can be fitted.

    Attributes:
        guide: Of this source alone.
    """

    guide: Guide

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        """Draws."""
        return self.guide.sample(draws, [generator])[0].to(torch.float64)

    def log_density(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, " draw"]:
        """The guide's."""
        return self.guide.log_density(v[None])[0].to(v.dtype)
