"""Binary tables of FITS files that nobody vouches for.

Columns are numpy views of the file's bytes, made when they are asked for, and every extent is compared with the bytes
that exist before it is touched. What an array becomes is bounded too: a column of one-byte numbers grows eightfold, and
a hundred rows may point at the same bytes of the heap.

Source: FITS standard 4.0, section 7.3 (binary tables, variable arrays in the heap).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import FormatError
from xrayflow.ogip.header import Header, Value, table_name, unit_size

LARGEST = 1 << 31
"""No channel number, count of channels or flag is larger."""

MOST_ELEMENTS = 44_000_000
"""Of one column in double precision: 356 MB."""

MOST_STORED = 4 * MOST_ELEMENTS
"""Of one column of floating numbers that stay as stored: 704 MB in single precision. The electron loss continuum of
XRISM's Resolve has 112 million."""

MOST_ROWS = 1 << 22
"""Rows of one table."""

MOST_COLUMNS = 999
"""The standard's own limit."""

MOST_SHARED = 4
"""So many times the bytes of its heap may the rows of a column hold together, or 16 MB: rows may share their bytes."""

_FORM = re.compile(r"\s*(\d{0,12})([LXBIJKAEDCMPQ])([LXBIJKAEDCM]?)")
_WIDTH = {"L": 1, "X": 0, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}
_ELEMENT = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}


@dataclass(frozen=True, eq=False)
class Ragged:
    """A column whose rows may differ in length: row i holds `values[start[i] : start[i] + length[i]]`."""

    values: NDArray[Any]
    start: NDArray[np.int64]
    length: NDArray[np.int64]


