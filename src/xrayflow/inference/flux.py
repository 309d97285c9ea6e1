"""Fluxes and what follows from them, at the draws of an answer: no new fit.

Photons of the model (or of a part: without its absorbers, one component alone) are summed over the bins of a band,

    photon flux = sum of n_i,      energy flux = sum of n_i x middle energy of bin i,

on a grid whose edges include the band's and which is fine where absorption is steep; a convolution gets the photons of
0.001 .. 1000 keV, whatever the band. With a distance D, L = 4 pi D^2 F. With a redshift z the band is one of the
source's own frame, as XSPEC's `lumin` has it: F is taken over the band / (1 + z), and D is the luminosity distance.

An equivalent width is XSPEC's `eqwidth`: the photons of the line over the density of all other photons around its
energy, within 5 % on either side, both as they arrive.

Source: XSPEC manual, "flux", "lumin", "eqwidth", "cosmo".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError, misused
from xrayflow.folding import Grid
from xrayflow.inference.weights import shown_quantiles, systematic_rows, weighted_quantile
from xrayflow.models import Model, PhotonFlux, component_alone, find_additive, without_absorbers, without_component

Array = Float[NDArray[np.float64], " draw"]
Band = tuple[float, float]

ERG = 1.602176634e-9
"""erg / keV."""

LOWEST, HIGHEST = 1e-3, 1e3
"""keV; components are not evaluated beyond."""

SHOWN_BAND = (2.0, 10.0)
"""keV; in every summary beside the band of the fit."""

RANGE = 0.05
"""Of the line's energy: how far the continuum of an equivalent width reaches on either side, XSPEC's default."""

FAR_OUT = 0.1
"""Of a bin's energy: a range that was asked for may leave the bins by so much and still be the band of the fit."""

PIECE = 500
"""Draws at once."""

PARTS = 2
"""Into which the bins of an answer's grid are cut: energies of bins are taken at their middle. 1 is within 2e-4."""

MOST, NOTHING = 4000, 1e-6
"""Draws at most, and the weight that all those together have which are left out before."""

ENERGY_UNIT, PHOTON_UNIT = "erg/cm^2/s", "ph/cm^2/s"


