"""A spectrum and the files that belong to it, found by its header or given, and checked against each other.

Source: OGIP/92-007, keywords RESPFILE, ANCRFILE, BACKFILE; XSPEC 12 manual, command `data`.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import FileError, MismatchError, XrayflowWarning
from xrayflow.ogip.arf import ARF, read_arf, tolerance
from xrayflow.ogip.fits import split_choice
from xrayflow.ogip.locate import find, is_match, selected_row
from xrayflow.ogip.observation import Observation
from xrayflow.ogip.pha import NO_FILE, PHA, read_pha
from xrayflow.ogip.rmf import RMF, read_rmf


def read_observation(
    pha: str | Path | PHA,
    rmf: str | Path | RMF | None = None,
    arf: str | Path | ARF | None = None,
    background: str | Path | PHA | None = None,
    row: int | None = None,
) -> Observation:
    """Read a spectrum and the files that belong to it.

    Args:
        pha: The spectrum's file; `file{3}` is the third spectrum of a TYPE:II file, as in XSPEC.
        rmf: The redistribution matrix, read already or to be read; None: as the header says, or the file of the
            spectrum's name beside it.
        arf: The effective area likewise; "none" where the RMF includes it.
        background: The background likewise; "none" for none although the header names one.
        row: Which spectrum of a TYPE:II file, from 1: the same as `file{3}`.

    Returns:
        The observation.

    Raises:
        FileError: A file is missing, broken, or not named anywhere.
        FormatError: A file breaks the OGIP rules that we need.
        MismatchError: The files do not belong together.
        DataError: There is no exposure.
    """
    source = pha if isinstance(pha, PHA) else read_pha(pha, row)
    row = row if isinstance(pha, PHA) else split_choice(pha)[1] or row
    response = rmf if isinstance(rmf, RMF) else _read_response(source, rmf)
    area = arf if isinstance(arf, ARF) else _read_area(source, response, arf)
    other = background if isinstance(background, PHA) else _read_background(source, background, row)
    if area is not None:
        _check_grids(response, area)
    if other is not None:
        _check_background(source, other)
    return Observation(source, response, area, other, _channel_rows(source, response))


def response_of(pha: PHA, rmf: str | Path | RMF | None = None) -> tuple[RMF, NDArray[np.int64]]:
    """The redistribution matrix of a spectrum, and the row of its EBOUNDS of each of the spectrum's channels.

    Args:
        pha: The spectrum.
        rmf: As for `read_observation`.

    Raises:
        FileError: It is missing, broken, or not named anywhere.
        MismatchError: It is not that of the spectrum's channels.
    """
    response = rmf if isinstance(rmf, RMF) else _read_response(pha, rmf)
    return response, _channel_rows(pha, response)


def _read_response(pha: PHA, given: str | Path | None) -> RMF:
    if given is not None:
        return read_rmf(given)
    number = selected_row(pha.response_file or "")
    return find(
        pha,
        "RESPFILE",
        pha.response_file,
        "--rmf FILE",
        ".rsp",
        lambda path: read_rmf(path, number),
        beside=(".rmf", ".rsp"),
    )


def _read_area(pha: PHA, rmf: RMF, given: str | Path | None) -> ARF | None:
    if given is not None and not _says_none(given):
        area = read_arf(given)
    elif (given is None and pha.arf_file is not None and not is_match(pha.arf_file)) or not rmf.includes_area:
        if given is not None:
            raise FileError(f"{rmf.path}: holds no effective area; give --arf FILE instead of none")
        option = "--arf FILE, or --arf none" if rmf.includes_area else "--arf FILE"
        beside = () if rmf.includes_area else (".arf",)
        area = find(pha, "ANCRFILE", pha.arf_file, option, ".arf", read_arf, beside)
    else:
        return None
    if rmf.includes_area:
        warnings.warn(
            f"{rmf.path}: says that it includes the effective area; {area.path} multiplies it all the same, as in "
            "XSPEC (--arf none leaves it out)",
            XrayflowWarning,
            stacklevel=3,
        )
    return area


def _read_background(pha: PHA, given: str | Path | None, row: int | None) -> PHA | None:
    if given is not None and _says_none(given):
        return None
    if given is None and pha.background_file is None:
        if pha.holds_background:
            warnings.warn(
                f"{pha.where}: its BACKFILE names no background, but the file holds one (HDUCLAS2 = BKG), which is not "
                f"taken; --background {pha.path.name} takes it, and --background none leaves it in silence",
                XrayflowWarning,
                stacklevel=3,
            )
        return None
    if given is not None:
        return read_pha(given, row, background=True)
    chosen = selected_row(pha.background_file or "")
    option = "--background FILE, or --background none"
    return find(
        pha,
        "BACKFILE",
        pha.background_file,
        option,
        ".bkg",
        lambda path: read_pha(path, chosen or row, background=True),
    )


def _says_none(given: str | Path) -> bool:
    return str(given).strip().lower() in NO_FILE


def _check_grids(rmf: RMF, arf: ARF) -> None:
    """The area acts on the matrix's own energy bins: equal edges but for the last digits of float32."""
    one, other = rmf.energy_edges, arf.energy_edges
    what = f"{arf.path} has {len(other) - 1} energies {other[0]:g}-{other[-1]:g} keV"
    todo = f"{rmf.path} has {len(one) - 1}, {one[0]:g}-{one[-1]:g} keV; give an ARF and an RMF made for each other"
    if len(one) != len(other):
        raise MismatchError(f"{what}, {todo}")
    apart = np.abs(one - other) > tolerance(one)
    if np.any(apart):
        raise MismatchError(f"{what}, different at {int(np.sum(apart))} edges: {todo}")


def _check_background(pha: PHA, background: PHA) -> None:
    same = background.sha256 == pha.sha256 and background.row == pha.row
    if same and np.array_equal(background.counts, pha.counts):
        raise MismatchError(
            f"{background.where}: is the source's own spectrum; give another file, another row (file{{2}}), or "
            "--background none"
        )
    if pha.chantype and background.chantype and pha.chantype != background.chantype:
        warnings.warn(
            f"{background.where}: CHANTYPE is {background.chantype}, the source's is {pha.chantype}; its channels are "
            "taken as the source's all the same",
            XrayflowWarning,
            stacklevel=3,
        )
    if len(background.channel) != len(pha.channel):
        found = f"has {len(background.channel)} channels, {pha.where} has {len(pha.channel)}"
    elif not np.array_equal(background.channel, pha.channel):
        found = f"begins at channel {background.channel[0]}, {pha.where} at {pha.channel[0]}, or skips others"
    else:
        return
    raise MismatchError(f"{background.where}: {found}; give a background on the source's channels")


def _channel_rows(pha: PHA, rmf: RMF) -> NDArray[np.int64]:
    """Column of the RMF of each PHA row.

    Both number their channels from their own first one, so a spectrum from 1 meets a matrix from 0 rightly.
    """
    size = len(rmf.channel)
    if pha.detchans != size:
        raise MismatchError(
            f"{pha.where}: DETCHANS is {pha.detchans}, {rmf.path} has {size} channels; give the RMF made for it"
        )
    first = pha.first_channel
    if first is None:
        first = int(pha.channel[0]) if len(pha.channel) == size else int(rmf.channel[0])
    row: NDArray[np.int64] = pha.channel - first
    if row[0] < 0 or row[-1] >= size:
        raise MismatchError(
            f"{pha.where}: channels {pha.channel[0]}-{pha.channel[-1]} counted from {first} are not all among the "
            f"{size} of {rmf.path}; give the RMF made for it"
        )
    return row
