"""Folding: photons per bin of the grid -> expected source counts in the bins of each spectrum.

For source s, bin b and photon-grid bin e,

    expected[s, b] = sum over channels c of b: EXPOSURE AREASCAL_c sum_e RMF[e, c] ARF_s[e] overlap[e', e] photons[e']

`overlap` is the part of a grid bin that lies in an RMF energy bin: a plain sum on `Grid.of_response`, proportional
shares (as XSPEC does) on any other grid. Spectra of one batch share the RMF; they differ by ARF, exposure and grouping.
One spectrum, or several with the same bins, get the whole chain as one matrix.

Source: OGIP memo CAL/GEN/92-002 (RMF and ARF); XSPEC manual, section on the integral that is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError, MismatchError, ModelError
from xrayflow.folding.grid import Grid
from xrayflow.ogip import Spectrum

MOST_ELEMENTS = 128 * 1024 * 1024
"""The folding matrix is dense (1 GB in float64 at this size): more is refused with a hint to group."""


@dataclass(frozen=True)
class Fold:
    """Expected counts of a batch of sources from photons on one grid.

    Attributes:
        grid: The photon-energy grid.
        first: First grid bin that reaches the bins of any spectrum; `matrix` starts there.
        matrix: (energy, column) cm^2: columns are bins where all spectra share them, else channels.
        area: (source, energy) s: exposure x (ARF / ARF of the first source); (source, 1) where that ratio is grey.
        bin_of_column: (source, column) the bin each column adds to, the last one collects what is not used;
            None where columns are bins.
        bins: Length of the bin axis (the longest of the batch; shorter spectra end in empty bins).
    """

    grid: Grid
    first: int
    matrix: Float[Tensor, "energy column"]
    area: Float[Tensor, "source energy"]
    bin_of_column: Int[Tensor, "source column"] | None
    bins: int

    @classmethod
    def of(cls, spectra: Sequence[Spectrum], grid: Grid) -> Fold:
        """Build the fold for spectra that share one RMF.

        Raises:
            MismatchError: The spectra have different RMFs.
            ModelError: The grid leaves a part of the band without photons.
            DataError: The matrix would not fit into memory.
        """
        first = spectra[0]
        rmf = first.observation.rmf
        if any(spectrum.observation.rmf.sha256 != rmf.sha256 for spectrum in spectra):
            raise MismatchError("a batch of spectra must share one RMF; run each instrument on its own")
        areas = np.stack([_area(spectrum) for spectrum in spectra])
        reference = np.where(areas[0] > 0, areas[0], 1.0)
        ratio = areas / reference
        if np.allclose(ratio, ratio[:, :1], rtol=1e-12, atol=0):
            ratio = ratio[:, :1]
        channels = _channel_matrix(first)
        shared = all(_same_bins(first, spectrum) for spectrum in spectra[1:])
        bins = max(spectrum.counts.size for spectrum in spectra)
        if shared:
            columns = channels @ _grouping(first.bin_of_channel, first.observation.pha.areascal, bins)
            bin_of_column = None
        else:
            columns = channels @ sp.diags_array(first.observation.pha.areascal)
            numbers = np.stack([np.where(s.bin_of_channel < 0, bins, s.bin_of_channel) for s in spectra])
            bin_of_column = torch.from_numpy(numbers.astype(np.int64))
        rows = sp.csr_array(_overlap(grid.energy_edges, rmf.energy_edges) @ (sp.diags_array(areas[0]) @ columns))
        _check_band(grid, first, columns, rows)
        reached = np.flatnonzero(np.diff(rows.indptr))
        start, stop = (int(reached[0]), int(reached[-1]) + 1) if reached.size else (0, 1)
        if (stop - start) * rows.shape[1] > MOST_ELEMENTS:
            raise DataError(
                f"{first.observation.pha.path.name}: the response between {stop - start} energies and {rows.shape[1]} bins is too "
                "large for memory; give a coarser --grouping (optimal) or fewer --energies"
            )
        exposure = np.array([spectrum.observation.pha.exposure for spectrum in spectra])
        if ratio.shape[1] > 1:
            spread = _overlap(grid.energy_edges, rmf.energy_edges)[start:stop]
            total = np.asarray(spread.sum(axis=1)).ravel()
            ratio = (spread @ ratio.T).T / np.where(total > 0, total, 1.0)
        return cls(
            grid=grid,
            first=start,
            matrix=torch.from_numpy(rows[start:stop].toarray()),
            area=torch.from_numpy(ratio * exposure[:, None]),
            bin_of_column=bin_of_column,
            bins=bins,
        )

    def __call__(self, photons: Float[Tensor, "source draw all_energy"]) -> Float[Tensor, "source draw bin"]:
        """Fold.

        Args:
            photons: photons/cm^2/s in each bin of the grid.

        Returns:
            Expected source counts in each bin of each spectrum.
        """
        energies = self.matrix.shape[0]
        reached = photons[..., self.first : self.first + energies]
        grey = self.area.shape[1] == 1
        folded = (reached if grey else reached * self.area[:, None, :]) @ self.matrix
        if self.bin_of_column is not None:
            target = self.bin_of_column[:, None, :].expand(folded.shape)
            empty = folded.new_zeros((*folded.shape[:2], self.bins + 1))
            folded = empty.scatter_add(-1, target, folded)[..., :-1]
        return folded * self.area[:, None, :] if grey else folded

    def select(self, sources: Int[Tensor, " chosen"]) -> Fold:
        """The fold of some of the sources."""
        columns = None if self.bin_of_column is None else self.bin_of_column[sources]
        return Fold(self.grid, self.first, self.matrix, self.area[sources], columns, self.bins)


def _area(spectrum: Spectrum) -> NDArray[np.float64]:
    """(energy,) the ARF on the RMF's energies, cm^2; ones where the RMF holds the area."""
    observation = spectrum.observation
    if observation.arf is None:
        return np.ones(observation.rmf.energy_edges.size - 1)
    return observation.arf.area


