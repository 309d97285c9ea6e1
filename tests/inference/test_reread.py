"""An answer keeps no response: for its errors the files are read again, and are what they were."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from ogip_zoo import toy_observation
from xrayflow.errors import DataError, FileError
from xrayflow.fitting import error, optimise, steppar
from xrayflow.folding import Grid
from xrayflow.inference import Posterior, infer, infer_problem
from xrayflow.ogip import Observation
from xrayflow.setup import FitSetup, build_problem

BAND = [(1.0, 6.0)]
MODEL = "TBabs*powerlaw"
FREEZE = {"TBabs.nH": 0.05}
FILES = {"pha": "toy.pha", "rmf": "toy.rmf", "arf": "toy.arf", "background": "toy.bkg"}


@pytest.fixture
def observation(tmp_path: Path) -> Observation:
    return toy_observation(tmp_path, exposure=100.0, background=True, seed=4)


@pytest.fixture
def answer(observation: Observation) -> Posterior:
    return infer(observation, MODEL, freeze=FREEZE, energies=BAND, grouping="min:10", systematic=0.02)


def test_errors_of_an_answer_are_those_of_the_best_fit(observation: Observation, answer: Posterior) -> None:
    fit = optimise(observation, MODEL, freeze=FREEZE, energies=BAND, grouping="min:10", systematic=0.02)
    ours, known = error(answer), error(fit)
    assert [one.name for one in ours.intervals] == ["powerlaw.PhoIndex", "powerlaw.norm"]
    for one, other in zip(ours.intervals, known.intervals, strict=True):
        assert one.found
        np.testing.assert_allclose([one.value, one.lo, one.hi], [other.value, other.lo, other.hi], rtol=2e-3)
    np.testing.assert_allclose(ours.fit.theta, answer.best, rtol=1e-4)
    profile = steppar(answer, "powerlaw.PhoIndex", ours.intervals[0].lo, ours.intervals[0].hi, 2)
    np.testing.assert_allclose(profile.rise[[0, -1]], 2.706, rtol=0.02)


def test_channels_and_a_normal_prior_are_asked_again(observation: Observation) -> None:
    words = {"freeze": FREEZE, "channels": (12, 49), "prior": ["powerlaw.PhoIndex~N(2.2,0.05)"]}
    answer, fit = (made(observation, MODEL, **words) for made in (infer, optimise))  # type: ignore[operator]
    again = answer.best_fit()
    assert again.dof == fit.dof == 38 - 4  # level and tilt of the background are free too
    assert again.value == pytest.approx(fit.value, abs=1e-3)
    assert error(answer, "powerlaw.PhoIndex").intervals[0].hi == pytest.approx(
        error(fit, "powerlaw.PhoIndex").intervals[0].hi, rel=1e-3
    )


@pytest.mark.parametrize("name", list(FILES))
def test_a_file_that_changed_is_named(answer: Posterior, tmp_path: Path, name: str) -> None:
    with fits.open(tmp_path / FILES[name], mode="update") as file:
        file[1].header["HISTORY"] = "made again"
    with pytest.raises(FileError, match=rf"{FILES[name]}: is not the file that was answered .*; fit it again") as told:
        error(answer)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", list(FILES))
def test_a_file_that_is_gone_is_named(answer: Posterior, tmp_path: Path, name: str) -> None:
    (tmp_path / FILES[name]).unlink()
    with pytest.raises(FileError, match=f"{FILES[name]}: no such file"):
        error(answer)


def test_a_file_that_came_back_serves(answer: Posterior, tmp_path: Path) -> None:
    before = error(answer, "powerlaw.norm")
    shutil.copy(tmp_path / "toy.arf", tmp_path / "kept")
    (tmp_path / "toy.arf").unlink()
    shutil.copy(tmp_path / "kept", tmp_path / "toy.arf")
    assert error(answer, "powerlaw.norm").intervals == before.intervals


def test_an_answer_on_a_finer_grid_is_fitted_again_on_that(tmp_path: Path) -> None:
    problem = build_problem(
        [toy_observation(tmp_path, exposure=10.0, seed=1)],
        FitSetup(model=MODEL, freeze=FREEZE, energies=BAND, grouping="min:10"),
    ).finer(3)
    answer = infer_problem(problem)[0]
    assert answer.best_fit().problem.data.grid == answer.provenance.grid == problem.data.grid
    assert "each bin in 3" in problem.data.grid


def test_a_grid_of_the_users_own_is_told_to_be_given_again(tmp_path: Path) -> None:
    grid = Grid.log(0.05, 20.0, 2000)
    answer = infer(toy_observation(tmp_path, exposure=10.0, seed=1), MODEL, freeze=FREEZE, energies=BAND, grid=grid)
    with pytest.raises(DataError, match=r"'0\.05-20 keV, 2000 logarithmic bins'; give that grid to optimise"):
        error(answer)
