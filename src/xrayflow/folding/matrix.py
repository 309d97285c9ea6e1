"""The matrix of one binning: photons in the bins of a grid, or of the RMF, -> counts in the bins of a spectrum.

    matrix[g, b] = sum_{c in b} AREASCAL[c] sum_e share[g, e] area[e] RMF[e, c],

dense where most elements are filled, else sparse (`sparse`), and in two factors where the response has tails on wider
energies (`split`). Grids other than the response's own take a share of each
bin, in linear energy; an energy scale that is off moves the edges of bins.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.calibration import moved_channels
from xrayflow.errors import DataError, ModelError
from xrayflow.folding.grid import Grid
from xrayflow.folding.sparse import SparseMatrix, is_sparse
from xrayflow.folding.split import FoldedTail, SplitMatrix
from xrayflow.ogip import PackedMatrix, Spectrum

MOST_KEPT = 256 * 1024 * 1024
"""Bytes of matrices that are kept for a response that comes again."""

FEW_ROWS = 8
"""From which a product of matrices is quicker than one of vectors for each row."""

STEPS, WORTHWHILE, MUCH = 8, 0.8, 3_000_000
"""Parts of the energies, each with the bins that it reaches: photons of low energy reach low channels alone. The part
of all elements that those blocks may hold, and the rows times elements from which they are worth their calls."""


@dataclass(frozen=True)
class FoldingMatrix:
    """One binning of one response, on one grid.

    Attributes:
        first: First grid bin whose photons reach a channel; `values` start there.
        values: (energy, bin).
    """

    first: int
    values: Float[Tensor, "energy bin"]

    @property
    def shape(self) -> tuple[int, int]:
        """Energies and bins."""
        return self.values.shape[0], self.values.shape[1]

    @property
    def nbytes(self) -> int:
        """In memory."""
        return self.values.numel() * self.values.element_size()

    @cached_property
    def summed(self) -> FoldingMatrix:
        """To all bins together."""
        return FoldingMatrix(self.first, self.values.sum(1, keepdim=True))

    @cached_property
    def blocks(self) -> tuple[tuple[slice, slice, Tensor], ...]:
        """Energies and bins outside which nothing stands, and what does there; none where they are nearly all."""
        found, held = [], 0
        for energies in torch.tensor_split(torch.arange(self.shape[0]), STEPS):
            own = slice(int(energies[0]), int(energies[-1]) + 1) if energies.numel() else slice(0)
            reached = (self.values[own] != 0).any(0).nonzero()[:, 0]
            if reached.numel():
                bins = slice(int(reached[0]), int(reached[-1]) + 1)
                found.append((own, bins, self.values[own, bins]))
                held += found[-1][2].numel()
        return tuple(found) if held < WORTHWHILE * self.values.numel() else ()

    def product(self, rows: Float[Tensor, "*batch energy"]) -> Float[Tensor, "*batch bin"]:
        """Photons of each reached energy -> what falls into the bins.

        Few rows go one by one: a product of matrices first copies the whole matrix.
        """
        flat = rows.reshape(-1, rows.shape[-1])
        is_few = flat.shape[0] < FEW_ROWS
        if flat.shape[0] * self.values.numel() < MUCH or not self.blocks:
            found = torch.stack([row @ self.values for row in flat]) if is_few else flat @ self.values
            return found.reshape(*rows.shape[:-1], -1)
        found = rows.new_zeros((flat.shape[0], self.shape[1]))
        for energies, bins, values in self.blocks:
            if is_few:
                for row, own in zip(flat, found, strict=True):
                    own[bins].addmv_(values.mT, row[energies])
            else:
                found[:, bins].addmm_(flat[:, energies], values)
        return found.reshape(*rows.shape[:-1], -1)

    def to(self, dtype: torch.dtype) -> FoldingMatrix:
        """The same in another precision."""
        return FoldingMatrix(self.first, self.values.to(dtype))


Whole = FoldingMatrix | SparseMatrix
AnyMatrix = Whole | SplitMatrix


class MatrixCache:
    """Folding matrices by response, area, binning, grid and precision; the least recently used go first."""

    def __init__(self, most_bytes: int = MOST_KEPT) -> None:
        self.most_bytes = most_bytes
        self.kept: OrderedDict[str, AnyMatrix] = OrderedDict()

    def get(self, key: str) -> AnyMatrix | None:
        """The matrix of a key, if it is still there."""
        found = self.kept.get(key)
        if found is not None:
            self.kept.move_to_end(key)
        return found

    def put(self, key: str, matrix: AnyMatrix) -> None:
        """Keep a matrix, and forget others until the rest fits."""
        self.kept[key] = matrix
        size = sum(one.nbytes for one in self.kept.values())
        while size > self.most_bytes and self.kept:
            _, old = self.kept.popitem(last=False)
            size -= old.nbytes


def overlap(grid_edges: NDArray[np.float64], response_edges: NDArray[np.float64]) -> sp.csr_array:
    """(grid bin, RMF bin) the share of each grid bin that lies inside each RMF bin, in linear energy.

    Args:
        grid_edges, response_edges: keV, ascending.
    """
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


def matrix_of(
    spectrum: Spectrum,
    grid: Grid,
    share: sp.csr_array,
    reference: NDArray[np.float64],
    rebin: bool,
    dtype: torch.dtype,
    most: int,
) -> AnyMatrix:
    """The matrix of one binning.

    Args:
        spectrum: Its bins.
        grid: Photon energies.
        share: Of `overlap`, from the grid to the RMF's energies.
        reference: (RMF energy,) effective area, up to what differs between the sources of a batch.
        rebin: Whether the matrix starts at the RMF's energies, because photons are rebinned to them first.
        dtype: Precision of the elements.
        most: Elements that may be kept.

    Raises:
        ModelError: The grid leaves a part of the band without photons.
        DataError: There are more elements.
    """
    grouping = _grouping(spectrum)
    response = _bins(spectrum, grouping)
    served = np.asarray(response.sum(axis=0)).ravel() > 0
    response.data *= np.repeat(reference, np.diff(response.indptr))  # in place: it may have ten million elements
    whole = sp.csr_array(share @ response)
    reached = np.asarray(whole.sum(axis=0)).ravel() > 0
    tails = []
    for tail in spectrum.observation.rmf.tails:
        _check_size(spectrum, tail.matrix.shape[0], grouping.shape[1], 2 * most)  # in single precision
        own = sp.csr_array(sp.diags_array(reference) @ tail.of_rows())
        values = _dense_tail(tail.matrix, grouping)
        if spectrum.gain != (0.0, 0.0):
            values.clip(min=0.0, out=values)
        own = own if rebin else sp.csr_array(share @ own)
        served = served | (values.sum(axis=0) > 0)
        reached = reached | ((np.asarray(own.sum(axis=0)).ravel() > 0) @ (values > 0))
        tails.append(FoldedTail(SparseMatrix.of(*_reached(own), dtype), torch.from_numpy(values)))
    _check_band(grid, spectrum, served, reached)
    start, rows = _reached(response if rebin else whole)
    del response, whole
    sharp: Whole
    if is_sparse(rows) and 3 * rows.nnz <= most:
        sharp = SparseMatrix.of(start, rows, dtype)
    else:
        _check_size(spectrum, rows.shape[0], rows.shape[1], most)
        sharp = FoldingMatrix(start, torch.from_numpy(rows.toarray()).to(dtype))
    return SplitMatrix(sharp, tuple(tails)) if tails else sharp


def _reached(matrix: sp.csr_array) -> tuple[int, sp.csr_array]:
    """The first grid bin whose photons reach a channel, and the rows from there to the last such."""
    reached = np.flatnonzero(np.diff(matrix.indptr))
    start, stop = (int(reached[0]), int(reached[-1]) + 1) if reached.size else (0, 1)
    # no row before `start` has an element, so that the others need no copy
    shape = (stop - start, matrix.shape[1])
    return start, sp.csr_array((matrix.data, matrix.indices, matrix.indptr[start : stop + 1]), shape=shape)


def _dense_tail(matrix: PackedMatrix, grouping: sp.csr_array) -> NDArray[np.float32]:
    """(row, bin) of a tail, some rows at a time."""
    values = np.empty((matrix.shape[0], grouping.shape[1]), dtype=np.float32)
    for rows, piece in matrix.pieces():
        values[rows] = (piece @ grouping).toarray()
    return values


def _check_size(spectrum: Spectrum, energies: int, bins: int, most: int) -> None:
    """Refuse a matrix that no memory holds."""
    if energies * bins > most:
        raise DataError(
            f"{spectrum.observation.pha.path.name}: the response between {energies} energies and {bins} bins is too "
            "large for memory; give a coarser --grouping (optimal), fewer --energies or fewer spectra together"
        )


def merged(matrix: AnyMatrix, edges: NDArray[np.float64], wide: NDArray[np.float64]) -> AnyMatrix:
    """A matrix on a grid of some of its edges: photons lie evenly in a bin.

    Args:
        matrix: Of the fine grid.
        edges, wide: Of the fine and of the wide grid.
    """
    if isinstance(matrix, SplitMatrix):
        tails = tuple(replace(tail, share=_one_merged(tail.share, edges, wide)) for tail in matrix.tails)
        return SplitMatrix(_one_merged(matrix.sharp, edges, wide), tails)
    return _one_merged(matrix, edges, wide)


def _one_merged(matrix: Whole, edges: NDArray[np.float64], wide: NDArray[np.float64]) -> Whole:
    """The same of a matrix without tails."""
    reach = np.arange(matrix.first, matrix.first + matrix.shape[0])
    of = np.searchsorted(wide, edges[reach], side="right") - 1
    inside = (of >= 0) & (of < wide.size - 1)
    weight = np.where(inside, np.diff(edges)[reach], 0.0) / np.diff(wide)[of.clip(0, wide.size - 2)]
    first, last = (int(of[inside][end]) for end in (0, -1)) if inside.any() else (0, 0)
    place = torch.from_numpy((of - first).clip(0, last - first))
    if isinstance(matrix, SparseMatrix):
        return matrix.merged(first, place, weight, last - first + 1)
    values = matrix.values.new_zeros((last - first + 1, matrix.shape[1]))
    return FoldingMatrix(first, values.index_add_(0, place, matrix.values * torch.from_numpy(weight)[:, None]))


def binning_of(spectrum: Spectrum) -> str:
    """A hash of what is summed into which bin.

    Args:
        spectrum: Noticed bins.
    """
    used = spectrum.bin_of_channel >= 0
    return digest(
        np.flatnonzero(used),
        spectrum.bin_of_channel[used],
        spectrum.observation.channel_row[used],
        spectrum.observation.pha.areascal[used],
        np.array(spectrum.gain),
    )


def digest(*parts: bytes | NDArray[Any]) -> str:
    """A hash of arrays and words.

    Args:
        parts: Bytes are taken as they are.
    """
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return found.hexdigest()


def _grouping(spectrum: Spectrum) -> sp.csr_array:
    """(channel of the response, bin) what is summed into a bin of one spectrum, AREASCAL included."""
    grouping = spectrum.summed_channels(spectrum.observation.pha.areascal)
    return grouping if spectrum.gain == (0.0, 0.0) else sp.csr_array(moved_channels(spectrum) @ grouping)


def _bins(spectrum: Spectrum, grouping: sp.csr_array) -> sp.csr_array:
    """The matrix from RMF energies to the bins of one spectrum, without the tails."""
    read = sp.csr_array(spectrum.observation.rmf.matrix @ grouping)
    if spectrum.gain != (0.0, 0.0):
        read.data = read.data.clip(min=0.0)  # interpolation swings where a response breaks off
    return read


def _check_band(grid: Grid, spectrum: Spectrum, served: NDArray[np.bool_], reached: NDArray[np.bool_]) -> None:
    """Refuse a grid from which no photon reaches a column that the response itself serves."""
    lost = served & ~reached
    if lost.any():
        lo, hi = float(spectrum.energy_lo.min()), float(spectrum.energy_hi.max())
        raise ModelError(
            f"energy grid {grid.energy_edges[0]:g}-{grid.energy_edges[-1]:g} keV: no photon of it reaches {lost.sum()} "
            f"of the {lost.size} bins of {lo:.3g}-{hi:.3g} keV; give a wider grid or narrower --energies"
        )
