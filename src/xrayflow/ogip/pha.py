"""Spectra: OGIP PHA files of TYPE:I (one spectrum, a row per channel) and TYPE:II (a row per spectrum).

Everything that a row or the header may state is looked up in one order: a column of that name, else the keyword, else
OGIP's default. Counts stay as they are in the file: never clipped; a rate is multiplied by the exposure. Where all
values then are whole numbers >= 0 within the precision of the column, they are these: counts that were divided by the
exposure. Nothing else is rounded.

Source: OGIP Memo OGIP/92-007 (Arnaud, George & Tennant 2009, HEASARC), and its 92-007a for TYPE:II.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import DataError, FileError, XrayflowWarning
from xrayflow.ogip.datasum import warn_of_damage
from xrayflow.ogip.fits import LARGEST, FitsFile, Table, read_fits, split_choice
from xrayflow.ogip.times import middle_of

NO_FILE = frozenset({"", "none", "null", "n/a"})
"""What stands in RESPFILE and its like where there is no file (compared in lower case)."""


MOST_CHANNELS = 1 << 20
"""Of one spectrum; XRISM's Resolve has 60 000."""

FARTHEST = 1e30
"""No count, error or scale is larger, and none but 0 is smaller than its inverse: their squares stay numbers."""

SINGLE, DOUBLE = 2.0**-22, 1e-12
"""Relative errors of a number that was stored in one precision and divided and multiplied before; the second leaves
room for the 15 digits of EXPOSURE."""

BY_CHANCE = 1e-6
"""Numbers that are no counts pass for them with at most this probability."""


@dataclass(frozen=True, eq=False)
class PHA:
    """A spectrum as its file holds it; nothing grouped, nothing left out.

    Args:
        path: The file.
        channel: Channel numbers as in the file, increasing.
        counts: Counts per channel; a RATE column times EXPOSURE [counts], whole where it is within its precision. May
            be negative or fractional.
        stat_err: Statistical error [counts]; None where the file gives none.
        sys_err: Systematic error as a fraction of the counts; None where the file gives none, or zeros only.
        quality: OGIP quality: 0 good, 1, 2, 5 bad.
        grouping: OGIP grouping: 1 begins a bin, -1 continues it, 0 is not grouped.
        exposure: EXPOSURE [s].
        areascal: AREASCAL, a factor of the exposure.
        backscal: BACKSCAL, the size of the extraction region in units of the file's own.
        poisserr: The errors are those of a Poisson variable.
        is_rate: The file holds rates; `counts` and `stat_err` were multiplied by the exposure.
        detchans: Number of channels of the detector.
        background_file: BACKFILE as in the header; None for '', 'none', ...
        response_file: RESPFILE likewise.
        arf_file: ANCRFILE likewise.
        telescope: TELESCOP.
        instrument: INSTRUME.
        object: OBJECT.
        sha256: Of the file's bytes.
        first_channel: Lowest legal channel number (TLMIN of CHANNEL); None where the header does not say.
        where: `file[EXTENSION]`, for error lines.
        obs_id: OBS_ID; "" where the header does not say.
        row: Which of the spectra of a TYPE:II file it is, from 1; None where the file has one alone.
        mjd: Middle of the observation [MJD]; NaN where the header does not say.
        chantype: CHANTYPE, PI or PHA; "" where the header does not say.
        holds_background: The file holds a spectrum that says HDUCLAS2 = BKG beside this one.
    """

    path: Path
    channel: NDArray[np.int64] = field(repr=False)
    counts: NDArray[np.float64] = field(repr=False)
    stat_err: NDArray[np.float64] | None = field(repr=False)
    sys_err: NDArray[np.float64] | None = field(repr=False)
    quality: NDArray[np.int64] = field(repr=False)
    grouping: NDArray[np.int64] = field(repr=False)
    exposure: float
    areascal: NDArray[np.float64] = field(repr=False)
    backscal: NDArray[np.float64] = field(repr=False)
    poisserr: bool
    is_rate: bool
    detchans: int
    background_file: str | None
    response_file: str | None
    arf_file: str | None
    telescope: str
    instrument: str
    object: str
    sha256: str
    first_channel: int | None = None
    where: str = ""
    obs_id: str = ""
    row: int | None = None
    mjd: float = math.nan
    chantype: str = ""
    holds_background: bool = False


