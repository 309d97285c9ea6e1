"""Effective areas: OGIP ARF files.

Source: OGIP Calibration Memo CAL/GEN/92-002 (George et al. 2007), section 4, extension SPECRESP.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import XrayflowWarning
from xrayflow.ogip.datasum import warn_of_damage
from xrayflow.ogip.fits import FitsFile, Table
from xrayflow.ogip.known import KnownFiles

THOUSANDTH = 1e-3
"""Of a bin: edges of two files, or of two neighbours, that differ by less are one."""

LAST_DIGITS = 5e-7
"""Relative: the last digits of float32, in which most files hold their energies."""

MOST_KEV = 1e12
"""No photon has more, so that sums of energies stay numbers [keV]."""

LARGEST_AREA = 1e30
"""[cm^2]"""

NO_WIDTH = float(np.finfo(np.float32).eps)
"""Relative: a narrower bin has no width in float32."""


@dataclass(frozen=True, eq=False)
class ARF:
    """An effective area per photon-energy bin.

    Args:
        path: The file.
        energy_edges: Increasing bin edges [keV]; the lowest may be 0.
        area: Effective area of each bin [cm^2].
        sha256: Of the file's bytes.
    """

    path: Path
    energy_edges: NDArray[np.float64] = field(repr=False)
    area: NDArray[np.float64] = field(repr=False)
    sha256: str

    @property
    def size(self) -> int:
        """Bytes in memory."""
        return self.energy_edges.nbytes + self.area.nbytes


MOST_KEPT = 32 << 20
"""Bytes of areas that a process keeps: some hundred of a CCD. In an archive every spectrum may have its own."""

_KNOWN = KnownFiles["ARF"](MOST_KEPT)


def read_arf(path: str | Path) -> ARF:
    """Read an ARF; a wrong HDUCLASS does not matter, the columns do.

    Args:
        path: The file.

    Returns:
        The area on its own grid; a grid of decreasing energy is turned round.

    Raises:
        FileError: The file is missing, not FITS, or cut short.
        FormatError: No area in it, or values that cannot be.
    """
    return _KNOWN.read(Path(path), _parsed)


def _parsed(file: FitsFile) -> ARF:
    """The area of a file."""
    held = [table for table in file.tables if {"SPECRESP", "ENERG_LO", "ENERG_HI"} <= table.columns.keys()]
    if not held:
        file.missing("SPECRESP", "an ARF")
    table = held[0]
    warn_of_damage(table)
    area = table.column("SPECRESP").reshape(-1).astype(np.float64)
    if len(area) != table.rows or table.rows == 0:
        table.fail(f"SPECRESP has {len(area)} values in {table.rows} rows", "give one area per energy")
    if bad := int(np.sum(~((area >= 0.0) & (area <= LARGEST_AREA)))):
        table.fail(f"{bad} areas are negative or not numbers", "rebuild the ARF")
    edges, order = energy_edges(table, area > 0.0)
    return ARF(file.path, edges, area[order], file.sha256)


def energy_edges(table: Table, used: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The photon-energy grid of a response table.

    No photon falls into a row whose bounds are equal (ROSAT's PSPC matrices, written in float32, have such rows), or
    equal but for the rounding of float32: it is left out with a warning, so that an ARF that has it and an RMF that has
    not are on one grid.

    Args:
        table: With ENERG_LO and ENERG_HI [keV].
        used: Rows that hold any response. First or last rows without one whose bounds are not increasing (EXOSAT's
            matrices have such a row) are left out with a warning: no photon of theirs is ever seen.

    Returns:
        Edges [keV], and the rows of the table in the order of increasing energy.

    Raises:
        FormatError: The bounds are not numbers, negative, not increasing, or leave gaps.
    """
    for name in ("ENERG_LO", "ENERG_HI"):
        if (unit := str(table.columns[name].unit or "keV").strip()).lower() != "kev":
            table.fail(f"{name} is in {unit}", "give energies in keV")
    low, high = (table.column(name).reshape(-1).astype(np.float64) for name in ("ENERG_LO", "ENERG_HI"))
    if not (np.all(np.isfinite(low)) and np.all(np.isfinite(high)) and np.all(low >= 0.0)):
        table.fail("ENERG_LO or ENERG_HI holds negative values or no numbers", "rebuild the response")
    if high.max() > MOST_KEV:
        table.fail(f"energies of up to {high.max():g} keV", "rebuild the response")
    order = np.arange(table.rows, dtype=np.int64)
    if table.rows > 1 and low[0] > low[-1]:
        order = order[::-1]
    order = order[_increasing(table, low[order], high[order], used[order])]
    order = order[_wide(table, low[order], high[order])]
    low, high = low[order], high[order]
    if not np.all(low < high):
        row = int(order[np.argmin(low < high)]) + 1
        table.fail(f"row {row} has ENERG_LO >= ENERG_HI", "rebuild the response")
    gap = np.abs(low[1:] - high[:-1])
    # neighbours may differ in the last digits of float32, or by a thousandth of a bin
    bearable = np.maximum(THOUSANDTH * np.minimum(np.diff(low), np.diff(high)), LAST_DIGITS * low[1:])
    if np.any(gap > bearable):
        row = int(order[1 + np.argmax(gap > bearable)]) + 1
        table.fail(f"row {row} begins at {low[row - 1]:g} keV, not where its neighbour ends", "rebuild the response")
    return np.append(low, high[-1]), order


def tolerance(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far an edge of another grid may lie from each of these and still be the same [keV].

    Args:
        edges: Increasing [keV].
    """
    width = np.diff(edges)
    narrow = np.minimum(np.append(width, width[-1]), np.append(width[0], width))
    return np.asarray(np.maximum(THOUSANDTH * narrow, LAST_DIGITS * edges))


def _wide(table: Table, low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The rows without those whose bounds are equal, which are warned of."""
    wide = np.abs(high - low) > NO_WIDTH * high
    if not np.any(wide):
        table.fail("ENERG_LO and ENERG_HI are equal in all rows", "rebuild the response")
    if narrow := int(np.sum(~wide)):
        warnings.warn(
            f"{table.where}: {narrow} rows have ENERG_LO = ENERG_HI and so hold no photons; they are left out",
            XrayflowWarning,
            stacklevel=4,
        )
    return wide


def _increasing(table: Table, low: NDArray[np.float64], high: NDArray[np.float64], used: NDArray[np.bool_]) -> slice:
    """The rows without the unused ones at either end whose bounds are the wrong way round."""
    first, last = 0, len(low)
    while first < last and low[first] >= high[first] and not used[first]:
        first += 1
    while last > first and low[last - 1] >= high[last - 1] and not used[last - 1]:
        last -= 1
    if (left_out := len(low) - (last - first)) > 0:
        warnings.warn(
            f"{table.where}: {left_out} rows without response have ENERG_LO >= ENERG_HI; they are left out",
            XrayflowWarning,
            stacklevel=4,
        )
    return slice(first, last)
