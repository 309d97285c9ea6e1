"""Folding: photons per bin of the grid -> expected source counts in the bins of each spectrum.

For source s, bin b and photon-grid bin g,

    expected[s, b] = EXPOSURE_s sum_{c in b} AREASCAL_s[c] sum_e RMF[e, c] ARF_s[e] sum_g share[g, e] photons[g],

c the channels, e the RMF's energies.

`share` is the part of a grid bin that lies in an RMF energy bin: 0 or 1 on `Grid.of_response`, proportional to the
overlap in energy (as XSPEC does) on any other grid. Spectra of one batch share the RMF; they differ by ARF, exposure,
AREASCAL and grouping. Each distinct binning gets the whole chain as one matrix, and every source is folded with its
own: groupings differ from spectrum to spectrum, and a matrix to all channels costs twice as much per draw. Matrices are
kept (`MatrixCache`), so that a response that comes again is not multiplied out again.

The fold may be asked to compute in float32. theta (`cast`) enters in that precision and expected counts leave in
float64, so that priors, likelihoods and weights never see float32: these are the two casts of the physics. Every term
of the sums is positive, so float32 costs 1e-6 of a bin, whatever the response (the model's own error comes on top).

Source: OGIP memo CAL/GEN/92-002 (RMF and ARF); XSPEC manual, section on the integral that is fitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError, MismatchError
from xrayflow.folding.grid import Grid
from xrayflow.folding.matrix import AnyMatrix, MatrixCache, binning_of, digest, matrix_of, merged, overlap
from xrayflow.folding.sparse import SparseMatrix
from xrayflow.ogip import Spectrum

SAME_SHAPE = 3e-7
"""Relative: areas that differ by a factor differ by this much more, since files hold them in float32."""

MOST_ELEMENTS = 128 * 1024 * 1024
"""Elements of the dense matrices of one batch (1 GB in float64): more is refused with a hint."""

_CACHE = MatrixCache()


@dataclass(frozen=True)
class Fold:
    """Expected counts of a batch of sources from photons on one grid.

    Attributes:
        grid: The photon-energy grid.
        matrices: One per distinct binning of the batch.
        matrix_of_source: (source,) which of them a source is folded with.
        area: (source, energy) cm^2 s: exposure x (ARF / shape of the batch's largest) in each grid bin; (source, 1)
            where that ratio is grey; (source, RMF energy) where the photons are rebinned first.
        bins: Length of the bin axis (the longest of the batch; shorter spectra end in empty bins).
        rebin: (grid bin, RMF energy) the share of photons; None where the matrices have it.
        nested: Whether no bin of the grid straddles two of the RMF's energies.
        parts: So many neighbouring bins of the grid are summed before anything else.

    `matrices`, `area` and `rebin` have one precision, `dtype`.
    """

    grid: Grid
    matrices: tuple[AnyMatrix, ...]
    matrix_of_source: Int[Tensor, " source"]
    area: Float[Tensor, "source energy"]
    bins: int
    rebin: SparseMatrix | None = None
    nested: bool = False
    parts: int = 1

    @classmethod
    def of(cls, spectra: Sequence[Spectrum], grid: Grid, dtype: torch.dtype = torch.float64) -> Fold:
        """Build the fold for spectra that share one RMF.

        Args:
            spectra: Noticed bins, at least one spectrum.
            grid: Photon energies; any that reach the bins.
            dtype: Precision of the sums; matrices are made in float64 and cast once.

        Raises:
            MismatchError: The spectra have different RMFs.
            ModelError: The grid leaves a part of the band without photons.
            DataError: No spectra, or the matrices would not fit into memory.
        """
        if not spectra:
            raise DataError("a batch without spectra; give at least one")
        rmf = spectra[0].observation.rmf
        if any(spectrum.observation.rmf.key != rmf.key for spectrum in spectra):
            raise MismatchError("a batch of spectra must share one RMF; run each instrument on its own")
        reference, ratio = _areas(spectra)
        share = overlap(grid.energy_edges, rmf.energy_edges)
        # with areas of different shapes each RMF energy has its own: a grid bin may not straddle two of them
        nested = not bool((np.diff(share.indptr) > 1).any())
        rebin = ratio.shape[1] > 1 and not nested
        response = digest(rmf.key.encode(), reference, grid.energy_edges, str(dtype).encode(), bytes([rebin]))
        number: dict[str, int] = {}
        matrices: list[AnyMatrix] = []
        elements = 0
        for spectrum in spectra:
            binning = binning_of(spectrum)
            if binning in number:
                continue
            number[binning] = len(matrices)
            matrix = _CACHE.get(response + binning)
            if matrix is None:
                matrix = matrix_of(spectrum, grid, share, reference, rebin, dtype, MOST_ELEMENTS - elements)
                _CACHE.put(response + binning, matrix)
            elements += matrix.nbytes // 8
            matrices.append(matrix)
        if ratio.shape[1] > 1 and not rebin:
            inside = np.diff(share.indptr) > 0
            at = np.where(inside, share.indices[np.minimum(share.indptr[:-1], share.nnz - 1)], 0)
            ratio = ratio[:, at]
        exposure = np.array([spectrum.observation.pha.exposure for spectrum in spectra])
        return cls(
            grid=grid,
            matrices=tuple(matrices),
            matrix_of_source=torch.tensor([number[binning_of(spectrum)] for spectrum in spectra]),
            area=torch.from_numpy(ratio * exposure[:, None]).to(dtype),
            bins=max(matrix.shape[1] for matrix in matrices),
            rebin=SparseMatrix.of(0, share, dtype) if rebin else None,
            nested=nested,
        )

    def on(self, grid: Grid, dtype: torch.dtype) -> Fold | None:
        """The same on a grid whose edges are some of these, or these and more; None where that takes the response.

        Args:
            grid: Photon energies.
            dtype: Precision of the sums.
        """
        own, edges = self.grid.energy_edges, grid.energy_edges
        parts, left = divmod(edges.size - 1, own.size - 1)
        if left == 0 and self.nested and self.rebin is None and np.array_equal(edges[::parts], own):
            return replace(self, grid=grid, parts=self.parts * parts).to(dtype)
        if self.rebin is not None or self.area.shape[1] > 1 or self.parts > 1 or not np.isin(edges, own).all():
            return None
        matrices = tuple(merged(matrix, own, edges) for matrix in self.matrices)
        return replace(self, grid=grid, matrices=matrices, nested=False).to(dtype)

    @property
    def dtype(self) -> torch.dtype:
        """Precision in which photons are taken and summed."""
        return self.area.dtype

    def to(self, dtype: torch.dtype) -> Fold:
        """The same in another precision; what was made in float32 keeps its rounding."""
        return replace(
            self,
            matrices=tuple(one.to(dtype) for one in self.matrices),
            area=self.area.to(dtype),
            rebin=None if self.rebin is None else self.rebin.to(dtype),
        )

    def summed(self) -> Fold:
        """The same with all bins of a spectrum as one."""
        return replace(self, matrices=tuple(matrix.summed for matrix in self.matrices), bins=1)

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
        if self.parts > 1:
            photons = photons.reshape(*photons.shape[:-1], -1, self.parts).sum(-1)
        if self.rebin is not None:
            photons = self.rebin.product(photons)
        if self.area.shape[0] == 1:
            folded = self._folded(photons, self.matrices[int(self.matrix_of_source)], self.area)
        else:
            folded = photons.new_zeros((*photons.shape[:2], self.bins))
            for number, matrix in enumerate(self.matrices):
                rows = (self.matrix_of_source == number).nonzero()[:, 0]
                if rows.numel() == photons.shape[0] and matrix.shape[1] == self.bins:
                    folded = self._folded(photons, matrix, self.area)
                elif rows.numel():
                    folded[rows, :, : matrix.shape[1]] = self._folded(photons[rows], matrix, self.area[rows])
        return folded.to(torch.float64)

    @staticmethod
    def _folded(photons: Tensor, matrix: AnyMatrix, area: Tensor) -> Tensor:
        """The counts of some sources that share a binning."""
        reach = slice(matrix.first, matrix.first + matrix.shape[0])
        reached = photons[..., reach]
        if area.shape[1] == 1:
            return matrix.product(reached) * area[:, None, :]
        return matrix.product(reached * area[:, None, reach])

    def select(self, sources: Int[Tensor, " chosen"]) -> Fold:
        """The fold of some of the sources, with the bins that they need.

        Args:
            sources: Their numbers in the batch, from 0; repeats are allowed.
        """
        kept, number = torch.unique(self.matrix_of_source[sources], return_inverse=True)
        matrices = tuple(self.matrices[i] for i in kept.tolist())
        return replace(
            self,
            matrices=matrices,
            matrix_of_source=number,
            area=self.area[sources],
            bins=max((matrix.shape[1] for matrix in matrices), default=self.bins),
        )


def _areas(spectra: Sequence[Spectrum]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(energy,) the largest area of the batch, 1 at its peak, and (source, energy) each one's over that, cm^2.

    The latter is (source, 1) where areas differ by a factor. The area of an RMF that holds it itself is 1. With a peak
    of 1 float32 rounds a source's matrix in the same way whatever the areas of its company.
    """
    size = spectra[0].observation.rmf.energy_edges.size - 1
    areas = np.stack([np.ones(size) if one.observation.arf is None else one.observation.arf.area for one in spectra])
    reference = areas.max(axis=0)
    reference = reference / max(float(reference.max()), 1e-300)
    seen = reference > 0
    ratio = areas / np.where(seen, reference, 1.0)
    grey = ratio[:, [int(seen.argmax())]]
    if np.allclose(ratio[:, seen], grey, rtol=SAME_SHAPE, atol=0):
        return reference, grey
    return reference, ratio
