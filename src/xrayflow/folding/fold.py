"""Folding: photons per bin of the grid -> expected source counts in the bins of each spectrum.

For source s, bin b and photon-grid bin g,

    expected[s, b] = EXPOSURE_s sum_{c in b} AREASCAL_s[c] sum_e RMF[e, c] ARF_s[e] sum_g share[g, e] photons[g],

c the channels, e the RMF's energies.

`share` is the part of a grid bin that lies in an RMF energy bin: 0 or 1 on `Grid.of_response`, proportional to the
overlap in energy (as XSPEC does) on any other grid. Spectra of one batch share the RMF; they differ by ARF, exposure,
AREASCAL and grouping. One spectrum, or several with the same bins, get the whole chain as one matrix.

The fold may be asked to compute in float32. theta (`cast`) enters in that precision and expected counts leave in
float64, so that priors, likelihoods and weights never see float32: these are the two casts of the physics. Every term
of the sums is positive, so float32 costs 1e-6 of a bin, whatever the response (the model's own error comes on top).

Source: OGIP memo CAL/GEN/92-002 (RMF and ARF); XSPEC manual, section on the integral that is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError, MismatchError, ModelError
from xrayflow.folding.grid import Grid
from xrayflow.ogip import Spectrum

SAME_SHAPE = 3e-7
"""Relative: areas that differ by a factor differ by this much more, since files hold them in float32."""

MOST_ELEMENTS = 128 * 1024 * 1024
"""The folding matrix is dense (1 GB in float64 at this size): more is refused with a hint to group."""


@dataclass(frozen=True)
class Fold:
    """Expected counts of a batch of sources from photons on one grid.

    Attributes:
        grid: The photon-energy grid.
        first: First row of photons that reaches the bins of any spectrum; `matrix` starts there.
        matrix: (energy, column) cm^2: columns are bins where all spectra share them, else channels.
        area: (source, energy) s: exposure x (ARF / largest ARF of the batch); (source, 1) where that ratio is grey.
        bin_of_column: (source, column) the bin each column adds to, the last one collects what is not used;
            None where columns are bins.
        bins: Length of the bin axis (the longest of the batch; shorter spectra end in empty bins).
        scale_of_column: (source, column) AREASCAL; None where the matrix has it.
        rebin: (RMF energy, grid bin) sparse: the share of photons; None where the matrix has it.

    `matrix`, `area`, `scale_of_column` and `rebin` have one precision, `dtype`.
    """

    grid: Grid
    first: int
    matrix: Float[Tensor, "energy column"]
    area: Float[Tensor, "source energy"]
    bin_of_column: Int[Tensor, "source column"] | None
    bins: int
    scale_of_column: Float[Tensor, "source column"] | None = None
    rebin: Tensor | None = None

    @classmethod
    def of(
        cls, spectra: Sequence[Spectrum], grid: Grid, bins: int | None = None, dtype: torch.dtype = torch.float64
    ) -> Fold:
        """Build the fold for spectra that share one RMF.

        Args:
            spectra: Noticed bins, at least one spectrum.
            grid: Photon energies; any that reach the bins.
            bins: Length of the bin axis; None is that of the longest spectrum.
            dtype: Precision of the sums; the matrix is made in float64 and cast once.

        Raises:
            MismatchError: The spectra have different RMFs.
            ModelError: The grid leaves a part of the band without photons.
            DataError: No spectra, or the matrix would not fit into memory.
        """
        if not spectra:
            raise DataError("a batch without spectra; give at least one")
        first = spectra[0]
        rmf = first.observation.rmf
        if any(spectrum.observation.rmf.sha256 != rmf.sha256 for spectrum in spectra):
            raise MismatchError("a batch of spectra must share one RMF; run each instrument on its own")
        reference, ratio = _areas(spectra)
        shared = all(_same_bins(first, spectrum) for spectrum in spectra[1:])
        columns, bin_of_column, scale = _bins(first) if shared else _channels(spectra)
        share = _overlap(grid.energy_edges, rmf.energy_edges)
        # with areas of different shapes each RMF energy has its own: a grid bin may not straddle two of them
        rebin = ratio.shape[1] > 1 and bool((np.diff(share.indptr) > 1).any())
        response = sp.csr_array(sp.diags_array(reference) @ columns)
        whole = sp.csr_array(share @ response)
        _check_band(grid, first, columns, whole)
        rows = response if rebin else whole
        reached = np.flatnonzero(np.diff(rows.indptr))
        start, stop = (int(reached[0]), int(reached[-1]) + 1) if reached.size else (0, 1)
        if (stop - start) * rows.shape[1] > MOST_ELEMENTS:
            raise DataError(
                f"{first.observation.pha.path.name}: the response between {stop - start} energies and {rows.shape[1]} "
                "bins is too large for memory; give a coarser --grouping (optimal) or fewer --energies"
            )
        if rebin:
            ratio = ratio[:, start:stop]
        elif ratio.shape[1] > 1:
            inside = np.diff(share.indptr)[start:stop] > 0
            at = np.where(inside, share.indices[np.minimum(share.indptr[start:stop], share.nnz - 1)], 0)
            ratio = ratio[:, at]
        bins = max(spectrum.counts.size for spectrum in spectra) if bins is None else bins
        matrix = torch.from_numpy(rows[start:stop].toarray())
        if bin_of_column is None:
            matrix = torch.nn.functional.pad(matrix, (0, bins - matrix.shape[1]))
        exposure = np.array([spectrum.observation.pha.exposure for spectrum in spectra])
        return cls(
            grid=grid,
            first=start,
            matrix=matrix.to(dtype),
            area=torch.from_numpy(ratio * exposure[:, None]).to(dtype),
            bin_of_column=bin_of_column,
            bins=bins,
            scale_of_column=None if scale is None else scale.to(dtype),
            rebin=_sparse(share).to(dtype) if rebin else None,
        )

    @property
    def dtype(self) -> torch.dtype:
        """Precision in which photons are taken and summed."""
        return self.matrix.dtype

    def to(self, dtype: torch.dtype) -> Fold:
        """The same in another precision; what was made in float32 keeps its rounding."""
        scale, rebin = self.scale_of_column, self.rebin
        return replace(
            self,
            matrix=self.matrix.to(dtype),
            area=self.area.to(dtype),
            scale_of_column=None if scale is None else scale.to(dtype),
            rebin=None if rebin is None else rebin.to(dtype),
        )

    def cast(self, theta: Tensor) -> Tensor:
        """Parameters in the precision of the fold, for the model in front of it.

        Args:
            theta: Any numbers.
        """
        return theta.to(self.dtype)

    def __call__(self, photons: Float[Tensor, "source draw all_energy"]) -> Float[Tensor, "source draw bin"]:
        """Fold.

        Args:
            photons: photons/cm^2/s in each bin of the grid, in the fold's precision.

        Returns:
            Expected source counts in each bin of each spectrum, in float64 whatever the precision.
        """
        if self.rebin is not None:
            flat = photons.reshape(-1, photons.shape[-1])
            photons = torch.sparse.mm(self.rebin, flat.T).T.reshape(*photons.shape[:-1], -1)
        reached = photons[..., self.first : self.first + self.matrix.shape[0]]
        grey = self.area.shape[1] == 1
        folded = (reached if grey else reached * self.area[:, None, :]) @ self.matrix
        if self.scale_of_column is not None:
            folded = folded * self.scale_of_column[:, None, :]
        if self.bin_of_column is not None:
            target = self.bin_of_column[:, None, :].expand(folded.shape)
            empty = folded.new_zeros((*folded.shape[:2], self.bins + 1))
            folded = empty.scatter_add(-1, target, folded)[..., :-1]
        return (folded * self.area[:, None, :] if grey else folded).to(torch.float64)

    def select(self, sources: Int[Tensor, " chosen"]) -> Fold:
        """The fold of some of the sources.

        Args:
            sources: Their numbers in the batch, from 0; repeats are allowed.
        """
        return replace(
            self,
            area=self.area[sources],
            bin_of_column=None if self.bin_of_column is None else self.bin_of_column[sources],
            scale_of_column=None if self.scale_of_column is None else self.scale_of_column[sources],
        )


def _areas(spectra: Sequence[Spectrum]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(energy,) the largest area of the batch, cm^2, and (source, energy) each one's part, (source, 1) where grey.

    The area of an RMF that holds it itself is 1.
    """
    size = spectra[0].observation.rmf.energy_edges.size - 1
    areas = np.stack([np.ones(size) if one.observation.arf is None else one.observation.arf.area for one in spectra])
    reference = areas.max(axis=0)
    seen = reference > 0
    ratio = areas / np.where(seen, reference, 1.0)
    grey = ratio[:, [int(seen.argmax())]]
    if np.allclose(ratio[:, seen], grey, rtol=SAME_SHAPE, atol=0):
        return reference, grey
    return reference, ratio


