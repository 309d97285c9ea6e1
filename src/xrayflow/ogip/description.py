"""What a file holds, and what is odd about it: facts as plain values, oddities in words with what follows from each.

Nothing is judged that the reader does not judge: the file is read as for a fit, and what reading it warns of is an
oddity like the others.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from xrayflow.errors import FileError, XrayflowWarning
from xrayflow.ogip import oddities
from xrayflow.ogip.arf import read_arf
from xrayflow.ogip.fits import FitsFile, read_fits, split_choice
from xrayflow.ogip.grouping import form_bins, least_counts
from xrayflow.ogip.oddities import Oddity
from xrayflow.ogip.pha import PHA, is_type_two, read_pha, spectrum_table
from xrayflow.ogip.regroup import row_fwhm
from xrayflow.ogip.rmf import RMF, matrix_tables, read_rmf
from xrayflow.ogip.table import Table

MOST_LISTED = 200
"""Spectra of a TYPE:II file that are listed."""

RESOLVED_AT = (0.5, 1.0, 2.0, 6.4, 10.0, 30.0)
"""Energies at which the resolution of a response is given [keV]."""

T = TypeVar("T")


@dataclass(frozen=True)
class Description:
    """What a file holds.

    Args:
        path: The file.
        kind: PHA, RMF or ARF; RSP is an RMF that includes the area.
        sha256: Of its bytes.
        facts: By name, plain values.
        oddities: What a reader of the file should know.
        spectra: One per row of a TYPE:II file, where none was chosen.
        pha: The spectrum, where there is one.
    """

    path: Path
    kind: str
    sha256: str
    facts: dict[str, Any]
    oddities: tuple[Oddity, ...]
    spectra: tuple[dict[str, Any], ...] = ()
    pha: PHA | None = field(default=None, repr=False)


def describe(path: str | Path, row: int | None = None) -> Description:
    """What a file holds.

    Args:
        path: A spectrum, response, area or background; `file{3}` is its third spectrum or matrix.
        row: The same choice of a TYPE:II file.

    Returns:
        Facts and oddities. A TYPE:II file without a choice is a list of its spectra.

    Raises:
        FileError: The file is none of these, or is broken.
    """
    bare, chosen = split_choice(path)
    file = read_fits(bare)
    spectra = [t for t in file.tables if ("COUNTS" in t or "RATE" in t) and _is_spectrum(t)]
    if spectra:
        return _describe_pha(path, file, row if chosen is None else chosen)
    if any(table.name in ("MATRIX", "SPECRESP MATRIX") or "MATRIX" in table for table in file.tables):
        return _describe_rmf(path, file, chosen)
    if any("SPECRESP" in table for table in file.tables):
        return _describe_arf(file)
    held = ", ".join(file.names[:12]) or "no extension"
    raise FileError(f"{bare}: neither spectrum nor response nor area, it holds {held}; give a PHA, RMF or ARF")


def _is_spectrum(table: Table) -> bool:
    return table.name.startswith("SPECTRUM") or oddities.said(table, "HDUCLAS1").upper() == "SPECTRUM"


def _heard(read: Callable[[], T]) -> tuple[T, list[Oddity]]:
    """What reading gives, and what it warns of."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", XrayflowWarning)
        found = read()
    return found, [Oddity.of_warning(str(one.message)) for one in said if issubclass(one.category, XrayflowWarning)]


def _describe_pha(path: str | Path, file: FitsFile, row: int | None) -> Description:
    table = spectrum_table(file)
    spectra = table.rows if is_type_two(table) else 1
    if row is None and spectra > 1:
        facts = {"type": "II", "spectra": spectra, "channels": int(table.lengths(_counts_name(table)).max())}
        facts |= _origin(table)
        listed = tuple(_listed(table, number) for number in range(min(spectra, MOST_LISTED)))
        return Description(file.path, "PHA", file.sha256, facts, oddities.of_table(table), listed)
    pha, heard = _heard(lambda: read_pha(path, row))
    bins = form_bins(pha.channel, pha.grouping, pha.quality, np.zeros(len(pha.channel)), np.zeros(len(pha.channel)))
    flags, channels = np.unique(pha.quality, return_counts=True)
    facts = {
        "type": "II" if is_type_two(table) else "I",
        "spectra": spectra,
        "row": row,
        "telescope": pha.telescope,
        "instrument": pha.instrument,
        "object": pha.object,
        "obs_id": pha.obs_id,
        "exposure": pha.exposure,
        "channels": [int(pha.channel[0]), int(pha.channel[-1])],
        "rows": len(pha.channel),
        "detchans": pha.detchans,
        "counts": float(pha.counts.sum()),
        "rate": float(pha.counts.sum() / pha.exposure),
        "column": "RATE" if pha.is_rate else "COUNTS",
        "poisserr": pha.poisserr,
        "stat_err": pha.stat_err is not None,
        "sys_err": 0.0 if pha.sys_err is None else float(pha.sys_err.max()),
        "areascal": _ends(pha.areascal),
        "backscal": _ends(pha.backscal),
        "quality": {str(flag): int(number) for flag, number in zip(flags, channels, strict=True)},
        "bins": len(bins.quality),
        "good_bins": int(np.sum(bins.quality == 0)),
        "grouped_by_counts": least_counts(pha.grouping, pha.quality, pha.counts),
        "respfile": pha.response_file,
        "ancrfile": pha.arf_file,
        "backfile": pha.background_file,
    }
    found = (*heard, *oddities.of_table(table), *oddities.of_pha(pha, table))
    return Description(file.path, "PHA", file.sha256, facts, found, pha=pha)


