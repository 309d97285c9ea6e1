"""A spectrum file with another GROUPING and QUALITY, and everything else as it was.

The two columns are written where they are, or behind the others where there are none; other columns, keywords and
extensions keep their bytes. DATASUM and CHECKSUM of the table, which no longer fit, go.

Source: FITS standard 4.0, section 7.3; OGIP/92-007, columns GROUPING and QUALITY.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import DataError, FormatError
from xrayflow.files import OTHER_OUT, refuse_to_replace, write_file
from xrayflow.ogip.companions import response_of
from xrayflow.ogip.fits import content_of, read_bytes, read_fits
from xrayflow.ogip.grouping import form_bins
from xrayflow.ogip.header import BLOCK, CARD
from xrayflow.ogip.locate import candidates
from xrayflow.ogip.pha import PHA, is_type_two, read_pha, spectrum_table
from xrayflow.ogip.regroup import regroup
from xrayflow.ogip.table import Column, Table
from xrayflow.ogip.write import Origin, write_pha

IN_PLACE = {"I": ">i2", "J": ">i4", "K": ">i8", "E": ">f4", "D": ">f8"}
"""Formats that can hold -1."""

DROPPED = {"DATASUM", "CHECKSUM", "GROUPING", "QUALITY"}
"""Keywords that are no longer true, or that a column takes the place of."""

FLAGS = ("GROUPING", "QUALITY")


@dataclass(frozen=True)
class GroupedFile:
    """A spectrum file that was written with other groups.

    Args:
        path: The file.
        bins: Of the grouping, the bad ones too.
        good: Those of quality 0.
        incomplete: Channels at the end of good ones that were marked bad because they hold too few counts.
        least: Counts of the emptiest good bin.
        median: Of the good bins.
    """

    path: Path
    bins: int
    good: int
    incomplete: int
    least: float
    median: float


def group_file(
    pha: str | Path, kind: str, out: str | Path, rmf: str | Path | None = None, row: int | None = None
) -> GroupedFile:
    """Write a spectrum with the bins of a grouping; everything else of its file stays as it is.

    Args:
        pha: The spectrum; one of a TYPE:II file becomes a file of TYPE:I.
        kind: As for `regroup`: optimal, min:N, optmin:N, bin:N or none.
        out: The new file, packed where its name ends in `.gz`; an existing one is replaced.
        rmf: The response that decides optimal bins; None: as the header says.
        row: Which spectrum of a TYPE:II file.

    Returns:
        What was written.

    Raises:
        FileError: A file is missing or broken, or the new one cannot be written, or is the spectrum or a file that
            belongs to it.
        DataError: There is no such grouping, or it leaves no good bin.
    """
    source, out = read_pha(pha, row), Path(out)
    refuse_to_replace(out, _belonging(source, rmf), "the grouping or a fit")
    response, rows = response_of(source, rmf) if kind.startswith("opt") else (None, np.arange(len(source.channel)))
    grouping, quality = regroup(kind, source.grouping, source.quality, source.counts, response, rows)
    none = np.zeros(len(rows))
    bins = form_bins(source.channel, grouping, quality, none, none)
    kept = bins.bin_of_channel >= 0
    counts = np.bincount(bins.bin_of_channel[kept], source.counts[kept], len(bins.quality))[bins.quality == 0]
    if not len(counts):
        held = source.counts[source.quality == 0].sum()
        raise DataError(
            f"{source.where}: {kind} leaves no good bin of the {held:.6g} counts in good channels; ask for fewer "
            "counts a bin, or leave the spectrum as it is"
        )
    if is_type_two(spectrum_table(read_fits(source.path))):
        write_pha(out, **_as_type_one(source, grouping, quality))
    else:
        content = regrouped(source, grouping, quality, f"xrayflow group --grouping {kind}")
        write_file(out, gzip.compress(content, mtime=0) if out.name.endswith(".gz") else content, OTHER_OUT)
    incomplete = int(np.sum(quality != source.quality))
    return GroupedFile(out, len(bins.quality), len(counts), incomplete, float(counts.min()), float(np.median(counts)))


def _belonging(pha: PHA, rmf: str | Path | None) -> list[Path]:
    """The spectrum's file and all places where a file that it needs may be."""
    match = "%match%"
    named = (
        *((pha.response_file, ".rsp"), (pha.arf_file, ".arf"), (pha.background_file, ".bkg")),
        *((match, ".rmf"), (match, ".rsp"), (match, ".arf")),
    )
    found = [place for name, ending in named if name is not None for place in candidates(pha.path, name, ending)]
    return [pha.path, *([] if rmf is None else [Path(rmf)]), *found]


