"""Spectra: columns or keywords, counts or rates, TYPE:I or TYPE:II, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from ogip_zoo import write_arf, write_rmf, write_spectrum
from xrayflow.errors import DataError, FileError, FormatError, XrayflowWarning
from xrayflow.ogip import PHA, read_pha

CHANNEL = np.arange(1, 6)
COUNTS = np.array([3, 0, 7, 1, 2])


def spectrum(folder: Path, columns: dict[str, Any] | None = None, **header: Any) -> PHA:
    return read_pha(
        write_spectrum(folder / "a.pha", {"CHANNEL": CHANNEL, "COUNTS": COUNTS} | (columns or {}), **header)
    )


def test_counts_and_header_are_read_as_they_are(tmp_path: Path) -> None:
    pha = spectrum(
        tmp_path,
        TELESCOP="NICER",
        INSTRUME="XTI",
        OBJECT="X-1",
        DETCHANS=9,
        TLMIN1=1,
        RESPFILE="a.rmf",
        ANCRFILE="a.arf",
    )
    assert pha.counts.tolist() == COUNTS.tolist()
    assert pha.channel.tolist() == CHANNEL.tolist()
    assert (pha.telescope, pha.instrument, pha.object) == ("NICER", "XTI", "X-1")
    assert (pha.detchans, pha.first_channel, pha.exposure) == (9, 1, 100.0)
    assert (pha.response_file, pha.arf_file, pha.background_file) == ("a.rmf", "a.arf", None)
    assert pha.where.endswith("a.pha[SPECTRUM]")
    assert pha.poisserr
    assert not pha.is_rate


@pytest.mark.parametrize("said", ["", "none", "NONE", " None ", None])
def test_no_file_is_said_in_many_ways(tmp_path: Path, said: str | None) -> None:
    assert spectrum(tmp_path, BACKFILE=said).background_file is None


def test_a_long_file_name_continues_over_cards(tmp_path: Path) -> None:
    name = "/mnt/c/" + "very_long_folder_name/" * 6 + "a.bg"
    assert spectrum(tmp_path, BACKFILE=name).background_file == name


def test_quality_and_grouping_may_be_columns(tmp_path: Path) -> None:
    pha = spectrum(tmp_path, {"QUALITY": [0, 1, 2, 5, 0], "GROUPING": [1, -1, 1, -1, 0]})
    assert pha.quality.tolist() == [0, 1, 2, 5, 0]
    assert pha.grouping.tolist() == [1, -1, 1, -1, 0]


def test_quality_and_grouping_may_be_keywords(tmp_path: Path) -> None:
    pha = spectrum(tmp_path, QUALITY=5, GROUPING=0)
    assert pha.quality.tolist() == [5] * 5
    assert pha.grouping.tolist() == [0] * 5


def test_quality_and_grouping_may_be_absent(tmp_path: Path) -> None:
    pha = spectrum(tmp_path)
    assert not pha.quality.any()
    assert not pha.grouping.any()


def test_a_column_wins_over_its_keyword(tmp_path: Path) -> None:
    pha = spectrum(tmp_path, {"BACKSCAL": [1.0, 2.0, 3.0, 4.0, 0.0]}, BACKSCAL=None, AREASCAL=0.5)
    assert pha.backscal.tolist() == [1.0, 2.0, 3.0, 4.0, 0.0]
    assert pha.areascal.tolist() == [0.5] * 5


def test_a_missing_backscal_is_assumed_aloud(tmp_path: Path) -> None:
    with pytest.warns(XrayflowWarning, match="no BACKSCAL; 1 is assumed"):
        pha = spectrum(tmp_path, BACKSCAL=None)
    assert pha.backscal.tolist() == [1.0] * 5


def test_a_rate_and_its_error_are_multiplied_by_the_exposure(tmp_path: Path) -> None:
    columns = {"CHANNEL": CHANNEL, "RATE": COUNTS / 100.0, "STAT_ERR": np.sqrt(COUNTS) / 100.0}
    pha = read_pha(write_spectrum(tmp_path / "a.pha", columns, POISSERR=False))
    assert pha.is_rate
    assert pha.counts == pytest.approx(COUNTS)
    assert pha.stat_err == pytest.approx(np.sqrt(COUNTS))


def test_negative_and_fractional_counts_are_kept(tmp_path: Path) -> None:
    pha = spectrum(tmp_path, {"COUNTS": [-1.5, 2.25, 0.0, 1.0, 3.0]})
    assert pha.counts.tolist() == [-1.5, 2.25, 0.0, 1.0, 3.0]


def test_errors_of_zero_only_are_no_errors(tmp_path: Path) -> None:
    pha = spectrum(tmp_path, {"SYS_ERR": np.zeros(5)}, STAT_ERR=0)
    assert pha.stat_err is None
    assert pha.sys_err is None


def test_a_systematic_error_may_be_a_keyword(tmp_path: Path) -> None:
    pha = spectrum(tmp_path, SYS_ERR=0.006)
    assert pha.sys_err is not None
    assert pha.sys_err.tolist() == [0.006] * 5


@pytest.mark.parametrize(
    ("said", "columns", "expected"),
    [
        (True, {}, True),
        (False, {}, False),
        ("T", {}, True),
        ("F", {}, False),
        (None, {}, True),
        (None, {"STAT_ERR": [1.0] * 5}, False),
    ],
)
def test_poisserr_is_read_in_its_forms(tmp_path: Path, said: Any, columns: dict[str, Any], expected: bool) -> None:
    assert spectrum(tmp_path, columns, POISSERR=said).poisserr is expected


def test_the_object_may_stand_in_the_first_header_only(tmp_path: Path) -> None:
    path = write_spectrum(tmp_path / "a.pha", {"CHANNEL": CHANNEL, "COUNTS": COUNTS})
    fits.setval(path, "OBJECT", value="NGC 7793", ext=0)
    assert read_pha(path).object == "NGC 7793"


def two_spectra(path: Path, **header: Any) -> Path:
    columns = {
        "SPEC_NUM": [1, 2],
        "CHANNEL": np.stack([CHANNEL, CHANNEL]),
        "COUNTS": np.stack([COUNTS, COUNTS + 1]),
        "EXPOSURE": [100.0, 200.0],
        "QUALITY": np.stack([CHANNEL * 0, CHANNEL % 2]),
        "RESPFILE": ["one.rmf", "two.rmf"],
    }
    return write_spectrum(path, columns, HDUCLAS4="TYPE:II", EXPOSURE=None, **header)


def test_a_row_of_type_two_is_a_spectrum_of_its_own(tmp_path: Path) -> None:
    pha = read_pha(two_spectra(tmp_path / "a.pha"), row=2)
    assert pha.counts.tolist() == (COUNTS + 1).tolist()
    assert pha.exposure == 200.0
    assert pha.response_file == "two.rmf"
    assert pha.quality.tolist() == [1, 0, 1, 0, 1]


@pytest.mark.parametrize(("row", "found"), [(None, "no row was chosen"), (0, "row 0 was"), (3, "row 3 was asked for")])
def test_a_row_of_type_two_must_be_chosen(tmp_path: Path, row: int | None, found: str) -> None:
    line = rf"TYPE:II, 2 spectra, but {found}.*choose one with --row 1 to 2, or file\{{1\}}"
    path = two_spectra(tmp_path / "a.pha")
    with pytest.raises(FormatError, match=line):
        read_pha(path, row=row)
    if row is not None:
        with pytest.raises(FormatError, match=line):
            read_pha(f"{path}{{{row}}}")


def test_a_row_may_stand_in_the_name_as_in_xspec(tmp_path: Path) -> None:
    path = two_spectra(tmp_path / "a.pha")
    for chosen in (read_pha(f"{path}{{2}}"), read_pha(f"{path} {{2}} "), read_pha(f"{path}{{2}}", row=2)):
        assert chosen.counts.tolist() == (COUNTS + 1).tolist()
        assert chosen.path == path
    with pytest.raises(FileError, match=r"a\.pha: row 1 and \{2\} were asked for; give one of them"):
        read_pha(f"{path}{{2}}", row=1)
    with pytest.raises(FileError, match=r"\{1-2\} is not one number; choose one at a time, as .*a\.pha\{3\}"):
        read_pha(f"{path}{{1-2}}")
    with pytest.raises(FileError, match=r"b\.pha: no such file"):
        read_pha(tmp_path / "b.pha{1}")


def test_a_file_whose_name_ends_like_a_choice_is_read(tmp_path: Path) -> None:
    path = two_spectra(tmp_path / "a.pha").rename(tmp_path / "a.pha{2}")
    assert read_pha(path, row=1).path == path


def test_channels_of_type_two_count_from_one_where_they_are_not_given(tmp_path: Path) -> None:
    columns = {"COUNTS": np.stack([COUNTS, COUNTS])}
    assert read_pha(write_spectrum(tmp_path / "a.pha", columns), row=1).channel.tolist() == [1, 2, 3, 4, 5]


def test_type_one_has_no_rows_to_choose(tmp_path: Path) -> None:
    path = write_spectrum(tmp_path / "a.pha", {"CHANNEL": CHANNEL, "COUNTS": COUNTS})
    with pytest.raises(FormatError, match="TYPE:I, one spectrum, but row 2 was asked for"):
        read_pha(path, row=2)
    assert read_pha(path, row=2, background=True).counts.tolist() == COUNTS.tolist()


def test_source_and_background_may_share_a_file(tmp_path: Path) -> None:
    one = write_spectrum(tmp_path / "a.pha", {"CHANNEL": CHANNEL, "COUNTS": COUNTS}, HDUCLAS2="TOTAL")
    other = write_spectrum(tmp_path / "b.pha", {"CHANNEL": CHANNEL, "COUNTS": COUNTS * 2}, HDUCLAS2="BKG")
    for first, second in ((one, other), (other, one)):
        with fits.open(first) as a, fits.open(second) as b:
            fits.HDUList([a[0], a[1], b[1]]).writeto(tmp_path / "both.pha", overwrite=True)
        assert read_pha(tmp_path / "both.pha").counts.tolist() == COUNTS.tolist()
        assert read_pha(tmp_path / "both.pha", background=True).counts.tolist() == (COUNTS * 2).tolist()


@pytest.mark.parametrize("write", [write_arf, write_rmf])
def test_a_response_is_not_a_spectrum(tmp_path: Path, write: Any) -> None:
    with pytest.raises(
        FormatError, match=r"no SPECTRUM extension, it holds (SPECRESP|MATRIX, EBOUNDS); is it a PHA file"
    ):
        read_pha(write(tmp_path / "a.fits"))


@pytest.mark.parametrize(("exposure", "shown"), [(0.0, "0 s"), (-5.0, "-5 s")])
def test_an_exposure_must_be_positive(tmp_path: Path, exposure: float, shown: str) -> None:
    with pytest.raises(DataError, match=rf"a\.pha\[SPECTRUM\]: EXPOSURE is {shown}"):
        spectrum(tmp_path, EXPOSURE=exposure)


def test_an_exposure_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no EXPOSURE"):
        spectrum(tmp_path, EXPOSURE=None)


@pytest.mark.parametrize("exposure", ["NaN", "inf"])
def test_an_exposure_must_be_finite(tmp_path: Path, exposure: str) -> None:
    with pytest.raises(FormatError, match=r"EXPOSURE = .* is not finite"):
        spectrum(tmp_path, EXPOSURE=exposure)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_counts_must_be_numbers(tmp_path: Path, value: float) -> None:
    with pytest.raises(FormatError, match="1 of 5 counts are not numbers"):
        spectrum(tmp_path, {"COUNTS": [1.0, value, 0.0, 0.0, 0.0]})


@pytest.mark.parametrize("name", ["STAT_ERR", "SYS_ERR"])
def test_errors_must_not_be_negative(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=f"{name} is negative in 1 channels"):
        spectrum(tmp_path, {name: [0.1, -0.1, 0.1, 0.1, 0.1]})


def test_scalings_must_be_numbers(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="AREASCAL has 1 values that are not numbers"):
        spectrum(tmp_path, {"AREASCAL": [1.0, np.nan, 1.0, 1.0, 1.0]}, AREASCAL=None)


@pytest.mark.parametrize(
    "channel", [[1, 2, 2, 3, 4], [5, 4, 3, 2, 1], [1.0, 1.5, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0, 1e300]]
)
def test_channels_must_increase(tmp_path: Path, channel: list[float]) -> None:
    with pytest.raises(FormatError, match="CHANNEL does not increase by whole numbers"):
        spectrum(tmp_path, {"CHANNEL": channel})


def test_channels_must_not_begin_below_their_first_legal_one(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="CHANNEL begins at 1, below its first legal 2"):
        spectrum(tmp_path, TLMIN1=2)


def test_a_spectrum_needs_channel_numbers(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no CHANNEL column"):
        read_pha(write_spectrum(tmp_path / "a.pha", {"COUNTS": COUNTS}))


def test_a_spectrum_needs_rows(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="no rows"):
        read_pha(write_spectrum(tmp_path / "a.pha", {"CHANNEL": CHANNEL[:0], "COUNTS": COUNTS[:0]}))


def test_columns_of_a_type_one_spectrum_have_one_value_per_channel(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="column QUALITY has"):
        spectrum(tmp_path, {"QUALITY": np.zeros((5, 2), dtype=int)})


def test_columns_of_a_type_two_spectrum_have_its_length(tmp_path: Path) -> None:
    columns = {"CHANNEL": np.ones((2, 5), int) * CHANNEL, "COUNTS": np.ones((2, 5)), "AREASCAL": np.ones((2, 3))}
    with pytest.raises(FormatError, match="AREASCAL has 3 values for 5 channels"):
        read_pha(write_spectrum(tmp_path / "a.pha", columns, AREASCAL=None), row=1)


def test_channels_of_a_type_two_spectrum_have_its_length(tmp_path: Path) -> None:
    columns = {"CHANNEL": np.ones((2, 4), int) * CHANNEL[:4], "COUNTS": np.ones((2, 5))}
    with pytest.raises(FormatError, match="CHANNEL has 4 values, the counts have 5"):
        read_pha(write_spectrum(tmp_path / "a.pha", columns), row=1)


@pytest.mark.parametrize("name", ["COUNTS", "CHANNEL", "QUALITY"])
def test_text_is_no_number(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match=f"column {name} of format 20A holds no numbers"):
        spectrum(tmp_path, {name: list("abcde")})


@pytest.mark.parametrize(("name", "value"), [("QUALITY", 0.5), ("GROUPING", 1e300)])
def test_flags_are_whole_numbers(tmp_path: Path, name: str, value: float) -> None:
    with pytest.raises(FormatError, match=f"{name} holds values that are no flags"):
        spectrum(tmp_path, {name: [0.0, value, 0.0, 0.0, 0.0]})


def test_a_first_legal_channel_is_a_channel(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"TLMIN1 = 1e\+300 is no channel number"):
        spectrum(tmp_path, TLMIN1=1e300)


MANY = np.random.default_rng(7).poisson(np.geomspace(0.1, 3e4, 200)).astype(np.float64)
EXPOSURE = 38564.608926889


def rates(folder: Path, rate: Any, **header: Any) -> PHA:
    columns = {"CHANNEL": np.arange(len(rate)), "RATE": rate}
    return read_pha(write_spectrum(folder / "a.pha", columns, EXPOSURE=EXPOSURE, **header))


@pytest.mark.parametrize("kind", ["single", "double", "double that was single"])
@pytest.mark.parametrize("background", [False, True])
def test_rates_that_are_whole_counts_within_their_precision_are_these(
    tmp_path: Path, kind: str, background: bool
) -> None:
    rate = MANY / EXPOSURE
    if kind != "double":
        rate = rate.astype(np.float32)
    if kind == "double that was single":
        rate = rate.astype(np.float64)
    assert not np.array_equal(np.float64(rate) * EXPOSURE, MANY)
    columns = {"CHANNEL": np.arange(len(rate)), "RATE": rate}
    pha = read_pha(write_spectrum(tmp_path / "a.pha", columns, EXPOSURE=EXPOSURE), background=background)
    assert pha.is_rate
    assert np.array_equal(pha.counts, MANY)


def test_rates_that_are_no_counts_stay_as_they_are(tmp_path: Path) -> None:
    bent = np.where(np.arange(200) == 150, MANY + 0.01, MANY)
    for rate in (bent / EXPOSURE, (bent / EXPOSURE).astype(np.float32)):
        np.testing.assert_array_equal(rates(tmp_path, rate).counts, np.float64(rate) * EXPOSURE)


def test_negative_rates_are_never_counts(tmp_path: Path) -> None:
    rate = np.where(np.arange(200) == 150, -2.0, MANY) / EXPOSURE
    np.testing.assert_array_equal(rates(tmp_path, rate).counts, rate * EXPOSURE)


def test_numbers_too_large_for_their_precision_are_not_taken_for_counts(tmp_path: Path) -> None:
    # a float32 knows 3e7 to +-2 only: any number passes, so nothing is shown
    rate = np.array([3.1e7, 2.2e7, 1.7e7], dtype=np.float32) / np.float32(EXPOSURE)
    np.testing.assert_array_equal(rates(tmp_path, rate).counts, np.float64(rate) * EXPOSURE)


def test_counts_of_single_precision_are_whole_too(tmp_path: Path) -> None:
    # as mathpha leaves them: a rate of single precision times the exposure
    counts = (np.float32(EXPOSURE) * (MANY / EXPOSURE).astype(np.float32)).astype(np.float32)
    assert not np.array_equal(counts, MANY)
    pha = read_pha(write_spectrum(tmp_path / "a.pha", {"CHANNEL": np.arange(200), "COUNTS": counts}))
    assert np.array_equal(pha.counts, MANY)


def test_rates_beyond_all_numbers_are_refused(tmp_path: Path) -> None:
    rates = {"CHANNEL": CHANNEL, "RATE": COUNTS * 1e15}
    with pytest.raises(FormatError, match=r"RATE x EXPOSURE = 1e\+20 s is beyond all numbers; correct the file"):
        read_pha(write_spectrum(tmp_path / "a.pha", rates, EXPOSURE=1e20))
    with pytest.raises(FormatError, match=r"EXPOSURE is 1e\+300 s; correct the header"):
        read_pha(write_spectrum(tmp_path / "a.pha", rates, EXPOSURE=1e300))


@pytest.mark.parametrize(("name", "value"), [("STAT_ERR", 1e200), ("BACKSCAL", 1e-300), ("AREASCAL", -1e31)])
def test_errors_and_scales_whose_squares_are_no_numbers_are_refused(tmp_path: Path, name: str, value: float) -> None:
    columns = {"CHANNEL": CHANNEL, "COUNTS": COUNTS, name: np.full(len(COUNTS), value)}
    with pytest.raises(FormatError, match=f"{name} has values beyond what any file can mean"):
        read_pha(write_spectrum(tmp_path / "a.pha", columns))


@pytest.mark.parametrize(("scale", "said"), [(1.0, True), (0.0, False), (None, False)])
def test_a_correction_that_is_not_subtracted_is_said(tmp_path: Path, scale: float | None, said: bool) -> None:
    columns = {"CHANNEL": np.arange(8), "COUNTS": np.arange(8)}
    path = write_spectrum(tmp_path / "a.pha", columns, CORRFILE="gain.cor", CORRSCAL=scale)
    if said:
        with pytest.warns(XrayflowWarning, match=r"CORRFILE = 'gain.cor' \(CORRSCAL 1\) is not subtracted; subtract"):
            read_pha(path)
    else:
        read_pha(path)


def test_no_correction_is_said_in_many_ways(tmp_path: Path) -> None:
    columns = {"CHANNEL": np.arange(8), "COUNTS": np.arange(8)}
    for number, name in enumerate(("NONE", "", "none")):
        read_pha(write_spectrum(tmp_path / f"{number}.pha", columns, CORRFILE=name, CORRSCAL=1.0))


@pytest.mark.parametrize(
    ("said", "stokes"), [("Stokes:1", "Q"), ("stokes: 2", "U"), ("Stokes:0", ""), ("inner: 3", "")]
)
def test_a_spectrum_of_polarisation_is_no_spectrum_of_counts(tmp_path: Path, said: str, stokes: str) -> None:
    columns = {"CHANNEL": np.arange(8), "RATE": np.linspace(-1.0, 1.0, 8), "STAT_ERR": np.ones(8)}
    path = write_spectrum(tmp_path / "a.pha", columns, XFLT0001=said, POISSERR=False)
    if stokes:
        with pytest.warns(XrayflowWarning, match=f"this is Stokes {stokes}, .*; give the spectrum of Stokes I"):
            read_pha(path)
    else:
        read_pha(path)


def test_a_spectrum_whose_counts_have_another_name_is_told_so(tmp_path: Path) -> None:
    path = write_spectrum(tmp_path / "a.pha", {"CHANNEL": CHANNEL, "COUNT": COUNTS})
    with pytest.raises(FormatError, match=r"a.pha\[SPECTRUM\]: no COUNTS or RATE column; give a PHA file that has one"):
        read_pha(path)
