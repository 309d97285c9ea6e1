"""What a catalogue fits: paths, patterns, a text list, or a table whose other columns are carried through."""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xrayflow.errors import DataError, FileError, MissingExtraError
from xrayflow.studies.running.sources import Source, read_list

if TYPE_CHECKING:
    from astropy.table import Table

TABLES = (".fits", ".fit", ".fits.gz", ".ecsv", ".csv", ".vot", ".parquet")
"""Suffixes of lists that are tables."""

MEANINGS = {
    "pha": ("pha", "spectrum", "path", "file", "filename"),
    "rmf": ("rmf", "respfile"),
    "arf": ("arf", "ancrfile"),
    "background": ("background", "backfile", "bkg"),
    "name": ("name", "source", "object"),
}
"""Columns of a table that say what to fit, in any case; the first that is there counts."""

RELATIVE = ("pha", "rmf", "arf", "background")
"""Those that hold paths, relative to the table."""


@dataclass(frozen=True, eq=False)
class Listing:
    """Spectra in the order of the catalogue's rows.

    Attributes:
        sources: Each path once.
        carried: A row for each of them with the columns of the user's table that say nothing of files; None without.
    """

    sources: Sequence[Source]
    carried: Table | None = field(default=None, repr=False)

    @property
    def keys(self) -> list[str]:
        """What identifies each source: the place of its spectrum, in absolute terms."""
        return [key_of(source) for source in self.sources]


def key_of(source: Source) -> str:
    """The place of a spectrum, the same from every folder.

    Args:
        source: The spectrum.
    """
    return os.path.abspath(source.pha)  # noqa: PTH100  two links are two spectra, wherever they lead


def make_listing(
    spectra: str | Path | Iterable[str | Path | Source] = (),
    listed: str | Path | None = None,
    rmf: str | None = None,
    arf: str | None = None,
    background: str | None = None,
) -> Listing:
    """The spectra that were named, and those of a list.

    Args:
        spectra: Paths and patterns (`obs*/*.pha`), or sources.
        listed: A text file as for `read_list`, or a table (`TABLES`).
        rmf, arf, background: For all that do not say.

    Raises:
        FileError: A pattern that nothing matches, a list that cannot be read, or a table without a column of spectra.
        DataError: No spectra, or one that is named twice with different files.
    """
    every = [spectra] if isinstance(spectra, str | Path) else list(spectra)
    sources = [source for one in every for source in _named(one)]
    carried = None
    if listed is not None:
        path = Path(listed)
        if path.name.lower().endswith(TABLES):
            of_table, carried = read_table(path)
            if sources:
                raise DataError(f"{path}: a table says all that is fitted; leave the other spectra out, or list them")
            sources = of_table
        else:
            sources += read_list(path)
    sources = [
        replace(one, rmf=one.rmf or rmf, arf=one.arf or arf, background=one.background or background) for one in sources
    ]
    if not sources:
        raise DataError("no spectra; give PHA files, or --list FILE")
    return _each_once(sources, carried)


def _named(one: str | Path | Source) -> list[Source]:
    """The spectra of a path or a pattern."""
    if isinstance(one, Source):
        return [one]
    path = Path(one)
    if not glob.has_magic(str(one)) or path.exists():
        return [Source(path)]
    found = sorted(glob.glob(str(one), recursive=True))  # noqa: PTH207  the pattern may be absolute, or begin with ..
    if not found:
        raise FileError(f"{one}: nothing there has such a name; check the pattern")
    return [Source(Path(place)) for place in found]


def _each_once(sources: Sequence[Source], carried: Table | None) -> Listing:
    """Without those that are named again."""
    seen: dict[str, int] = {}
    rows: list[int] = []
    for row, source in enumerate(sources):
        first = seen.setdefault(key_of(source), row)
        if first == row:
            rows.append(row)
        elif replace(sources[first], pha=source.pha) != source:
            raise DataError(f"{source.pha}: is named twice, with different files; a catalogue has one row of each path")
    if len(rows) == len(sources):
        return Listing(sources, carried)
    return Listing([sources[row] for row in rows], None if carried is None else carried[rows])


