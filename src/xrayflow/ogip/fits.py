"""Files that nobody vouches for: bounded memory, and one line of error that says where.

A file is read once into memory (unpacked when it begins like gzip, whatever its name) and hashed; then its headers are
walked. Nothing is asked of memory before the bytes that a header announces are known to be there.

Source: FITS standard 4.0, sections 3.1 (units, blocks of 2880 bytes), 4.4.1 (mandatory keywords).
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import NoReturn

from xrayflow.errors import FileError, FormatError
from xrayflow.ogip.header import BLOCK, Header, read_header, table_name, unit_name, unit_size
from xrayflow.ogip.table import LARGEST, Column, Ragged, Table

__all__ = [
    "LARGEST",
    "MAX_BYTES",
    "Column",
    "FitsFile",
    "Ragged",
    "Table",
    "content_of",
    "read_bytes",
    "read_fits",
    "split_choice",
]

MAX_BYTES = 1 << 30
"""Largest file, unpacked, that is read [bytes]; it bounds the memory of everything after it."""

UNPACKED = 192 << 20
"""To which any file may unpack [bytes]; real spectra and responses are far smaller."""

MOST_PACKED = 20
"""A larger one may unpack to so many times its size; real ones unpack to 2 to 7 times theirs."""

MOST_UNITS = 20_000
"""Extensions of one file: the longest time series of responses have some hundred."""

MOST_NAMED = 12
"""Extensions that an error line names."""

_CHOICE = re.compile(r"(.*\S)\s*\{([^{}]*)\}\s*")
"""XSPEC's choice of one spectrum or matrix of a file: file{3}."""


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
        more = f" and {len(self.names) - MOST_NAMED} more" if len(self.names) > MOST_NAMED else ""
        held = ", ".join(self.names[:MOST_NAMED]) or "no extension"
        raise FormatError(f"{self.path}: no {wanted} extension, it holds {held}{more}; is it {kind}?")


def read_fits(path: str | Path, packed: bytes | None = None) -> FitsFile:
    """Read all binary tables of a FITS file, packed by gzip or not.

    Args:
        path: The file.
        packed: Its bytes, where they have been read already.

    Returns:
        The tables; their bytes are views of one buffer of at most MAX_BYTES.

    Raises:
        FileError: The file is missing, unreadable, too large, not FITS, or cut short.
        FormatError: A table of it cannot be.
    """
    path = Path(path)
    packed = read_bytes(path) if packed is None else packed
    content = content_of(path, packed)
    if not content.startswith(b"SIMPLE  ="):
        raise FileError(f"{path}: not a FITS file (it begins with {content[:8]!r}); give an OGIP FITS file")
    units = _units(path, content)
    names = tuple(unit_name(header) or f"extension {number}" for number, header in enumerate(units) if number)
    tables = tuple(Table.of(path, header, units[0], content) for header in units[1:] if _is_table(path, header))
    return FitsFile(path, hashlib.sha256(packed).hexdigest(), tables, names)


def _units(path: Path, content: bytes) -> list[Header]:
    """The headers of all units, each of which lies within the file (the padding of the last may be missing)."""
    units: list[Header] = []
    at = 0
    while at == 0 or content[at : at + 8] == b"XTENSION":
        header = read_header(content, at)
        last = (unit_name(units[-1]) or "the first header") if units else "its beginning"
        if header is None:
            raise FileError(f"{path}: cut short or damaged in the header after {last}; get the file again")
        if len(units) == MOST_UNITS:
            raise FileError(f"{path}: more than {MOST_UNITS} extensions; give a file of fewer")
        where = table_name(path, header)[1] if units else str(path)
        try:
            size = unit_size(header)
        except ValueError as error:
            raise FileError(f"{where}: damaged header ({error!s:.160}); get the file again") from None
        if header.end + size > len(content):
            held = max(len(content) - header.end, 0)
            raise FileError(
                f"{where}: the header announces {min(size, 10**18)} bytes, the file holds {held}: cut short; get the "
                "file again"
            )
        units.append(header)
        at = header.end + -(-size // BLOCK) * BLOCK
    return units


def _is_table(path: Path, header: Header) -> bool:
    try:
        kind = header.get("XTENSION")
    except ValueError:
        raise FormatError(f"{table_name(path, header)[1]}: the card of XTENSION cannot be read; get it again") from None
    return isinstance(kind, str) and kind.strip().upper() in ("BINTABLE", "A3DTABLE")


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


def content_of(path: Path, packed: bytes) -> bytes:
    """The bytes of a file, unpacked where they begin like gzip.

    Args:
        path: For error lines.
        packed: As on disk.

    Raises:
        FileError: gzip is damaged, or the file unpacks to more than a real one does.
    """
    if not packed.startswith(b"\x1f\x8b"):
        return packed
    most = min(MAX_BYTES, max(UNPACKED, MOST_PACKED * len(packed)))
    try:
        with gzip.GzipFile(fileobj=BytesIO(packed)) as stream:
            content = stream.read(most + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise FileError(f"{path}: gzip is cut short or damaged ({error}); get the file again") from None
    if len(content) > most:
        raise FileError(f"{path}: unpacks to more than {most} bytes, the limit; give a smaller file, or unpack it")
    return content
