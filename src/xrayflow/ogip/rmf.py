"""Redistribution matrices: OGIP RMF and RSP files.

A row of the table is a photon-energy bin. Its elements are stored as groups of neighbouring channels, which
`matrix.read_matrix` unpacks.

Rows that do not sum to 1 are kept as they are: the sum is the chance that a photon is seen at all.

A matrix may be split into parts, one extension each (EXTVER 1, 2, ...): a sharp one on fine energy bins, and one of
long tails on bins that are several of these together (XRISM). The response is their sum, on the edges of all of them:
a row is the chance of any photon of its bin, so it holds for each piece of that bin, and nothing is interpolated. Where
that sum is too large (on XRISM's fine energies the electron loss continuum has two billion elements) the parts on wider
bins stay on these, as `Tail`s.
Extensions that differ in detector or time are no parts but alternatives (Fermi's rsp2), of which `file{2}` takes one.

Source: OGIP Calibration Memo CAL/GEN/92-002 (George et al. 2007; parts: 2020), sections 2.1 and 3, extensions MATRIX
and EBOUNDS; release notes of XSPEC 12.11.0h on responses in parts and `resp.rsp{n}`.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xrayflow.errors import FormatError, XrayflowWarning
from xrayflow.ogip.arf import MOST_KEV, energy_edges, tolerance
from xrayflow.ogip.datasum import warn_of_damage
from xrayflow.ogip.fits import LARGEST, MAX_BYTES, FitsFile, Table, split_choice
from xrayflow.ogip.known import KnownFiles
from xrayflow.ogip.matrix import read_matrix, small_index
from xrayflow.ogip.packed import PackedMatrix
from xrayflow.ogip.pha import MOST_CHANNELS

Part = tuple[NDArray[np.float64], csr_array | PackedMatrix]
"""Energy edges [keV] and matrix of one extension."""

MOST_ELEMENTS = MAX_BYTES // 24
"""Of a sum of matrices: 8 bytes of value and 4 of channel each, and as much again while they are added."""

ONE_OF_MANY = ("TELESCOP", "INSTRUME", "DETNAM", "FILTER", "ORDER", "TG_M", "TSTART", "TSTOP")
"""Extensions that differ in one of these are no parts of one matrix."""

MOST_SEEN = 1.01
"""No detector sees more photons than come in; a hundredth for what a calibration rounds."""


@dataclass(frozen=True, eq=False)
class Tail:
    """A part of a matrix on wider energy bins than the rest.

    Args:
        row: (energy,) which of its rows each energy bin of the whole lies in; -1 outside.
        matrix: (row, channel).
    """

    row: NDArray[np.int64]
    matrix: PackedMatrix

    def of_rows(self) -> csr_array:
        """(energy, row): 1 where an energy bin lies in a row."""
        inside = np.flatnonzero(self.row >= 0)
        shape = (len(self.row), self.matrix.shape[0])
        return csr_array((np.ones(len(inside)), (inside, self.row[inside])), shape=shape)


@dataclass(frozen=True, eq=False)
class RMF:
    """A redistribution matrix and the nominal energies of its channels.

    Args:
        path: The file.
        energy_edges: Increasing photon-energy edges [keV]; the lowest may be 0.
        matrix: Chance that a photon of an energy bin lands in a channel, shape (energy, channel); times the
            effective area [cm^2] where `includes_area`. Without the `tails`, which most files have not.
        channel: Channel numbers of the columns, in the order of EBOUNDS.
        e_min: Lower nominal energy of each channel [keV].
        e_max: Upper nominal energy of each channel [keV].
        includes_area: The effective area is folded in (SPECRESP MATRIX, or HDUCLAS3 = FULL).
        sha256: Of the file's bytes.
        year: In which the matrix was made, by its DATE; None where that says none.
        number: Which of the matrices of the file it is, from 1; None: all of them.
        tails: Parts on wider energy bins, which are too large to be summed with the others.
    """

    path: Path
    energy_edges: NDArray[np.float64] = field(repr=False)
    matrix: csr_array | PackedMatrix = field(repr=False)
    channel: NDArray[np.int64] = field(repr=False)
    e_min: NDArray[np.float64] = field(repr=False)
    e_max: NDArray[np.float64] = field(repr=False)
    includes_area: bool
    sha256: str
    year: int | None = None
    number: int | None = None
    tails: tuple[Tail, ...] = field(default=(), repr=False)

    @property
    def key(self) -> str:
        """What tells it from any other matrix: a file may hold several."""
        return self.sha256 if self.number is None else f"{self.sha256}{{{self.number}}}"

    @property
    def size(self) -> int:
        """Bytes in memory, roughly."""
        return 12 * self.elements

    @property
    def elements(self) -> int:
        """Of all parts."""
        return int(self.matrix.nnz) + sum(tail.matrix.nnz for tail in self.tails)

    def seen(self, photons: NDArray[np.float64]) -> NDArray[np.float64]:
        """Photons of each energy bin -> what falls into each channel.

        Args:
            photons: (*batch, energy); times the area [cm^2] unless `includes_area`.
        """
        found = np.asarray(photons @ self.matrix)
        for tail in self.tails:
            found = found + np.asarray(photons @ tail.of_rows()) @ tail.matrix
        return found

    def row_sums(self) -> NDArray[np.float64]:
        """(energy,) the chance that a photon is seen at all; times the area where `includes_area`."""
        found = np.asarray(self.matrix.sum(axis=1)).ravel()
        for tail in self.tails:
            found = found + tail.of_rows() @ tail.matrix.sum(axis=1)
        return found


_KNOWN = KnownFiles[RMF]()


def read_rmf(path: str | Path, number: int | None = None) -> RMF:
    """Read a redistribution matrix, whatever the order of its extensions and the form of its columns.

    A response that comes again, byte for byte, is not parsed again.

    Args:
        path: The file; `file{2}` takes the second of its matrices alone, as in XSPEC.
        number: The same choice, from 1; None: all its matrices, which are summed.

    Returns:
        The matrix.

    Raises:
        FileError: The file is missing, not FITS, or cut short.
        FormatError: An extension or column is missing, its values contradict each other, or several matrices are no
            parts of one.
    """
    path, chosen = split_choice(path)
    number = chosen if number is None else number
    return _KNOWN.read(path, lambda file: _parsed(file, number), number)


def _parsed(file: FitsFile, number: int | None) -> RMF:
    """The matrix of a file."""
    tables = matrix_tables(file, number)
    ebounds = _ebounds_table(file, several=len(tables) > 1)
    for table in (*tables, ebounds):
        warn_of_damage(table)
    channel, e_min, e_max = _channels(ebounds, tables[0])
    wide = _stay_packed(tables)
    parts = [_part(table, len(channel), packed) for table, packed in zip(tables, wide, strict=True)]
    edges, matrix, tails = (*parts[0], ()) if len(parts) == 1 else _sum(file.path, parts)
    includes_area = _includes_area(tables[0])
    year = _year(tables[0].text("DATE"))
    rmf = RMF(file.path, edges, matrix, channel, e_min, e_max, includes_area, file.sha256, year, number, tails)
    if len(parts) > 1 and not includes_area:
        _check_sum(rmf, [part for _, part in parts])
    return rmf


def _year(date: str) -> int | None:
    """Of YYYY-MM-DD; the headers of the last century have DD/MM/YY."""
    return int(date[:4]) if date[:4].isdecimal() and date[4:5] == "-" else None


def matrix_tables(file: FitsFile, number: int | None) -> list[Table]:
    """The parts of the matrix, or the chosen one."""
    named = [table for table in file.tables if table.name in {"MATRIX", "SPECRESP MATRIX"}]
    named = named or [table for table in file.tables if "MATRIX" in table]
    if not named:
        file.missing("MATRIX", "an RMF")
    if number is not None:
        if not 1 <= number <= len(named):
            raise FormatError(
                f"{file.path}: matrix {number} was asked for, it holds {len(named)}; choose one with "
                f"{file.path.name}{{1}} to {{{len(named)}}}"
            )
        named = named[number - 1 : number]
    for table in named:
        _check_columns(table)
    said = {keyword: [table.text(keyword) or "''" for table in named] for keyword in ONE_OF_MANY}
    said["area"] = ["included" if _includes_area(table) else "not included" for table in named]
    for keyword, words in said.items():
        if len(set(words)) > 1:
            raise FormatError(
                f"{file.path}: its {len(named)} matrices differ in {keyword} ({', '.join(dict.fromkeys(words))[:80]}), "
                f"so they are no parts of one; choose one with {file.path.name}{{1}} to {{{len(named)}}}"
            )
    return named


def _includes_area(table: Table) -> bool:
    kind = table.text("HDUCLAS3").upper()
    # XMM's optical monitor has SPECTRESP
    return kind == "FULL" or (table.name.endswith("RESP MATRIX") and kind not in {"REDIST", "DETECTOR"})


def _check_columns(table: Table) -> None:
    needed = {"ENERG_LO", "ENERG_HI", "N_GRP", "F_CHAN", "N_CHAN", "MATRIX"}
    if lacking := needed - table.columns.keys():
        table.fail(f"no column {', '.join(sorted(lacking))}", "give a complete RMF")
    if table.rows == 0:
        table.fail("no rows", "give a complete RMF")
    if table.rows > MOST_CHANNELS:
        table.fail(f"{table.rows} energies", f"the limit is {MOST_CHANNELS}")


def _stay_packed(tables: Sequence[Table]) -> list[bool]:
    """Which parts stay on their own energies: those on wider ones, where the sum on one grid is too large."""
    finest = max(table.rows for table in tables)
    held = sum(int(table.lengths("MATRIX").sum()) * finest / table.rows for table in tables)
    return [len(tables) > 1 and held > MOST_ELEMENTS and table.rows < finest for table in tables]


def _part(table: Table, channels: int, packed: bool) -> Part:
    """Edges and matrix of one extension, in the order of increasing energy."""
    matrix = read_matrix(table, channels, packed=packed)
    edges, order = energy_edges(table, np.diff(matrix.indptr) > 0)
    if np.array_equal(order, np.arange(table.rows)):
        return edges, matrix
    return edges, matrix.reordered(order) if isinstance(matrix, PackedMatrix) else matrix[order]


def _sum(path: Path, parts: Sequence[Part]) -> tuple[NDArray[np.float64], csr_array | PackedMatrix, tuple[Tail, ...]]:
    """The sum of all parts on the edges of all, which is exact; edges that differ in their last digits are one."""
    edges = max((own for own, _ in parts), key=len)
    for own, _ in parts:
        nearest = _nearest(edges, own)
        apart = np.abs(edges[nearest] - own) > np.minimum(tolerance(edges)[nearest], tolerance(own))
        edges = np.union1d(edges, own[apart])
    tails, sharp, held = [], [], 0
    for own, matrix in parts:
        row = np.searchsorted(_nearest(edges, own), np.arange(len(edges) - 1), side="right") - 1
        row = np.where(row < matrix.shape[0], row, -1)
        whole = np.array_equal(row, np.arange(matrix.shape[0]))
        if isinstance(matrix, PackedMatrix) and not whole:
            tails.append(Tail(row, matrix))
        else:
            sharp.append((row, matrix, whole))
            held += int(np.diff(matrix.indptr)[row[row >= 0]].sum())
    if len(sharp) == 1 and sharp[0][2]:
        return edges, sharp[0][1], tuple(tails)
    if held > MOST_ELEMENTS:
        raise FormatError(
            f"{path}: its {len(parts)} matrices on one energy grid have {held:.2g} elements, the limit is "
            f"{MOST_ELEMENTS:.2g}; make a response with fewer channels or energies, or choose one with "
            f"{path.name}{{1}} to {{{len(parts)}}}"
        )
    total = csr_array((len(edges) - 1, parts[0][1].shape[1]), dtype=np.float64)
    for row, matrix, whole in sharp:
        total = total + (matrix if whole else _take(matrix, row, row >= 0))
    total.sort_indices()  # a product of sparse matrices leaves channels in any order
    return edges, total, tuple(tails)


def _nearest(edges: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """Index of the edge nearest to each wanted one."""
    return np.searchsorted((edges[1:] + edges[:-1]) / 2, wanted).astype(np.int64)


def _take(matrix: csr_array, row: NDArray[np.int64], inside: NDArray[np.bool_]) -> csr_array:
    """The rows of a matrix in another order, some of them often; empty where `inside` is false."""
    end = np.concatenate([[0], np.cumsum(inside)])
    chosen = csr_array(
        (np.ones(end[-1]), small_index(row[inside]), small_index(end)), shape=(len(row), matrix.shape[0])
    )
    return chosen @ matrix


def _check_sum(rmf: RMF, parts: Sequence[csr_array | PackedMatrix]) -> None:
    """Warn of a sum that sees more photons than come in, though none of its parts does: one may be a copy."""
    path, seen = rmf.path, float(rmf.row_sums().max())
    if seen > MOST_SEEN and all(float(part.sum(axis=1).max()) <= MOST_SEEN for part in parts):
        warnings.warn(
            f"{path}: its {len(parts)} matrices sum to {seen:.3g} of the photons; if they are no parts of one, choose "
            f"one with {path.name}{{1}} to {{{len(parts)}}}",
            XrayflowWarning,
            stacklevel=3,
        )


def _ebounds_table(file: FitsFile, *, several: bool) -> Table:
    named = [table for table in file.tables if table.name == "EBOUNDS" or {"E_MIN", "E_MAX"} <= table.columns.keys()]
    if not named:
        file.missing("EBOUNDS", "an RMF")
    for other in named[1:] if several else ():
        if any(not np.array_equal(named[0].column(name), other.column(name)) for name in ("E_MIN", "E_MAX")):
            other.fail(
                f"other channels than in {named[0].where}, so its matrices are no parts of one",
                f"choose one with {file.path.name}{{1}}",
            )
    return named[0]


def _channels(table: Table, matrix: Table) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Numbers and nominal energies [keV] of the channels, in the order of the rows."""
    if table.rows > MOST_CHANNELS:
        table.fail(f"{table.rows} channels", f"the limit is {MOST_CHANNELS}")
    for name in ("E_MIN", "E_MAX"):
        if name in table and (unit := str(table.columns[name].unit or "keV").strip()).lower() != "kev":
            table.fail(f"{name} is in {unit}", "give energies in keV")
    e_min, e_max = (table.column(name).reshape(-1).astype(np.float64) for name in ("E_MIN", "E_MAX"))
    if not len(e_min) == len(e_max) == table.rows:
        table.fail(f"E_MIN and E_MAX have {len(e_min)} and {len(e_max)} values in {table.rows} rows", "rebuild the RMF")
    if len(e_min) == 0 or not (np.all(np.isfinite(e_min)) and np.all(np.isfinite(e_max)) and np.all(e_min <= e_max)):
        table.fail("E_MIN and E_MAX are no increasing pairs of numbers", "rebuild the RMF")
    if max(abs(e_min).max(), abs(e_max).max()) > MOST_KEV:
        table.fail(f"energies of up to {max(abs(e_min).max(), abs(e_max).max()):g} keV", "rebuild the RMF")
    if len(e_min) > 1 and np.any(np.diff(e_min) * (e_min[-1] - e_min[0]) <= 0.0):
        table.fail("E_MIN is not in order", "sort EBOUNDS by channel")
    values = table.column("CHANNEL").reshape(-1)
    if len(values) != len(e_min):
        table.fail(f"CHANNEL has {len(values)} values in {len(e_min)} rows", "rebuild the RMF")
    # some files store the numbers as floats: the row order counts, so the numbers must be consecutive
    if np.all(np.abs(values) <= LARGEST) and np.all(np.diff(values) == 1) and values[0] == np.floor(values[0]):
        return values.astype(np.int64), e_min, e_max
    return _mend_channels(table, matrix, values.astype(np.float64)), e_min, e_max