def _same_bins(a: Spectrum, b: Spectrum) -> bool:
    """Whether two spectra sum the same channels into the same bins."""
    return (
        np.array_equal(a.bin_of_channel, b.bin_of_channel)
        and np.array_equal(a.observation.channel_row, b.observation.channel_row)
        and np.array_equal(a.observation.pha.areascal, b.observation.pha.areascal)
    )


def _bins(spectrum: Spectrum) -> tuple[sp.csc_array, None, None]:
    """The matrix from RMF energies to the bins of one spectrum, AREASCAL included."""
    used = np.flatnonzero(spectrum.bin_of_channel >= 0)
    place = (spectrum.observation.channel_row[used], spectrum.bin_of_channel[used])
    matrix = spectrum.observation.rmf.matrix
    scale = spectrum.observation.pha.areascal[used]
    grouping = sp.csr_array((scale, place), shape=(matrix.shape[1], spectrum.counts.size))
    return sp.csc_array(matrix @ grouping), None, None


def _channels(spectra: Sequence[Spectrum]) -> tuple[sp.csc_array, Tensor, Tensor]:
    """The matrix to the RMF's channels that any spectrum uses, the bin of each, and AREASCAL."""
    matrix = spectra[0].observation.rmf.matrix
    bins = max(spectrum.counts.size for spectrum in spectra)
    number = np.full((len(spectra), matrix.shape[1]), bins, dtype=np.int64)
    scale = np.ones(number.shape)
    for source, spectrum in enumerate(spectra):
        used = spectrum.bin_of_channel >= 0
        column = spectrum.observation.channel_row[used]
        number[source, column] = spectrum.bin_of_channel[used]
        scale[source, column] = spectrum.observation.pha.areascal[used]
    kept = np.flatnonzero((number < bins).any(axis=0))
    return sp.csc_array(matrix)[:, kept], torch.from_numpy(number[:, kept]), torch.from_numpy(scale[:, kept])


