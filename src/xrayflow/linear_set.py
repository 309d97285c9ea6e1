"""A fit of one spectrum seen as linear, and what further components would look like in its bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.folding import Forward
from xrayflow.models import parse_model
from xrayflow.ogip import Spectrum
from xrayflow.statistics import LinearFit

GAIN_STEP = 1e-3
"""keV, and 1e-3 of the energy: by how much an energy scale is moved to see what that changes."""


@dataclass(frozen=True)
class LinearSet:
    """A fit of one spectrum as linear, and what lines would look like in it.

    Attributes:
        fit: The fit.
        spectrum: The bins.
        forward: The model, and how it is folded.
        theta: Where, the model's parameters alone.
    """

    fit: LinearFit
    spectrum: Spectrum
    forward: Forward
    theta: Float[Tensor, "one one parameter"]

    @property
    def energy_lo(self) -> NDArray[np.float64]:
        """(bin,) keV."""
        return self.spectrum.energy_lo

    @property
    def energy_hi(self) -> NDArray[np.float64]:
        """(bin,) keV."""
        return self.spectrum.energy_hi

    @property
    def calibrated(self) -> bool:
        """Whether errors of the response are among the fit's columns."""
        return self.fit.unit is not None

    @property
    def gain_offset(self) -> float:
        """One standard deviation of the energy scale's offset [keV]."""
        return 0.0 if self.fit.unit is None else self.fit.unit[0]

    @property
    def gain_slope(self) -> float:
        """The same of its slope."""
        return 0.0 if self.fit.unit is None else self.fit.unit[1]

    @property
    def energies(self) -> NDArray[np.float64]:
        """(energy,) keV, middles of the photon-energy grid."""
        edges = self.forward.grid.energy_edges
        middle: NDArray[np.float64] = 0.5 * (edges[1:] + edges[:-1])
        return middle

    def lines(self, places: Sequence[tuple[float, float]]) -> Float[Tensor, "bin line"]:
        """Expected counts of Gaussian lines of 1 photon / cm^2 / s.

        Args:
            places: Energy and width [keV] of each.
        """
        model = parse_model("gaussian")
        theta = torch.tensor([[(energy, width, 1.0) for energy, width in places]], dtype=torch.float64)
        return Forward.of(model, [self.spectrum], self.forward.family.grid).expected(theta)[0].T

    def black_bodies(self, temperatures: Sequence[float]) -> Float[Tensor, "bin body"]:
        """Expected counts of black bodies (bbodyrad) of norm 1.

        Args:
            temperatures: kT [keV] of each.
        """
        model = parse_model("bbodyrad")
        theta = torch.tensor([[(kt, 1.0) for kt in temperatures]], dtype=torch.float64)
        return Forward.of(model, [self.spectrum], self.forward.family.grid).expected(theta)[0].T

    def times(
        self, factors: Float[NDArray[np.float64], "shape energy"], component: str | None = None
    ) -> Float[Tensor, "bin shape"]:
        """Expected counts of the model, or of one additive component, times functions of the energy.

        Args:
            factors: On `energies`.
            component: As `models.additive_components` has it; None is the whole model.
        """
        forward = self.forward
        flux = forward.flux if component is None else forward.flux.component(component)
        photons = flux(forward.fold.cast(self.theta))
        return forward.fold(photons * torch.from_numpy(factors).to(photons.dtype)[None])[0].T

    def multiplied(
        self,
        theta: Float[Tensor, "place parameter"],
        factors: Float[NDArray[np.float64], "place energy"],
        component: str | None = None,
    ) -> tuple[Float[Tensor, "place bin"], Float[Tensor, "place bin parameter"]]:
        """Expected counts, with derivatives, of the model with one or all of its components times a function.

        Args:
            theta: Parameters of the model at each place.
            factors: On `energies`.
            component: As for `times`; None is the whole model.
        """
        forward, at = self.forward, theta[None]
        photons, slopes = forward.flux.with_jacobian(forward.fold.cast(at))
        change = torch.from_numpy(factors - 1.0).to(photons.dtype)[None]
        if component is None:
            photons, slopes = photons * (1.0 + change), slopes * (1.0 + change)
        else:
            own, own_slopes = forward.flux.component(component).with_jacobian(forward.fold.cast(at))
            photons, slopes = photons + own * change, slopes + own_slopes * change
        expected = forward.fold(photons)[0]
        return expected, torch.stack([forward.fold(slope)[0] for slope in slopes], dim=-1)

    def transmission(self, columns: Sequence[float]) -> Float[NDArray[np.float64], "column energy"]:
        """What an absorber (TBabs, the abundances of the model) lets through, on `energies`.

        Args:
            columns: nH of each [10^22 cm^-2].
        """
        bare = parse_model("TBabs*powerlaw", self.forward.family.model.abund)
        edges = torch.from_numpy(self.forward.grid.energy_edges)
        theta = torch.tensor([(nh, 0.0, 1.0) for nh in (*columns, 0.0)], dtype=torch.float64)
        photons = bare.on(edges)(theta).numpy()
        passed: NDArray[np.float64] = photons[:-1] / photons[-1]
        return passed

    def moved_scale(self) -> Float[Tensor, "bin two"]:
        """Change of the expected counts for 1 keV of the energy scale's offset, and for a slope of 1."""
        before = self.forward.expected(self.theta)[0, 0]
        changes = []
        for own in ((GAIN_STEP, 0.0), (0.0, GAIN_STEP)):
            offset, slope = self.spectrum.gain
            moved = replace(self.spectrum, gain=(offset + own[0], slope + own[1]))
            forward = Forward.of(self.forward.family.model, [moved], self.forward.family.grid)
            changes.append((forward.expected(self.theta)[0, 0] - before) / GAIN_STEP)
        return torch.stack(changes, dim=-1)