def read_table(path: Path) -> tuple[list[Source], Table]:
    """The spectra of a table, and its other columns.

    Args:
        path: FITS, ECSV, CSV, VOTable or Parquet, by its suffix.

    Raises:
        FileError: It cannot be read, or no column of it names spectra.
        MissingExtraError: It is Parquet, and pyarrow is not installed.
    """
    table = _read(path)
    by_lower = {name.lower(): name for name in reversed(table.colnames)}
    columns = {
        meaning: by_lower[next(word for word in words if word in by_lower)]
        for meaning, words in MEANINGS.items()
        if any(word in by_lower for word in words)
    }
    if "pha" not in columns:
        raise FileError(
            f"{path}: no column of spectra among {', '.join(table.colnames[:8]) or 'none'}; name one of them pha"
        )
    values = {meaning: [_text(cell) for cell in table[name]] for meaning, name in columns.items()}
    for meaning in RELATIVE:
        if meaning in values:
            values[meaning] = [_placed(path, word) for word in values[meaning]]
    if empty := [row for row, word in enumerate(values["pha"], 1) if not word]:
        raise FileError(f"{path}: row {empty[0]} names no spectrum; fill column {columns['pha']}")
    nothing = [""] * len(table)
    said = [values.get(meaning, nothing) for meaning in ("arf", "background", "rmf")]
    sources = [
        Source(Path(pha), arf or None, background or None, rmf or None, name)
        for pha, arf, background, rmf, name in zip(values["pha"], *said, values.get("name", nothing), strict=True)
    ]
    left = [name for name in table.colnames if name not in columns.values() and len(table[name].shape) == 1]
    carried = type(table)([_plain(table[name]) for name in left], names=left)
    return sources, carried


def _read(path: Path) -> Table:
    """The table of a file."""
    from astropy.table import Table

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # units that astropy does not know are carried through as they are
            if path.suffix.lower() == ".parquet":
                return _read_parquet(path)
            kind = {".vot": "votable", ".csv": "ascii.csv", ".ecsv": "ascii.ecsv"}.get(path.suffix.lower(), "fits")
            words = {"unit_parse_strict": "silent"} if kind == "fits" else {}
            return Table.read(path, format=kind, **words)
    except MissingExtraError:
        raise
    except FileNotFoundError:
        raise FileError(f"{path}: no such file; check the path of --list") from None
    except Exception as error:  # noqa: BLE001  what a reader of five formats may raise is its own affair
        raise FileError(
            f"{path}: cannot be read as a table ({error!s:.200}); give one of {', '.join(TABLES)}"
        ) from None


def _read_parquet(path: Path) -> Table:
    from astropy.table import Table

    try:
        from pyarrow import parquet
    except ImportError:
        raise MissingExtraError("pyarrow: not installed; pip install 'xrayflow[io]'") from None
    found = parquet.read_table(path)
    return Table({name: found.column(name).to_pylist() for name in found.column_names})


def _plain(given: Any) -> Any:
    """A column of numbers or texts that every kind of table holds; an empty cell is NaN, or "" of texts."""
    from astropy.table import Column

    words = {"unit": getattr(given, "unit", None), "description": given.info.description}
    values = given.value if isinstance(given, Column) else np.array([str(one) for one in given])  # dates, positions
    empty = np.ma.getmaskarray(values)
    values = np.ma.getdata(values)
    if values.dtype.kind in "SUO":
        texts = [
            "" if gone else one.decode() if isinstance(one, bytes) else str(one)
            for one, gone in zip(values, empty, strict=True)
        ]
        return Column(texts, dtype=str, **words)
    if empty.any():
        return Column(np.where(empty, np.nan, values.astype(np.float64)), **words)
    return Column(values.astype(np.int64) if values.dtype.kind == "u" else values, **words)


def _text(cell: Any) -> str:
    """A cell as text; "" where it is masked."""
    text = cell.decode() if isinstance(cell, bytes) else str(cell)
    return "" if text in ("--", "nan", "None") else text.strip()


def _placed(table: Path, word: str) -> str:
    """A path of a table, relative to it."""
    return word if word.lower() in ("", "none") else str(table.parent / word)
