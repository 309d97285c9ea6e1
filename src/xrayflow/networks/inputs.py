"""What a network sees of spectra: counts in its own bins and how they were taken."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.simulate import Simulated


@dataclass(frozen=True)
class Rows:
    """Tensors whose first axis is the source; what a batch of any kind can do."""

    def select(self, sources: Tensor) -> Self:
        """Some of the sources.

        Args:
            sources: Their numbers.
        """
        return type(self)(*(getattr(self, one.name)[sources] for one in fields(self)))

    @classmethod
    def stack(cls, parts: list[Self]) -> Self:
        """Batches, end to end.

        Args:
            parts: At least one.
        """
        return cls(*(torch.cat([getattr(part, one.name) for part in parts]) for one in fields(cls)))

    def to(self, device: torch.device) -> Self:
        """The same on a device.

        Args:
            device: PyTorch's.
        """
        return type(self)(*(getattr(self, one.name).to(device) for one in fields(self)))

    @property
    def size(self) -> int:
        """How many sources."""
        return len(getattr(self, fields(self)[0].name))


@dataclass(frozen=True)
class Inputs(Rows):
    """A batch of spectra in a network's bins.

    Attributes:
        counts: (source, bin) of the channels that are noticed, background included.
        background: (source, bin) expected background counts in the source's exposure.
        noticed: (source, bin) fraction of each bin's channels that is noticed, 0..1.
        exposure: (source,) s.
        area: (source,) effective area over the reference one.
        systematic: (source,) fractional systematic error of the source model.
    """

    counts: Float[Tensor, "source bin"]
    background: Float[Tensor, "source bin"]
    noticed: Float[Tensor, "source bin"]
    exposure: Float[Tensor, " source"]
    area: Float[Tensor, " source"]
    systematic: Float[Tensor, " source"]

    @classmethod
    def of(cls, simulated: Simulated, noisy: bool = True) -> Inputs:
        """Of simulated spectra.

        Args:
            simulated: A batch.
            noisy: Whether the counts scatter; else their means stand in for them, at least 1 in a bin.
        """
        counts = simulated.counts if noisy else (simulated.expected + simulated.background).clamp(min=1.0)
        return cls(
            counts,
            simulated.background,
            simulated.noticed,
            simulated.exposure,
            simulated.area,
            simulated.systematic,
        )
