"""What a network sees of a source: counts in its own bins and how they were taken, or the modes of its posterior."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.simulate import SimulatedSpectra

NUMBERS = 3
"""Beside mode and curvature: log counts, the background's share of them, the systematic error."""


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
        """The number of sources."""
        return len(getattr(self, fields(self)[0].name))


@dataclass(frozen=True)
class NetworkInput(Rows):
    """A batch of spectra in a network's bins.

    Attributes:
        counts: (source, bin) of the channels that are noticed, background included.
        background: (source, bin) expected background counts in the source's exposure.
        noticed: (source, bin) fraction of each bin's channels that is noticed, 0..1.
        exposure: (source,) s.
        area: (source,) effective area over the reference one.
        systematic: (source,) fractional systematic error of the source model.
        amplitude: (source,) A0, at which calibration modes are believed; 0 where the response is taken at its word.
    """

    counts: Float[Tensor, "source bin"]
    background: Float[Tensor, "source bin"]
    noticed: Float[Tensor, "source bin"]
    exposure: Float[Tensor, " source"]
    area: Float[Tensor, " source"]
    systematic: Float[Tensor, " source"]
    amplitude: Float[Tensor, " source"]

    @classmethod
    def of(cls, simulated: SimulatedSpectra, noisy: bool = True) -> NetworkInput:
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
            simulated.amplitude,
        )


@dataclass(frozen=True)
class ModeFeatures(Rows):
    """Modes of posteriors in probit coordinates, and what else their shape depends on: one row per source.

    Attributes:
        v: (source, parameter) the mode.
        information: (source, parameter, parameter) half the curvature of -2 log posterior there, by Fisher.
        numbers: (source, NUMBERS) what else the shape depends on.
    """

    v: Float[Tensor, "source parameter"]
    information: Float[Tensor, "source parameter parameter"]
    numbers: Float[Tensor, "source number"]

    def frames(self) -> ModeFrames:
        """The same for a local flow that works in v."""
        return ModeFrames(self.v, self.information, self.numbers, self.v)


@dataclass(frozen=True)
class ModeFrames(Rows):
    """Modes in the coordinates that a local flow works in: v, or those of `level.Level`.

    Attributes:
        place: (source, parameter) the mode.
        information: (source, parameter, parameter) half the curvature of -2 log posterior there.
        numbers: (source, NUMBERS) what else the shape depends on.
        v: (source, parameter) the mode in probit coordinates.
    """

    place: Float[Tensor, "source parameter"]
    information: Float[Tensor, "source parameter parameter"]
    numbers: Float[Tensor, "source number"]
    v: Float[Tensor, "source parameter"]


def mode_numbers(counts: Tensor, background: Tensor, systematic: Tensor) -> Float[Tensor, "source number"]:
    """What the shape of a posterior depends on beside its mode and curvature.

    Args:
        counts: (source,) all counts.
        background: (source,) those of the background.
        systematic: (source,) fractional.
    """
    return torch.stack([torch.log10(counts + 1.0), background / counts.clamp(min=1.0), 100.0 * systematic], dim=-1)