@dataclass(frozen=True)
class Derived:
    """A quantity that follows from the parameters.

    Attributes:
        name: In words.
        unit: Of the values.
        best: At the best point of the answer.
        values: (draw,) at the draws.
        weights: (draw,) of the draws, normalised.
    """

    name: str
    unit: str
    best: float
    values: Array = field(repr=False)
    weights: Array = field(repr=False)

    def quantile(self, q: float) -> float:
        """One quantile.

        Args:
            q: 0..1.
        """
        return float(weighted_quantile(self.values, self.weights, np.array([q]))[0])

    def row(self) -> dict[str, Any]:
        """Unit, best, median and intervals, as a parameter has them in `summary.json`."""
        return {"unit": self.unit, "best": self.best, **shown_quantiles(self.values, self.weights)}

    def scaled(self, name: str, unit: str, factor: Array | float, best: float) -> Derived:
        """The same times a factor.

        Args:
            name, unit: Of the product.
            factor: At each draw.
            best: At the best point.
        """
        return Derived(name, unit, self.best * best, self.values * factor, self.weights)

    def over(self, name: str, unit: str, other: Derived) -> Derived:
        """The same divided by another of the same draws.

        Args:
            name, unit: Of the ratio.
            other: The divisor.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            values, best = self.values / other.values, np.float64(self.best) / other.best
        return Derived(name, unit, float(best), values, self.weights)


@dataclass(frozen=True)
class BandFlux:
    """The flux of a band.

    Attributes:
        band: keV, as observed.
        absorbed: As it arrives; False: without the absorbers of the model.
        component: The additive component that it is of; None: all.
        energy_flux: erg/cm^2/s.
        photon_flux: ph/cm^2/s.
    """

    band: Band
    absorbed: bool
    component: str | None
    energy_flux: Derived
    photon_flux: Derived

    def __str__(self) -> str:
        rows = [(one, one.row()) for one in (self.energy_flux, self.photon_flux)]
        return "\n".join(
            f"{one.name}: {row['median']:.5g} [{row['lower90']:.5g}, {row['upper90']:.5g}] {one.unit}"
            for one, row in rows
        )


@dataclass(frozen=True)
class ModelDraws:
    """A model with weighted draws of its free parameters.

    Attributes:
        model: The model.
        theta: (draw, parameter) in its order and units.
        weights: (draw,) normalised.
        best: (parameter,) the best point.
        parts: Into which the bins of the grid are cut.
    """

    model: Model
    theta: Float[Tensor, "draw parameter"]
    weights: Array
    best: Float[Tensor, " parameter"]
    parts: int = PARTS

    @classmethod
    def of(
        cls,
        model: Model,
        theta: NDArray[np.float64],
        weights: NDArray[np.float64],
        best: NDArray[np.float64],
        most: int = MOST,
        parts: int = PARTS,
    ) -> ModelDraws:
        """Those draws that carry the weight.

        Args:
            model: The model.
            theta: (draw, parameter) with the model's own parameters first.
            weights: (draw,) normalised.
            best: (parameter,) likewise.
            most: Draws; of more, so many equally weighted ones are taken.
            parts: Into which the bins of the grid are cut.
        """
        free = len(model.names)
        order = np.argsort(-weights, kind="stable")
        kept = np.sort(order[: int(np.searchsorted(np.cumsum(weights[order]), 1.0 - NOTHING)) + 1])
        if kept.size > most:
            rows = systematic_rows(torch.from_numpy(weights), most, torch.Generator().manual_seed(0)).numpy()
            kept, weights = np.sort(rows), np.full(weights.size, 1.0 / most)
        own = weights[kept] / weights[kept].sum()
        return cls(model, torch.from_numpy(theta[kept, :free]), own, torch.from_numpy(best[:free]), parts)

    def fluxes(self, bands: Sequence[Band], unabsorbed: bool = False, component: str | None = None) -> list[BandFlux]:
        """The fluxes of bands.

        Args:
            bands: keV, as observed.
            unabsorbed: Without the absorbers of the model.
            component: Of this additive component alone.

        Raises:
            DataError: A band is none.
            ModelError: No such component.
        """
        for band in bands:
            check_band(band)
        component = None if component is None else find_additive(self.model, component)
        whole = self._on([energy for band in bands for energy in band])
        part = without_absorbers(whole) if unabsorbed else whole
        part = part if component is None else component_alone(part, component)
        edges, middle = whole.bins.energy_edges, whole.bins.mid * ERG
        inside = [(edges[:-1] >= band[0]) & (edges[1:] <= band[1]) for band in bands]
        sums = torch.stack([one * factor for one in inside for factor in (torch.ones_like(middle), middle)], dim=-1)
        found = self._both(lambda theta: part(theta) @ sums).numpy().T
        of = "" if component is None else f" of {component}"
        kind = "unabsorbed " if unabsorbed else ""
        return [
            BandFlux(
                band=(float(band[0]), float(band[1])),
                absorbed=not unabsorbed,
                component=component,
                energy_flux=self._derived(f"{kind}flux{of}, {in_kev(band)}", ENERGY_UNIT, energy),
                photon_flux=self._derived(f"{kind}photon flux{of}, {in_kev(band)}", PHOTON_UNIT, photons),
            )
            for band, photons, energy in zip(bands, found[::2], found[1::2], strict=True)
        ]

    def densities(
        self, edges: NDArray[np.float64], component: str | None = None
    ) -> Float[NDArray[np.float64], "draw bin"]:
        """Photons/cm^2/s/keV at the draws, averaged over bins.

        Args:
            edges: (edge,) keV, increasing.
            component: Of this additive component alone.

        Raises:
            DataError: Edges that are none, or beyond where models are evaluated.
            ModelError: No such component.
        """
        check_band((float(edges[0]), float(edges[-1])))
        component = None if component is None else find_additive(self.model, component)
        whole = self._on(edges)
        part = whole if component is None else component_alone(whole, component)
        places = np.searchsorted(whole.bins.energy_edges.numpy(), edges)
        first, last = int(places[0]), int(places[-1])

        def summed(theta: Tensor) -> Tensor:
            photons = part(theta)[..., first:last].numpy()
            return torch.from_numpy(np.add.reduceat(photons, places[:-1] - first, axis=-1) / np.diff(edges))

        return self._both(summed).numpy()[:-1]

    def equivalent_width(self, component: str) -> Derived:
        """The equivalent width of a line [eV].

        Args:
            component: An additive component with an energy `LineE`.

        Raises:
            ModelError: No such component.
            DataError: It is no line, or all photons are its own.
        """
        name = find_additive(self.model, component)
        names = [parameter.name for parameter in self.model.parameters]
        if f"{name}.LineE" not in names:
            raise DataError(f"{name} has no LineE, so it is no line; an equivalent width is that of a gaussian")
        place = names.index(f"{name}.LineE")
        energy = self._both(lambda theta: self.model.values(theta)[..., place])
        low, high = energy * (1 - RANGE), energy * (1 + RANGE)
        ends = max(float(low.min()), LOWEST), min(float(high.max()), HIGHEST)
        whole = self._on(ends)
        edges = whole.bins.energy_edges.numpy()
        rest = without_component(whole, name)

        def continuum(theta: Tensor) -> Tensor:
            """Photons of the rest below each edge."""
            photons = rest(theta)
            return torch.cat([photons.new_zeros((*photons.shape[:-1], 1)), photons.cumsum(-1)], dim=-1)

        below = self._both(continuum).numpy()
        pairs = zip(below, low.numpy(), high.numpy(), strict=True)
        around = np.array([np.diff(np.interp([lo, hi], edges, row))[0] for row, lo, hi in pairs])
        alone = component_alone(self._on((LOWEST, HIGHEST)), name)
        line = self._both(lambda theta: alone(theta).sum(-1)).numpy()
        if not (around > 0).all():
            raise DataError(f"{name}: no other photons around it, so it has no equivalent width")
        width = 1e3 * line * (high - low).numpy() / around
        return self._derived(f"equivalent width of {name}", "eV", width)

    def _on(self, ends: Sequence[float] | NDArray[np.float64]) -> PhotonFlux:
        """The model on a grid with some energies among its edges."""
        grid = Grid.of_response(np.unique(np.array(ends, dtype=np.float64)), wide=self.model.has_convolution)
        return self.model.on(torch.from_numpy(grid.finer(self.parts).energy_edges))

    def _both(self, of: Callable[[Tensor], Tensor]) -> Tensor:
        """A function of theta at all draws, and last at the best point."""
        rows = torch.cat([self.theta, self.best[None]])
        return torch.cat([of(piece) for piece in torch.split(rows, PIECE)])

    def _derived(self, name: str, unit: str, values: NDArray[np.float64]) -> Derived:
        """Of what `_both` found."""
        return Derived(name, unit, float(values[-1]), values[:-1], self.weights)


def flux_rows(draws: ModelDraws, bands: Sequence[Band], seen: Band) -> list[dict[str, Any]]:
    """Fluxes of bands as plain numbers, absorbed and not.

    Args:
        draws: Of the model.
        bands: keV.
        seen: The band of the data; what reaches beyond it is the model's word alone.
    """
    absorbed, unabsorbed = draws.fluxes(bands), draws.fluxes(bands, unabsorbed=True)
    return [
        {
            "band": list(one.band),
            "extrapolated": is_beyond(one.band, seen),
            "absorbed": {"energy": one.energy_flux.row(), "photons": one.photon_flux.row()},
            "unabsorbed": {"energy": bare.energy_flux.row(), "photons": bare.photon_flux.row()},
        }
        for one, bare in zip(absorbed, unabsorbed, strict=True)
    ]


def fitted_band(
    sets: Sequence[tuple[Sequence[Band], NDArray[np.float64], NDArray[np.float64]]],
) -> Band:
    """The band of a fit [keV].

    Args:
        sets: Of each data set the ranges that were asked for, and the ends of its bins.

    Returns:
        What was asked for; the bins' own ends where that lies far outside of them.
    """
    asked = [energy for ranges, _, _ in sets for pair in ranges for energy in pair]
    first = min(float(low.min()) for _, low, _ in sets)
    last = max(float(high.max()) for _, _, high in sets)
    low, high = min(asked), max(asked)
    low = low if low > (1.0 - FAR_OUT) * first else first
    high = high if high < (1.0 + FAR_OUT) * last else last
    return max(low, LOWEST), min(high, HIGHEST)


def is_beyond(band: Band, seen: Band) -> bool:
    """Whether a band reaches beyond the data by more than a hundredth."""
    return band[0] < 0.99 * seen[0] or band[1] > 1.01 * seen[1]


def in_kev(band: Band) -> str:
    """A band in words."""
    return f"{band[0]:g}-{band[1]:g} keV"


def check_band(band: Sequence[float]) -> None:
    """Refuses what is no band.

    Args:
        band: keV.

    Raises:
        DataError: Not two energies in order, or beyond where models are evaluated.
    """
    if len(band) != 2 or not LOWEST <= band[0] < band[1] <= HIGHEST:
        said = "-".join(f"{energy:g}" for energy in band)
        raise misused(DataError(f"band {said} keV: give two energies in order, within {LOWEST:g}-{HIGHEST:g}, as 2-10"))
