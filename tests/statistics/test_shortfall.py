"""What an inexact likelihood costs: the grades against simulated fits, and what is said of each kind of data."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ogip_zoo import toy_observation
from xrayflow.ogip import Spectrum, read_observation
from xrayflow.statistics import StatisticChoice, choose, likelihood_of
from xrayflow.statistics.shortfall import EXACT, find_shortfall, grade_known_background, grade_pull

BAND = ((1.0, 6.0),)
WSTAT = StatisticChoice("wstat", "", gaussian=False)
CHI2 = StatisticChoice("chi2", "", gaussian=True)
Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Spectrum:
    return toy_observation(tmp_path_factory.mktemp("plain")).bin(energies=BAND)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Spectrum:
    """With a background of counts, in a region 4 times as large."""
    return toy_observation(tmp_path_factory.mktemp("measured"), background=True).bin(energies=BAND)


def with_background(spectrum: Spectrum, counts: float, times: float) -> Spectrum:
    """The same source counts with a background file of so many counts per bin in so many times the exposure."""
    bins = spectrum.counts.size
    return replace(
        spectrum, background=np.full(bins, counts), background_exposure=times * spectrum.source_exposure, stat_err=None
    )


def fitted_levels(counts: Array, behind: Array, source: Array) -> tuple[Array, Array]:
    """Likeliest level of the source in each row, the background taken as known, and the sd that its curvature says."""
    low, high = np.full(len(counts), 1e-6), np.full(len(counts), 50.0)
    for _ in range(50):
        level = np.sqrt(low * high)
        rising = (counts * source / (level[:, None] * source + behind) - source).sum(axis=1) > 0
        low, high = np.where(rising, level, low), np.where(rising, high, level)
    curvature = counts * (source / (level[:, None] * source + behind)) ** 2
    return level, 1.0 / np.sqrt(curvature.sum(axis=1))


# The estimates are of first order: a factor of 2 is what they are good for, and what a reader needs.
@pytest.mark.parametrize(
    ("bins", "source", "background", "ratio"),
    [(445, 500, 20, 0.1), (100, 5000, 5000, 1.0), (200, 300, 300, 0.1), (50, 50, 200, 1.0), (50, 2000, 8000, 2.0)],
)
def test_the_grade_of_a_known_background_is_what_fits_lose(
    bins: int, source: int, background: int, ratio: float
) -> None:
    random = np.random.default_rng(1)
    shape = np.exp(-3.0 * np.linspace(0.0, 1.0, bins))
    shape *= source / shape.sum()
    mean = np.full(bins, background / bins)
    counts = random.poisson(shape + mean, (600, bins)).astype(np.float64)
    seen = random.poisson(mean / ratio, (600, bins)).astype(np.float64)
    level, sd = fitted_levels(counts, ratio * seen, shape)
    off = (level - 1.0) / sd
    grades = [
        grade_known_background(row, ratio * behind, ratio**2 * (behind + 1.0 / bins))
        for row, behind in zip(counts, seen, strict=True)
    ]
    narrow, _, shift = np.median(grades, axis=0)
    # 600 fits know the mean to 0.05 and the width to 0.04 (one sd)
    assert 0.5 * shift - 0.15 < off.mean() < 2.0 * shift + 0.15
    assert abs(narrow - (1.0 - 1.0 / off.std())) < 0.12


@pytest.mark.parametrize("per_bin", [5.0, 8.0, 20.0])
@pytest.mark.parametrize("gehrels", [False, True])
def test_the_grade_of_chi2_of_counts_is_what_fits_lose(per_bin: float, gehrels: bool) -> None:
    counts = np.random.default_rng(2).poisson(per_bin, (4000, 50)).astype(np.float64)
    variance = (1.0 + np.sqrt(counts + 0.75)) ** 2 if gehrels else np.maximum(counts, 1.0)
    slope = 1.0 + 1.0 / np.sqrt(counts + 0.75) if gehrels else np.ones_like(counts)
    level = (counts / variance).sum(axis=1) / (1.0 / variance).sum(axis=1) / per_bin
    rows = zip(counts, variance, counts * slope / variance, strict=True)
    low = np.mean([grade_pull(row, var, pull)[0] for row, var, pull in rows])
    assert low == pytest.approx(1.0 - level.mean(), rel=0.25)


def test_counts_without_a_background_are_exact(plain: Spectrum) -> None:
    assert find_shortfall(plain, StatisticChoice("cstat", "", gaussian=False)) == EXACT
    assert (EXACT.why, EXACT.negligible) == ("", True)


@pytest.mark.parametrize(
    ("counts", "times", "words", "negligible"),
    [
        (1000.0, 1e4, r", which is negligible here \(background is 0\.0\d % of the counts: .* less than 1 %\)", True),
        (0.0, 100.0, r", which is negligible here \(background is less than 0\.01 % of the counts", True),
        (
            60.0,
            1.0,
            r" \(background is 12 % of the counts: .* about 3\.\d %, by 2\d % for what is seen only where",
            False,
        ),
    ],
)
def test_a_known_background_is_graded(
    measured: Spectrum, counts: float, times: float, words: str, negligible: bool
) -> None:
    found = find_shortfall(with_background(measured, counts, times), WSTAT)
    assert found.negligible is negligible
    assert re.match(f"the background's own error is not in the likelihood{words}", found.why), found.why


def test_a_background_of_few_counts_in_many_bins_biases(measured: Spectrum) -> None:
    few = np.resize([0.0, 1.0, 2.0, 1.0], measured.counts.size)
    found = find_shortfall(
        replace(with_background(measured, 0.5, 1.0), counts=few, background=few[::-1] / 2 // 1), WSTAT
    )
    assert re.search(
        r"background is \d+ % of the counts: intervals too narrow by .*, norms too high by about", found.why
    )
    behind = np.full(measured.counts.size, 0.9)
    assert grade_known_background(few, behind, behind)[2] > 5.0


def test_more_background_costs_more(measured: Spectrum) -> None:
    costs = []
    for counts in (1.0, 10.0, 40.0):
        behind = np.full(measured.counts.size, counts)
        costs.append(grade_known_background(measured.counts, behind, behind)[0])
    assert costs == sorted(costs)
    assert costs[0] < 0.02 < costs[-1]


def test_a_systematic_error_makes_a_background_matter_less(measured: Spectrum) -> None:
    counts, behind = np.full(measured.counts.size, 90.0), np.full(measured.counts.size, 30.0)
    without, with_error = (grade_known_background(counts, behind, behind, s)[0] for s in (0.0, 0.3))
    assert with_error < 0.5 * without


def test_the_errors_of_a_modelled_background_count(measured: Spectrum) -> None:
    assert measured.background is not None
    sure, unsure = (
        replace(measured, background=measured.background + 0.5, background_err=share * measured.background)
        for share in (0.001, 1.0)
    )
    assert find_shortfall(sure, WSTAT).negligible
    assert not find_shortfall(unsure, WSTAT).negligible
    nothing = find_shortfall(replace(sure, background_err=None), WSTAT)
    assert "(its file gives none; background is" in nothing.why
    assert not nothing.negligible


def test_a_spectrum_of_nothing_has_no_grade(plain: Spectrum) -> None:
    zeros = np.zeros(plain.counts.size)
    assert grade_known_background(zeros, zeros, zeros + 0.01) == (0.0, 0.0, 0.0)
    assert grade_pull(zeros, zeros + 1.0, zeros) == (0.0, 0.0)


def test_chi2_of_counts_says_how_few_they_are_and_what_that_costs(plain: Spectrum) -> None:
    few = replace(plain, counts=np.resize([10.0, 12.0, 14.0], plain.counts.size))
    found = find_shortfall(few, CHI2)
    held = "(10 per bin at the least, 12 in the median: norms too low by about 8.4 %, about 2.0 standard deviations)"
    assert found.why == f"chi2 takes Poisson counts as Gaussian {held}"
    assert not found.negligible
    many = find_shortfall(replace(plain, counts=np.full(plain.counts.size, 1e6)), CHI2)
    assert many.why.endswith("negligible here, norms off by less than 0.01 %)")
    assert many.negligible


def test_a_subtracted_background_of_equal_exposure_pulls_the_other_way(plain: Spectrum, measured: Spectrum) -> None:
    few = replace(measured, counts=np.full(plain.counts.size, 30.0))
    pulled = find_shortfall(with_background(few, 20.0, 3.0), CHI2)
    assert "norms too low" in pulled.why
    pushed = find_shortfall(with_background(few, 5.0, 0.3), CHI2)
    assert "norms too high" in pushed.why


def test_data_with_errors_of_their_own_are_exact_unless_a_background_is_subtracted(measured: Spectrum) -> None:
    own = replace(measured, counts=measured.counts + 0.5, stat_err=np.full(measured.counts.size, 5.0))
    assert find_shortfall(replace(own, background=None, background_exposure=None), CHI2) == EXACT
    found = find_shortfall(own, CHI2)
    assert found.why.startswith("the error of the subtracted background is taken as Gaussian (")
    assert "counts per bin in the median" in found.why
    assert not found.negligible
    assert find_shortfall(replace(own, stat_err=np.full(measured.counts.size, 500.0)), CHI2).negligible


def test_fractions_without_errors_are_not_exact(plain: Spectrum) -> None:
    found = find_shortfall(replace(plain, counts=plain.counts + 0.5), CHI2)
    assert found.why == "the file gives no errors: the root of what it holds stands for them"


@pytest.mark.filterwarnings("ignore:.*chi2 subtracts:xrayflow.errors.XrayflowWarning")
def test_real_spectra_are_graded(data_folder: Path) -> None:
    ours = read_observation(data_folder / "chandra_acis_3C273_459" / "3c273.pi").bin(energies=((0.5, 7.0),))
    likelihood = likelihood_of([ours], [choose(ours)])
    assert (likelihood.kind, likelihood.negligible) == ("approximate", True)
    # fitted, chi2 gives a norm 6 % below that of W
    chi2 = likelihood_of([ours], [choose(ours, "chi2")])
    assert (chi2.kind, chi2.negligible) == ("approximate", False)
    assert "(15 per bin at the least, 16 in the median: norms too low by about 6.4 %" in chi2.why
    exosat = data_folder / "exosat_me_1E1048-5937_s54405" / "s54405.pha"
    with pytest.warns(match="rows without response"):
        theirs = read_observation(exosat).bin(energies=((1.0, 15.0),))
    assert likelihood_of([theirs], [choose(theirs)]).kind == "exact"
