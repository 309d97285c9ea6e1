"""Tables of FITS files that nobody vouches for: bounded memory, and one line of error that says where.

A file is read once into memory (unpacked when it begins like gzip, whatever its name), hashed, and astropy parses the
headers. Table data are numpy views of those bytes, so nothing is converted before it is asked for, and every extent is
compared with the bytes that exist before it is touched.

Source: FITS standard 4.0, sections 3.3 (blocks), 4.2.1.2 (CONTINUE, read by astropy), 7.3 (binary tables, variable
arrays in the heap).
"""

from __future__ import annotations

import gzip
import hashlib
import re
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from numpy.typing import NDArray

from xrayflow.errors import FileError, FormatError

MAX_BYTES = 1 << 30
"""Largest file, unpacked, that is read [bytes]; it bounds the memory of everything after it."""

LARGEST = 1 << 31
"""No channel number, count of channels or flag is larger."""

_VARIABLE = re.compile(r"^\d*([PQ])([LBIJKED])")
_ELEMENT = {"L": "u1", "B": "u1", "I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
CARD = 80
"""Characters."""

_STRING = re.compile(r"((?:[^']|'')*)' *(?:/.*)?")
"""What follows the first quote of a card whose value is a text: the text, a quote, perhaps a comment."""

_CHOICE = re.compile(r"(.*\S)\s*\{([^{}]*)\}\s*")
"""XSPEC's choice of one spectrum or matrix of a file: file{3}."""

_UNREADABLE = (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, fits.VerifyError)


@dataclass(frozen=True, eq=False)
class Ragged:
    """A column whose rows may differ in length: row i holds `values[start[i] : start[i] + length[i]]`."""

    values: NDArray[Any]
    start: NDArray[np.int64]
    length: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Table:
    """One binary table of a file.

    Args:
        where: `file[EXTNAME]`, or `file[EXTNAME,2]` of a second one; the beginning of every error line.
        name: EXTNAME in capitals, without surrounding blanks.
        header: The header of the extension.
        primary: The header of the file's first unit.
        data: The rows, big-endian, not scaled.
        heap: The bytes of the variable arrays.
    """

    where: str
    name: str
    header: fits.Header
    primary: fits.Header
    data: NDArray[Any] = field(repr=False)
    heap: bytes = field(repr=False)
    columns: dict[str, fits.Column] = field(repr=False)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.data)

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

    def keyword(self, name: str, *, primary: bool = False) -> Any:
        """A header value, None where the keyword is absent or undefined; `primary` looks in the first unit too."""
        for header in (self.header, self.primary) if primary else (self.header,):
            try:
                value = header.get(name)
                if isinstance(value, str):
                    return _unquoted(header.cards[name].image) or value
            except _UNREADABLE:
                self.fail(f"the card of {name} cannot be read", "correct the header")
            if value is not None and not isinstance(value, fits.card.Undefined):
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
        except (TypeError, ValueError):
            self.fail(f"{name} = {value!r} is not a number", "correct the header")
        if not np.isfinite(number):
            self.fail(f"{name} = {value!r} is not finite", "correct the header")
        return number

    def first_legal(self, column: str) -> int | None:
        """TLMIN of a column, None where the header has none."""
        keyword = f"TLMIN{list(self.columns).index(column) + 1}"
        number = self.number(keyword)
        if number is not None and abs(number) > LARGEST:
            self.fail(f"{keyword} = {number:g} is no channel number", "correct the header")
        return None if number is None else round(number)

    def column(self, name: str) -> NDArray[Any]:
        """A column of fixed width, scaled, native: int64 or float64, (row,) or (row, element).

        Raises:
            FormatError: The column is absent, variable, or holds no numbers.
        """
        if name not in self.columns:
            self.fail(f"no column {name} among {', '.join(self.columns)}", "give a complete OGIP file")
        if self._variable(name):
            self.fail(f"column {name} is a variable array", "give a file with one value per channel")
        return self._scaled(name, self.data[name])

    def words(self, name: str, row: int) -> str | None:
        """The text of one row, without surrounding blanks; None where there is no such column of text."""
        if name not in self.columns or self.data[name].dtype.kind != "S":
            return None
        return bytes(self.data[name][row]).decode("latin-1").strip("\0 ")

    def ragged(self, name: str) -> Ragged:
        """A column that is scalar, fixed or variable, all seen as rows of different lengths.

        Raises:
            FormatError: The column is absent, or a row points outside the file's heap.
        """
        variable = self._variable(name) if name in self.columns else None
        if variable is None:
            fixed = self.column(name).reshape(self.rows, -1)
            width = fixed.shape[1]
            length = np.full(self.rows, width, dtype=np.int64)
            return Ragged(fixed.reshape(-1), np.arange(self.rows, dtype=np.int64) * width, length)
        element = np.dtype(_ELEMENT[variable.group(2)])
        descriptor = self.data[name].reshape(self.rows, 2).astype(np.int64)
        length, offset = descriptor[:, 0], descriptor[:, 1]
        inside = (length >= 0) & (offset >= 0) & (length <= len(self.heap)) & (offset <= len(self.heap))
        if not np.all(inside) or np.any((offset + length * element.itemsize > len(self.heap)) & (length > 0)):
            self.fail(f"column {name} points outside the file's heap of {len(self.heap)} bytes", "get the file again")
        if int(length.sum()) * element.itemsize > MAX_BYTES:
            self.fail(f"column {name} has {int(length.sum())} elements", f"the limit is {MAX_BYTES} bytes")
        # a view per row (thousands), not per element (millions): heaps interleave columns of different alignment
        pieces = [
            np.frombuffer(self.heap, element, count, start)
            for count, start in zip(length.tolist(), offset.tolist(), strict=True)
            if count
        ]
        values = np.concatenate(pieces) if pieces else np.empty(0, element)
        return Ragged(self._scaled(name, values), np.cumsum(length) - length, length)

    def is_single(self, name: str) -> bool:
        """Whether a column holds numbers in single precision."""
        variable = self._variable(name)
        kind = self.data[name].dtype if variable is None else np.dtype(_ELEMENT[variable.group(2)])
        return kind.kind == "f" and kind.itemsize == 4

    def _variable(self, name: str) -> re.Match[str] | None:
        return _VARIABLE.match(str(self.columns[name].format).strip())

    def _scaled(self, name: str, raw: NDArray[Any]) -> NDArray[Any]:
        """Stored values to physical ones: TSCAL, TZERO, TNULL."""
        column = self.columns[name]
        if raw.dtype.kind not in "iuf":
            self.fail(f"column {name} of format {column.format} holds no numbers", "give a numeric column")
        scale, zero, null = column.bscale, column.bzero, column.null
        plain = raw.dtype.kind in "iu" and scale in (None, "", 1) and float(zero or 0).is_integer()
        values: NDArray[Any] = raw.astype(np.int64 if plain else np.float64)
        if null not in (None, "") and raw.dtype.kind in "iu" and np.any(raw == null):
            values = np.where(raw == null, np.nan, values)
        if scale not in (None, "", 1):
            values = values * float(scale)
        if zero not in (None, "", 0):
            values = values + (int(zero) if plain else float(zero))
        return values


