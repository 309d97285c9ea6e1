"""A guide with a known density."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xrayflow.networks import Level, ModeFeatures


@dataclass(frozen=True)
class Fake:
    """A round normal for each source: right, shifted, or absent, as the test likes.

    Attributes:
        mean: (source, parameter).
        sd: The same for all.
        present: (source,) those that have one; asking for another is an error of the caller.
    """

    mean: Tensor
    sd: float
    present: Tensor
    name: str = "fake"

    def sample(self, draws: int, generators: list[torch.Generator]) -> Tensor:
        """(source, draw, parameter); nan where absent."""
        shape = (draws, self.mean.shape[1])
        z = torch.stack([torch.randn(shape, generator=one, dtype=torch.float64) for one in generators])
        return torch.where(self.present[:, None, None], self.mean[:, None] + self.sd * z, torch.nan)

    def log_density(self, v: Tensor) -> Tensor:
        """(source, draw); -inf where absent."""
        z2 = ((v - self.mean[:, None]) / self.sd).square().sum(-1)
        value = -0.5 * z2 - v.shape[-1] * math.log(self.sd * math.sqrt(2.0 * math.pi))
        return torch.where(self.present[:, None], value, -torch.inf)

    def seen(self, source: int) -> OneOfFake:
        """The normal of one source."""
        return OneOfFake(self.select(torch.tensor([source])))

    def seen_from_modes(self, source: int, modes: ModeFeatures, level: Level) -> tuple[()]:
        """Nothing more than before."""
        return ()

    def select(self, sources: Tensor) -> Fake:
        """The guide of some of the sources."""
        return Fake(self.mean[sources], self.sd, self.present[sources])


@dataclass(frozen=True)
class OneOfFake:
    """The normal of one source as a part of its proposal.

    Attributes:
        guide: Of this source alone.
    """

    guide: Fake

    def sample(self, draws: int, generator: torch.Generator) -> Tensor:
        """(draw, parameter)."""
        return self.guide.sample(draws, [generator])[0]

    def log_density(self, v: Tensor) -> Tensor:
        """(draw,)."""
        return self.guide.log_density(v[None])[0]
