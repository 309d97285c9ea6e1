"""Forward: parameters -> expected counts, the model and the fold at one fidelity.

Everything that asks for expected counts asks this object: likelihood, optimiser, simulator, predictive check. The same
spectra at another fidelity are `at(fidelity)`; each is made once for a batch and selected from thereafter. A cheap one
can be made exact at a few places (`corrected`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError
from xrayflow.folding.correction import Correction
from xrayflow.folding.fidelity import EXACT, SINGLE, Fidelity
from xrayflow.folding.fold import Fold
from xrayflow.folding.grid import Grid
from xrayflow.folding.native import native_counts
from xrayflow.models import Flux, Model, NativeFlux, features_of
from xrayflow.ogip import Spectrum

Theta = Float[Tensor, "source draw parameter"]

MANY_DRAWS = 32
"""Of one source, from which a corrected forward takes float32: fewer are an optimiser's, whose steps it would blur."""

PIECE = 400_000
"""Elements (rows x energies) of one piece of work: 3 MB in float64 stay in the processor's cache."""


@dataclass(frozen=True)
class Family:
    """The same spectra at several fidelities.

    Attributes:
        model: The spectral model.
        spectra: Noticed bins of the whole batch.
        grid: The answer's own grid.
        made: What was asked for so far.
    """

    model: Model
    spectra: tuple[Spectrum, ...]
    grid: Grid
    made: dict[Fidelity, tuple[Fidelity, Flux, Fold]] = field(default_factory=dict)

    def at(self, fidelity: Fidelity) -> tuple[Fidelity, Flux, Fold]:
        """Flux and fold of the whole batch; those of EXACT, and its name, where the fidelity is no other."""
        if fidelity not in self.made:
            response = self.spectra[0].observation.rmf.energy_edges
            grid = fidelity.grid(self.grid, (float(response[0]), float(response[-1])))
            if grid is self.grid and fidelity != EXACT and fidelity.dtype == EXACT.dtype:
                return self.at(EXACT)
            flux = NativeFlux.of(self.model, torch.from_numpy(grid.energy_edges), fidelity.dtype, fidelity.tolerance)
            fold = self.made[EXACT][2].on(grid, fidelity.dtype) if EXACT in self.made else None
            if fold is None:
                fold = Fold.of(self.spectra, grid, dtype=fidelity.dtype)
            self.made[fidelity] = fidelity, flux, fold
        return self.made[fidelity]


