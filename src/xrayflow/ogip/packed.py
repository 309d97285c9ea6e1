"""A matrix that stays as it is stored: groups of neighbouring channels, and their elements in the file's precision.

Unpacked into elements and channels in double precision a matrix takes three times what single precision takes in the
file. One of a hundred million elements (the electron loss continuum of XRISM's Resolve) is unpacked some rows at a
time, each time that it is multiplied.

Source: OGIP Calibration Memo CAL/GEN/92-002 (George et al. 2007), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

PIECE = 1 << 21
"""Elements that are unpacked together, one row at least."""

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PackedMatrix:
    """What a sparse matrix (energy, channel) does, for one that is not unpacked.

    Args:
        values: Elements of all rows, as stored.
        start, length: (energy,) where a row's elements begin, and how many they are.
        first_group, groups: (energy,) where a row's groups begin, and how many they are.
        begin, count: First column and number of columns of each group.
        channels: Columns; elements beyond the last are left out.
    """

    values: NDArray[Any] = field(repr=False)
    start: IntArray = field(repr=False)
    length: IntArray = field(repr=False)
    first_group: IntArray = field(repr=False)
    groups: IntArray = field(repr=False)
    begin: IntArray = field(repr=False)
    count: IntArray = field(repr=False)
    channels: int

    __array_ufunc__ = None
    """An array that is multiplied from the left leaves the product to this class."""

    @property
    def shape(self) -> tuple[int, int]:
        """Energies and channels."""
        return len(self.start), self.channels

    @property
    def nnz(self) -> int:
        """Elements, zeros that are stored included."""
        return int(self.length.sum())

    @property
    def indptr(self) -> IntArray:
        """(energy + 1,) elements of the rows before each."""
        return np.concatenate([[0], np.cumsum(self.length)])

    def __getitem__(self, rows: IntArray) -> csr_array:
        """Some rows, unpacked."""
        start, length = self.start[rows], self.length[rows]
        group = _ranges(self.first_group[rows], self.groups[rows])
        if np.array_equal(start[1:], start[:-1] + length[:-1]):
            stored = self.values[start[0] : start[-1] + length[-1]] if len(rows) else self.values[:0]
        else:
            stored = self.values[_ranges(start, length)]
        data, index = stored.astype(np.float64), _ranges(self.begin[group], self.count[group])
        pointer = np.concatenate([[0], np.cumsum(length)])
        inside = (index < self.channels) & (data != 0.0)
        if not inside.all():
            pointer = np.concatenate([[0], np.cumsum(inside)])[pointer]
            data, index = data[inside], index[inside]
        found = csr_array((data, index.astype(np.int32), pointer.astype(np.int32)), shape=(len(rows), self.channels))
        if np.any(self.groups[rows] > 1):  # groups that overlap, or out of order
            found.sum_duplicates()
        return found

    def reordered(self, rows: IntArray) -> PackedMatrix:
        """These rows in this order, nothing copied but where they begin."""
        names = ("start", "length", "first_group", "groups")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    def pieces(self) -> Iterator[tuple[slice, csr_array]]:
        """The rows in order, some million elements at a time."""
        part = np.cumsum(self.length) // PIECE
        ends = np.unique(np.append(np.flatnonzero(np.diff(part)) + 1, len(part))) if len(part) else np.empty(0, int)
        for first, last in zip(np.append(0, ends[:-1]), ends, strict=True):
            yield slice(int(first), int(last)), self[np.arange(first, last)]

    def sum(self, axis: int) -> NDArray[np.float64]:
        """(energy,) what the elements of a row add up to; `axis` is 1."""
        if axis != 1:
            raise ValueError("rows alone are summed: axis=1")
        return np.concatenate([np.asarray(piece.sum(axis=1)).ravel() for _, piece in self.pieces()])

    def __matmul__(self, other: csr_array) -> csr_array:
        """(energy, bin): times what sums channels into bins."""
        return csr_array(vstack([piece @ other for _, piece in self.pieces()], format="csr"))

    def __rmatmul__(self, other: NDArray[np.float64]) -> NDArray[np.float64]:
        """(*batch, channel): what photons of each energy give."""
        return np.asarray(sum(other[..., rows] @ piece for rows, piece in self.pieces()))


def _ranges(start: IntArray, length: IntArray) -> IntArray:
    """start[0], start[0] + 1, ..., start[1], ...: `length[i]` numbers from each."""
    total = int(length.sum())
    shift = start - (np.cumsum(length) - length)
    found: IntArray = np.arange(total) + np.repeat(shift, length)
    return found
