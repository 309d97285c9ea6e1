"""The sparse matrix of one MATRIX extension, unpacked from its groups.

Group g of a row covers N_CHAN[g] channels from F_CHAN[g], counted from TLMIN of F_CHAN (1 where the header has none),
and the groups' elements follow each other in MATRIX. Every stored element gets its channel from one running index plus
an offset per group, so no Python loop sees an element, and a million of them are unpacked at a time, so that beside the
file and the matrix nothing of their size is ever in memory.

Source: OGIP Calibration Memo CAL/GEN/92-002 (George et al. 2007), section 3.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xrayflow.errors import XrayflowWarning
from xrayflow.ogip.fits import LARGEST, Ragged, Table
from xrayflow.ogip.packed import PackedMatrix
from xrayflow.ogip.pha import FARTHEST
from xrayflow.ogip.table import MOST_ELEMENTS

PIECE = 1 << 20
"""Elements that are unpacked together."""


def read_matrix(table: Table, channels: int, *, packed: bool = False) -> csr_array | PackedMatrix:
    """The elements of all rows, unpacked from their groups into a sparse matrix (energy, channel).

    Args:
        table: Of the extension, with all its columns.
        channels: Of EBOUNDS; elements beyond the last are left out with a warning.
        packed: Leave it packed, as one of more than `MOST_ELEMENTS` is anyway.

    Raises:
        FormatError: Groups and elements that contradict each other, or numbers that cannot be.
    """
    first_legal = table.first_legal("F_CHAN")
    first = 1 if first_legal is None else first_legal
    group_row, begin, count = _groups(table)
    begin = begin - first
    if np.any(begin[count > 0] < 0):
        table.fail(f"F_CHAN begins below its first channel {first}", "write TLMIN of F_CHAN into the header")
    used = np.zeros(table.rows, dtype=np.int64)
    np.add.at(used, group_row, count)
    packed = packed or int(used.sum()) > MOST_ELEMENTS
    elements = table.ragged("MATRIX", as_stored=True, in_place=packed)
    if np.any(used > elements.length):
        row = int(np.argmax(used > elements.length))
        table.fail(
            f"row {row + 1} has {elements.length[row]} elements, its groups cover {used[row]} channels", "get it again"
        )
    if packed:
        groups = np.bincount(group_row, minlength=table.rows)
        first_group = np.cumsum(groups) - groups
        found = PackedMatrix(elements.values, elements.start, used, first_group, groups, begin, count, channels)
        _check_packed(table, found)
        return found
    values = _pack(elements, used)
    matrix = _unpacked(table, values, used, begin, count, channels)
    if matrix.shape[1] > channels:
        lost = matrix[:, channels:]
        _say_lost(table, lost.nnz, float(np.abs(lost.data).max(initial=0.0)))
        matrix = matrix[:, :channels]
    if not matrix.has_canonical_format:  # groups that overlap, or out of order
        matrix.sum_duplicates()
    return matrix


def _check_packed(table: Table, matrix: PackedMatrix) -> None:
    """What `_unpacked` says of elements, of those that stay packed."""
    wrong, negative, lost, largest = 0, 0, 0, 0.0
    whole = replace(matrix, channels=int((matrix.begin + matrix.count).max(initial=0)))
    for _, piece in whole.pieces():
        wrong += int(np.sum(~(np.abs(piece.data) <= FARTHEST)))
        negative += int(np.sum(piece.data < 0.0))
        beyond = np.abs(piece.data[piece.indices >= matrix.channels])
        lost, largest = lost + len(beyond), max(largest, float(beyond.max(initial=0.0)))
    _say_wrong(table, wrong, negative)
    _say_lost(table, lost, largest)


def _say_wrong(table: Table, wrong: int, negative: int) -> None:
    """Refuse elements that are no numbers, warn of negative ones."""
    if wrong:
        table.fail(f"{wrong} elements of MATRIX are not numbers", "rebuild the RMF")
    if negative:
        warnings.warn(
            f"{table.where}: {negative} elements of MATRIX are negative, as no chance can be; they are kept",
            XrayflowWarning,
            stacklevel=6,
        )


def _say_lost(table: Table, lost: int, largest: float) -> None:
    """Warn of elements beyond the last channel."""
    if lost:
        warnings.warn(
            f"{table.where}: {lost} elements of up to {largest:.2g} lie beyond the last channel of EBOUNDS; they are "
            "left out",
            XrayflowWarning,
            stacklevel=5,
        )


def _unpacked(
    table: Table,
    values: NDArray[Any],
    used: NDArray[np.int64],
    begin: NDArray[np.int64],
    count: NDArray[np.int64],
    channels: int,
) -> csr_array:
    """The elements of all rows, one after the other, to a matrix without its zeros.

    In pieces, so that beside the file and the matrix nothing of their size is ever in memory.

    Args:
        table: For error lines.
        values: Elements of all groups, as stored.
        used: Elements of each row.
        begin, count: First column and number of columns of each group.
        channels: Least number of columns.
    """
    filled = int(np.count_nonzero(values))
    data, index = np.empty(filled), np.empty(filled, dtype=np.int32)
    row_end, group_end = np.cumsum(used), np.cumsum(count)
    kind = np.int32 if int((begin + count).max(initial=0)) < LARGEST else np.int64
    pointer = np.zeros(table.rows + 1, dtype=np.int64)
    at, wrong, widest, negative = 0, 0, 0, 0
    for first in range(0, len(values), PIECE):
        last = min(first + PIECE, len(values))
        with np.errstate(invalid="ignore"):  # a signalling NaN; counted below
            piece = values[first:last].astype(np.float64)
        earliest, latest = np.searchsorted(group_end, [first, last - 1], side="right")
        groups = slice(earliest, latest + 1)
        inside = np.minimum(group_end[groups], last) - np.maximum(group_end[groups] - count[groups], first)
        place = begin[groups] - (group_end[groups] - count[groups])
        column = np.arange(first, last, dtype=kind) + np.repeat(place.astype(kind), inside)
        if not (0.0 <= piece.min() <= piece.max() <= FARTHEST):
            wrong += int(np.sum(~(np.abs(piece) <= FARTHEST)))
            negative += int(np.sum(piece < 0.0))
        ends = slice(*np.searchsorted(row_end, [first, last], side="right"))
        some = piece != 0.0
        if some.all():
            pointer[1:][ends] = at + row_end[ends] - first
        else:
            pointer[1:][ends] = at + np.append(0, np.cumsum(some))[row_end[ends] - first]
            piece, column = piece[some], column[some]
        widest = max(widest, int(column.max(initial=-1)) + 1)
        data[at : at + len(piece)], index[at : at + len(piece)] = piece, column
        at += len(piece)
    pointer[1:][np.searchsorted(row_end, len(values)) :] = at
    _say_wrong(table, wrong, negative)
    return csr_array((data, index, small_index(pointer)), shape=(table.rows, max(channels, widest)))


def _groups(table: Table) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, F_CHAN and N_CHAN of every group; rows with N_GRP = 0 have none, entries beyond N_GRP are not read."""
    groups = table.column("N_GRP").reshape(-1)
    f_chan, n_chan = table.ragged("F_CHAN"), table.ragged("N_CHAN")
    if len(groups) != table.rows or not np.all((groups >= 0) & (groups <= LARGEST) & (groups == np.floor(groups))):
        table.fail("N_GRP is not one count per row", "rebuild the RMF")
    groups = groups.astype(np.int64)
    if np.any(groups > np.minimum(f_chan.length, n_chan.length)):
        row = int(np.argmax(groups > np.minimum(f_chan.length, n_chan.length)))
        table.fail(
            f"row {row + 1} has N_GRP = {groups[row]}, but {f_chan.length[row]} F_CHAN and {n_chan.length[row]} N_CHAN",
            "rebuild the RMF",
        )
    begin, count = _pack(f_chan, groups), _pack(n_chan, groups)
    # bounded before any sum, so that absurd numbers cannot overflow
    if np.any(~np.isfinite(begin)) or np.any(np.abs(begin) > LARGEST) or np.any((count < 0) | (count > LARGEST)):
        table.fail("F_CHAN or N_CHAN holds impossible numbers", "get the file again")
    return np.repeat(np.arange(table.rows), groups), begin.astype(np.int64), count.astype(np.int64)


def _pack(ragged: Ragged, take: NDArray[np.int64]) -> NDArray[Any]:
    """The first `take[i]` values of every row i, one after the other."""
    if np.array_equal(take, ragged.length):
        return ragged.values
    shift = ragged.start - (np.cumsum(take) - take)
    if len(np.unique(ragged.length)) == 1:
        width = int(ragged.length[0])
        return np.asarray(ragged.values.reshape(-1, width)[np.arange(width) < take[:, None]])
    packed: NDArray[Any] = ragged.values[np.arange(int(take.sum())) + np.repeat(shift, take)]
    return packed


def small_index(index: NDArray[np.int64]) -> NDArray[np.int32] | NDArray[np.int64]:
    """An index in half the memory, where its numbers allow that."""
    return index.astype(np.int32) if index.max(initial=0) < LARGEST else index