def _mend_channels(table: Table, matrix: Table, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Channel numbers of rows that are in order of energy though their numbers are damaged.

    Raises:
        FormatError: It is not sure that all rows are there and in order.
    """
    rows = len(values)
    sane = np.isfinite(values) & (np.abs(values) <= LARGEST) & (values == np.floor(values))
    start, votes = np.unique((values - np.arange(rows))[sane], return_counts=True)
    most = int(votes.max(initial=0))
    complete = (table.number("DETCHANS") or matrix.number("DETCHANS")) == rows
    # whole numbers, each once: rows in another order where they are all there, rows that are missing where they are not
    each_once = bool(np.all(sane)) and len(np.unique(values)) == rows
    moved = each_once and (np.ptp(values) == rows - 1 or not complete)
    if moved or not (complete or 2 * most > rows):
        table.fail("CHANNEL is not consecutive", "sort EBOUNDS by channel")
    legal = table.first_legal("CHANNEL")
    if legal is None:
        legal = matrix.first_legal("F_CHAN")
    first = int(start[votes.argmax()]) if 2 * most > rows else 1 if legal is None else legal
    warnings.warn(
        f"{table.where}: CHANNEL is damaged in {rows - int(np.sum(values == first + np.arange(rows)))} of {rows} rows; "
        f"the rows are in order of energy and are numbered from {first}",
        XrayflowWarning,
        stacklevel=4,
    )
    return first + np.arange(rows, dtype=np.int64)