def read_pha(path: str | Path, row: int | None = None, *, background: bool = False) -> PHA:
    """Read one spectrum.

    Args:
        path: The PHA file; `file{3}` is its third spectrum, as in XSPEC.
        row: The same choice in a TYPE:II file, from 1.
        background: The file is read as a background: where it holds several spectra, the one that says
            HDUCLAS2 = BKG is taken (else, as for a source, the first that does not).

    Returns:
        The spectrum.

    Raises:
        FileError: The file is missing, not FITS, or cut short.
        FormatError: No spectrum in it, a column that is missing or contradicts another, a value that is not a number.
        DataError: The exposure is not positive.
    """
    path, chosen = split_choice(path)
    if chosen is not None and row not in (None, chosen) and not background:
        raise FileError(f"{path}: row {row} and {{{chosen}}} were asked for; give one of them")
    row = row if chosen is None else chosen
    file = read_fits(path)
    table = spectrum_table(file, background=background)
    warn_of_damage(table)
    return _Row(file, table, _choose_row(table, row, background=background)).read()


def spectrum_table(file: FitsFile, *, background: bool = False) -> Table:
    """The table of spectra of a file.

    Args:
        file: Any.
        background: Where there are several, the one that says HDUCLAS2 = BKG is taken (else the first that does not).

    Raises:
        FormatError: There is none.
    """
    spectra = _spectra(file)
    if not spectra:
        for table in file.tables:
            if table.name.startswith("SPECTRUM"):
                table.fail("no COUNTS or RATE column", "give a PHA file that has one")
        file.missing("SPECTRUM", "a PHA file")
    preferred = [table for table in spectra if _is_background(table) == background]
    return (preferred or spectra)[0]


def _spectra(file: FitsFile) -> list[Table]:
    """All tables of spectra."""
    tables = [table for table in file.tables if "COUNTS" in table or "RATE" in table]
    return [t for t in tables if t.name.startswith("SPECTRUM") or t.text("HDUCLAS1").upper() == "SPECTRUM"]


def _is_background(table: Table) -> bool:
    return table.text("HDUCLAS2").upper() == "BKG"


def is_type_two(table: Table) -> bool:
    """Whether each row of a table is a spectrum."""
    column = table.columns["COUNTS" if "COUNTS" in table else "RATE"]
    return bool(column.element) or (column.repeat > 1 and column.kind != "A")


def stokes_of(table: Table) -> str:
    """Q or U, where the XFLTnnnn keywords of a polarimeter say so (`Stokes:1`, `Stokes:2`); "" elsewhere."""
    for keyword in (name for name in table.header.cards if name.startswith("XFLT")):
        name, _, value = str(table.keyword(keyword)).partition(":")
        if name.strip().lower() == "stokes" and value.strip() in ("1", "2"):
            return "QU"[int(value) - 1]
    return ""


def _choose_row(table: Table, row: int | None, *, background: bool) -> int | None:
    """Index of the wanted row of a TYPE:II table, None for TYPE:I.

    A background of TYPE:I serves every row of its source.
    """
    if table.rows == 0:
        table.fail("no rows", "give a spectrum with channels")
    if not is_type_two(table):
        if row is not None and not background:
            table.fail(f"TYPE:I, one spectrum, but row {row} was asked for", "leave the row out")
        return None
    if row is None and table.rows == 1:
        return 0
    if row is None or not 1 <= row <= table.rows:
        asked = "no row was chosen" if row is None else f"row {row} was asked for"
        todo = f"choose one with --row 1 to {table.rows}, or file{{1}}"
        table.fail(f"TYPE:II, {table.rows} spectra, but {asked}", todo)
    return row - 1


