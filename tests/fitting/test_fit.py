"""The fit that people know: at known minima, one spectrum or many, and honest where it is at a limit."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from fit_zoo import (
    BAND,
    LINEAR,
    LINEAR_FROZEN,
    LINEAR_PRIOR,
    choice_of,
    closed_form,
    fitted,
    observation,
    spectrum_of,
    statistic_of,
)
from xrayflow.errors import DataError, XrayflowWarning
from xrayflow.fitting import optimise, optimise_batch
from xrayflow.fitting.starts import CANDIDATES
from xrayflow.folding import Grid
from xrayflow.ogip import Observation
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup

CASES = [
    ("none", "cstat"),
    ("none", "chi2"),
    ("counts", "wstat"),
    ("counts", "pstat"),
    ("errors", "pgstat"),
    ("errors", "pgstat-xspec"),
]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """A power law of index 1.7 and norm 0.05, about 2e4 counts in the band."""
    return observation(tmp_path_factory.mktemp("toy"), exposure=200.0)


def test_a_linear_gaussian_model_ends_at_its_closed_form(toy: Observation) -> None:
    fit = fitted(toy, LINEAR, "chi2", prior=LINEAR_PRIOR, freeze=LINEAR_FROZEN, grouping="min:20")
    theta, covariance, chi2 = closed_form(fit)
    assert fit.converged
    np.testing.assert_allclose(fit.theta, theta, rtol=1e-5)
    np.testing.assert_allclose(fit.covariance, covariance, rtol=1e-6)
    assert fit.value == pytest.approx(chi2, abs=1e-6)
    np.testing.assert_allclose(fit.errors, np.sqrt(np.diag(covariance)), rtol=1e-6)


@pytest.mark.parametrize(("background", "statistic"), CASES)
def test_a_power_law_ends_where_scipy_does(tmp_path: Path, background: str, statistic: str) -> None:
    found = observation(tmp_path, background, exposure=100.0)
    grouping = "min:20" if statistic == "chi2" else None
    fit = fitted(found, "powerlaw", statistic, grouping=grouping)
    function = statistic_of(fit)
    rival = minimize(
        lambda p: function([p[0], 10 ** p[1]]),
        [1.6, -1.2],
        method="Nelder-Mead",
        options={"xatol": 1e-6, "fatol": 1e-7},
    )
    assert choice_of(fit.problem).name == statistic
    assert fit.value == pytest.approx(function(fit.theta), abs=1e-6)
    assert fit.value == pytest.approx(rival.fun, abs=1e-3)
    np.testing.assert_allclose(fit.theta, [rival.x[0], 10 ** rival.x[1]], atol=0.02 * fit.errors.max())


def test_a_best_fit_at_the_edge_of_the_box_is_there_exactly_and_says_so(toy: Observation) -> None:
    fit = fitted(toy, "powerlaw", prior=["powerlaw.PhoIndex=2:4"])
    frozen = fitted(toy, "powerlaw", freeze={"powerlaw.PhoIndex": 2.0})
    assert fit.theta[0] == 2.0
    assert fit.limits == ("lower", "")
    assert np.isnan(fit.covariance[0]).all()
    assert fit.value == pytest.approx(frozen.value, abs=1e-3)
    assert fit.theta[1] == pytest.approx(frozen.theta[0], rel=1e-4)
    assert fit.errors[1] == pytest.approx(frozen.errors[0], rel=1e-3)
    assert "at its lower limit" in str(fit)
    assert fitted(toy, "powerlaw", prior=["powerlaw.PhoIndex=0:1.2"]).limits == ("upper", "")


def test_a_normal_prior_pulls_the_mode_as_by_hand(toy: Observation) -> None:
    prior = ["powerlaw.PhoIndex~N(1.5,0.03)"]
    fit = optimise(toy, "powerlaw", prior=prior, energies=BAND)
    free = optimise(toy, "powerlaw", energies=BAND)

    def by_hand(p: np.ndarray) -> float:
        theta = torch.tensor([[[p[0], 10 ** p[1]]]], dtype=torch.float64)
        return -2.0 * float(fit.problem.log_likelihood(theta)) + ((p[0] - 1.5) / 0.03) ** 2

    rival = minimize(by_hand, [1.6, -1.2], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-7})
    np.testing.assert_allclose(fit.theta, [rival.x[0], 10 ** rival.x[1]], rtol=3e-4)
    theta = torch.from_numpy(fit.theta)
    density = float(fit.problem.log_likelihood(theta[None, None])) + float(fit.problem.prior.log_density(theta))
    assert fit.value == pytest.approx(-2.0 * density)
    assert 1.51 < fit.theta[0] < free.theta[0] - 0.01


def test_without_normal_priors_the_mode_is_the_minimum_of_the_statistic(toy: Observation) -> None:
    mode = optimise(toy, "powerlaw", energies=BAND)
    fit = optimise(toy, "powerlaw", energies=BAND, objective="statistic")
    np.testing.assert_allclose(mode.theta, fit.theta, rtol=1e-3)
    assert fit.value == pytest.approx(statistic_of(mode)(mode.theta), abs=1e-3)


def test_a_batch_gives_what_each_spectrum_gives_alone(tmp_path: Path) -> None:
    batch = []
    for seed, exposure in enumerate((20.0, 100.0, 500.0)):
        (tmp_path / str(seed)).mkdir()
        found = observation(tmp_path / str(seed), exposure=exposure, seed=seed)
        batch.append(replace(found, rmf=batch[0].rmf) if batch else found)
    for objective in ("posterior", "statistic"):
        together = optimise_batch(batch, FitSetup(model="TBabs*powerlaw", energies=BAND), objective, starts=4)
        for one, fit in zip(batch, together, strict=True):
            alone = optimise(one, "TBabs*powerlaw", energies=BAND, objective=objective, starts=4)
            assert fit.value == pytest.approx(alone.value, abs=1e-3)
            np.testing.assert_allclose(fit.theta[1:], alone.theta[1:], rtol=1e-3)
            assert spectrum_of(fit.problem).observation is one


@pytest.mark.parametrize("objective", ["posterior", "statistic"])
def test_every_evaluation_is_counted(toy: Observation, monkeypatch: pytest.MonkeyPatch, objective: str) -> None:
    counted = 0

    def counting(name: str, each: Callable[[torch.Tensor], int]) -> None:
        usual = getattr(Problem, name)

        def counted_too(self: Problem, theta: torch.Tensor, *others: torch.Tensor) -> object:
            nonlocal counted
            counted += theta.shape[0] * theta.shape[1] * each(theta)
            return usual(self, theta, *others)

        monkeypatch.setattr(Problem, name, counted_too)

    counting("log_likelihood", lambda theta: 1)
    counting("matched", lambda theta: 1)
    counting("curvature", lambda theta: theta.shape[2])
    fit = optimise(toy, "powerlaw", energies=BAND, objective=objective, starts=3)
    assert fit.evaluations == counted
    assert counted > 3 * CANDIDATES


def test_the_same_seed_gives_the_same_fit(toy: Observation) -> None:
    first, second = (optimise(toy, "powerlaw", energies=BAND, seed=7, starts=2) for _ in range(2))
    np.testing.assert_array_equal(first.theta, second.theta)
    assert hashlib.sha256(first.theta.tobytes()).digest() == hashlib.sha256(second.theta.tobytes()).digest()


def test_an_unknown_objective_is_named(toy: Observation) -> None:
    with pytest.raises(DataError, match="objective 'statistics' does not exist; did you mean 'statistic'"):
        optimise(toy, "powerlaw", energies=BAND, objective="statistics")


def test_no_starts_are_refused(toy: Observation) -> None:
    with pytest.raises(DataError, match="starts = 0: give at least one"):
        optimise(toy, "powerlaw", energies=BAND, starts=0)


def test_no_counts_in_the_band_are_refused(tmp_path: Path) -> None:
    found = observation(tmp_path, counts=np.zeros(120))
    with pytest.raises(DataError, match=r"toy\.pha: no counts in .* keV; choose another band"):
        optimise(found, "powerlaw", energies=BAND)


def test_a_systematic_error_is_said_to_have_no_place_in_a_statistic(toy: Observation) -> None:
    with pytest.warns(XrayflowWarning, match="no place for --systematic"):
        with_it = optimise(toy, "powerlaw", energies=BAND, objective="statistic", systematic=0.02, starts=2)
    without = optimise(toy, "powerlaw", energies=BAND, objective="statistic", starts=2)
    assert with_it.value == pytest.approx(without.value, abs=1e-3)


def test_a_grid_can_be_given(toy: Observation) -> None:
    fit = optimise(toy, "powerlaw", energies=BAND, grid=Grid.log(0.1, 12.0, 300), starts=2)
    assert "300 logarithmic bins" in fit.problem.data.grid
    assert fit.dof == spectrum_of(fit.problem).counts.size - 2


def test_a_linked_parameter_follows_the_one_that_is_fitted(toy: Observation) -> None:
    fit = optimise(toy, "powerlaw+powerlaw", energies=BAND, link={"powerlaw_2.PhoIndex": "powerlaw.PhoIndex"}, starts=2)
    alone = optimise(toy, "powerlaw", energies=BAND, starts=2)
    assert "powerlaw_2.PhoIndex" not in fit.names
    assert fit.theta[0] == pytest.approx(alone.theta[0], abs=1e-3)
    assert fit.theta[1] + fit.theta[2] == pytest.approx(alone.theta[1], rel=1e-3)


def test_a_fit_takes_no_network() -> None:
    """Its starts are cold: the words `network` and `amortised` are those of `infer` alone."""
    for function in (optimise, optimise_batch):
        words = set(inspect.signature(function).parameters)
        assert words.isdisjoint({"network", "amortised", "proposal"}), function


def test_abundances_reach_the_fit(toy: Observation) -> None:
    fit = optimise(toy, "TBabs*powerlaw", energies=BAND, abund="angr", starts=1)
    assert fit.problem.model.abund == "angr"
