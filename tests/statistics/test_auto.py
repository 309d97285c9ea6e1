"""Which statistic is shown, why, and what the data do not allow."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ogip_zoo import power_law_counts, toy_files, write_spectrum
from xrayflow.errors import DataError, XrayflowWarning
from xrayflow.ogip import Spectrum, read_observation
from xrayflow.statistics import STATISTICS, StatisticChoice, background_in_source, choose
from xrayflow.statistics.auto import error_formula, gaussian_variance

BAND = ((1.0, 6.0),)


def with_errors(spectrum: Spectrum) -> Spectrum:
    """As if its file had POISSERR = F and a STAT_ERR column."""
    pha = replace(spectrum.observation.pha, poisserr=False)
    errors = np.sqrt(spectrum.counts + 1.0)
    return replace(spectrum, observation=replace(spectrum.observation, pha=pha), stat_err=errors)


def unsure_background(spectrum: Spectrum) -> Spectrum:
    """As if its background's file had POISSERR = F and no STAT_ERR."""
    background = spectrum.observation.background
    assert background is not None
    observation = replace(spectrum.observation, background=replace(background, poisserr=False))
    return replace(spectrum, observation=observation)


def test_counts_without_background_are_shown_by_c(plain: Spectrum) -> None:
    assert choose(plain) == StatisticChoice("cstat", "Poisson counts, no background", gaussian=False)


def test_a_background_of_counts_is_shown_by_w(measured: Spectrum) -> None:
    assert choose(measured) == StatisticChoice("wstat", "Poisson counts, a background of counts", gaussian=False)


def test_a_background_of_counts_that_denies_it_is_warned_of(measured: Spectrum) -> None:
    with pytest.warns(XrayflowWarning, match=r"its background has POISSERR = F and no STAT_ERR; taken as counts"):
        assert choose(unsure_background(measured)).name == "wstat"


def test_a_background_with_errors_is_shown_by_pgstat(modelled: Spectrum) -> None:
    found = choose(modelled)
    assert (found.name, found.gaussian) == ("pgstat", False)
    assert "STAT_ERR" in found.reason


@pytest.mark.parametrize("shift", [0.5, -1e4])
def test_a_background_of_neither_counts_nor_errors_is_known_and_warned_of(measured: Spectrum, shift: float) -> None:
    assert measured.background is not None
    with pytest.warns(XrayflowWarning, match="its background is neither counts nor has errors; taken as known exactly"):
        assert choose(replace(measured, background=measured.background + shift)).name == "pstat"


@pytest.mark.parametrize("shift", [0.5, -1e6])
def test_counts_that_are_none_are_shown_by_chi2(plain: Spectrum, shift: float) -> None:
    found = choose(replace(plain, counts=plain.counts + shift))
    assert found == StatisticChoice("chi2", "the counts are negative or not whole numbers", gaussian=True)


def test_counts_with_errors_of_their_own_are_shown_by_chi2(plain: Spectrum) -> None:
    found = choose(with_errors(plain))
    assert found == StatisticChoice("chi2", "POISSERR is F and STAT_ERR gives the errors", gaussian=True)


FORMULAS = {
    "sqrt(N)": np.sqrt,
    "sqrt(max(N, 1))": lambda n: np.sqrt(np.maximum(n, 1.0)),
    "Gehrels": lambda n: 1.0 + np.sqrt(n + 0.75),
}


def in_disguise(
    folder: Path, formula: str, *, rate: bool = False, single: bool = True, background: bool = False, scale: float = 1.0
) -> Spectrum:
    """Counts of a toy (or of its background) with POISSERR = F and errors that are a formula of the counts."""
    pha = toy_files(folder, background=background, norm=0.002)
    path = folder / "toy.bkg" if background else pha
    exposure = 1000.0
    counts = np.random.default_rng(3).poisson(20.0 if background else power_law_counts(norm=0.002), 120)
    unit = exposure if rate else 1.0
    columns = {
        "CHANNEL": np.arange(120),
        "RATE" if rate else "COUNTS": (counts / unit).astype(np.float32 if single and rate else np.float64),
        "STAT_ERR": (scale * FORMULAS[formula](counts) / unit).astype(np.float32 if single else np.float64),
    }
    header = {"EXPOSURE": exposure, "POISSERR": False, "DETCHANS": 120, "RESPFILE": "toy.rmf", "ANCRFILE": "toy.arf"}
    write_spectrum(path, columns, **header, BACKSCAL=4.0 if background else 1.0)
    return read_observation(pha).bin(energies=((0.3, 11.0),))


