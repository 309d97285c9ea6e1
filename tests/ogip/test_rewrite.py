"""A file with other groups: they are what was asked for, and everything else keeps its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ogip_zoo import toy_files, write_spectrum
from xrayflow.errors import DataError, FileError
from xrayflow.ogip import group_file, read_observation, read_pha


def other_bytes(path: Path) -> list[Any]:
    """All that grouping must not touch."""
    found: list[Any] = []
    with fits.open(path) as units:
        for unit in units:
            skipped = ("NAXIS1", "TFIELDS", "HISTORY", "DATASUM", "CHECKSUM", "TTYPE", "TFORM", "GROUPING", "QUALITY")
            found.append([str(card) for card in unit.header.cards if not card.keyword.startswith(skipped)])
            if unit.data is not None:
                names = [name for name in unit.columns.names if not name.endswith(("GROUPING", "QUALITY"))]
                found.append({name: unit.data[name].tolist() for name in names})
    return found


@pytest.mark.parametrize("kind", ["min:20", "optimal", "optmin:20", "bin:7", "none"])
@pytest.mark.parametrize("columns", ["none", "both", "quality"])
def test_the_groups_are_those_of_a_fit(tmp_path: Path, kind: str, columns: str) -> None:
    quality = np.where(np.arange(120) > 110, 5, 0)
    given = {"none": {}, "quality": {"quality": quality}, "both": {"quality": quality, "grouping": np.ones(120)}}
    path = toy_files(tmp_path, exposure=20.0, background=True, **given[columns])
    asked = read_observation(path).bin(grouping=kind)
    written = group_file(path, kind, tmp_path / "new.pha")
    found = read_observation(tmp_path / "new.pha").bin()
    assert np.array_equal(found.counts, asked.counts)
    assert np.array_equal(found.energy_lo, asked.energy_lo)
    assert np.array_equal(found.number, asked.number)
    assert written.good == int(np.sum(read_observation(tmp_path / "new.pha").bins().quality == 0))
    assert other_bytes(path) == other_bytes(tmp_path / "new.pha")
    assert f"--grouping {kind}" in str(fits.getheader(tmp_path / "new.pha", 1)["HISTORY"])


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=60),
    flags=st.sampled_from(["I", "J", "K", "E", "D", "B", "scaled", ""]),
    least=st.integers(1, 50),
)
def test_flags_of_any_format_are_replaced(tmp_path: Path, counts: list[int], flags: str, least: int) -> None:
    size = len(counts)
    columns = [fits.Column("CHANNEL", "I", array=np.arange(size)), fits.Column("COUNTS", "J", array=np.array(counts))]
    if flags == "scaled":
        columns.insert(1, fits.Column("GROUPING", "I", bzero=32768, array=np.ones(size, np.uint16)))
    elif flags:
        columns.insert(1, fits.Column("GROUPING", flags, array=np.ones(size)))
    table = fits.BinTableHDU.from_columns(columns, name="SPECTRUM")
    table.header.update({"EXPOSURE": 1.0, "BACKSCAL": 1.0, "HDUCLAS1": "SPECTRUM"})
    gti = fits.BinTableHDU.from_columns([fits.Column("START", "D", array=np.arange(3.0))], name="GTI")
    fits.HDUList([fits.PrimaryHDU(), table, gti]).writeto(tmp_path / "a.pha", overwrite=True, checksum=True)
    if sum(counts) < least:
        with pytest.raises(DataError, match=f"min:{least} leaves no good bin of the {sum(counts)} counts"):
            group_file(tmp_path / "a.pha", f"min:{least}", tmp_path / "b.pha")
        return
    group_file(tmp_path / "a.pha", f"min:{least}", tmp_path / "b.pha")
    pha = read_pha(tmp_path / "b.pha")
    with fits.open(tmp_path / "b.pha", checksum=True) as units:  # astropy reads it, and no sum is false
        assert [unit.name for unit in units] == ["PRIMARY", "SPECTRUM", "GTI"]
        assert np.array_equal(units[1].data["GROUPING"], pha.grouping)
    assert other_bytes(tmp_path / "a.pha") == other_bytes(tmp_path / "b.pha")
    assert pha.counts.tolist() == counts
    starts = np.flatnonzero((pha.grouping == 1) & (pha.quality == 0))
    sums = np.add.reduceat(np.append(counts, 0), starts) if len(starts) else np.empty(0)
    good = np.array(
        [np.sum(pha.quality[start:end] == 0) for start, end in zip(starts, [*starts[1:], size], strict=False)]
    )
    assert len(starts) == 0 or np.all(sums[good > 0][:-1] >= least)


def test_a_packed_file_is_written_where_the_name_says_so(tmp_path: Path) -> None:
    path = toy_files(tmp_path)
    group_file(path, "min:5", tmp_path / "new.pha.gz")
    assert (tmp_path / "new.pha.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert read_pha(tmp_path / "new.pha.gz").counts.sum() == read_pha(path).counts.sum()
    group_file(tmp_path / "new.pha.gz", "none", tmp_path / "back.pha")
    assert not read_pha(tmp_path / "back.pha").grouping.any()


def test_one_spectrum_of_several_becomes_a_file_of_its_own(tmp_path: Path) -> None:
    counts = np.arange(24).reshape(3, 8)
    path = write_spectrum(tmp_path / "two.pha", {"COUNTS": counts, "STAT_ERR": counts + 1.0}, RESPFILE="a.rmf")
    written = group_file(path, "min:20", tmp_path / "one.pha", row=2)
    pha = read_pha(tmp_path / "one.pha")
    assert pha.counts.tolist() == counts[1].tolist()
    assert pha.stat_err is not None
    assert (pha.response_file, pha.exposure, written.good) == ("a.rmf", 100.0, 3)
    assert group_file(f"{path}{{3}}", "min:20", tmp_path / "one.pha").least == 20.0


def test_a_spectrum_does_not_replace_itself_nor_what_it_names(tmp_path: Path) -> None:
    path = toy_files(tmp_path, exposure=20.0)
    for out in (path, tmp_path / "toy.rmf"):
        before = out.read_bytes()
        with pytest.raises(
            FileError, match="is one of the files that the grouping or a fit reads; choose another --out"
        ):
            group_file(path, "min:20", out)
        assert out.read_bytes() == before


def test_nothing_is_written_where_something_is_wrong(tmp_path: Path) -> None:
    path = toy_files(tmp_path)
    (tmp_path / "toy.rmf").unlink()
    with pytest.raises(FileError, match="give --rmf FILE"):
        group_file(path, "optimal", tmp_path / "new.pha")
    with pytest.raises(DataError, match="grouping 'min' is none of"):
        group_file(path, "min", tmp_path / "new.pha")
    assert not (tmp_path / "new.pha").exists()


def test_a_real_file_keeps_everything_else(data_folder: Path, tmp_path: Path) -> None:
    folder = data_folder / "xmm_pn_NGC7793-ULX4_0693760101"
    path = folder / "PN_spectrum_grp20.fits"
    written = group_file(path, "optmin:5", tmp_path / "new.fits", folder / "PN.rmf.gz")
    assert other_bytes(path) == other_bytes(tmp_path / "new.fits")
    assert written.least >= 5
    assert written.good > 50