@dataclass(frozen=True, eq=False)
class FitsFile:
    """The binary tables of one file.

    Args:
        path: Where it is.
        sha256: Of the bytes on disk (packed if the file is).
        tables: In the order of the file.
        names: The names of all extensions, for error lines.
    """

    path: Path
    sha256: str
    tables: tuple[Table, ...]
    names: tuple[str, ...]

    def missing(self, wanted: str, kind: str) -> NoReturn:
        """Raise the FormatError of a file that lacks the wanted extension.

        Args:
            wanted: The extension, in words.
            kind: What the file should have been (`"an RMF"`).

        Raises:
            FormatError: Always.
        """
        held = ", ".join(self.names) or "no extension"
        raise FormatError(f"{self.path}: no {wanted} extension, it holds {held}; is it {kind}?")


def read_fits(path: str | Path, packed: bytes | None = None) -> FitsFile:
    """Read all binary tables of a FITS file, packed by gzip or not.

    Args:
        path: The file.
        packed: Its bytes, where they have been read already.

    Returns:
        The tables; their bytes are views of one buffer of at most MAX_BYTES.

    Raises:
        FileError: The file is missing, unreadable, too large, not FITS, or cut short.
    """
    path = Path(path)
    packed = read_bytes(path) if packed is None else packed
    content = _unpack(path, packed)
    if not content.startswith(b"SIMPLE  ="):
        raise FileError(f"{path}: not a FITS file (it begins with {content[:8]!r}); give an OGIP FITS file")
    with _parsing(path):
        units = fits.open(BytesIO(content), lazy_load_hdus=False, memmap=False)
        names = tuple(unit.name.strip() or f"extension {index}" for index, unit in enumerate(units) if index)
        end = _check_extents(path, units, len(content))
        if content[end : end + 8] == b"XTENSION":
            last = names[-1] if names else "the first header"
            raise FileError(f"{path}: cut short or damaged in the header after {last}; get the file again")
        tables = tuple(_table(path, unit, units[0].header, content) for unit in units if _is_table(unit))
    return FitsFile(path, hashlib.sha256(packed).hexdigest(), tables, names)