def _overlap(grid_edges: NDArray[np.float64], response_edges: NDArray[np.float64]) -> sp.csr_array:
    """(grid bin, RMF bin) the share of each grid bin that lies inside each RMF bin, in linear energy."""
    cuts = np.union1d(grid_edges, response_edges)
    lo = max(grid_edges[0], response_edges[0])
    hi = min(grid_edges[-1], response_edges[-1])
    cuts = cuts[(cuts >= lo) & (cuts <= hi)]
    shape = (grid_edges.size - 1, response_edges.size - 1)
    if cuts.size < 2:
        return sp.csr_array(shape)
    row = np.searchsorted(grid_edges, cuts[:-1], side="right") - 1
    column = np.searchsorted(response_edges, cuts[:-1], side="right") - 1
    share = np.diff(cuts) / np.diff(grid_edges)[row]
    return sp.csr_array((share, (row, column)), shape=shape)


def _sparse(share: sp.csr_array) -> Tensor:
    """The transpose of `share` for torch."""
    entries = share.T.tocoo()
    place = torch.from_numpy(np.stack([entries.row, entries.col]).astype(np.int64))
    values = torch.from_numpy(entries.data)
    return torch.sparse_coo_tensor(place, values, entries.shape, check_invariants=True).coalesce()


def _check_band(grid: Grid, spectrum: Spectrum, response: sp.csc_array, reached: sp.csr_array) -> None:
    """Refuse a grid from which no photon reaches a column that the response itself serves."""
    lost = (np.asarray(response.sum(axis=0)).ravel() > 0) & (np.asarray(reached.sum(axis=0)).ravel() <= 0)
    if lost.any():
        lo, hi = float(spectrum.energy_lo.min()), float(spectrum.energy_hi.max())
        raise ModelError(
            f"energy grid {grid.energy_edges[0]:g}-{grid.energy_edges[-1]:g} keV: no photon of it reaches {lost.sum()} "
            f"of the {lost.size} bins of {lo:.3g}-{hi:.3g} keV; give a wider grid or narrower --energies"
        )