@dataclass(frozen=True)
class Column:
    """Where a column lies in a row.

    Args:
        number: From 1, as in TTYPEn.
        form: TFORM.
        kind: Its letter: E, J, A, P, ...
        element: The letter of a variable array's elements; "" of a fixed one.
        repeat: Elements in each row.
        offset: First byte in each row.
        unit: TUNIT.
    """

    number: int
    form: str
    kind: str
    element: str
    repeat: int
    offset: int
    unit: str

    @property
    def width(self) -> int:
        """Bytes in each row."""
        return -(-self.repeat // 8) if self.kind == "X" else self.repeat * _WIDTH[self.kind]


@dataclass(frozen=True, eq=False)
class Table:
    """One binary table of a file.

    Args:
        where: `file[EXTNAME]`, or `file[EXTNAME,2]` of a second one; the beginning of every error line.
        name: EXTNAME in capitals, without surrounding blanks.
        header: The header of the extension.
        primary: The header of the file's first unit.
        columns: By name in capitals.
        rows: Number of rows.
        width: Bytes of each row.
        content: All bytes of the file.
        start: First byte of the rows.
        end: Byte after the heap.
        heap_start: First byte of the heap; None: where the header says, or behind the rows.
    """

    where: str
    name: str
    header: Header
    primary: Header
    columns: dict[str, Column] = field(repr=False)
    rows: int
    width: int
    content: bytes = field(repr=False)
    start: int
    end: int
    heap_start: int | None = None

    @classmethod
    def of(cls, path: Path, header: Header, primary: Header, content: bytes) -> Table:
        """The table that a header describes; all its bytes are known to be there.

        Raises:
            FormatError: What the header says of rows and columns cannot be.
        """
        name, where = table_name(path, header)
        try:
            rows, width, number = header.whole("NAXIS2", 0), header.whole("NAXIS1", 0), header.whole("TFIELDS")
            if number > MOST_COLUMNS or rows > MOST_ROWS or (rows and not width):
                raise ValueError(f"{rows} rows of {width} bytes in {number} columns")
            if rows * width > (size := unit_size(header)):
                raise ValueError(f"{rows} rows of {width} bytes in {size}")
            columns = _columns(header, number)
        except ValueError as error:
            raise FormatError(f"{where}: damaged header ({error!s:.160}); get the file again") from None
        if len(columns) != number:
            listed = ", ".join(columns)
            raise FormatError(f"{where}: two columns of one name among {listed:.200}; give a correct table")
        if (used := sum(column.width for column in columns.values())) != width:
            raise FormatError(f"{where}: columns of {used} bytes in rows of {width}; get the file again")
        return cls(where, name, header, primary, columns, rows, width, content, header.end, header.end + size)

    @property
    def size(self) -> int:
        """Bytes of the rows and the heap."""
        return self.end - self.start

    @property
    def heap(self) -> memoryview:
        """The bytes of the variable arrays."""
        return memoryview(self.content)[self._heap_start : self.end]

    def fail(self, found: str, todo: str) -> NoReturn:
        """Raise the FormatError of this table.

        Args:
            found: What was found.
            todo: What the user can do.

        Raises:
            FormatError: Always.
        """
        raise FormatError(f"{self.where}: {found}; {todo}")

    def __contains__(self, column: str) -> bool:
        return column in self.columns

    def keyword(self, name: str, *, primary: bool = False) -> Value:
        """A header value, None where the keyword is absent or undefined; `primary` looks in the first unit too.

        Raises:
            FormatError: The card has no value that can be read.
        """
        for header in (self.header, self.primary) if primary else (self.header,):
            try:
                value = header.get(name)
            except ValueError:
                self.fail(f"the card of {name} cannot be read", "correct the header")
            if value is not None:
                return value
        return None

    def text(self, name: str, *, primary: bool = False) -> str:
        """A header value as text without surrounding blanks, '' where it is absent."""
        value = self.keyword(name, primary=primary)
        return "" if value is None else str(value).strip()

    def number(self, name: str) -> float | None:
        """A header value as a finite number, None where it is absent; strings such as '0' count as numbers.

        Raises:
            FormatError: The value is not a finite number.
        """
        value = self.keyword(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            return None
        try:
            number = float(value)
        except (ValueError, OverflowError):
            self.fail(f"{name} = {value!r:.60} is not a number", "correct the header")
        if not np.isfinite(number):
            self.fail(f"{name} = {value!r:.60} is not finite", "correct the header")
        return number

    def first_legal(self, column: str) -> int | None:
        """TLMIN of a column, None where the header has none."""
        keyword = f"TLMIN{self.columns[column].number}"
        number = self.number(keyword)
        if number is not None and abs(number) > LARGEST:
            self.fail(f"{keyword} = {number:g} is no channel number", "correct the header")
        return None if number is None else round(number)

    def column(self, name: str) -> NDArray[Any]:
        """A column of fixed width, scaled, native: int64 or float64, (row,) or (row, element).

        Raises:
            FormatError: The column is absent, variable, too large, or holds no numbers.
        """
        if name not in self.columns:
            self.fail(f"no column {name} among {', '.join(self.columns):.400}", "give a complete OGIP file")
        if self.columns[name].element:
            self.fail(f"column {name} is a variable array", "give a file with one value per channel")
        return self._scaled(name, self._raw(name, self.columns[name].kind))

    def words(self, name: str, row: int) -> str | None:
        """The text of one row, without surrounding blanks; None where there is no such column of text."""
        if name not in self.columns or self.columns[name].kind != "A" or not self.columns[name].width:
            return None
        column = self.columns[name]
        start = self.start + row * self.width + column.offset
        text = self.content[start : start + column.width].decode("latin-1")
        return "".join(letter if letter.isprintable() else "?" for letter in text.partition("\0")[0]).strip()

    def lengths(self, name: str) -> NDArray[np.int64]:
        """Number of elements of each row of a column; a variable one says it, a fixed one has the same in all."""
        column = self.columns[name]
        if not column.element:
            return np.full(self.rows, column.repeat, dtype=np.int64)
        length: NDArray[np.int64] = self._descriptors(column)[:, 0].astype(np.int64)
        return length

    def cell(self, name: str, row: int) -> NDArray[Any]:
        """The numbers of one row of a column, fixed or variable; the others are not looked at.

        Raises:
            FormatError: As `ragged`.
        """
        heap = self._heap_start if self.columns[name].element else None
        return replace(self, rows=1, start=self.start + row * self.width, heap_start=heap).ragged(name).values

    @property
    def _heap_start(self) -> int:
        """First byte of the heap in the file."""
        if self.heap_start is not None:
            return self.heap_start
        try:
            return self.start + self.header.whole("THEAP", self.rows * self.width)
        except ValueError as error:
            self.fail(f"damaged header ({error!s:.160})", "get the file again")

    def ragged(self, name: str, *, as_stored: bool = False, in_place: bool = False) -> Ragged:
        """A column that is scalar, fixed or variable, all seen as rows of different lengths.

        Args:
            name: Of the column.
            as_stored: Floating numbers that nothing scales stay in the file's precision and byte order.
            in_place: So they do, and where the heap lets them they stay where they are: `values` holds other numbers
                between those of the rows.

        Raises:
            FormatError: The column is absent, too large, or a row points outside the file's heap.
        """
        column = self.columns.get(name)
        if column is None or not column.element:
            if column is not None and (as_stored or in_place):
                most = MOST_STORED if column.kind in "ED" else MOST_ELEMENTS
                fixed = self._scaled(name, self._raw(name, column.kind, most), as_stored=True)
            else:
                fixed = self.column(name)
            width = fixed.size // max(self.rows, 1)
            length = np.full(self.rows, width, dtype=np.int64)
            return Ragged(fixed.reshape(-1), np.arange(self.rows, dtype=np.int64) * width, length)
        if column.repeat == 0:
            none = np.zeros(self.rows, dtype=np.int64)
            return Ragged(np.empty(0), none, none)
        if column.element not in _ELEMENT:
            self.fail(f"column {name} of format {column.form} holds no numbers", "give a numeric column")
        element, heap = np.dtype(_ELEMENT[column.element]), self.heap
        pairs = self._descriptors(column)
        length, offset = pairs[:, 0].astype(np.int64), pairs[:, 1].astype(np.int64)
        inside = (length >= 0) & (offset >= 0) & (length <= len(heap)) & (offset <= len(heap))
        if not np.all(inside) or np.any((offset + length * element.itemsize > len(heap)) & (length > 0)):
            self.fail(f"column {name} points outside the file's heap of {len(heap)} bytes", "get the file again")
        total = int(length.sum())
        most = MOST_STORED if (as_stored or in_place) and element.kind == "f" else MOST_ELEMENTS
        if total > most or total * element.itemsize > max(MOST_SHARED * len(heap), 16 << 20):
            self.fail(f"column {name} has {total} elements in a heap of {len(heap)} bytes", "give a smaller file")
        if in_place and (shared := np.unique(offset[length > 0] % element.itemsize)).size == 1:
            first = int(shared[0])
            whole = np.frombuffer(heap, element, (len(heap) - first) // element.itemsize, first)
            if (raw := self._scaled(name, whole[:0], as_stored=True)).dtype == whole.dtype:
                return Ragged(whole, np.where(length > 0, offset - first, 0) // raw.itemsize, length)
        values = _joined(heap, element, length[length > 0], offset[length > 0])
        return Ragged(self._scaled(name, values, as_stored=as_stored or in_place), np.cumsum(length) - length, length)

    def _descriptors(self, column: Column) -> NDArray[Any]:
        """(row, 2) number of elements and first byte in the heap."""
        if column.repeat == 0:
            return np.zeros((self.rows, 2), dtype=np.int64)
        return self._view(column, ">i4" if column.kind == "P" else ">i8", 2)

    def is_single(self, name: str) -> bool:
        """Whether a column holds numbers in single precision."""
        column = self.columns[name]
        return (column.element or column.kind) == "E"

    def _raw(self, name: str, kind: str, most: int | None = None) -> NDArray[Any]:
        """The stored numbers of a column of fixed width, `MOST_ELEMENTS` at most unless `most` says otherwise."""
        column, most = self.columns[name], MOST_ELEMENTS if most is None else most
        if kind not in _ELEMENT:
            self.fail(f"column {name} of format {column.form} holds no numbers", "give a numeric column")
        if self.rows * column.repeat > most:
            self.fail(f"column {name} has {self.rows * column.repeat} elements", f"the limit is {most}")
        found = self._view(column, _ELEMENT[kind], column.repeat)
        return found[:, 0] if column.repeat == 1 else found

    def _view(self, column: Column, element: str, repeat: int) -> NDArray[Any]:
        """(row, repeat) of a column's bytes."""
        kind = np.dtype(element)
        if not self.rows or not repeat:
            return np.empty((self.rows, repeat if self.rows else 1), kind)
        place = (self.width, kind.itemsize)
        return np.ndarray((self.rows, repeat), kind, self.content, self.start + column.offset, place)

    def _scaled(self, name: str, raw: NDArray[Any], *, as_stored: bool = False) -> NDArray[Any]:
        """Stored values to physical ones: TSCAL, TZERO, TNULL."""
        number = self.columns[name].number
        scale, zero, null = (self.number(f"{keyword}{number}") for keyword in ("TSCAL", "TZERO", "TNULL"))
        integer = raw.dtype.kind in "iu"
        plain = integer and scale in (None, 1) and float(zero or 0).is_integer() and abs(zero or 0) < LARGEST**2
        if not plain and raw.dtype.kind == "f" and scale in (None, 1) and not zero:
            return raw if as_stored else _double(raw)
        values: NDArray[Any] = raw.astype(np.int64) if plain else _double(raw)
        if null is not None and integer and np.any(raw == null):
            values = np.where(raw == null, np.nan, values)
        with np.errstate(over="ignore", invalid="ignore"):
            if scale not in (None, 1):
                values = values * scale
            if zero:
                values = values + (int(zero) if plain else zero)
        return values


def _joined(
    heap: memoryview, element: np.dtype[Any], length: NDArray[np.int64], offset: NDArray[np.int64]
) -> NDArray[Any]:
    """The elements of rows that are not empty, one after the other: a view of the heap where they are so there."""
    if np.array_equal(offset[1:], offset[:-1] + length[:-1] * element.itemsize):
        return np.frombuffer(heap, element, int(length.sum()), int(offset[0]) if offset.size else 0)
    # a view per row (thousands), not per element (millions): heaps interleave columns of different alignment
    pairs = zip(length.tolist(), offset.tolist(), strict=True)
    return np.concatenate([np.frombuffer(heap, element, count, start) for count, start in pairs])


def _double(raw: NDArray[Any]) -> NDArray[np.float64]:
    """In double precision; a signalling NaN becomes a quiet one without a word."""
    with np.errstate(invalid="ignore"):
        return raw.astype(np.float64)


def _columns(header: Header, number: int) -> dict[str, Column]:
    """The columns of a table by their names; fewer than `number` where two have one name.

    Raises:
        ValueError: A name or a format that is none.
    """
    columns: dict[str, Column] = {}
    offset = 0
    for at in range(1, number + 1):
        name, form, unit = header.get(f"TTYPE{at}"), header.get(f"TFORM{at}"), header.cards.get(f"TUNIT{at}")
        match = _FORM.match(form.upper()) if isinstance(form, str) else None
        if match is None:
            raise ValueError(f"TFORM{at} = {form!r:.40}")
        if name is not None and not isinstance(name, str):
            raise ValueError(f"TTYPE{at} = {name!r:.40}")
        repeat, kind = int(match[1] or 1), match[2]
        element = match[3] if kind in "PQ" else ""
        if kind in "PQ" and (not element or repeat > 1):
            raise ValueError(f"TFORM{at} = {form!r:.40}")
        # a unit whose card cannot be read is none: nobody may need that column
        said = _unit(header, at) if unit is not None else ""
        column = Column(at, str(form).strip(), kind, element, repeat, offset, said)
        # upper case and no surrounding blanks: FITS column names do not distinguish case
        columns[(name or f"COL{at}").strip().upper()] = column
        offset += column.width
    return columns


def _unit(header: Header, number: int) -> str:
    try:
        unit = header.get(f"TUNIT{number}")
    except ValueError:
        return ""
    return unit.strip() if isinstance(unit, str) else ""
