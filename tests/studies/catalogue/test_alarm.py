"""Alarms of change: their rate where nothing changes, their power where something does, and what they are blind to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from population_zoo import INDEX, NORM, planted, priors, write_catalogue
from xrayflow.studies.catalogue import alarms_of, read_catalogue
from xrayflow.studies.catalogue.alarm import LEAST, WINDOW, Forecast, errors_towards

Numbers = NDArray[np.float64]

LEVELS = np.array([0.05, 0.16, 0.5, 0.84, 0.95])
"""Of a catalogue's columns."""


def normal(middle: Numbers | float, error: Numbers | float) -> Numbers:
    """(..., quantile) of normal posteriors."""
    return np.asarray(middle)[..., None] + np.asarray(error)[..., None] * ndtri(LEVELS)


def lognormal(middle: Numbers | float, error: Numbers | float) -> Numbers:
    """(..., quantile) of posteriors of what was measured in its logarithm, under a prior that is flat in itself."""
    error = np.asarray(error)
    return np.exp(normal(np.asarray(middle) + error**2, error))


def cut(middle: Numbers | float, error: Numbers | float, edge: float) -> Numbers:
    """(..., quantile) of normal likelihoods under a prior that is flat above an edge."""
    middle, error = np.asarray(middle), np.asarray(error)
    above = ndtr((middle - edge) / error)[..., None]
    return middle[..., None] - error[..., None] * ndtri(above * (1.0 - LEVELS))


def chance_of(before: Numbers, new: Numbers) -> float:
    """Of a median so far out, where something can be foretold."""
    forecast = Forecast.of(before)
    assert forecast is not None
    return forecast.chance(new)


@pytest.mark.parametrize("scatter", [0.0, 1.0, 100.0])
@pytest.mark.parametrize("before", [5, 20])
def test_false_alarms_are_no_more_than_was_asked_for(scatter: float, before: int) -> None:
    """Sources without change, whatever scatter of their own they have: chances are too large, if anything."""
    generator = np.random.default_rng([before, int(10 * scatter)])
    number, rate = 500, 0.05
    error = 10.0 ** generator.uniform(-0.5, 0.5, (number, before + 1))
    value = scatter * generator.standard_normal(error.shape) + error * generator.standard_normal(error.shape)
    chance = np.array([chance_of(one[:-1], one[-1]) for one in normal(value, error)])
    share = (chance < rate).mean()
    # four standard deviations of 500 trials: once in 30 000
    assert share < rate + 4.0 * np.sqrt(rate * (1 - rate) / number)
    assert share > 0  # and it does raise alarms
    assert (chance < 0.5).mean() < 0.5 + 4.0 * np.sqrt(0.25 / number)


@pytest.mark.parametrize("shape", ["lognormal", "cut"])
def test_skewed_posteriors_raise_no_more_false_alarms(shape: str) -> None:
    """Errors of 5 to 50 % of a norm under a flat prior; a value one error above an edge of its prior."""
    generator = np.random.default_rng(6)
    number, rate = 500, 0.05
    error = 10.0 ** generator.uniform(-1.3, -0.3, (number, 21))
    value = error * generator.standard_normal(error.shape)
    found = lognormal(value, error) if shape == "lognormal" else cut(value, error, -0.2)
    chance = np.array([chance_of(one[:-1], one[-1]) for one in found])
    assert 0 < (chance < rate).mean() < rate + 4.0 * np.sqrt(rate * (1 - rate) / number)  # as above


def test_the_error_of_a_lognormal_is_its_own_in_either_direction() -> None:
    """x = exp(0.4 z): at z standard deviations the error is the distance over z, along the longer tail to 95 %."""
    one = np.exp(0.4 * ndtri(LEVELS))[None]
    z = np.array([0.5, 1.0, 1.6])
    np.testing.assert_allclose(errors_towards(np.exp(0.4 * z)[:, None], one)[:, 0], np.expm1(0.4 * z) / z, rtol=0.03)
    far, last = errors_towards(np.array([[np.exp(0.4 * 4.0)], [np.exp(0.4 * 1.6)]]), one)[:, 0]
    assert last < far < np.expm1(1.6) / 4.0  # farther out the tail lies between a normal's and its own
    np.testing.assert_allclose(errors_towards(np.array([[0.3]]), one), (1.0 - one[0, 0]) / 1.645, rtol=1e-3)
    mirrored = errors_towards(-np.exp(0.4 * z)[:, None], -one[:, ::-1])[:, 0]
    np.testing.assert_allclose(mirrored, errors_towards(np.exp(0.4 * z)[:, None], one)[:, 0], rtol=1e-12)
    np.testing.assert_allclose(errors_towards(np.array([[-9.0], [1.0], [9.0]]), normal(1.0, 0.2)[None]), 0.2, rtol=0.01)


