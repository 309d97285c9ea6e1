"""A bright spectrum of the bundled NICER detector, made by hand, and its likelihood with calibration modes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.calibration import BinModes, find_mode_set
from xrayflow.data import bundled_arf, bundled_rmf
from xrayflow.folding import Forward
from xrayflow.models import Model, parse_model
from xrayflow.ogip import Observation, Spectrum, read_arf, read_observation, read_rmf
from xrayflow.ogip.blank import blank_pha
from xrayflow.statistics import CalibratedLikelihood, CountLikelihood

MODEL = "TBabs*powerlaw"
TRUTH = (0.3, 1.8, 1.0)


@dataclass(frozen=True)
class Bright:
    """One spectrum.

    Attributes:
        spectrum: Its bins.
        model: What it was made of.
        theta: (parameter,) the truth.
        scale: Exposure that gives the counts asked for.
    """

    spectrum: Spectrum
    model: Model
    theta: Tensor
    scale: float

    def expected(self, theta: Tensor | None = None) -> Tensor:
        """(1, draw, bin)"""
        at = self.theta[None] if theta is None else theta
        return self.scale * Forward.of(self.model, [self.spectrum]).expected(at[None])[:1]

    @property
    def inner(self) -> CountLikelihood:
        """Poisson, without errors of the response."""
        counts = torch.from_numpy(self.spectrum.counts)[None]
        nothing = torch.zeros_like(counts)
        return CountLikelihood.of(counts, nothing, torch.zeros(1, dtype=torch.float64), torch.ones_like(counts))

    def likelihood(self, nominal: float = 1.0, name: str = "nicer-v1") -> CalibratedLikelihood:
        """With modes."""
        return CalibratedLikelihood.of(self.inner, [BinModes.of(self.spectrum, find_mode_set(name), nominal)])


@cache
def detector() -> Observation:
    """The bundled one, without counts."""
    rmf, arf = read_rmf(bundled_rmf()), read_arf(bundled_arf())
    return read_observation(blank_pha(rmf), rmf, arf, "none")


def with_counts(counts: NDArray[np.float64], energies: tuple[float, float], name: str = "bright.pha") -> Observation:
    """An observation whose channels between two energies hold some counts."""
    template = detector()
    whole = template.bin(energies=[energies], grouping="none")
    filled = np.zeros(template.pha.channel.size)
    filled[whole.bin_of_channel >= 0] = counts
    pha = replace(template.pha, path=Path(name), counts=filled, sha256=name, telescope="NICER", exposure=1.0)
    return replace(template, pha=pha)


@cache
def bright(total: float = 1e6, grouping: str = "optimal", noisy: bool = True, wiggle: float = 0.0) -> Bright:
    """A spectrum of so many counts in 0.3-10 keV.

    Args:
        total: Counts.
        grouping: Of its bins.
        noisy: Whether counts scatter.
        wiggle: Amplitude of a smooth error of the response.
    """
    model, theta = parse_model(MODEL), torch.tensor(TRUTH, dtype=torch.float64)
    whole = detector().bin(energies=[(0.0, 15.0)], grouping="none")
    expected = Forward.of(model, [whole]).expected(theta[None, None])[0, 0].numpy()
    band = (whole.energy_lo >= 0.3) & (whole.energy_hi <= 10.0)
    scale = total / expected[band].sum()
    energy = np.sqrt(np.maximum(whole.energy_lo * whole.energy_hi, 1e-6))
    mean = scale * expected * (1.0 + wiggle * np.sin(5.0 * np.log(energy)))
    counts = np.random.default_rng(3).poisson(mean).astype(float) if noisy else mean
    spectrum = with_counts(counts, (0.0, 15.0)).bin(grouping=grouping)
    return Bright(spectrum, model, theta, scale)


def draws(one: Bright, count: int = 24, spread: float = 0.01) -> tuple[Tensor, Tensor]:
    """(draw, bin) expected counts about the truth, and (draw, 1) amplitudes about 1."""
    generator = torch.Generator().manual_seed(5)
    away = torch.randn((count, one.theta.numel()), generator=generator, dtype=torch.float64)
    amplitude = torch.exp(0.3 * torch.randn((count, 1), generator=generator, dtype=torch.float64))
    return one.expected(one.theta * (1.0 + spread * away))[0], amplitude
