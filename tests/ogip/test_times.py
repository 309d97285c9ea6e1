"""The middle of an observation, from whatever a header says of time."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ogip_zoo import write_spectrum
from xrayflow.ogip import read_pha

NICER = {"MJDREFI": 56658, "MJDREFF": 0.000777592592592593}


def middle(folder: Path, **header: Any) -> float:
    columns = {"CHANNEL": np.arange(4), "COUNTS": np.arange(4)}
    return read_pha(write_spectrum(folder / "a.pha", columns, **header)).mjd


@pytest.mark.parametrize(
    ("header", "mjd"),
    [
        ({"TSTART": 86400.0, "TSTOP": 172800.0, **NICER}, 56659.5 + 0.000777592592592593),
        ({"TSTART": 86400.0, "TSTOP": 172800.0, "TIMEZERO": -1.0, "MJDREF": 50814.0}, 50815.5 - 1.0 / 86400.0),
        ({"TSTART": 0.0, "TSTOP": 2.0, "TIMEUNIT": "d", "MJDREF": 50814.0}, 50815.0),
        ({"TSTART": 86400.0, "TSTOP": 172800.0, "TELESCOP": "NICER"}, 56659.5 + 0.000777592592592593),
        ({"DATE-OBS": "2017-09-09T12:00:00", "DATE-END": "2017-09-10T12:00:00"}, 58006.0),
        ({"DATE-OBS": "20/06/85", "TIME-OBS": "06:00:00"}, 46236.25),
        ({"DATE-OBS": "2020-03-30T22:01:60"}, 58938.0 + (22 * 3600 + 120) / 86400),
        ({"MJD-OBS": 59665.5}, 59665.5),
        # the part that was cut out of a pointing, not the pointing
        ({"TSTART": 0.0, "TSTOP": 1.0, "MJDREF": 58000.0, "DATE-OBS": "2017-01-01T00:00:00"}, 58000.0 + 0.5 / 86400),
        # TSTART once more as TIMEZERO, as EXOSAT's files have it
        (
            {"TSTART": 1.72552e8, "TSTOP": 1.72552e8, "TIMEZERO": 1.72552e8, "MJDREF": 44239.0},
            44239.0 + 1.72552e8 / 86400,
        ),
    ],
)
def test_the_middle_is_what_the_header_says(tmp_path: Path, header: dict[str, Any], mjd: float) -> None:
    assert middle(tmp_path, **header) == pytest.approx(mjd, abs=1e-9)


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"TSTART": 1.0, "TSTOP": 2.0},
        {"TSTART": 1.0, "TSTOP": 2.0, "TELESCOP": "TOY"},
        {"DATE-OBS": "yesterday"},
        {"DATE-OBS": "2017-13-45"},
        {"MJD-OBS": 0.0},
        {"TSTART": "soon", "TSTOP": 2.0, "MJDREF": 50814.0},
    ],
)
def test_a_header_that_does_not_say_gives_no_time_and_no_error(tmp_path: Path, header: dict[str, Any]) -> None:
    assert math.isnan(middle(tmp_path, **header))


def test_a_card_of_time_that_cannot_be_read_does_no_harm(tmp_path: Path) -> None:
    columns = {"CHANNEL": np.arange(4), "COUNTS": np.arange(4)}
    path = write_spectrum(tmp_path / "a.pha", columns, TSTART=1.0, TSTOP=2.0, MJDREF=50814.0)
    content = path.read_bytes()
    at = content.index(b"TSTART  =")
    path.write_bytes(content[: at + 10] + b"garbage".rjust(20) + content[at + 30 :])
    assert math.isnan(read_pha(path).mjd)


@pytest.mark.parametrize(
    ("pattern", "mjd"),
    [
        ("nicer_MAXIJ1535-571/1050360104/*GTI0.jsgrp.gz", 58008.46),  # no reference in the header: the mission's
        ("nicer_MAXIJ1820+070_1200120194/*.pha", 58302.15),
        ("exosat_me_1E1048-5937_s54405/s54405.pha", 46236.27),
    ],
)
def test_real_spectra_are_dated(data_folder: Path, pattern: str, mjd: float) -> None:
    (path, *_) = sorted(data_folder.glob(pattern))
    assert read_pha(path).mjd == pytest.approx(mjd, abs=0.01)