def _as_type_one(pha: PHA, grouping: NDArray[np.int64], quality: NDArray[np.int64]) -> dict[str, Any]:
    """Arguments of `write_pha` for one spectrum of several."""
    unknown = Origin().telescope
    files = (pha.response_file, pha.arf_file, pha.background_file)
    return {
        "channel": pha.channel,
        "counts": pha.counts,
        "exposure": pha.exposure,
        "grouping": grouping,
        "quality": quality,
        "stat_err": pha.stat_err,
        "sys_err": pha.sys_err,
        "areascal": pha.areascal if np.ptp(pha.areascal) else float(pha.areascal[0]),
        "backscal": pha.backscal if np.ptp(pha.backscal) else float(pha.backscal[0]),
        "poisserr": pha.poisserr,
        "detchans": pha.detchans,
        "first_channel": pha.first_channel,
        "origin": Origin(pha.telescope or unknown, pha.instrument or unknown, pha.object or unknown, *files),
    }


def regrouped(pha: PHA, grouping: NDArray[np.int64], quality: NDArray[np.int64], history: str) -> bytes:
    """The bytes of a spectrum's file, unpacked, with other groups.

    Args:
        pha: The spectrum, of TYPE:I.
        grouping: Of each channel.
        quality: Of each channel.
        history: What is noted in the header, at most 71 characters.

    Raises:
        FileError: The file can no longer be read.
        FormatError: It is of TYPE:II, where each row would need groups of its own.
    """
    packed = read_bytes(pha.path)
    content = content_of(pha.path, packed)
    table = spectrum_table(read_fits(pha.path, packed))
    if is_type_two(table):
        raise FormatError(f"{table.where}: TYPE:II; take the spectrum out first, each row has channels of its own")
    columns = {"GROUPING": grouping, "QUALITY": quality}
    rows = np.frombuffer(content, np.uint8, table.rows * table.width, table.start).reshape(table.rows, table.width)
    rows = rows.copy()
    added = []
    for name in FLAGS:
        column = table.columns.get(name)
        if column is not None and _holds_flags(table, column):
            values = columns[name].astype(IN_PLACE[column.kind])[:, None].view(np.uint8)
            rows[:, column.offset : column.offset + column.width] = values.reshape(table.rows, -1)
        else:
            added.append(name)
    new = [columns[name].astype(">i2")[:, None].view(np.uint8) for name in added]
    rows = np.concatenate([rows, *new], axis=1) if new else rows
    begin = _header_start(content, table)
    header = _header(content[begin : table.start], table, added, rows.shape[1], history)
    heap = content[table.start + table.rows * table.width : table.start + table.size]
    data = rows.tobytes() + heap
    end = table.start + -(-table.size // BLOCK) * BLOCK
    return content[:begin] + header + data + bytes(-len(data) % BLOCK) + content[end:]


def _holds_flags(table: Table, column: Column) -> bool:
    """Whether whole numbers from -1 up can be written into a column as they are."""
    scaled = any(table.header.get(f"{word}{column.number}") is not None for word in ("TSCAL", "TZERO", "TNULL"))
    return column.kind in IN_PLACE and column.repeat == 1 and not scaled


def _header_start(content: bytes, table: Table) -> int:
    """First byte of the table's header, which ends at `table.start`."""
    begin = table.start - BLOCK
    while content[begin : begin + 8] != b"XTENSION":
        begin -= BLOCK
    return begin


def _header(old: bytes, table: Table, added: list[str], width: int, history: str) -> bytes:
    """The cards with what changed."""
    cards = [old[at : at + CARD] for at in range(0, len(old), CARD)]
    cards = cards[: next(number for number, card in enumerate(cards) if card.rstrip() == b"END")]
    fields = len(table.columns)
    changed: dict[str, int | str] = {"NAXIS1": width, "TFIELDS": fields + len(added)}
    if table.header.get("THEAP") is not None:
        changed["THEAP"] = table.header.whole("THEAP") + table.rows * (width - table.width)
    for name in added:
        if name in table.columns:  # kept under another name: its format cannot hold -1
            changed[f"TTYPE{table.columns[name].number}"] = f"OLD_{name}"
    kept = []
    for card in cards:
        keyword = card[:8].decode("latin-1").strip().upper()
        if keyword in changed:
            kept.append(_card(keyword, changed.pop(keyword)))
        elif keyword not in DROPPED:
            kept.append(card)
    for number, name in enumerate(added, fields + 1):
        kept += [_card(f"TTYPE{number}", name), _card(f"TFORM{number}", "I")]
    kept += [f"HISTORY {history:.72}".encode("ascii", "replace").ljust(CARD), b"END".ljust(CARD)]
    text = b"".join(kept)
    return text + b" " * (-len(text) % BLOCK)


def _card(keyword: str, value: int | str) -> bytes:
    """A card of the fixed format."""
    shown = f"'{value:8}'" if isinstance(value, str) else f"{value:20d}"
    return f"{keyword:8}= {shown}".encode().ljust(CARD)
