"""A forecast: four times the counts, half the width; another instrument; and what cannot be foretold."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from ogip_zoo import toy_files, write_arf, write_rmf
from xrayflow.errors import DataError, FileError
from xrayflow.inference import Posterior, infer, infer_problem
from xrayflow.ogip import read_observation
from xrayflow.products import Plan, forecast, forecast_table
from xrayflow.setup import FitSetup, joint_problem


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Posterior:
    """Of a power law with a background, whose files stay."""
    toy = toy_files(tmp_path_factory.mktemp("toy"), exposure=100.0, background=True)
    return infer(read_observation(toy), "powerlaw", energies=[(1.0, 6.0)], grouping="min:20")


def test_four_times_the_exposure_halves_the_widths(answer: Posterior) -> None:
    """Widths of 6 spectra scatter by a tenth each."""
    found = forecast(answer, Plan(exposure=400.0, spectra=6, seed=3))
    assert [row["name"] for row in found.rows()] == ["powerlaw.PhoIndex", "powerlaw.norm"]
    for row in found.rows():
        assert row["narrower_by"] == pytest.approx(2.0, rel=0.15)
        assert row["width90_least"] <= row["width90"] <= row["width90_most"]
        assert row["truth_inside"] >= 3  # of 6 at 90 %: fewer once in 750 times
    assert np.median(found.counts) == pytest.approx(4.0 * answer.data[0].counts.sum(), rel=0.05)
    assert found.report()["spectra"] == 6


def test_truths_are_draws_of_the_answer_and_answers_are_about_them(answer: Posterior) -> None:
    found, again = (forecast(answer, Plan(exposure=1e5, spectra=2)) for _ in range(2))
    np.testing.assert_array_equal(found.truths, answer.resample(2, 0)[:, :2])
    np.testing.assert_allclose(found.median, found.truths, rtol=0.02)
    np.testing.assert_array_equal(again.median, found.median)


def test_another_instrument_has_its_own_files(answer: Posterior, tmp_path: Path) -> None:
    rmf, arf = write_rmf(tmp_path / "other.rmf"), write_arf(tmp_path / "other.arf", area=9.0 * np.full(150, 100.0))
    plan = Plan(exposure=100.0, rmf=str(rmf), arf=str(arf), energies=[(2.0, 5.0)], spectra=2)
    found = forecast(answer, plan)
    assert found.exposure == 100.0
    text = StringIO()
    Console(file=text, width=120).print(forecast_table(found))
    assert "from 2 spectra simulated with draws of the answer" in text.getvalue()
    assert "2 certified" in text.getvalue()
    with pytest.raises(FileError, match=r"other.rmf: holds no effective area; give --arf FILE"):
        forecast(answer, Plan(exposure=100.0, rmf=str(rmf)))


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Posterior:
    """One source in two spectra of different bands and exposures, answered together."""
    setups = [FitSetup(model="powerlaw", energies=[band], grouping="min:20") for band in ((1.0, 3.0), (2.0, 6.0))]
    paths = [
        toy_files(tmp_path_factory.mktemp("toy"), exposure=seconds, seed=seed)
        for seed, seconds in enumerate((100.0, 200.0))
    ]
    return infer_problem(joint_problem([read_observation(path) for path in paths], setups))[0]


def test_several_data_sets_are_longer_together(both: Posterior) -> None:
    """Widths of 6 spectra scatter by a tenth each; of the longer data set alone they would be wider by a fifth."""
    found = forecast(both, Plan(exposure=400.0, spectra=6, seed=3))
    for row in found.rows():
        assert row["narrower_by"] == pytest.approx(2.0, rel=0.15)
        assert row["truth_inside"] >= 3  # of 6 at 90 %: fewer once in 750 times
    observed = sum(float(data.counts.sum()) for data in both.data)
    assert np.median(found.counts) == pytest.approx(4.0 * observed, rel=0.05)
    text = StringIO()
    Console(file=text, width=200).print(forecast_table(found))
    assert text.getvalue().startswith("toy.pha + toy.pha: powerlaw; widths of 90 % intervals, now and with 400 s (")


def test_another_instrument_is_none_of_several_data_sets(both: Posterior) -> None:
    with pytest.raises(DataError, match="an answer of 2 data sets: --rmf, --arf and --background do not say of which"):
        forecast(both, Plan(rmf="other.rmf"))
    with pytest.raises(DataError, match=r"no simulated spectrum has an answer: .*no counts in"):
        forecast(both, Plan(exposure=1e-9, spectra=2))


def test_what_cannot_be_foretold_is_one_line(answer: Posterior) -> None:
    with pytest.raises(DataError, match=r"exposure -1 s: give a time above 0"):
        forecast(answer, Plan(exposure=-1.0))
    with pytest.raises(DataError, match=r"no simulated spectrum has an answer: .*no counts in"):
        forecast(answer, Plan(exposure=1e-9, spectra=2))


def test_a_model_that_does_not_fit_makes_a_forecast_of_the_model(answer: Posterior) -> None:
    poor = replace(answer, fit=replace(answer.fit, status="poor"))
    text = StringIO()
    Console(file=text, width=200).print(forecast_table(forecast(poor, Plan(exposure=50.0, spectra=2))))
    assert "the model does not describe the data well" in text.getvalue()
