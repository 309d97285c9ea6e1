"""Alarms of change: their rate where nothing changes, their power where something does, and what they are blind to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from population_zoo import INDEX, NORM, planted, priors, write_catalogue
from xrayflow.studies.catalogue import alarms_of, read_catalogue
from xrayflow.studies.catalogue.alarm import LEAST, WINDOW, Forecast

Numbers = NDArray[np.float64]


def chance_of(middle: Numbers, error: Numbers, new: float, new_error: float) -> float:
    """Of a value so far out, where something can be foretold."""
    forecast = Forecast.of(middle, error, new_error)
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
    chance = np.array([chance_of(v[:-1], e[:-1], v[-1], e[-1]) for v, e in zip(value, error, strict=True)])
    share = (chance < rate).mean()
    # four standard deviations of 500 trials: once in 30 000
    assert share < rate + 4.0 * np.sqrt(rate * (1 - rate) / number)
    assert share > 0  # and it does raise alarms
    assert (chance < 0.5).mean() < 0.5 + 4.0 * np.sqrt(0.25 / number)


def test_what_is_foretold_is_the_mean_of_what_was() -> None:
    middle, error = np.array([1.0, 1.2, 0.9, 1.1, 1.0, 0.8] * 3), np.full(18, 0.15)
    forecast = Forecast.of(middle, error, 0.15)
    assert forecast is not None
    lo, hi = forecast.quantile(0.05), forecast.quantile(0.95)
    assert forecast.chance(1.0) == pytest.approx(1.0, abs=0.02)
    assert 0.5 * (lo + hi) == pytest.approx(1.0, abs=0.01)
    # no scatter beyond the errors: 1.645 (0.15^2 + 0.15^2 / 18)^(1/2), and a little for a scatter that may be
    assert 0.25 < 0.5 * (hi - lo) < 0.32
    assert forecast.chance(hi) == pytest.approx(0.1, abs=1e-6)
    assert forecast.chance(lo) == pytest.approx(0.1, abs=1e-6)
    # a new one that says nothing raises none
    assert chance_of(middle, error, 5.0, 10.0) > 0.5


def test_numbers_that_are_none_are_left_out() -> None:
    middle, error = np.ones(8), np.full(8, 0.1)
    assert Forecast.of(middle[: LEAST - 1], error[: LEAST - 1], 0.1) is None
    assert Forecast.of(middle, error, 0.0) is None
    assert Forecast.of(middle, error, np.nan) is None
    assert Forecast.of(np.where(np.arange(8) < 4, np.nan, middle), error, 0.1) is None
    assert chance_of(np.append(middle, np.nan), np.append(error, 0.1), 9.0, 0.1) < 1e-6


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
