"""Observations: finding the files, checking them against each other, and the numbers of every bin."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from ogip_zoo import (
    CHANNEL_EDGES,
    ENERGY_EDGES,
    power_law_counts,
    redistribution,
    toy_files,
    toy_observation,
    write_arf,
    write_rmf,
    write_spectrum,
)
from xrayflow.errors import DataError, FileError, MismatchError, XrayflowWarning
from xrayflow.ogip import Origin, read_arf, read_observation, read_pha, read_rmf, write_pha

ALL = ((0.0, 99.0),)
CHANNEL = np.arange(120)


def test_the_files_of_the_header_are_found(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, background=True)
    assert observation.rmf.path == tmp_path / "toy.rmf"
    assert observation.arf is not None
    assert observation.background is not None
    assert observation.channel_row.tolist() == CHANNEL.tolist()


def test_files_given_by_hand_win_over_the_header(tmp_path: Path) -> None:
    pha = toy_files(tmp_path, background=True)
    rmf, arf = read_rmf(tmp_path / "toy.rmf"), read_arf(tmp_path / "toy.arf")
    background = read_pha(tmp_path / "toy.bkg")
    for name in ("toy.rmf", "toy.arf", "toy.bkg"):
        (tmp_path / name).unlink()
    observation = read_observation(pha, rmf=rmf, arf=arf, background=background)
    assert observation.rmf is rmf
    assert observation.arf is arf
    assert observation.background is background
    assert read_observation(observation.pha, rmf=rmf, arf=arf, background="none").background is None


def test_a_file_given_by_hand_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"other\.rmf: no such file"):
        read_observation(toy_files(tmp_path), rmf=tmp_path / "other.rmf")


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("toy.rmf", r"toy\.pha\[SPECTRUM\]: RESPFILE = 'toy\.rmf' is not there.*give --rmf FILE"),
        ("toy.arf", r"toy\.pha\[SPECTRUM\]: ANCRFILE = 'toy\.arf' is not there.*give --arf FILE"),
        ("toy.bkg", r"BACKFILE = 'toy\.bkg' is not there.*give --background FILE, or --background none"),
    ],
)
def test_a_named_file_that_is_missing_names_the_option(tmp_path: Path, missing: str, line: str) -> None:
    pha = toy_files(tmp_path, background=True)
    (tmp_path / missing).unlink()
    with pytest.raises(FileError, match=line):
        read_observation(pha)


def bare(folder: Path, **origin: Any) -> Path:
    write_rmf(folder / "toy.rmf")
    write_arf(folder / "toy.arf")
    return write_pha(folder / "bare.pha", CHANNEL, power_law_counts().round(), 1000.0, origin=Origin(**origin))


def test_a_response_that_is_not_named_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"bare\.pha\[SPECTRUM\]: RESPFILE names no file; give --rmf FILE"):
        read_observation(bare(tmp_path))


def test_an_area_that_is_not_named_must_be_given(tmp_path: Path) -> None:
    pha = bare(tmp_path, response_file="toy.rmf")
    with pytest.raises(FileError, match="ANCRFILE names no file; give --arf FILE"):
        read_observation(pha)
    with pytest.raises(FileError, match=r"toy\.rmf: holds no effective area; give --arf FILE instead of none"):
        read_observation(pha, arf="none")
    assert read_observation(pha, arf=tmp_path / "toy.arf").arf is not None


def test_a_matrix_with_its_area_needs_no_other(tmp_path: Path) -> None:
    pha = bare(tmp_path)
    full = write_rmf(tmp_path / "full.rsp", name="SPECRESP MATRIX", hduclas3="FULL")
    assert read_observation(pha, rmf=full).arf is None
    assert read_observation(pha, rmf=full, arf="none").arf is None


def test_an_area_on_top_of_a_matrix_with_its_area_is_used_aloud(tmp_path: Path) -> None:
    pha = bare(tmp_path, arf_file="toy.arf")
    full = write_rmf(tmp_path / "full.rsp", name="SPECRESP MATRIX", hduclas3="FULL")
    with pytest.warns(XrayflowWarning, match="says that it includes the effective area"):
        assert read_observation(pha, rmf=full).arf is not None
    assert read_observation(pha, rmf=full, arf="none").arf is None
    (tmp_path / "toy.arf").unlink()
    with pytest.raises(FileError, match="give --arf FILE, or --arf none"):
        read_observation(pha, rmf=full)


def test_last_digits_of_the_grids_do_not_matter(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path)
    assert observation.arf is not None
    assert not np.array_equal(observation.arf.energy_edges, observation.rmf.energy_edges)


@pytest.mark.parametrize(
    "edges", [np.linspace(0.2, 12.0, 150), ENERGY_EDGES * 1.01, ENERGY_EDGES + 0.005 * (np.arange(151) == 70)]
)
def test_different_grids_are_refused(tmp_path: Path, edges: np.ndarray) -> None:
    pha = toy_files(tmp_path)
    write_arf(tmp_path / "toy.arf", energy_edges=edges)
    with pytest.raises(
        MismatchError, match=r"toy\.arf has 1(49|50) energies.*give an ARF and an RMF made for each other"
    ):
        read_observation(pha)


def test_a_spectrum_from_one_meets_a_matrix_from_zero(tmp_path: Path) -> None:
    pha = toy_files(tmp_path)
    write_pha(pha, CHANNEL + 1, CHANNEL, 1.0, origin=Origin(response_file="toy.rmf", arf_file="toy.arf"))
    assert read_observation(pha).channel_row.tolist() == CHANNEL.tolist()
    spectrum = write_spectrum(tmp_path / "b.pha", {"CHANNEL": CHANNEL + 1, "COUNTS": CHANNEL}, DETCHANS=120)
    found = read_observation(spectrum, rmf=tmp_path / "toy.rmf", arf=tmp_path / "toy.arf")
    assert found.channel_row.tolist() == CHANNEL.tolist()


@pytest.mark.parametrize("tlmin", [0, None])
def test_a_spectrum_of_some_channels_finds_their_rows(tmp_path: Path, tlmin: int | None) -> None:
    write_rmf(tmp_path / "toy.rmf")
    write_arf(tmp_path / "toy.arf")
    columns = {"CHANNEL": CHANNEL[4:100], "COUNTS": CHANNEL[4:100]}
    pha = write_spectrum(tmp_path / "a.pha", columns, DETCHANS=120, TLMIN1=tlmin)
    observation = read_observation(pha, rmf=tmp_path / "toy.rmf", arf=tmp_path / "toy.arf")
    assert observation.channel_row.tolist() == list(range(4, 100))
    assert observation.bin(ALL).energy_lo[0] == CHANNEL_EDGES[4]


def test_another_number_of_channels_is_refused(tmp_path: Path) -> None:
    pha = toy_files(tmp_path)
    write_rmf(tmp_path / "toy.rmf", matrix=redistribution()[:, :100], channel_edges=CHANNEL_EDGES[:101])
    with pytest.raises(MismatchError, match=r"DETCHANS is 120, .*toy\.rmf has 100 channels"):
        read_observation(pha)


def test_channels_beyond_the_matrix_are_refused(tmp_path: Path) -> None:
    write_rmf(tmp_path / "toy.rmf")
    write_arf(tmp_path / "toy.arf")
    columns = {"CHANNEL": CHANNEL[:60] + 100, "COUNTS": CHANNEL[:60]}
    pha = write_spectrum(tmp_path / "a.pha", columns, DETCHANS=120, TLMIN1=0)
    with pytest.raises(MismatchError, match="channels 100-159 counted from 0 are not all among the 120"):
        read_observation(pha, rmf=tmp_path / "toy.rmf", arf=tmp_path / "toy.arf")


@pytest.mark.parametrize(
    ("channel", "found"), [(np.arange(119), "has 119 channels"), (np.arange(1, 121), "begins at channel 1")]
)
def test_a_background_on_other_channels_is_refused(tmp_path: Path, channel: np.ndarray, found: str) -> None:
    pha = toy_files(tmp_path, background=True)
    write_pha(tmp_path / "toy.bkg", channel, channel, 1.0)
    with pytest.raises(MismatchError, match=rf"toy\.bkg\[SPECTRUM\]: {found}"):
        read_observation(pha)


def test_times_follow_exposure_areascal_and_backscal(tmp_path: Path) -> None:
    pha = toy_files(tmp_path, areascal=0.5, backscal=2.0)
    write_pha(tmp_path / "b.pha", CHANNEL, CHANNEL, 300.0, areascal=0.8, backscal=6.0)
    spectrum = read_observation(pha, background=tmp_path / "b.pha").bin(ALL)
    assert spectrum.source_exposure == pytest.approx(1000.0 * 0.5)
    assert spectrum.background_exposure == pytest.approx(300.0 * 0.8 * 6.0 / 2.0)
    assert spectrum.background is not None
    assert spectrum.background.tolist() == CHANNEL.tolist()


def test_errors_add_in_squares_and_the_largest_systematic_error_counts(tmp_path: Path) -> None:
    toy_files(tmp_path)
    columns = {
        "CHANNEL": CHANNEL,
        "COUNTS": np.full(120, 10.0),
        "STAT_ERR": np.full(120, 3.0),
        "SYS_ERR": 0.01 * (1 + CHANNEL % 4),
        "GROUPING": np.tile([1, -1, -1, -1], 30),
    }
    pha = write_spectrum(tmp_path / "a.pha", columns, POISSERR=False, DETCHANS=120)
    other = write_spectrum(tmp_path / "b.pha", columns, POISSERR=False, DETCHANS=120, OBJECT="sky")
    spectrum = read_observation(pha, tmp_path / "toy.rmf", tmp_path / "toy.arf", background=other).bin(ALL)
    assert len(spectrum.counts) == 30
    assert spectrum.counts == pytest.approx(40.0)
    assert spectrum.stat_err == pytest.approx(6.0)
    assert spectrum.sys_err == pytest.approx(0.04)
    assert spectrum.background == pytest.approx(40.0)
    assert spectrum.background_err == pytest.approx(6.0)
    assert spectrum.background_sys_err == pytest.approx(0.04)


def test_poisson_errors_are_not_given_as_numbers(tmp_path: Path) -> None:
    toy_files(tmp_path)
    columns = {"CHANNEL": CHANNEL, "COUNTS": CHANNEL, "STAT_ERR": np.ones(120)}
    pha = write_spectrum(tmp_path / "a.pha", columns, POISSERR=True, DETCHANS=120)
    spectrum = read_observation(pha, tmp_path / "toy.rmf", tmp_path / "toy.arf").bin(ALL)
    assert spectrum.stat_err is None
    assert spectrum.sys_err is None
    assert spectrum.background is None
    assert spectrum.background_err is None
    assert spectrum.background_exposure is None


def test_grouping_and_quality_of_the_source_serve_the_background(tmp_path: Path) -> None:
    quality = np.zeros(120, dtype=int)
    quality[:3] = 5
    pha = toy_files(tmp_path, grouping=np.tile([1, -1, -1], 40), quality=quality)
    write_pha(tmp_path / "b.pha", CHANNEL, np.ones(120), 1.0, grouping=np.ones(120), quality=np.full(120, 5))
    spectrum = read_observation(pha, background=tmp_path / "b.pha").bin(ALL)
    assert spectrum.background is not None
    assert spectrum.background.tolist() == [3.0] * 39
    assert spectrum.number.tolist() == list(range(2, 41))


def test_bins_know_their_numbers_channels_and_energies(tmp_path: Path) -> None:
    spectrum = toy_observation(tmp_path, grouping=np.tile([1, -1], 60)).bin(((1.0, 2.0), (3.05, 4.0)))
    assert spectrum.number.tolist() == [6, 7, 8, 9, 17, 18, 19]
    assert spectrum.energy_lo == pytest.approx([1.0, 1.2, 1.4, 1.6, 3.2, 3.4, 3.6])
    assert spectrum.energy_hi == pytest.approx(spectrum.energy_lo + 0.2)
    assert spectrum.bin_of_channel[8:22].tolist() == [-1, -1, 0, 0, 1, 1, 2, 2, 3, 3, -1, -1, -1, -1]
    assert spectrum.energies == ((1.0, 2.0), (3.05, 4.0))
    assert spectrum.channels is None


def test_the_default_band_is_that_of_the_noise_free_channels(tmp_path: Path) -> None:
    spectrum = toy_observation(tmp_path).bin()
    assert spectrum.energies == ((0.3, 10.0),)
    assert spectrum.energy_lo[0] == pytest.approx(0.3)
    assert spectrum.energy_hi[-1] == pytest.approx(9.9)


def test_channels_keep_both_ends_and_replace_the_energies(tmp_path: Path) -> None:
    spectrum = toy_observation(tmp_path).bin(channels=(30, 99))
    assert np.flatnonzero(spectrum.bin_of_channel >= 0).tolist() == list(range(30, 100))
    assert spectrum.channels == (30, 99)
    assert spectrum.energies[0] == pytest.approx((3.0, 10.0))


def test_nothing_left_says_how_many_were_bad_and_how_many_out_of_band(tmp_path: Path) -> None:
    quality = np.zeros(120, dtype=int)
    quality[:50], quality[50:70] = 1, 5
    observation = toy_observation(tmp_path, quality=quality)
    with pytest.raises(DataError, match=r"no channel left: of 120, 70 are bad .* and 50 lie out of 0\.3-5 keV"):
        observation.bin(((0.3, 5.0),))
    with pytest.raises(DataError, match=r"70 are bad .* and 50 lie out of channels 0-60; choose --channels"):
        observation.bin(channels=(0, 60))


def test_a_spectrum_of_bad_channels_has_nothing_left(tmp_path: Path) -> None:
    for quality in (1, 2, 5):
        with pytest.raises(DataError, match="of 120, 120 are bad"):
            toy_observation(tmp_path, quality=np.full(120, quality)).bin()


def test_bins_without_exposure_are_left_out_aloud(tmp_path: Path) -> None:
    areascal = np.ones(120)
    areascal[20:22] = 0.0
    observation = toy_observation(tmp_path, areascal=areascal)
    with pytest.warns(XrayflowWarning, match="2 bins hold channels of zero AREASCAL or BACKSCAL"):
        spectrum = observation.bin(ALL)
    assert len(spectrum.counts) == 118
    assert np.all(spectrum.source_exposure == 1000.0)


def test_a_spectrum_without_any_exposure_is_refused(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, backscal=0.0, background=True)
    with pytest.raises(DataError, match="leaves no exposure in any bin"):
        observation.bin()
    assert len(read_observation(tmp_path / "toy.pha", background="none").bin().counts) == 96


def test_a_source_without_a_region_is_what_is_named(tmp_path: Path) -> None:
    pha = toy_files(tmp_path, backscal=0.0)
    write_pha(tmp_path / "b.pha", CHANNEL, CHANNEL, 300.0)
    with pytest.raises(DataError, match=r"toy\.pha\[SPECTRUM\]: its AREASCAL or BACKSCAL leaves no exposure"):
        read_observation(pha, background=tmp_path / "b.pha").bin()
    pha = toy_files(tmp_path)
    write_pha(tmp_path / "b.pha", CHANNEL, CHANNEL, 300.0, backscal=0.0)
    with pytest.raises(DataError, match=r"b\.pha\[SPECTRUM\]: its AREASCAL .* correct it, or give --background none"):
        read_observation(pha, background=tmp_path / "b.pha").bin()


def test_a_spectrum_is_not_its_own_background(tmp_path: Path) -> None:
    pha = toy_files(tmp_path)
    for own in (pha, shutil.copy(pha, tmp_path / "copy.pha")):
        with pytest.raises(MismatchError, match=r"\[SPECTRUM\]: is the source's own spectrum; give another file"):
            read_observation(pha, background=own)


def test_source_and_background_in_one_file_are_told_apart(tmp_path: Path) -> None:
    """HDUCLAS2 says which is which; a background that the file holds and its BACKFILE does not name is told of."""
    toy_files(tmp_path)
    keywords = {"DETCHANS": 120, "TLMIN1": 0, "RESPFILE": "toy.rmf", "ANCRFILE": "toy.arf"}
    columns = {"CHANNEL": CHANNEL, "COUNTS": CHANNEL}
    one = write_spectrum(tmp_path / "a.pha", columns, HDUCLAS2="TOTAL", **keywords)
    columns = {"CHANNEL": CHANNEL, "COUNTS": 2 * CHANNEL}
    other = write_spectrum(tmp_path / "b.pha", columns, HDUCLAS2="BKG", DETCHANS=120)
    pha = tmp_path / "both.pha"
    with fits.open(one) as first, fits.open(other) as second:
        fits.HDUList([first[0], first[1], second[1]]).writeto(pha)
    found = read_observation(pha, background=pha)
    assert found.background is not None
    assert found.pha.counts.tolist() == CHANNEL.tolist()
    assert found.background.counts.tolist() == (2 * CHANNEL).tolist()
    with pytest.warns(XrayflowWarning, match=r"the file holds one \(HDUCLAS2 = BKG\).*--background both\.pha takes it"):
        assert read_observation(pha).background is None
    assert read_observation(pha, background="none").background is None


def test_a_background_in_channels_of_another_kind_is_told_of(tmp_path: Path) -> None:
    toy_files(tmp_path)
    columns, keywords = {"CHANNEL": CHANNEL, "COUNTS": CHANNEL}, {"DETCHANS": 120, "TLMIN1": 0}
    pha = write_spectrum(tmp_path / "a.pha", columns, CHANTYPE="PI", **keywords)
    other = write_spectrum(tmp_path / "b.pha", columns, CHANTYPE="PHA", **keywords)
    with pytest.warns(XrayflowWarning, match=r"b\.pha\[SPECTRUM\]: CHANTYPE is PHA, the source's is PI"):
        read_observation(pha, tmp_path / "toy.rmf", tmp_path / "toy.arf", background=other)


def two_spectra(path: Path, factor: int = 1) -> Path:
    counts = factor * np.stack([CHANNEL, CHANNEL * 2])
    return write_spectrum(path, {"CHANNEL": np.stack([CHANNEL] * 2), "COUNTS": counts}, DETCHANS=120, TLMIN2=0)


def test_a_row_of_type_two_takes_the_same_row_of_its_background(tmp_path: Path) -> None:
    toy_files(tmp_path)
    pha, behind = two_spectra(tmp_path / "two.pha"), two_spectra(tmp_path / "behind.pha", 3)
    rmf, arf = tmp_path / "toy.rmf", tmp_path / "toy.arf"
    observation = read_observation(pha, rmf, arf, background=behind, row=2)
    assert observation.pha.counts.tolist() == (CHANNEL * 2).tolist()
    assert observation.background is not None
    assert observation.background.counts.tolist() == (CHANNEL * 6).tolist()


def test_a_row_in_the_name_chooses_that_of_the_background_too(tmp_path: Path) -> None:
    toy_files(tmp_path)
    pha, rmf, arf = two_spectra(tmp_path / "two.pha"), tmp_path / "toy.rmf", tmp_path / "toy.arf"
    behind = two_spectra(tmp_path / "behind.pha", 3)
    for row in (1, 2):
        observation = read_observation(f"{pha}{{{row}}}", rmf, arf, background=behind)
        again = read_observation(pha, rmf, arf, background=f"{behind}{{{row}}}", row=row)
        assert observation.background is not None
        assert again.background is not None
        assert np.array_equal(observation.pha.counts, again.pha.counts)
        assert np.array_equal(observation.background.counts, again.background.counts)
    other = read_observation(f"{pha}{{2}}", rmf, arf, background=f"{pha}{{1}}").background
    assert other is not None
    assert np.array_equal(other.counts, read_pha(pha, row=1).counts)


def test_a_background_of_type_one_serves_every_row(tmp_path: Path) -> None:
    source = toy_files(tmp_path)
    observation = read_observation(
        two_spectra(tmp_path / "two.pha"), tmp_path / "toy.rmf", tmp_path / "toy.arf", background=source, row=2
    )
    assert observation.background is not None
    assert observation.background.path == source


def test_the_header_may_choose_the_row_of_its_background(tmp_path: Path) -> None:
    toy_files(tmp_path)
    two_spectra(tmp_path / "two.pha")
    pha = toy_files(tmp_path)
    origin = Origin(response_file="toy.rmf", arf_file="toy.arf", background_file="two.pha{2}")
    write_pha(pha, CHANNEL, CHANNEL, 1.0, origin=origin)
    background = read_observation(pha).background
    assert background is not None
    assert background.counts.tolist() == (CHANNEL * 2).tolist()


def test_files_as_those_of_the_follow_up_telescope_of_einstein_probe_are_read(tmp_path: Path) -> None:
    """1024 channels from 0, an image before the spectrum, no RESPFILE, an ARF without EXTNAME.

    Source: what public code around FXTDAS writes into the files (no public file was at hand).
    """
    energies, channels, stem = (
        np.linspace(0.1, 12.1, 241),
        np.linspace(0.0, 12.0, 1025),
        "fxt_a_00000000001_ff_01_po_src",
    )
    rmf, arf = (
        write_rmf(tmp_path / f"{stem}.rmf", energy_edges=energies, channel_edges=channels, groups="variable"),
        write_arf(tmp_path / f"{stem}.arf", energy_edges=energies),
    )
    said = {"TELESCOP": "EP", "INSTRUME": "FXT", "DETNAM": "FXTA", "FILTER": "01", "HDUVERS1": "1.5.1"}
    for path, table in ((rmf, "MATRIX"), (arf, "SPECRESP")):
        for keyword, value in said.items():
            fits.setval(path, keyword, value=value, extname=table)
    fits.setval(rmf, "TLMAX4", value=1023, extname="MATRIX")
    fits.delval(arf, "EXTNAME", ext=1)
    counts = np.random.default_rng(0).poisson(3.0, 1024)
    spectrum = fits.BinTableHDU.from_columns(
        [fits.Column("CHANNEL", "J", array=np.arange(1024)), fits.Column("COUNTS", "J", array=counts)], name="SPECTRUM"
    )
    keywords = {
        "DATAMODE": "FF",
        "CHANTYPE": "PI",
        "DETCHANS": 1024,
        "EXPOSURE": 600.0,
        "BACKSCAL": 1e-3,
        "POISSERR": True,
    }
    spectrum.header.update(said | keywords | {"DSTYP1": "GRADE", "DSVAL1": "G0:12"})
    times = fits.BinTableHDU.from_columns(
        [fits.Column(name, "D", array=[value]) for name, value in (("START", 0.0), ("STOP", 600.0))], name="GTI"
    )
    pha = tmp_path / f"{stem}.pi"
    fits.HDUList([fits.PrimaryHDU(np.zeros((8, 8), dtype=np.float32)), spectrum, times]).writeto(pha)
    with pytest.warns(XrayflowWarning, match=r"no RESPFILE|no ANCRFILE|beside it"):
        found = read_observation(pha)
    assert (found.pha.telescope, found.pha.instrument) == ("EP", "FXT")
    assert np.array_equal(found.channel_row, np.arange(1024))
    assert np.array_equal(found.bin(ALL).counts, counts)