def split_choice(path: str | Path) -> tuple[Path, int | None]:
    """The file and the number of XSPEC's `file{3}`; None where nothing is chosen, or a file has just that name.

    Args:
        path: As the user wrote it.

    Raises:
        FileError: What stands in the braces is not one number.

    >>> split_choice("pha2.fits{3}"), split_choice("pha2.fits")
    ((PosixPath('pha2.fits'), 3), (PosixPath('pha2.fits'), None))
    """
    match = _CHOICE.fullmatch(str(path))
    if match is None or _exists(Path(path)):
        return Path(path), None
    if not re.fullmatch(r"[0-9]{1,9}", match[2]):
        raise FileError(f"{path}: {{{match[2]}}} is not one number; choose one at a time, as {match[1]}{{3}}")
    return Path(match[1]), int(match[2])


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that no file system takes
        return False


def read_bytes(path: Path) -> bytes:
    """All bytes of a file that is no larger than `MAX_BYTES`.

    Args:
        path: The file.

    Raises:
        FileError: It is missing, unreadable or too large.
    """
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise FileError(f"{path}: not a file; give a FITS file")
        if size > MAX_BYTES:
            raise FileError(f"{path}: {size} bytes, the limit is {MAX_BYTES}; give a smaller file")
        return path.read_bytes()
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FileError(f"{path}: cannot be read ({reason}); give a readable file") from None


def _unpack(path: Path, packed: bytes) -> bytes:
    if not packed.startswith(b"\x1f\x8b"):
        return packed
    try:
        with gzip.GzipFile(fileobj=BytesIO(packed)) as stream:
            content = stream.read(MAX_BYTES + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise FileError(f"{path}: gzip is cut short or damaged ({error}); get the file again") from None
    if len(content) > MAX_BYTES:
        raise FileError(f"{path}: unpacks to more than {MAX_BYTES} bytes, the limit; give a smaller file")
    return content


@contextmanager
def _parsing(path: Path) -> Iterator[None]:
    """astropy's complaints about headers: oddities are silent (real files are full of them), the rest is one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        try:
            yield
        except _UNREADABLE as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise FileError(f"{path}: damaged FITS ({reason[:160]}); get the file again") from None


def _unquoted(image: str) -> str:
    """The text of a card and its CONTINUE cards; '' where it is not one after another as the standard has them.

    astropy takes a quote before a slash for the end of a text, even if it is doubled and so belongs to it.
    """
    *continued, last = (image[at : at + CARD].partition("'")[2].rstrip() for at in range(0, len(image), CARD))
    if not all(card.endswith("&'") for card in continued):
        return ""
    match = _STRING.fullmatch("".join(card.removesuffix("&'") for card in continued) + last)
    return match[1].replace("''", "'").rstrip() if match else ""


def _is_table(unit: Any) -> bool:
    return isinstance(unit, fits.BinTableHDU)


def _check_extents(path: Path, units: Any, available: int) -> int:
    """The end of the last unit [byte]; every unit must lie within the file (its padding may be missing)."""
    end = 0
    for index, unit in enumerate(units):
        start, size = int(unit.fileinfo()["datLoc"]), int(unit.size)
        if size < 0 or start + size > available:
            name = unit.name.strip() or str(index)
            raise FileError(
                f"{path}[{name}]: the header announces {size} bytes, the file holds {max(available - start, 0)}: "
                "cut short; get the file again"
            )
        end = start + -(-size // 2880) * 2880
    return end


def _table(path: Path, unit: Any, primary: fits.Header, content: bytes) -> Table:
    header = unit.header
    name = unit.name.strip().upper()
    version = f",{unit.ver}" if name and unit.ver != 1 else ""
    where = f"{path}[{name or unit.ver}{version}]"
    rows, width = int(header["NAXIS2"]), int(header["NAXIS1"])
    start = int(unit.fileinfo()["datLoc"])
    # upper case and no surrounding blanks: FITS column names do not distinguish case
    columns = {str(column.name).strip().upper(): column for column in unit.columns}
    layout = unit.columns.dtype.newbyteorder(">")
    if len(columns) != len(layout.names or ()):
        raise FormatError(f"{where}: two columns of one name among {', '.join(columns)}; give a correct table")
    if layout.itemsize != width:
        raise FormatError(f"{where}: columns of {layout.itemsize} bytes in rows of {width}; get the file again")
    layout.names = tuple(columns)
    data = np.frombuffer(content, layout, rows, start) if width else np.zeros(rows, layout)
    heap = content[start + int(header.get("THEAP", rows * width)) : start + rows * width + int(header["PCOUNT"])]
    return Table(where, name, header, primary, data, heap, columns)
