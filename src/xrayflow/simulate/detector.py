"""Another detector of the same kind: the errors of its response, drawn as the likelihood believes of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.calibration import BinModes, find_mode_set
from xrayflow.statistics import AMPLITUDE_SPREAD


@dataclass(frozen=True)
class OtherDetector:
    """Another detector of the same kind: by how much its response is off.

    Attributes:
        modes: The set of modes.
        amplitude: A.
        gain: Offset [keV] and slope by which its channels read too high.
        z: (mode,) standard deviations of each mode.
    """

    modes: str
    amplitude: float
    gain: tuple[float, float]
    z: Float[Tensor, " mode"]

    @classmethod
    def drawn(cls, modes: BinModes, generator: torch.Generator) -> OtherDetector:
        """As the likelihood believes.

        Args:
            modes: Of the spectrum.
            generator: Source of randomness.
        """
        level = float(torch.randn((), generator=generator, dtype=torch.float64))
        amplitude = modes.nominal * math.exp(AMPLITUDE_SPREAD * level)
        gain = modes.modes.drawn_scale(amplitude, generator) if modes.modes.has_gain else (0.0, 0.0)
        z = torch.randn(modes.psi.shape[0], generator=generator, dtype=torch.float64)
        return cls(modes.modes.name, amplitude, gain, z)

    def described(self) -> dict[str, Any]:
        """For the truth of a file, units in the names."""
        names = find_mode_set(self.modes).names
        return {
            "set": self.modes,
            "amplitude": self.amplitude,
            "gain_offset_keV": self.gain[0],
            "gain_slope": self.gain[1],
            "z": dict(zip(names, self.z.tolist(), strict=True)),
        }
