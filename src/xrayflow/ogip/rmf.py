"""Redistribution matrices: OGIP RMF and RSP files.

A row of the table is a photon-energy bin. Its elements are stored as groups of neighbouring channels: group g covers
N_CHAN[g] channels from F_CHAN[g], counted from TLMIN of F_CHAN (1 where the header has none), and the groups' elements
follow each other in MATRIX. The whole table is unpacked at once: every stored element gets its channel from one
running index plus an offset per group, so no Python loop sees an element.

Rows that do not sum to 1 are kept as they are: the sum is the chance that a photon is seen at all.

Source: OGIP Calibration Memo CAL/GEN/92-002 (George et al. 2007), section 3, extensions MATRIX and EBOUNDS.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xrayflow.errors import XrayflowWarning
from xrayflow.ogip.arf import energy_edges
from xrayflow.ogip.fits import LARGEST, FitsFile, Ragged, Table, read_fits


@dataclass(frozen=True, eq=False)
class RMF:
    """A redistribution matrix and the nominal energies of its channels.

    Args:
        path: The file.
        energy_edges: Increasing photon-energy edges [keV]; the lowest may be 0.
        matrix: Chance that a photon of an energy bin lands in a channel, shape (energy, channel); times the
            effective area [cm^2] where `includes_area`.
        channel: Channel numbers of the columns, in the order of EBOUNDS.
        e_min: Lower nominal energy of each channel [keV].
        e_max: Upper nominal energy of each channel [keV].
        includes_area: The effective area is folded in (SPECRESP MATRIX, or HDUCLAS3 = FULL).
        sha256: Of the file's bytes.
    """

    path: Path
    energy_edges: NDArray[np.float64] = field(repr=False)
    matrix: csr_array = field(repr=False)
    channel: NDArray[np.int64] = field(repr=False)
    e_min: NDArray[np.float64] = field(repr=False)
    e_max: NDArray[np.float64] = field(repr=False)
    includes_area: bool
    sha256: str


def read_rmf(path: str | Path) -> RMF:
    """Read a redistribution matrix, whatever the order of its extensions and the form of its columns.

    Args:
        path: The file.

    Returns:
        The matrix.

    Raises:
        FileError: The file is missing, not FITS, or cut short.
        FormatError: An extension or column is missing, or its values contradict each other.
    """
    file = read_fits(path)
    table, ebounds = _matrix_table(file), _ebounds_table(file)
    channel, e_min, e_max = _channels(ebounds)
    matrix = _matrix(table, len(channel))
    edges, order = energy_edges(table, np.diff(matrix.indptr) > 0)
    if not np.array_equal(order, np.arange(table.rows)):
        matrix = matrix[order]
    kind = table.text("HDUCLAS3").upper()
    includes_area = kind == "FULL" or (table.name == "SPECRESP MATRIX" and kind not in {"REDIST", "DETECTOR"})
    return RMF(file.path, edges, matrix, channel, e_min, e_max, includes_area, file.sha256)


def _matrix_table(file: FitsFile) -> Table:
    needed = {"ENERG_LO", "ENERG_HI", "N_GRP", "F_CHAN", "N_CHAN", "MATRIX"}
    named = [table for table in file.tables if table.name in {"MATRIX", "SPECRESP MATRIX"} or "MATRIX" in table]
    if not named:
        file.missing("MATRIX", "an RMF")
    table = named[0]
    if lacking := needed - table.columns.keys():
        table.fail(f"no column {', '.join(sorted(lacking))}", "give a complete RMF")
    if table.rows == 0:
        table.fail("no rows", "give a complete RMF")
    return table


def _ebounds_table(file: FitsFile) -> Table:
    named = [table for table in file.tables if table.name == "EBOUNDS" or {"E_MIN", "E_MAX"} <= table.columns.keys()]
    if not named:
        file.missing("EBOUNDS", "an RMF")
    return named[0]


def _channels(table: Table) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Numbers and nominal energies [keV] of the channels, in the order of the rows."""
    for name in ("E_MIN", "E_MAX"):
        if name in table and (unit := str(table.columns[name].unit or "keV").strip()).lower() != "kev":
            table.fail(f"{name} is in {unit}", "give energies in keV")
    e_min, e_max = (table.column(name).reshape(-1).astype(np.float64) for name in ("E_MIN", "E_MAX"))
    if len(e_min) == 0 or not (np.all(np.isfinite(e_min)) and np.all(np.isfinite(e_max)) and np.all(e_min <= e_max)):
        table.fail("E_MIN and E_MAX are no increasing pairs of numbers", "rebuild the RMF")
    if len(e_min) > 1 and np.any(np.diff(e_min) * (e_min[-1] - e_min[0]) <= 0.0):
        table.fail("E_MIN is not in order", "sort EBOUNDS by channel")
    values = table.column("CHANNEL").reshape(-1)
    # some files store the numbers as floats: the row order counts, so the numbers must be consecutive
    if not np.all(np.abs(values) <= LARGEST) or np.any(np.diff(values) != 1) or values[0] != np.floor(values[0]):
        table.fail("CHANNEL is not consecutive", "sort EBOUNDS by channel")
    return values.astype(np.int64), e_min, e_max


def _matrix(table: Table, channels: int) -> csr_array:
    """Unpack the groups of all rows at once into a sparse matrix (energy, channel)."""
    first_legal = table.first_legal("F_CHAN")
    first = 1 if first_legal is None else first_legal
    group_row, begin, count = _groups(table)
    begin = begin - first
    if np.any(begin[count > 0] < 0):
        table.fail(f"F_CHAN begins below its first channel {first}", "write TLMIN of F_CHAN into the header")
    elements = table.ragged("MATRIX")
    used = np.zeros(table.rows, dtype=np.int64)
    np.add.at(used, group_row, count)
    if np.any(used > elements.length):
        row = int(np.argmax(used > elements.length))
        table.fail(
            f"row {row + 1} has {elements.length[row]} elements, its groups cover {used[row]} channels", "get it again"
        )
    values = _pack(elements, used).astype(np.float64)
    if not np.all(np.isfinite(values)):
        table.fail(f"{np.sum(~np.isfinite(values))} elements of MATRIX are not numbers", "rebuild the RMF")
    offset = begin - (np.cumsum(count) - count)
    column = np.arange(len(values), dtype=np.int64) + np.repeat(offset, count)
    row_end = np.concatenate([[0], np.cumsum(used)])
    matrix = csr_array((values, column, row_end), shape=(table.rows, max(channels, int(column.max(initial=-1)) + 1)))
    matrix.eliminate_zeros()
    if matrix.shape[1] > channels:
        lost = matrix[:, channels:]
        if lost.nnz:
            warnings.warn(
                f"{table.where}: {lost.nnz} elements of up to {np.abs(lost.data).max():.2g} lie beyond the last channel"
                " of EBOUNDS; they are left out",
                XrayflowWarning,
                stacklevel=4,
            )
        matrix = matrix[:, :channels]
    return matrix


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


def _pack(ragged: Ragged, take: NDArray[np.int64]) -> NDArray[np.float64] | NDArray[np.int64]:
    """The first `take[i]` values of every row i, one after the other."""
    if np.array_equal(take, ragged.length):
        return ragged.values
    shift = ragged.start - (np.cumsum(take) - take)
    packed: NDArray[np.float64] = ragged.values[np.arange(int(take.sum())) + np.repeat(shift, take)]
    return packed