def _counts_name(table: Table) -> str:
    return "COUNTS" if "COUNTS" in table else "RATE"


def _origin(table: Table) -> dict[str, str]:
    words = (("telescope", "TELESCOP"), ("instrument", "INSTRUME"), ("object", "OBJECT"), ("obs_id", "OBS_ID"))
    return {name: oddities.said(table, keyword) for name, keyword in words}


def _listed(table: Table, row: int) -> dict[str, Any]:
    """A line about one spectrum of several."""
    counts = table.cell(_counts_name(table), row)
    facts: dict[str, Any] = {"row": row + 1, "counts" if "COUNTS" in table else "rate": float(np.sum(counts))}
    for name in ("OBJECT", "TG_M", "TG_PART", "TG_SRCID", "EXPOSURE"):
        if name in table:
            words = table.words(name, row)
            facts[name.lower()] = words if words is not None else _first(table.cell(name, row))
    return facts


def _first(values: np.ndarray[Any, Any]) -> float | None:
    return float(values[0]) if values.size else None


def _ends(values: np.ndarray[Any, Any]) -> float | list[float]:
    """One number where all are equal, else the smallest and the largest."""
    low, high = float(values.min()), float(values.max())
    return low if low == high else [low, high]


def _describe_rmf(path: str | Path, file: FitsFile, number: int | None) -> Description:
    rmf, heard = _heard(lambda: read_rmf(path))
    tables = matrix_tables(file, number)
    sums = rmf.row_sums()
    seen = sums > 0 if rmf.tails else np.diff(rmf.matrix.indptr) > 0
    facts = {
        "matrices": len(tables),
        "telescope": oddities.said(tables[0], "TELESCOP"),
        "instrument": oddities.said(tables[0], "INSTRUME"),
        "energies": [float(rmf.energy_edges[0]), float(rmf.energy_edges[-1])],
        "energy_bins": len(rmf.energy_edges) - 1,
        "channels": [int(rmf.channel[0]), int(rmf.channel[-1])],
        "channel_energies": [float(rmf.e_min.min()), float(rmf.e_max.max())],
        "elements": rmf.elements,
        "filled": float(rmf.elements / max(rmf.matrix.shape[0] * rmf.matrix.shape[1], 1)),
        "includes_area": rmf.includes_area,
        "row_sums": [float(sums[seen].min()), float(sums[seen].max())] if seen.any() else None,
        "empty_rows": int(np.sum(~seen)),
        "resolution": _resolution(rmf, seen),
        "year": rmf.year,
    }
    found = [*heard]
    for table in tables:
        found.extend(oddities.of_table(table))
    found.extend(oddities.of_rmf(rmf, file, tables))
    return Description(file.path, "RSP" if rmf.includes_area else "RMF", file.sha256, facts, tuple(found))


def _resolution(rmf: RMF, seen: np.ndarray[Any, Any]) -> list[dict[str, float]]:
    """Full width at half maximum at some energies [keV]."""
    found = []
    for energy in RESOLVED_AT:
        row = int(np.searchsorted(rmf.energy_edges, energy, side="right")) - 1
        if 0 <= row < len(seen) and seen[row] and rmf.matrix.indptr[row] < rmf.matrix.indptr[row + 1]:
            sharp = rmf.matrix[np.array([row])]
            peak = int(sharp.indices[np.argmax(sharp.data)])
            width = abs(float(rmf.e_max[peak] - rmf.e_min[peak]))
            found.append({"energy": energy, "fwhm": row_fwhm(rmf, row) * width})
    return found


def _describe_arf(file: FitsFile) -> Description:
    arf, heard = _heard(lambda: read_arf(file.path))
    table = next(table for table in file.tables if "SPECRESP" in table)
    peak = int(np.argmax(arf.area))
    facts = {
        "telescope": oddities.said(table, "TELESCOP"),
        "instrument": oddities.said(table, "INSTRUME"),
        "energies": [float(arf.energy_edges[0]), float(arf.energy_edges[-1])],
        "energy_bins": len(arf.area),
        "largest_area": float(arf.area[peak]),
        "largest_at": float((arf.energy_edges[peak] + arf.energy_edges[peak + 1]) / 2),
        "empty_bins": int(np.sum(arf.area == 0.0)),
    }
    found = (*heard, *oddities.of_table(table), *oddities.of_arf(arf))
    return Description(file.path, "ARF", file.sha256, facts, found)
