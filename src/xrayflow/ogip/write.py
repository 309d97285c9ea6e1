"""Write a spectrum as a minimal OGIP PHA file of TYPE:I, which XSPEC and this package read.

The file appears whole or not at all: it is written beside its place and renamed. Its bytes depend on the arguments
alone (no date inside), so equal spectra have equal hashes.

Source: OGIP/92-007, mandatory keywords of a SPECTRUM extension.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrayflow.errors import DataError, FormatError
from xrayflow.files import write_file

if TYPE_CHECKING:
    from astropy.io import fits


@dataclass(frozen=True)
class Origin:
    """What a spectrum comes from and belongs to, as its header says.

    Args:
        telescope: TELESCOP.
        instrument: INSTRUME.
        object: OBJECT.
        response_file: RESPFILE; None for 'none'.
        arf_file: ANCRFILE likewise.
        background_file: BACKFILE likewise.
        kind: HDUCLAS2: TOTAL (source and background), NET, or BKG.
    """

    telescope: str = "UNKNOWN"
    instrument: str = "UNKNOWN"
    object: str = "UNKNOWN"
    response_file: str | None = None
    arf_file: str | None = None
    background_file: str | None = None
    kind: str = "TOTAL"


def write_pha(
    path: str | Path,
    channel: ArrayLike,
    counts: ArrayLike,
    exposure: float,
    *,
    quality: ArrayLike | None = None,
    grouping: ArrayLike | None = None,
    stat_err: ArrayLike | None = None,
    sys_err: ArrayLike | None = None,
    areascal: float | ArrayLike = 1.0,
    backscal: float | ArrayLike = 1.0,
    poisserr: bool | None = None,
    detchans: int | None = None,
    first_channel: int | None = None,
    origin: Origin | None = None,
) -> Path:
    """Write a spectrum; an existing file is replaced.

    Args:
        path: The file; packed where it ends in `.gz`.
        channel: Channel numbers, increasing.
        counts: Counts of each channel; whole numbers are stored as integers, others as doubles.
        exposure: EXPOSURE [s].
        quality: QUALITY of each channel; None: all good, as a keyword.
        grouping: GROUPING of each channel; None: not grouped, as a keyword.
        stat_err: Statistical error of each channel [counts]; None: no column.
        sys_err: Systematic error of each channel, a fraction of the counts; None: no column.
        areascal: AREASCAL, one number or one per channel.
        backscal: BACKSCAL, one number or one per channel.
        poisserr: POISSERR; None: true where there is no `stat_err`.
        detchans: DETCHANS; None: the number of channels.
        first_channel: TLMIN of CHANNEL; None: the first channel.
        origin: Names and companion files of the header.

    Returns:
        The path.

    Raises:
        FormatError: Columns of different lengths, or text that FITS cannot hold.
        DataError: The exposure is not positive, or counts are not numbers.
        FileError: The file cannot be written.
    """
    path, origin = Path(path), origin or Origin()
    number = np.asarray(channel, dtype=np.int64)
    values = np.asarray(counts, dtype=np.float64)
    if not np.isfinite(exposure) or exposure <= 0.0:
        raise DataError(f"{path}[SPECTRUM]: exposure {exposure!r} s; give a positive one")
    if not np.all(np.isfinite(values)):
        raise DataError(f"{path}[SPECTRUM]: {np.sum(~np.isfinite(values))} counts are not numbers; correct them")
    optional = {
        "STAT_ERR": stat_err,
        "SYS_ERR": sys_err,
        "QUALITY": quality,
        "GROUPING": grouping,
        "AREASCAL": areascal,
    }
    from astropy.io import fits  # half a second, which reading does without

    columns, keywords = _columns(path, number, values, optional | {"BACKSCAL": backscal})
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    first = first_channel if first_channel is not None else int(number[0]) if len(number) else 0
    size = len(number) if detchans is None else detchans
    poisson = stat_err is None if poisserr is None else poisserr
    header = _header(origin, first, size) | keywords | {"EXPOSURE": float(exposure), "POISSERR": poisson}
    write_file(path, _serialise(path, table, header))
    return path


def _serialise(path: Path, table: fits.BinTableHDU, header: dict[str, str | int | float]) -> bytes:
    from astropy.io import fits

    try:
        table.header.update(header)
        stream = BytesIO()
        fits.HDUList([fits.PrimaryHDU(), table]).writeto(stream)
    except ValueError as error:
        raise FormatError(f"{path}[SPECTRUM]: {error}; use plain ASCII text in the header") from None
    return gzip.compress(stream.getvalue(), mtime=0) if path.name.endswith(".gz") else stream.getvalue()


def _columns(
    path: Path, number: NDArray[np.int64], counts: NDArray[np.float64], optional: dict[str, ArrayLike | None]
) -> tuple[list[fits.Column], dict[str, float]]:
    """Columns of what is given per channel, keywords of what is given once or not at all."""
    columns = [_column("CHANNEL", "J", number), _column("COUNTS", _counts_format(counts), counts)]
    keywords: dict[str, float] = {"QUALITY": 0, "GROUPING": 0, "STAT_ERR": 0, "SYS_ERR": 0}
    for name, given in optional.items():
        if given is None:
            continue
        array = np.asarray(given, dtype=np.float64)
        if array.ndim == 0:
            keywords[name] = float(array)
        else:
            keywords.pop(name, None)
            columns.append(_column(name, "I" if name in {"QUALITY", "GROUPING"} else "D", array))
    for column in columns:
        if column.array.shape != (len(number),):
            raise FormatError(
                f"{path}[SPECTRUM]: {column.name} has shape {column.array.shape} for {len(number)} channels; "
                "give one value per channel"
            )
    return columns, keywords


def _column(name: str, form: str, values: NDArray[np.float64] | NDArray[np.int64]) -> fits.Column:
    from astropy.io import fits

    kinds = {"I": np.int16, "J": np.int32, "K": np.int64, "D": np.float64}
    unit = "count" if name in {"COUNTS", "STAT_ERR"} else None
    return fits.Column(name=name, format=form, unit=unit, array=values.astype(kinds[form]))


def _counts_format(values: NDArray[np.float64]) -> str:
    whole = bool(np.all(values == np.floor(values)))
    return "J" if whole and np.all(np.abs(values) < 2**31) else "D"


def _header(origin: Origin, first: int, detchans: int) -> dict[str, str | int | float]:
    return {
        "HDUCLASS": "OGIP",
        "HDUCLAS1": "SPECTRUM",
        "HDUVERS": "1.2.1",
        "HDUCLAS2": origin.kind,
        "HDUCLAS3": "COUNT",
        "HDUCLAS4": "TYPE:I",
        "TLMIN1": first,
        "TLMAX1": first + detchans - 1,
        "TELESCOP": origin.telescope,
        "INSTRUME": origin.instrument,
        "OBJECT": origin.object,
        "FILTER": "none",
        "RESPFILE": origin.response_file or "none",
        "ANCRFILE": origin.arf_file or "none",
        "BACKFILE": origin.background_file or "none",
        "CORRFILE": "none",
        "CORRSCAL": 1.0,
        "CHANTYPE": "PI",
        "DETCHANS": detchans,
    }
