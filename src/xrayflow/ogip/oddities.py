"""What is odd about a file, and what follows from it: each a pair of phrases.

Only what changes how a file is read, or what it may be used for, is odd; the list is that of quirks that real files
show (docs/guides/which-files.md has one file for each).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from xrayflow.errors import FormatError
from xrayflow.ogip.arf import ARF
from xrayflow.ogip.datasum import difference
from xrayflow.ogip.fits import FitsFile
from xrayflow.ogip.grouping import least_counts
from xrayflow.ogip.pha import PHA
from xrayflow.ogip.rmf import RMF
from xrayflow.ogip.table import Table

MOST_OF_ALL = 0.9
"""Of the counts in one of many channels: a spectrum has no such line."""

LIVE = 0.1
"""Relative difference of EXPOSURE and ONTIME that is told: more than dead time."""


@dataclass(frozen=True)
class Oddity:
    """Something that a reader of a file should know.

    Args:
        what: What was found.
        meaning: What is made of it, or what to do.
    """

    what: str
    meaning: str

    @classmethod
    def of_warning(cls, text: str) -> Oddity:
        """The two halves of a warning of the reader, which has the form `where: found; what is made of it`."""
        what, _, meaning = text.rpartition("; ")
        return cls(what.partition("]: ")[2] or what or text, meaning if what else "")


def said(table: Table, keyword: str) -> str:
    """A header value as text; "" where it is absent or its card cannot be read, which a fit may never notice."""
    try:
        return table.text(keyword, primary=True)
    except FormatError:
        return ""


def of_table(table: Table) -> tuple[Oddity, ...]:
    """Of any table: what its header says of it."""
    return tuple(_of_table(table))


def _of_table(table: Table) -> Iterator[Oddity]:
    by = said(table, "HDUCLASS")
    if by.upper() != "OGIP":
        what = f"HDUCLASS is {by!r:.40}" if by else "no HDUCLASS"
        yield Oddity(f"{what} in {table.name}", "what the file is follows from its columns")
    if difference(table):
        yield Oddity(
            f"DATASUM of {table.name} does not fit its data",
            "a tool changed them and left the sum (grppha does), or the file is damaged",
        )


def of_pha(pha: PHA, table: Table) -> tuple[Oddity, ...]:
    """Of a spectrum."""
    return (*_of_counts(pha), *_of_errors(pha), *_of_channels(pha), *_of_scales(pha, table))


def _of_counts(pha: PHA) -> Iterator[Oddity]:
    counts, size = pha.counts, len(pha.counts)
    whole = bool(np.all(counts == np.round(counts)))
    if pha.is_rate:
        what = "a RATE column, no COUNTS"
        if whole and np.all(counts >= 0):
            yield Oddity(what, "its product with EXPOSURE is whole: these are counts")
        else:
            yield Oddity(what, "multiplied by EXPOSURE, which gives no whole counts")
    if np.any(counts < 0):
        below = int(np.sum(counts < 0))
        yield Oddity(
            f"{below} of {size} counts are negative", "a background was subtracted, or these are none: chi2 is left"
        )
    elif not whole:
        broken = int(np.sum(counts != np.round(counts)))
        yield Oddity(f"{broken} of {size} counts are not whole", "chi2 alone is left")
    if size > 20 and counts.sum() > 100 and counts.max() > MOST_OF_ALL * counts.sum():
        at = int(np.argmax(counts))
        share = counts[at] / counts.sum()
        yield Oddity(f"channel {pha.channel[at]} holds {share:.0%} of all counts", "no spectrum does that: damaged?")


def _of_errors(pha: PHA) -> Iterator[Oddity]:
    if not pha.poisserr and pha.stat_err is None:
        yield Oddity("POISSERR is F, but there is no STAT_ERR", "whole numbers are taken as counts")
    elif not pha.poisserr:
        yield Oddity("POISSERR is F, and STAT_ERR gives errors", "counts all the same where it is only their root")
    elif pha.stat_err is not None and np.any(pha.stat_err > 0):
        yield Oddity("STAT_ERR beside POISSERR = T", "the counts' own Poisson errors hold")
    if pha.sys_err is not None:
        what = f"SYS_ERR of up to {pha.sys_err.max():.3g}"
        yield Oddity(what, "chi2 alone takes it; --systematic gives one to the model")


def _of_channels(pha: PHA) -> Iterator[Oddity]:
    size = len(pha.channel)
    if size < pha.detchans:
        yield Oddity(
            f"{size} rows (channels {pha.channel[0]}-{pha.channel[-1]}) of DETCHANS = {pha.detchans}",
            "the response's channels are found by number",
        )
    if pha.first_channel is None:
        yield Oddity("no TLMIN of CHANNEL", "channels are counted from the first row where all are there")
    bad = int(np.sum(pha.quality == 1))
    worse = int(np.sum(pha.quality > 1))
    if bad:
        yield Oddity(f"{bad} channels of QUALITY 1", "they are in no bin")
    if worse:
        flags = ", ".join(str(flag) for flag in np.unique(pha.quality[pha.quality > 1]))
        yield Oddity(f"{worse} channels of QUALITY {flags}", "they make bins of their own, which are left out")
    if least := least_counts(pha.grouping, pha.quality, pha.counts):
        yield Oddity(
            f"the counts decided the groups ({least} or more in each)",
            "statistic in these groups; the posterior takes smaller bins that the counts did not decide",
        )


def _of_scales(pha: PHA, table: Table) -> Iterator[Oddity]:
    for name, values in (("AREASCAL", pha.areascal), ("BACKSCAL", pha.backscal)):
        if np.any(values == 0.0):
            dead = int(np.sum(values == 0.0))
            yield Oddity(f"{name} is 0 in {dead} channels", "they have no exposure and are left out")
        elif np.ptp(values) > 0.0:
            yield Oddity(f"{name} differs from channel to channel", "each has its own")
        elif name == "AREASCAL" and values[0] != 1.0:
            yield Oddity(f"AREASCAL is {values[0]:g}", "a factor of the exposure, of rates too")
    try:
        ontime = float(said(table, "ONTIME"))
    except ValueError:
        ontime = 0.0
    if ontime > 0.0 and abs(ontime / pha.exposure - 1.0) > LIVE:
        yield Oddity(f"ONTIME is {ontime:.6g} s, EXPOSURE {pha.exposure:.6g} s", "EXPOSURE counts")
    kind = said(table, "HDUCLAS2").upper()
    if kind == "NET":
        yield Oddity("HDUCLAS2 is NET", "by its header a background was subtracted: give no other")
    elif kind == "BKG":
        yield Oddity("HDUCLAS2 is BKG", "a background spectrum")


def of_rmf(rmf: RMF, file: FitsFile, tables: Sequence[Table]) -> tuple[Oddity, ...]:
    """Of a matrix."""
    return tuple(_of_rmf(rmf, file, tables))


def _of_rmf(rmf: RMF, file: FitsFile, tables: Sequence[Table]) -> Iterator[Oddity]:
    if len(tables) > 1:
        yield Oddity(f"{len(tables)} matrices", f"parts of one: summed ({file.path.name}{{1}} takes one)")
    if rmf.includes_area:
        yield Oddity("the effective area is in the matrix", "no ARF is needed")
    sums = rmf.row_sums()
    sums = sums[sums > 0] if rmf.tails else sums[np.diff(rmf.matrix.indptr) > 0]
    if not rmf.includes_area and sums.size and (sums.min() < 0.9 or sums.max() > 1.02):
        yield Oddity(
            f"rows sum to {sums.min():.3g} .. {sums.max():.3g}", "kept as they are: the chance that a photon is seen"
        )
    if rmf.energy_edges[0] == 0.0:
        yield Oddity("the lowest energy is 0", "the photon grid begins above it")
    if rmf.channel[0] not in (0, 1):
        yield Oddity(f"channels begin at {rmf.channel[0]}", "the spectrum's are matched to them")
    if tables[0].first_legal("F_CHAN") is None:
        yield Oddity("no TLMIN of F_CHAN", "channels are counted from 1")
    if len(rmf.e_min) > 1 and rmf.e_min[0] > rmf.e_min[-1]:
        yield Oddity("energies fall with channel", "as wavelengths rise in a grating; bins keep that order")
    low, high = (np.minimum(rmf.e_min, rmf.e_max), np.maximum(rmf.e_min, rmf.e_max))
    gap = np.abs(np.sort(low)[1:] - np.sort(high)[:-1]) > 0.01 * np.diff(np.sort(low))
    if gap.any():
        what = f"{int(gap.sum())} gaps or overlaps between channels"
        yield Oddity(what, "an energy in a gap belongs to the next bin")


def of_arf(arf: ARF) -> tuple[Oddity, ...]:
    """Of an area."""
    if not arf.area.any():
        return (Oddity("the area is 0 everywhere", "no photon is ever seen: rebuild it"),)
    return ()
