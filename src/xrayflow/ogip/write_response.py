"""Write redistribution matrices and effective areas as OGIP files, which XSPEC and this package read.

A matrix is written as variable-length rows of groups without zeros between them, in single precision where that holds
every number exactly, else in double: what is written is what is read. A file appears whole or not at all, and its bytes
depend on the arguments alone.

Source: OGIP Calibration Memo CAL/GEN/92-002 (George et al. 2007), extensions MATRIX, SPECRESP MATRIX, EBOUNDS,
SPECRESP; FITS standard 4.0, section 7.3.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xrayflow.errors import FormatError
from xrayflow.files import write_file
from xrayflow.ogip.arf import ARF
from xrayflow.ogip.header import BLOCK, CARD
from xrayflow.ogip.packed import PackedMatrix
from xrayflow.ogip.rmf import RMF

LONGEST = 68
"""Characters of a text in one card."""


@dataclass(frozen=True, eq=False)
class _Column:
    """A column to be written.

    Args:
        name, form, unit: TTYPE, TFORM, TUNIT.
        values: (row,), or the descriptors (row, 2) of a variable array; big-endian.
    """

    name: str
    form: str
    unit: str
    values: NDArray[Any]


def write_rmf(path: str | Path, rmf: RMF, telescope: str = "UNKNOWN", instrument: str = "UNKNOWN") -> Path:
    """Write a redistribution matrix; an existing file is replaced.

    Args:
        path: The file; packed where it ends in `.gz`.
        rmf: What is written; `SPECRESP MATRIX` where it includes the area.
        telescope: TELESCOP.
        instrument: INSTRUME.

    Returns:
        The path.

    Raises:
        FormatError: Text that FITS cannot hold, or a matrix that is too large for one file.
        FileError: The file cannot be written.
    """
    path = Path(path)
    if rmf.tails or isinstance(rmf.matrix, PackedMatrix):
        raise FormatError(f"{path}[MATRIX]: {rmf.elements} elements are too many for one file; write fewer energies")
    matrix = csr_array(rmf.matrix)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    first, count, groups = _groups(matrix)
    begin = np.concatenate([[0], np.cumsum(groups)])[:-1]
    numbers = ((first + int(rmf.channel[0])).astype(">i4"), count.astype(">i4"), _exact(matrix.data))
    heap = [array.tobytes() for array in numbers]
    if sum(len(one) for one in heap) >= 1 << 31:
        raise FormatError(f"{path}[MATRIX]: {matrix.nnz} elements are too many for one file; write fewer energies")
    start = (0, len(heap[0]), len(heap[0]) + len(heap[1]))
    columns = [
        _number("ENERG_LO", rmf.energy_edges[:-1], "keV"),
        _number("ENERG_HI", rmf.energy_edges[1:], "keV"),
        _Column("N_GRP", "J", "", groups.astype(">i4")),
        _variable("F_CHAN", "J", groups, start[0] + 4 * begin),
        _variable("N_CHAN", "J", groups, start[1] + 4 * begin),
        _variable(
            "MATRIX",
            "E" if numbers[2].dtype.itemsize == 4 else "D",
            np.diff(matrix.indptr),
            start[2] + numbers[2].dtype.itemsize * matrix.indptr[:-1].astype(np.int64),
        ),
    ]
    channel = int(rmf.channel[0])
    named: dict[str, str | int] = {
        "TELESCOP": telescope,
        "INSTRUME": instrument,
        "CHANTYPE": "PI",
        "DETCHANS": len(rmf.channel),
    }
    kind = "SPECRESP MATRIX" if rmf.includes_area else "MATRIX"
    last = channel + len(rmf.channel) - 1
    header: dict[str, str | int] = {"HDUCLAS1": "RESPONSE", "HDUCLAS2": "RSP_MATRIX", "HDUVERS": "1.3.0"}
    header |= {
        "TLMIN4": channel,
        "TLMAX4": last,
        "HDUCLAS3": "FULL" if rmf.includes_area else "REDIST",
        "NUMGRP": len(first),
        "NUMELT": int(matrix.nnz),
    }
    ebounds = [
        _Column("CHANNEL", "J", "", rmf.channel.astype(">i4")),
        _number("E_MIN", rmf.e_min, "keV"),
        _number("E_MAX", rmf.e_max, "keV"),
    ]
    about: dict[str, str | int] = {
        "HDUCLAS1": "RESPONSE",
        "HDUCLAS2": "EBOUNDS",
        "HDUVERS": "1.2.0",
        "TLMIN1": channel,
        "TLMAX1": last,
    }
    tables = [
        _table(path, kind, columns, named | header, b"".join(heap)),
        _table(path, "EBOUNDS", ebounds, named | about),
    ]
    return _write(path, tables)


def write_arf(path: str | Path, arf: ARF, telescope: str = "UNKNOWN", instrument: str = "UNKNOWN") -> Path:
    """Write an effective area; an existing file is replaced.

    Args:
        path: The file; packed where it ends in `.gz`.
        arf: What is written.
        telescope: TELESCOP.
        instrument: INSTRUME.

    Returns:
        The path.

    Raises:
        FormatError: Text that FITS cannot hold.
        FileError: The file cannot be written.
    """
    path = Path(path)
    columns = [
        _number("ENERG_LO", arf.energy_edges[:-1], "keV"),
        _number("ENERG_HI", arf.energy_edges[1:], "keV"),
        _number("SPECRESP", arf.area, "cm**2"),
    ]
    header = {"TELESCOP": telescope, "INSTRUME": instrument, "HDUCLAS1": "RESPONSE", "HDUCLAS2": "SPECRESP"}
    return _write(path, [_table(path, "SPECRESP", columns, header | {"HDUVERS": "1.1.0"})])


def _groups(matrix: csr_array) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """First column and number of columns of every stretch of elements, and the number of stretches of each row."""
    index, row_start = matrix.indices.astype(np.int64), matrix.indptr[:-1][np.diff(matrix.indptr) > 0]
    begins = np.ones(len(index), dtype=np.bool_)
    begins[1:] = np.diff(index) != 1
    begins[row_start] = True
    start = np.flatnonzero(begins)
    row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    return index[start], np.diff(np.append(start, len(index))), np.bincount(row[start], minlength=matrix.shape[0])


def _exact(values: NDArray[np.float64]) -> NDArray[Any]:
    """The numbers in single precision where that changes none of them, else in double."""
    with np.errstate(over="ignore", under="ignore"):
        single = values.astype(">f4")
    return single if np.array_equal(single, values) else values.astype(">f8")


def _number(name: str, values: NDArray[np.float64], unit: str) -> _Column:
    exact = _exact(values)
    return _Column(name, "E" if exact.dtype.itemsize == 4 else "D", unit, exact)


def _variable(name: str, element: str, length: NDArray[Any], offset: NDArray[np.int64]) -> _Column:
    longest = int(length.max(initial=0))
    return _Column(name, f"P{element}({longest})", "", np.stack([length, offset], axis=1).astype(">i4"))


def _table(
    path: Path, name: str, columns: Sequence[_Column], keywords: Mapping[str, str | int], heap: bytes = b""
) -> bytes:
    """One binary table with its header."""
    rows = len(columns[0].values)
    raw = [np.ascontiguousarray(column.values).view(np.uint8).reshape(rows, -1) for column in columns]
    data = np.concatenate(raw, axis=1)
    header: dict[str, str | int] = {"XTENSION": "BINTABLE", "BITPIX": 8, "NAXIS": 2, "NAXIS1": data.shape[1]}
    header |= {"NAXIS2": rows, "PCOUNT": len(heap), "GCOUNT": 1, "TFIELDS": len(columns)}
    for number, column in enumerate(columns, 1):
        header |= {f"TTYPE{number}": column.name, f"TFORM{number}": column.form}
        header |= {f"TUNIT{number}": column.unit} if column.unit else {}
    header |= {"EXTNAME": name, "HDUCLASS": "OGIP"}
    content = data.tobytes() + heap
    return _cards(path, name, header | dict(keywords)) + content + bytes(-len(content) % BLOCK)


def _cards(path: Path, name: str, header: Mapping[str, str | int | bool]) -> bytes:
    """A header in its blocks.

    Raises:
        FormatError: A text that does not fit into a card.
    """
    text = ""
    for keyword, value in header.items():
        if isinstance(value, str):
            quoted = value.replace("'", "''")
            if not (value.isascii() and value.isprintable()) or len(quoted) > LONGEST:
                raise FormatError(f"{path}[{name}]: {keyword} = {value!r:.80}; use plain ASCII text in the header")
            shown = f"'{quoted:8}'"
        else:
            shown = f"{'FT'[value] if isinstance(value, bool) else value:>20}"
        text += f"{keyword:8}= {shown}".ljust(CARD)
    text += "END".ljust(CARD)
    return text.encode("ascii").ljust(-(-len(text) // BLOCK) * BLOCK)


def _write(path: Path, tables: Sequence[bytes]) -> Path:
    primary = _cards(path, "PRIMARY", {"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True})
    content = primary + b"".join(tables)
    write_file(path, gzip.compress(content, mtime=0) if path.name.endswith(".gz") else content)
    return path
