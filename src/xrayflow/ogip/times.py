"""When a spectrum was observed: the middle of its observation as a Modified Julian Date, in the file's own time system.

    MJD = MJDREF + (TIMEZERO + (TSTART + TSTOP) / 2) / 86400

TSTART and TSTOP come first, as DATE-OBS is often that of a whole pointing and not of the part that was cut out of it.
Where a file has them without a reference, that of its mission is taken (spectra lose it on their way through tools that
copy few keywords). Else DATE-OBS and DATE-END, then MJD-OBS. A card that cannot be read is one that is not there: no
answer hangs on it.

Source: OGIP/93-003 (times in FITS files); FITS standard 4.0, section 9.
"""

from __future__ import annotations

import math
import re
from datetime import date

from xrayflow.ogip.table import Table

DAY = 86400.0
"""s."""

UNIX_EPOCH = 40587.0
"""MJD of 1970-01-01."""

FARTHEST_ZERO = DAY
"""A TIMEZERO beyond this is TSTART once more, as in files of EXOSAT, and not a correction [s]."""

FIRST, LAST = 25569.0, 90000.0
"""MJD of 1928 and of 2105: no X-ray observation lies outside."""

REFERENCE = {
    "NICER": 56658.0 + 7.77592592592593e-4,
    "CHANDRA": 50814.0,
    "NUSTAR": 55197.0 + 7.6601852e-4,
    "IXPE": 57754.0 + 8.0074074074e-4,
    "EROSITA": 51543.875,
}
"""MJDREF by TELESCOP in capitals, from files of these missions that have it."""

_ISO = re.compile(r"\s*(\d{4})-(\d\d)-(\d\d)(?:T(.*))?\s*")
_OLD = re.compile(r"\s*(\d\d)/(\d\d)/(\d\d)\s*")
_CLOCK = re.compile(r"\s*(\d\d):(\d\d)(?::(\d\d(?:\.\d*)?))?Z?\s*")


def middle_of(table: Table) -> float:
    """The middle of the observation [MJD]; NaN where the header does not say.

    Args:
        table: That of the spectrum.
    """
    start, stop = _number(table, "TSTART"), _number(table, "TSTOP")
    reference = _reference(table)
    days = str(_value(table, "TIMEUNIT") or "s").strip().lower() in ("d", "day", "days")
    found = reference + 0.5 * (start + stop) / (1.0 if days else DAY)
    zero = _number(table, "TIMEZERO")
    if abs(zero) < FARTHEST_ZERO and not days:
        found += zero / DAY
    first = _calendar(table, "DATE-OBS", "TIME-OBS")
    last = _calendar(table, "DATE-END", "TIME-END")
    ways = (found, 0.5 * (first + last), first, _number(table, "MJD-OBS"))
    return next((mjd for mjd in ways if FIRST < mjd < LAST), math.nan)


def _reference(table: Table) -> float:
    """MJDREF, in one keyword or two, or the mission's; NaN where none is known."""
    whole, part = _number(table, "MJDREFI"), _number(table, "MJDREFF")
    if math.isfinite(whole):
        return whole + (part if math.isfinite(part) else 0.0)
    one = _number(table, "MJDREF")
    if math.isfinite(one):
        return one
    return REFERENCE.get(str(_value(table, "TELESCOP") or "").strip().upper(), math.nan)


def _calendar(table: Table, day: str, clock: str) -> float:
    """MJD of a date in one keyword, or of a day and a time in two; NaN where there is none."""
    text = str(_value(table, day) or "")
    hours = str(_value(table, clock) or "")
    if iso := _ISO.fullmatch(text):
        year, month, number = (int(iso[i]) for i in (1, 2, 3))
        hours = iso[4] or hours
    elif old := _OLD.fullmatch(text):
        number, month, year = int(old[1]), int(old[2]), 1900 + int(old[3])
    else:
        return math.nan
    try:
        days = (date(year, month, number) - date(1970, 1, 1)).days
    except ValueError:
        return math.nan
    seconds = 0.0
    if found := _CLOCK.fullmatch(hours):
        seconds = 3600.0 * int(found[1]) + 60.0 * int(found[2]) + float(found[3] or 0.0)
    return UNIX_EPOCH + days + seconds / DAY


def _number(table: Table, name: str) -> float:
    """A finite number; NaN where there is none."""
    try:
        value = float(_value(table, name))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return value if math.isfinite(value) else math.nan


def _value(table: Table, name: str) -> str | float | None:
    """Of the table's header, else of the first unit's; None where neither has one that can be read."""
    for header in (table.header, table.primary):
        try:
            value = header.get(name)
        except ValueError:
            continue
        if value is not None:
            return value
    return None
