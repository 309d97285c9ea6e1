"""Another detector of the same kind: the errors of its response, drawn as the likelihood believes of them.

Its effective area is that of the file times exp(A z phi(E)), and its channels read too high by an offset and a slope.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.calibration import ModeSet
from xrayflow.ogip import ARF, Spectrum
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

    def observing(self, spectrum: Spectrum) -> Spectrum:
        """The same bins with its effective area and its energy scale.

        Args:
            spectrum: With the response as it is believed.
        """
        observation = spectrum.observation
        edges = np.maximum(observation.rmf.energy_edges, 1e-6)
        off = np.exp(self.amplitude * (self.z @ self.modes.at(np.sqrt(edges[1:] * edges[:-1]))))
        area = off if observation.arf is None else observation.arf.area * off
        sha256 = hashlib.sha256(area.tobytes()).hexdigest()
        arf = ARF(observation.rmf.path, observation.rmf.energy_edges, area, sha256)
        return replace(spectrum, observation=replace(observation, arf=arf), gain=self.gain)

    def described(self) -> dict[str, Any]:
        """For the truth of a file, units in the names."""
        return {
            "set": self.modes.name,
            "amplitude": self.amplitude,
            "gain_offset_keV": self.gain[0],
            "gain_slope": self.gain[1],
            "z": dict(zip(self.modes.names, self.z.tolist(), strict=True)),
        }