@pytest.mark.parametrize("formula", list(FORMULAS))
@pytest.mark.parametrize("rate", [False, True])
@pytest.mark.parametrize("single", [False, True])
def test_counts_whose_errors_follow_from_them_are_counts(
    tmp_path: Path, formula: str, rate: bool, single: bool
) -> None:
    spectrum = in_disguise(tmp_path, formula, rate=rate, single=single)
    assert (spectrum.counts == 0).any()
    found = choose(spectrum)
    assert (found.name, found.gaussian) == ("cstat", False)
    said = "1+sqrt(N+0.75)" if formula == "Gehrels" else "sqrt(N)"
    assert f"POISSERR is F, but STAT_ERR is {said}" in found.reason
    assert ("RATE x EXPOSURE is whole" in found.reason) is rate


@pytest.mark.parametrize("formula", list(FORMULAS))
@pytest.mark.parametrize("rate", [False, True])
def test_a_background_whose_errors_follow_from_its_counts_is_counts(tmp_path: Path, formula: str, rate: bool) -> None:
    found = choose(in_disguise(tmp_path, formula, rate=rate, background=True))
    assert found.name == "wstat"
    assert "a background of counts (" in found.reason


def test_errors_that_say_something_of_their_own_are_taken(tmp_path: Path) -> None:
    assert choose(in_disguise(tmp_path, "sqrt(N)", scale=1.1)).name == "chi2"
    assert choose(in_disguise(tmp_path, "sqrt(N)", scale=1.1, background=True)).name == "pgstat"
    fourfold = in_disguise(tmp_path, "sqrt(max(N, 1))", scale=2.0)
    assert choose(fourfold).reason == "POISSERR is F and STAT_ERR gives the errors"


def test_errors_of_empty_channels_that_differ_are_of_their_own(tmp_path: Path) -> None:
    spectrum = in_disguise(tmp_path, "sqrt(max(N, 1))")
    pha = spectrum.observation.pha
    assert pha.stat_err is not None
    used = spectrum.bin_of_channel >= 0
    assert error_formula(pha, used) == "sqrt(N)"
    empty = np.flatnonzero((pha.counts == 0) & used)
    for change in (np.array([0.0, 2.0]), np.array([0.5])):
        errors = pha.stat_err.copy()
        errors[empty[: change.size]] = change
        assert error_formula(replace(pha, stat_err=errors), used) == ""


def test_a_systematic_error_of_the_file_keeps_chi2_where_it_matters(tmp_path: Path) -> None:
    spectrum = in_disguise(tmp_path, "sqrt(N)")
    strong, weak = (replace(spectrum, sys_err=np.full(spectrum.counts.size, s)) for s in (0.5, 0.001))
    found = choose(strong)
    assert found == StatisticChoice(
        "chi2", "STAT_ERR is sqrt(N), and SYS_ERR adds errors that only chi2 takes", gaussian=True
    )
    with pytest.warns(XrayflowWarning, match="its SYS_ERR column is for chi2"):
        assert choose(weak).name == "cstat"


def test_subtracting_is_warned_of(measured: Spectrum) -> None:
    with pytest.warns(XrayflowWarning, match="chi2 subtracts the background"):
        assert choose(measured, "chi2").gaussian


