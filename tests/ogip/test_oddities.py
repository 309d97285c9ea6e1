"""Each oddity has a small file that shows it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ogip_zoo import CHANNEL_EDGES, ENERGY_EDGES, redistribution, write_arf, write_rmf, write_spectrum
from xrayflow.ogip import Oddity, describe

CHANNEL = np.arange(30)
COUNTS = 1 + np.arange(30) % 7


def odd(path: Path) -> dict[str, str]:
    return {one.what: one.meaning for one in describe(path).oddities}


def spectrum(path: Path, columns: dict[str, Any], **header: Any) -> Path:
    return write_spectrum(path, {"CHANNEL": CHANNEL} | columns, **{"HDUCLASS": "OGIP", "TLMIN1": 0} | header)


@pytest.mark.parametrize(
    ("columns", "header", "what", "meaning"),
    [
        ({"COUNTS": COUNTS}, {"HDUCLASS": None}, "no HDUCLASS in SPECTRUM", "follows from its columns"),
        ({"COUNTS": COUNTS}, {"HDUCLASS": "ASCA"}, "HDUCLASS is 'ASCA' in SPECTRUM", "follows from its columns"),
        ({"COUNTS": COUNTS}, {"DATASUM": "17"}, "DATASUM of SPECTRUM does not fit its data", "grppha does"),
        ({"RATE": COUNTS / 100.0}, {}, "a RATE column, no COUNTS", "these are counts"),
        ({"RATE": COUNTS / 99.0}, {}, "a RATE column, no COUNTS", "no whole counts"),
        ({"COUNTS": COUNTS - 3.0}, {}, "10 of 30 counts are negative", "chi2"),
        ({"COUNTS": COUNTS + 0.5}, {}, "30 of 30 counts are not whole", "chi2"),
        ({"COUNTS": np.where(CHANNEL == 7, 268435507, COUNTS)}, {}, "channel 7 holds 100% of all counts", "damaged"),
        ({"COUNTS": COUNTS}, {"POISSERR": False}, "POISSERR is F, but there is no STAT_ERR", "taken as counts"),
        ({"COUNTS": COUNTS, "STAT_ERR": COUNTS + 0.1}, {"POISSERR": False}, "STAT_ERR gives errors", "only their root"),
        ({"COUNTS": COUNTS, "STAT_ERR": COUNTS + 0.1}, {}, "STAT_ERR beside POISSERR = T", "own Poisson errors"),
        ({"COUNTS": COUNTS}, {"SYS_ERR": 0.02}, "SYS_ERR of up to 0.02", "chi2 alone takes it"),
        ({"COUNTS": COUNTS}, {"DETCHANS": 64}, r"30 rows (channels 0-29) of DETCHANS = 64", "found by number"),
        ({"COUNTS": COUNTS}, {"TLMIN1": None}, "no TLMIN of CHANNEL", "from the first row"),
        ({"COUNTS": COUNTS, "QUALITY": CHANNEL // 29}, {}, "1 channels of QUALITY 1", "in no bin"),
        ({"COUNTS": COUNTS, "QUALITY": 5 * (CHANNEL // 28)}, {}, "2 channels of QUALITY 5", "left out"),
        ({"COUNTS": COUNTS, "AREASCAL": CHANNEL % 3 * 1.0}, {}, "AREASCAL is 0 in 10 channels", "left out"),
        ({"COUNTS": COUNTS, "BACKSCAL": 1.0 + CHANNEL}, {}, "BACKSCAL differs from channel to channel", "its own"),
        ({"COUNTS": COUNTS}, {"AREASCAL": 1668.76}, "AREASCAL is 1668.76", "a factor of the exposure"),
        ({"COUNTS": COUNTS}, {"ONTIME": 120.0}, "ONTIME is 120 s, EXPOSURE 100 s", "EXPOSURE counts"),
        ({"COUNTS": COUNTS}, {"HDUCLAS2": "NET"}, "HDUCLAS2 is NET", "give no other"),
        ({"COUNTS": COUNTS}, {"HDUCLAS2": "BKG"}, "HDUCLAS2 is BKG", "a background spectrum"),
        ({"COUNTS": COUNTS}, {"BACKSCAL": None}, "no BACKSCAL", "1 is assumed"),
        ({"COUNTS": COUNTS}, {"CORRFILE": "a.cor", "CORRSCAL": 1.0}, "is not subtracted", "subtract it yourself"),
    ],
)
def test_a_spectrum_is_odd(
    tmp_path: Path, columns: dict[str, Any], header: dict[str, Any], what: str, meaning: str
) -> None:
    found = odd(spectrum(tmp_path / "a.pha", columns, **header))
    matching = [said for text, said in found.items() if what in text]
    assert len(matching) == 1, found
    assert meaning in matching[0]


def test_a_plain_spectrum_is_not_odd(tmp_path: Path) -> None:
    assert odd(spectrum(tmp_path / "a.pha", {"COUNTS": COUNTS}, ONTIME=105.0)) == {}


def test_groups_that_the_counts_decided_are_told(tmp_path: Path) -> None:
    counts = np.random.default_rng(1).poisson(4.0, 400)
    grouping, total = [], 0
    for number in counts:
        grouping.append(1 if total == 0 else -1)
        total = 0 if total + number >= 20 else total + number
    path = write_spectrum(
        tmp_path / "a.pha", {"CHANNEL": np.arange(400), "COUNTS": counts, "GROUPING": np.array(grouping)}, TLMIN1=0
    )
    assert "the counts decided the groups (20 or more in each)" in odd(path)


def _falling(path: Path) -> Path:
    return write_rmf(path, matrix=redistribution()[:, ::-1].copy(), channel_edges=CHANNEL_EDGES[::-1])


@pytest.mark.parametrize(
    ("write", "what"),
    [
        (lambda path: write_rmf(path, name="SPECRESP MATRIX", hduclas3="FULL"), "the effective area is in the matrix"),
        (lambda path: write_rmf(path, matrix=0.5 * redistribution()), "rows sum to"),
        (lambda path: write_rmf(path, first_channel=4, tlmin=4), "channels begin at 4"),
        (lambda path: write_rmf(path, first_channel=1, tlmin=None), "no TLMIN of F_CHAN"),
        (lambda path: write_rmf(path, energy_edges=np.linspace(0.0, 12.0, 151)), "the lowest energy is 0"),
        (
            lambda path: write_rmf(path, matrix=redistribution() - 1e-3 * (redistribution() > 0.1)[:, ::-1]),
            "are negative",
        ),
    ],
)
def test_a_matrix_is_odd(tmp_path: Path, write: Callable[[Path], Path], what: str) -> None:
    found = odd(write(tmp_path / "a.rmf"))
    assert [text for text in found if what in text], found


def test_an_area_of_nothing_is_odd(tmp_path: Path) -> None:
    path = write_arf(tmp_path / "a.arf", area=np.zeros(len(ENERGY_EDGES) - 1), HDUCLASS="OGIP")
    assert odd(path) == {"the area is 0 everywhere": "no photon is ever seen: rebuild it"}


@pytest.mark.parametrize(
    ("text", "what", "meaning"),
    [
        ("a.pha[SPECTRUM]: no BACKSCAL; 1 is assumed", "no BACKSCAL", "1 is assumed"),
        ("a;b.pha[X]: one; two; three", "one; two", "three"),
        ("no place; then", "no place", "then"),
        ("a word", "a word", ""),
    ],
)
def test_a_warning_is_what_was_found_and_what_is_made_of_it(text: str, what: str, meaning: str) -> None:
    assert Oddity.of_warning(text) == Oddity(what, meaning)