@dataclass(frozen=True)
class Forward:
    """Expected counts of a batch of sources.

    Attributes:
        family: The whole batch that these sources were selected from, at every fidelity.
        rows: (source,) their places in it.
        fidelity: How exactly photons are computed.
        flux: Parameters -> photons on the grid.
        fold: Photons -> expected counts.
        correction: What makes cheap counts exact at a few places; None leaves them as they are.
        single: The same in float32, for many draws; None where there is none.
    """

    family: Family
    rows: Int[Tensor, " source"]
    fidelity: Fidelity
    flux: Flux
    fold: Fold
    correction: Correction | None = None
    single: Forward | None = None

    @classmethod
    def of(
        cls, model: Model, spectra: Sequence[Spectrum], grid: Grid | None = None, fidelity: Fidelity = EXACT
    ) -> Forward:
        """Bring model and responses together.

        Args:
            model: The spectral model.
            spectra: Noticed bins, all with one RMF.
            grid: The answer's photon energies; default `Grid.of_response`, wide where the model convolves.
            fidelity: How exactly photons are computed.

        Raises:
            ModelError: The grid leaves a part of the band without photons.
            MismatchError: The spectra have different RMFs.
            DataError: No spectra, or matrices that do not fit into memory.
        """
        if not spectra:
            raise DataError("a batch without spectra; give at least one")
        if grid is None:
            grid = Grid.of_response(spectra[0].observation.rmf.energy_edges, wide=model.has_convolution)
        family = Family(model, tuple(spectra), grid)
        return cls(family, torch.arange(len(spectra)), *family.at(fidelity))

    @property
    def grid(self) -> Grid:
        """The photon-energy grid at this fidelity."""
        return self.fold.grid

    @property
    def energies(self) -> int:
        """How many edges the grid has: what a row of theta costs."""
        return self.fold.grid.energy_edges.size

    def expected(self, theta: Theta) -> Float[Tensor, "source draw bin"]:
        """Expected source counts (without background) per bin, in float64.

        Args:
            theta: Free parameters of the model, in their units.
        """
        one = self.single if self.single is not None and theta.shape[1] >= MANY_DRAWS else self
        folded = one.fold(one.flux(one.fold.cast(theta)))
        return folded if self.correction is None else folded * self.correction.factor(theta)

    def of_component(self, name: str, theta: Theta) -> Float[Tensor, "source draw bin"]:
        """Expected counts of one additive component, as the rest of the model and the detector pass it on.

        Those of all additive components add up to `expected`.

        Args:
            name: As `models.additive_components` has it.
            theta: Free parameters of the model, in their units.
        """
        folded = self.fold(self.flux.component(name)(self.fold.cast(theta)))
        return folded if self.correction is None else folded * self.correction.factor(theta)

    def native_counts(self, theta: Float[Tensor, "one one parameter"]) -> Float[NDArray[np.float64], " channel"]:
        """Expected source counts of one source in the detector's own channels, the energy scale as its file has it.

        Args:
            theta: Free parameters of the model, in their units.
        """
        photons = self.flux(self.fold.cast(theta))[0, 0].to(torch.float64).numpy()
        (row,) = self.rows.tolist()
        return native_counts(self.family.spectra[row], self.grid, photons)

    def linearised(
        self, theta: Theta
    ) -> tuple[Float[Tensor, "source draw bin"], Float[Tensor, "source draw bin parameter"]]:
        """Expected counts and d expected / d theta, the latter to 1e-3 of its largest where the fold is float32.

        Args:
            theta: Likewise.
        """
        photons, slopes = self.flux.with_jacobian(self.fold.cast(theta))
        # one product for all: (source, (1 + parameter) draw, energy)
        folded = self.fold(torch.cat([photons, *slopes], dim=1))
        folded = folded.reshape(folded.shape[0], slopes.shape[0] + 1, -1, folded.shape[-1])
        expected, slope = folded[:, 0], folded[:, 1:].movedim(1, -1)
        if self.correction is None:
            return expected, slope
        factor, bend = self.correction.factor_and_slope(theta)
        return expected * factor, slope * factor[..., None] + expected[..., None] * bend

    def corrected(self, theta: Float[Tensor, "source place parameter"], known: Bool[Tensor, "source place"]) -> Forward:
        """The same, made exact at some places, beside those where it is exact already; itself where it is everywhere.

        Lines and edges that may stand anywhere are left out: it is exact there but for them
        (docs/decisions/0028-a-correction-leaves-lines-alone.md).

        Args:
            theta: Free parameters of the model, in their units.
            known: Which of the places are any.
        """
        plain = replace(self, correction=None, single=None)
        if self.fidelity == EXACT:
            return plain
        apart, theta = features_of(self.family.model), theta.clone()
        theta[..., [one.strength for one in apart]] = 0.0
        without = [column for one in apart for column in one.columns]
        exact, cheap = (forward._at_places(theta, known) for forward in (self.at(EXACT), plain))
        correction = Correction.of(self.family.model.free, theta, known, exact, cheap, without)
        if self.correction is not None:
            correction = self.correction.beside(correction)
        return replace(plain, correction=correction, single=self.at(SINGLE))

    def _at_places(self, theta: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """`linearised` at some places of each source, 0 elsewhere; each alone: the same digits in any company."""
        expected = theta.new_zeros((*known.shape, self.fold.bins))
        slope = theta.new_zeros((*expected.shape, theta.shape[-1]))
        for source in known.any(-1).nonzero()[:, 0].tolist():
            own = known[source]
            value, bend = self.select(torch.tensor([source])).linearised(theta[source, own][None])
            expected[source, own, : value.shape[-1]] = value[0]
            slope[source, own, : value.shape[-1]] = bend[0]
        return expected, slope

    def summed(self) -> Forward:
        """The same with all bins of a spectrum as one, and without a correction: what the counts of bins add up to."""
        single = None if self.single is None else self.single.summed()
        return replace(self, fold=self.fold.summed(), correction=None, single=single)

    def at(self, fidelity: Fidelity) -> Forward:
        """The same sources at another fidelity.

        Args:
            fidelity: Of `fidelity`; one whose grid would be the answer's own gives EXACT. Another one than this has
                no correction.
        """
        if fidelity == self.fidelity:
            return self
        found, flux, fold = self.family.at(fidelity)
        return Forward(self.family, self.rows, found, flux, _selected(fold, self.rows))

    def on(self, grid: Grid) -> Forward:
        """The same sources with another grid as the answer's own.

        Args:
            grid: Photon energies.
        """
        spectra = [self.family.spectra[row] for row in self.rows.tolist()]
        return Forward.of(self.family.model, spectra, grid)

    def select(self, sources: Int[Tensor, " chosen"]) -> Forward:
        """Some of the sources; repeats are allowed.

        Args:
            sources: Their numbers in this batch, from 0.
        """
        fold = self.fold.select(sources)
        correction = None if self.correction is None else self.correction.select(sources, fold.bins)
        single = None if self.single is None else self.single.select(sources)
        return replace(self, rows=self.rows[sources], fold=fold, correction=correction, single=single)


def _selected(fold: Fold, rows: Tensor) -> Fold:
    """The fold of some rows; the fold itself where that is all of them."""
    whole = rows.numel() == fold.matrix_of_source.numel() and bool((rows == torch.arange(rows.numel())).all())
    return fold if whole else fold.select(rows)