def test_a_sys_err_column_is_used_by_chi2_alone(plain: Spectrum) -> None:
    bent = replace(plain, sys_err=np.full(plain.counts.size, 0.01))
    with pytest.warns(XrayflowWarning, match="for chi2 and for calibration modes"):
        choose(bent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choose(bent, "chi2")
        choose(bent, has_modes=True)
        choose(replace(plain, sys_err=np.zeros(plain.counts.size)))


@pytest.mark.parametrize("asked", [name for name in STATISTICS if name not in ("auto", "cstat", "chi2")])
def test_what_is_asked_for_is_taken(modelled: Spectrum, asked: str) -> None:
    assert choose(modelled, asked) == StatisticChoice(asked, "asked for", gaussian=False)


def test_an_unknown_statistic_is_refused_with_the_nearest(plain: Spectrum) -> None:
    with pytest.raises(DataError, match="--statistic cstats: no such statistic; did you mean 'cstat'"):
        choose(plain, "cstats")


@pytest.mark.parametrize("asked", ["cstat", "pstat", "wstat", "pgstat"])
def test_poisson_statistics_need_counts(plain: Spectrum, asked: str) -> None:
    with pytest.raises(DataError, match=rf"--statistic {asked} needs whole counts >= 0, these are not; use chi2"):
        choose(replace(plain, counts=plain.counts + 0.5), asked)


@pytest.mark.parametrize("asked", ["pstat", "wstat", "pgstat", "pgstat-xspec"])
def test_statistics_of_a_background_need_one(plain: Spectrum, asked: str) -> None:
    with pytest.raises(DataError, match=rf"--statistic {asked} needs a background; give --background or use cstat"):
        choose(plain, asked)


def test_pgstat_needs_errors_of_the_background(measured: Spectrum) -> None:
    with pytest.raises(DataError, match="--statistic pgstat needs a background with STAT_ERR; use wstat or pstat"):
        choose(measured, "pgstat")


def test_w_needs_a_background_of_counts(measured: Spectrum) -> None:
    assert measured.background is not None
    with pytest.raises(DataError, match=r"--statistic wstat needs background counts >= 0; use pstat or pgstat"):
        choose(replace(measured, background=measured.background - 1e5), "wstat")


def test_c_has_no_place_for_a_background(measured: Spectrum) -> None:
    with pytest.raises(DataError, match="--statistic cstat has no place for a background; use wstat"):
        choose(measured, "cstat")


def test_chi2_takes_errors_sys_err_of_gross_counts_and_the_scaled_background(modelled: Spectrum) -> None:
    bins = modelled.counts.size
    err, sys_err, background_sys = np.full(bins, 2.0), np.full(bins, 0.01), np.full(bins, 0.05)
    bent = replace(modelled, stat_err=err, sys_err=sys_err, background_sys_err=background_sys)
    assert bent.background is not None
    assert bent.background_err is not None
    own = bent.background_err**2 + (background_sys * bent.background) ** 2
    variance = err**2 + (sys_err * bent.counts) ** 2 + own / 16.0
    np.testing.assert_allclose(gaussian_variance(bent), variance)


def test_chi2_without_errors_has_the_counts_for_variance(plain: Spectrum, measured: Spectrum) -> None:
    np.testing.assert_allclose(gaussian_variance(plain), plain.counts)
    assert measured.background is not None
    np.testing.assert_allclose(gaussian_variance(measured), measured.counts + measured.background / 16.0)


def test_chi2_refuses_bins_without_an_error(plain: Spectrum) -> None:
    empty = plain.counts.copy()
    empty[[1, 4]] = 0.0
    with pytest.raises(DataError, match=rf"2 of {empty.size} bins have no error, and chi2 cannot weigh them; group"):
        gaussian_variance(replace(plain, counts=empty))


@pytest.mark.parametrize(
    ("pha", "statistic"),
    [
        ("nicer_4U1820-30_1050300108_preburst/pre_burst_spectrum_opt.pha", "cstat"),
        ("nicer_MAXIJ1535-571/1050360104/js_ni1050360104_0mpu7_silver_GTI0.jsgrp.gz", "pgstat"),
    ],
)
def test_real_spectra_take_their_branch(data_folder: Path, pha: str, statistic: str) -> None:
    rmf = data_folder / "nicer_response" / "nicer.rmf.gz"
    arf = data_folder / "nicer_MAXIJ1535-571" / "nicer_d49_55575341.arf"
    background = None if statistic == "cstat" else data_folder / pha.replace(".jsgrp.gz", ".bg.gz")
    observation = read_observation(data_folder / pha, rmf=rmf, arf=arf, background=background)
    assert choose(observation.bin()).name == statistic


def test_real_counts_in_disguise_are_shown_by_w(data_folder: Path, cases_folder: Path) -> None:
    ours = read_observation(data_folder / "chandra_acis_3C273_459" / "3c273.pi").bin(energies=((0.5, 7.0),))
    theirs = read_observation(cases_folder / "float-rates" / "s.pi").bin(energies=((0.5, 7.0),))
    errors = "(POISSERR is F, but STAT_ERR is sqrt(N))"
    assert choose(ours).reason == f"Poisson counts {errors}, a background of counts {errors}"
    assert choose(theirs).reason == "Poisson counts (RATE x EXPOSURE is whole), a background of counts"
    assert (choose(ours).name, choose(theirs).name) == ("wstat", "wstat")
    np.testing.assert_array_equal(theirs.counts, ours.counts)


def test_a_real_spectrum_of_a_million_counts_and_a_percent_keeps_chi2(data_folder: Path) -> None:
    folder = data_folder / "rxte_pca_GRS1915+105_10258-01-02-00"
    spectrum = read_observation(folder / "src_pcu2.pha").bin(energies=((3.0, 25.0),))
    with pytest.warns(XrayflowWarning, match="chi2 subtracts the background"):
        assert choose(spectrum).name == "chi2"


def test_without_a_background_none_is_scaled_to_the_source(plain: Spectrum, measured: Spectrum) -> None:
    assert not background_in_source(plain).any()
    assert measured.background is not None
    np.testing.assert_allclose(background_in_source(measured), measured.background / 4.0)