def test_what_has_an_upper_limit_alone_is_no_change_from_what_has_the_same() -> None:
    """An edge of the prior at 0: each median is 0.67 of its own error above it, and that is all that differs."""
    before = cut(np.zeros(10), np.linspace(0.5, 3.0, 10), 0.0)
    assert chance_of(before, cut(0.0, 0.5, 0.0)) > 0.05
    assert chance_of(before, cut(0.0, 5.0, 0.0)) > 0.05
    assert chance_of(before, cut(4.0, 0.2, 0.0)) < 1e-3


def test_what_is_foretold_is_the_mean_of_what_was() -> None:
    middle = np.array([1.0, 1.2, 0.9, 1.1, 1.0, 0.8] * 3)
    before, new = normal(middle, np.full(18, 0.15)), normal(1.0, 0.15)
    forecast = Forecast.of(before)
    assert forecast is not None
    lo, hi = forecast.quantile(0.05, new), forecast.quantile(0.95, new)
    assert forecast.chance(new) == pytest.approx(1.0, abs=0.02)
    assert 0.5 * (lo + hi) == pytest.approx(1.0, abs=0.01)
    # no scatter beyond the errors: 1.645 (0.15^2 + 0.15^2 / 18)^(1/2), and a little for a scatter that may be
    assert 0.25 < 0.5 * (hi - lo) < 0.32
    assert forecast.chance(normal(hi, 0.15)) == pytest.approx(0.1, abs=2e-3)
    assert forecast.chance(normal(lo, 0.15)) == pytest.approx(0.1, abs=2e-3)
    # a new one that says nothing raises none
    assert chance_of(before, normal(5.0, 10.0)) > 0.5


def test_numbers_that_are_none_are_left_out() -> None:
    before = normal(np.ones(8), np.full(8, 0.1))
    assert Forecast.of(before[: LEAST - 1]) is None
    assert Forecast.of(np.where(np.arange(8)[:, None] < 4, np.nan, before)) is None
    assert Forecast.of(np.where(np.arange(8)[:, None] < 4, 1.0, before)) is None  # without an error
    assert chance_of(np.concatenate([before, normal(np.array([np.nan]), 0.1)]), normal(9.0, 0.1)) < 1e-6


def outburst(folder: Path, truth: Numbers, verdicts: tuple[str, ...] = ("certified",)) -> Path:
    generator = np.random.default_rng(4)
    return write_catalogue(folder, planted(truth, np.full(truth.shape, 0.05), 300, generator), verdicts=verdicts)


def test_a_change_is_found_once_and_the_new_state_is_what_counts_then(tmp_path: Path) -> None:
    truth = np.tile([1.7, -2.0], (60, 1))
    truth[25:, 0] = 2.6  # the photon index, at row 25
    truth[45:, 1] = -1.0  # the norm, by a factor of ten, at row 45
    table = read_catalogue(outburst(tmp_path, truth))
    found = alarms_of(table, priors())
    assert [(one.parameter, one.time) for one in found] == [(INDEX, 58025.0), (NORM, 58045.0)]
    first, second = found
    assert first.before == WINDOW
    assert first.median == pytest.approx(2.6, abs=0.2)
    assert first.low < 1.7 < first.high
    assert second.low < 0.01 < second.high < second.median  # in the parameter's unit, not its logarithm
    assert "powerlaw.PhoIndex = 2." in str(first)
    assert "was foretold from 20 spectra" in str(first)


def test_nothing_is_said_of_a_source_that_does_not_change_nor_of_rows_without_an_answer(tmp_path: Path) -> None:
    truth = np.tile([1.7, -2.0], (40, 1))
    assert alarms_of(read_catalogue(outburst(tmp_path / "a", truth)), priors()) == []
    truth[::4] = [4.0, 0.5]
    verdicts = ("failed", "certified", "approximate", "do-not-trust")
    assert alarms_of(read_catalogue(outburst(tmp_path / "b", truth, verdicts)), priors()) == []


def test_the_order_is_that_of_time_not_of_the_table(tmp_path: Path) -> None:
    from astropy.table import Table

    truth = np.tile([1.7, -2.0], (30, 1))
    truth[20:, 0] = 2.6
    path = outburst(tmp_path, truth)
    table = Table.read(path)
    table[np.random.default_rng(5).permutation(30)].write(path, overwrite=True)
    assert [one.time for one in alarms_of(read_catalogue(path), priors())] == [58020.0]


def test_a_table_without_priors_has_no_alarms(tmp_path: Path) -> None:
    truth = np.concatenate([np.tile([1.7, -2.0], (10, 1)), np.tile([4.0, 0.0], (5, 1))])
    assert alarms_of(read_catalogue(outburst(tmp_path, truth)), {}) == []