def _same_bins(a: Spectrum, b: Spectrum) -> bool:
    """Whether two spectra sum the same channels into the same bins."""
    return (
        np.array_equal(a.bin_of_channel, b.bin_of_channel)
        and np.array_equal(a.observation.channel_row, b.observation.channel_row)
        and np.array_equal(a.observation.pha.areascal, b.observation.pha.areascal)
    )


def _channel_matrix(spectrum: Spectrum) -> sp.csc_array:
    """(energy, channel of the PHA): the RMF's columns in the order of the PHA's rows."""
    return sp.csc_array(spectrum.observation.rmf.matrix)[:, spectrum.observation.channel_row]


def _grouping(bin_of_channel: NDArray[np.int64], areascal: NDArray[np.float64], bins: int) -> sp.csr_array:
    """(channel, bin) AREASCAL where the channel belongs to the bin."""
    used = np.flatnonzero(bin_of_channel >= 0)
    shape = (bin_of_channel.size, bins)
    return sp.csr_array((areascal[used], (used, bin_of_channel[used])), shape=shape)


def _overlap(grid_edges: NDArray[np.float64], response_edges: NDArray[np.float64]) -> sp.csr_array:
    """(grid bin, RMF bin) the share of each grid bin that lies inside each RMF bin, in linear energy."""
    cuts = np.union1d(grid_edges, response_edges)
    lo = max(grid_edges[0], response_edges[0])
    hi = min(grid_edges[-1], response_edges[-1])
    cuts = cuts[(cuts >= lo) & (cuts <= hi)]
    middle = 0.5 * (cuts[1:] + cuts[:-1])
    row = np.searchsorted(grid_edges, middle, side="right") - 1
    column = np.searchsorted(response_edges, middle, side="right") - 1
    share = np.diff(cuts) / np.diff(grid_edges)[row]
    return sp.csr_array((share, (row, column)), shape=(grid_edges.size - 1, response_edges.size - 1))


def _check_band(grid: Grid, spectrum: Spectrum, response: sp.sparray, reached: sp.sparray) -> None:
    """Refuse a grid from which no photon reaches a column that the response itself serves."""
    lost = (np.asarray(response.sum(axis=0)).ravel() > 0) & (np.asarray(reached.sum(axis=0)).ravel() <= 0)
    if lost.any():
        lo, hi = float(spectrum.energy_lo.min()), float(spectrum.energy_hi.max())
        raise ModelError(
            f"energy grid {grid.energy_edges[0]:g}-{grid.energy_edges[-1]:g} keV: no photon of it reaches {lost.sum()} of the "
            f"{lost.size} bins of {lo:.3g}-{hi:.3g} keV; give a wider grid or narrower --energies"
        )