@dataclass(frozen=True, eq=False)
class _Row:
    """One spectrum of a table: all rows of TYPE:I (`index` None), or row `index` of TYPE:II."""

    file: FitsFile
    table: Table
    index: int | None

    def cell(self, name: str) -> NDArray[Any] | None:
        """The column's values for this spectrum, one per channel or one for all; None where there is no column."""
        if name not in self.table:
            return None
        if self.index is None:
            values = self.table.column(name)
            if values.ndim != 1 and values.shape[1:] != (1,):
                self.table.fail(f"column {name} has {values.shape[1:]} values per channel", "give one per channel")
            return values.reshape(-1)
        return self.table.cell(name, self.index)

    def text(self, name: str, *, primary: bool = False) -> str:
        words = None if self.index is None else self.table.words(name, self.index)
        return self.table.text(name, primary=primary) if words is None else words

    def linked_file(self, name: str) -> str | None:
        text = self.text(name)
        return None if text.lower() in NO_FILE else text

    def per_channel(self, name: str, size: int, default: float, *, flags: bool = False) -> NDArray[np.float64]:
        """Column, else keyword, else the default; one value per channel. Flags may be any numbers, for now."""
        values = self.cell(name)
        if values is None:
            number = self.table.number(name)
            values = np.array([default if number is None else number])
        if len(values) not in (1, size):
            self.table.fail(f"{name} has {len(values)} values for {size} channels", "give one per channel")
        if not np.all(np.isfinite(values)):
            self.table.fail(f"{name} has {np.sum(~np.isfinite(values))} values that are not numbers", "correct them")
        size_of = np.abs(values[values != 0])
        if not flags and (size_of.max(initial=0.0) > FARTHEST or size_of.min(initial=1.0) < 1.0 / FARTHEST):
            self.table.fail(f"{name} has values beyond what any file can mean (1e300)", "correct them")
        return np.broadcast_to(values.astype(np.float64), (size,)).copy()

    def flags(self, name: str, size: int) -> NDArray[np.int64]:
        """QUALITY or GROUPING: whole numbers, 0 where the file says nothing."""
        values = self.per_channel(name, size, 0.0, flags=True)
        if np.any(values != np.floor(values)) or np.any(np.abs(values) > LARGEST):
            self.table.fail(f"{name} holds values that are no flags", "rebuild the column")
        return values.astype(np.int64)

    def exposure(self) -> float:
        cell = self.cell("EXPOSURE")
        value = self.table.number("EXPOSURE") if cell is None else float(cell[0])
        if value is None or not np.isfinite(value):
            self.table.fail("no EXPOSURE", "write the exposure in seconds into the header")
        if value > FARTHEST:
            self.table.fail(f"EXPOSURE is {value:g} s", "correct the header")
        if value <= 0.0:
            raise DataError(f"{self.table.where}: EXPOSURE is {value:g} s; give a spectrum with a positive exposure")
        return value

    def channel(self, size: int) -> NDArray[np.int64]:
        values = self.cell("CHANNEL")
        if values is None:
            if self.index is None:
                self.table.fail("no CHANNEL column", "give a complete PHA file")
            return np.arange(1, size + 1, dtype=np.int64)
        if len(values) != size:
            self.table.fail(f"CHANNEL has {len(values)} values, the counts have {size}", "rebuild the file")
        whole = np.array_equal(values, np.floor(values)) and np.all(np.abs(values) <= LARGEST)
        if not whole or np.any(np.diff(values) <= 0):
            self.table.fail("CHANNEL does not increase by whole numbers", "sort the channels, each once")
        first = self.table.first_legal("CHANNEL")
        if first is not None and values[0] < first:
            self.table.fail(f"CHANNEL begins at {values[0]:g}, below its first legal {first}", "correct TLMIN")
        return values.astype(np.int64)

    def poisserr(self, *, has_errors: bool) -> bool:
        value = self.table.keyword("POISSERR")
        if value is None:
            return not has_errors
        return str(value).strip().upper() in {"TRUE", "T", "1", "YES"}

    def read(self) -> PHA:
        table = self.table
        is_rate = "COUNTS" not in table
        name = "RATE" if is_rate else "COUNTS"
        raw = self.cell(name)
        if raw is None or len(raw) == 0:
            table.fail("no counts", "give a spectrum with channels")
        size = len(raw)
        if size > MOST_CHANNELS:
            table.fail(f"{size} channels", f"the limit is {MOST_CHANNELS}")
        if not np.all(np.isfinite(raw)):
            bad = int(np.sum(~np.isfinite(raw)))
            table.fail(f"{bad} of {size} counts are not numbers", "mark those channels bad with a count of 0")
        exposure = self.exposure()
        unit = exposure if is_rate else 1.0
        with np.errstate(over="ignore"):
            counts = raw.astype(np.float64) * unit
        if not np.all(np.abs(counts) <= FARTHEST):
            what = f"RATE x EXPOSURE = {exposure:g} s" if is_rate else "COUNTS"
            table.fail(f"{what} is beyond all numbers", "correct the file")
        stat_err = self.per_channel("STAT_ERR", size, 0.0) * unit
        has_errors = "STAT_ERR" in table or bool(np.any(stat_err > 0.0))
        sys_err = self.per_channel("SYS_ERR", size, 0.0)
        for column, values in (("STAT_ERR", stat_err), ("SYS_ERR", sys_err)):
            if np.any(values < 0.0):
                table.fail(f"{column} is negative in {np.sum(values < 0.0)} channels", "correct the errors")
        if "BACKSCAL" not in table and table.number("BACKSCAL") is None:
            warnings.warn(f"{table.where}: no BACKSCAL; 1 is assumed", XrayflowWarning, stacklevel=4)
        if (corrfile := self.linked_file("CORRFILE")) and (table.number("CORRSCAL") or 0.0) != 0.0:
            warnings.warn(
                f"{table.where}: CORRFILE = {corrfile!r} (CORRSCAL {table.number('CORRSCAL'):g}) is not subtracted; "
                "subtract it yourself, or add it to the background file, where it matters",
                XrayflowWarning,
                stacklevel=4,
            )
        if stokes := stokes_of(table):
            warnings.warn(
                f"{table.where}: XFLT says that this is Stokes {stokes}, which no model of an intensity describes; "
                "give the spectrum of Stokes I",
                XrayflowWarning,
                stacklevel=4,
            )
        channel = self.channel(size)
        detchans = table.number("DETCHANS")
        return PHA(
            path=self.file.path,
            channel=channel,
            counts=as_counts(counts, single=table.is_single(name) or _fits_single(raw)),
            stat_err=stat_err if has_errors else None,
            sys_err=sys_err if np.any(sys_err > 0.0) else None,
            quality=self.flags("QUALITY", size),
            grouping=self.flags("GROUPING", size),
            exposure=exposure,
            areascal=self.per_channel("AREASCAL", size, 1.0),
            backscal=self.per_channel("BACKSCAL", size, 1.0),
            poisserr=self.poisserr(has_errors=has_errors),
            is_rate=is_rate,
            detchans=size if detchans is None else round(detchans),
            background_file=self.linked_file("BACKFILE"),
            response_file=self.linked_file("RESPFILE"),
            arf_file=self.linked_file("ANCRFILE"),
            telescope=self.text("TELESCOP", primary=True),
            instrument=self.text("INSTRUME", primary=True),
            object=self.text("OBJECT", primary=True),
            sha256=self.file.sha256,
            first_channel=table.first_legal("CHANNEL") if "CHANNEL" in table else None,
            where=table.where,
            obs_id=self.text("OBS_ID", primary=True),
            row=None if self.index is None or table.rows == 1 else self.index + 1,
            mjd=middle_of(table),
            chantype=self.text("CHANTYPE").upper(),
            holds_background=any(one is not table and _is_background(one) for one in _spectra(self.file)),
        )


def as_counts(values: NDArray[np.float64], *, single: bool) -> NDArray[np.float64]:
    """The whole numbers that all values are but for the precision in which they were stored; else the values.

    A float32 of 1e6 counts is known to a tenth, so any number would pass: values that would be whole by chance with
    more than `BY_CHANCE` stay as they are, and so do negative ones.

    Args:
        values: Counts, or rates times the exposure.
        single: They were stored in single precision.

    >>> as_counts(np.array([0.0, 2.9999998, 7.0000005]), single=True)
    array([0., 3., 7.])
    >>> as_counts(np.array([0.0, 2.999, 7.0]), single=True)
    array([0.   , 2.999, 7.   ])
    """
    whole = np.round(values)
    room = (SINGLE if single else DOUBLE) * np.abs(values)
    if np.any(values < 0.0) or np.any(np.abs(values - whole) > room):
        return values
    chance = np.log(np.clip(2.0 * room[whole > 0.0], 1e-300, 1.0)).sum()
    return whole if chance < np.log(BY_CHANCE) else values


def _fits_single(raw: NDArray[Any]) -> bool:
    """Whether a column of doubles was filled with single precision."""
    with np.errstate(over="ignore"):
        return bool(np.array_equal(raw, raw.astype(np.float32)))
