"""Another detector of the same kind: the errors of its response, drawn as the likelihood believes of them.

The counts of its channels are those of the file's response times exp(A z psi); they read too high by offset and slope.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.calibration import MOST_ETA, ModeSet, find_mode_set, relative_errors
from xrayflow.ogip import RMF, Spectrum
from xrayflow.statistics import AMPLITUDE_SPREAD, Systematic


@dataclass(frozen=True)
class OtherDetector:
    """Another detector of the same kind: by how much its response is off.

    Attributes:
        modes: The set of modes.
        amplitude: A.
        gain: Offset [keV] and slope by which its channels read too high.
        z: (mode,) standard deviations of each mode.
    """

    modes: ModeSet
    amplitude: float
    gain: tuple[float, float]
    z: NDArray[np.float64]

    @classmethod
    def drawn(cls, modes: ModeSet, nominal: float, generator: torch.Generator) -> OtherDetector:
        """As the likelihood believes.

        Args:
            modes: The set.
            nominal: Amplitude that it is believed at.
            generator: Source of randomness.
        """
        level = float(torch.randn((), generator=generator, dtype=torch.float64))
        amplitude = nominal * math.exp(AMPLITUDE_SPREAD * level)
        gain = modes.drawn_scale(amplitude, generator) if modes.has_gain else (0.0, 0.0)
        z = torch.randn(len(modes.names), generator=generator, dtype=torch.float64)
        return cls(modes, amplitude, gain, z.numpy())

    def bends(self, spectrum: Spectrum) -> Float[Tensor, " bin"]:
        """What the counts of a source are multiplied by, in bins whose edges it has moved.

        Args:
            spectrum: Noticed bins, with its energy scale.
        """
        eta = self.amplitude * (self.z @ relative_errors(spectrum, self.modes)[0])
        return torch.from_numpy(np.exp(eta.clip(-MOST_ETA, MOST_ETA)))

    def described(self) -> dict[str, Any]:
        """For the truth of a file, units in the names."""
        return {
            "set": self.modes.name,
            "amplitude": self.amplitude,
            "gain_offset_keV": self.gain[0],
            "gain_slope": self.gain[1],
            "z": dict(zip(self.modes.names, self.z.tolist(), strict=True)),
        }


def drawn_detector(believed: Systematic, rmf: RMF, seed: int) -> OtherDetector | None:
    """The detector that a simulation has: the same seed draws the same one. None where the response is right.

    Args:
        believed: Of the response, its set of modes by name.
        rmf: Of the file.
        seed: Of the simulation.
    """
    if not believed.modes:
        return None
    modes = find_mode_set(believed.modes)
    nominal = modes.nominal_of(rmf.year) if believed.amplitude is None else believed.amplitude
    return OtherDetector.drawn(modes, nominal, torch.Generator().manual_seed(seed + 1))
