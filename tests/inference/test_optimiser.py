"""The optimiser finds known minima, one spectrum or many, and says where they are at a limit."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from fit_zoo import BAND, LINEAR, LINEAR_FROZEN, LINEAR_PRIOR, closed_form, fitted, observation, statistic_of
from xrayflow.data import bundled_pha
from xrayflow.errors import DataError, XrayflowWarning
from xrayflow.folding import Grid
from xrayflow.inference.best_fit import Ends
from xrayflow.inference.build import Question, build_problem
from xrayflow.inference.fit_statistic import FitStatistic
from xrayflow.inference.goal import GOALS, Goal
from xrayflow.inference.optimiser import (
    CANDIDATES,
    _leaders,
    coarser,
    find_ends,
    minimise,
    optimise,
    optimise_batch,
    starting_points,
)
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_observation
from xrayflow.problem import Problem
from xrayflow.simulate import simulate
from xrayflow.statistics import statistic_per_bin

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


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


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
    assert fit.choice.name == statistic
    assert fit.value == pytest.approx(function(fit.theta), abs=1e-6)
    assert fit.value == pytest.approx(rival.fun, abs=1e-3)
    np.testing.assert_allclose(fit.theta, [rival.x[0], 10 ** rival.x[1]], atol=0.02 * fit.errors.max())


@pytest.mark.parametrize(("background", "statistic"), CASES)
def test_the_batched_statistic_is_that_of_each_spectrum_and_its_slope_a_difference(
    tmp_path: Path, background: str, statistic: str
) -> None:
    found = observation(tmp_path, background, exposure=3.0)
    grouping = "min:5" if statistic == "chi2" else "none"
    narrow = build_problem([found], Question("powerlaw", energies=[(2.0, 4.0)], statistic=statistic, grouping=grouping))
    wide = build_problem([found], Question("powerlaw", energies=[(0.5, 9.0)], statistic=statistic, grouping=grouping))
    spectra, choices = (narrow[0].spectra[0], wide[0].spectra[0]), (*narrow[1], *wide[1])
    both = FitStatistic.of(spectra, choices)
    bins = both.counts.shape[-1]
    expected = 0.5 + 3.0 * torch.rand((2, 3, bins), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for i, (spectrum, choice) in enumerate(zip(spectra, choices, strict=True)):
        own = statistic_per_bin(spectrum, choice, expected[i, 0, : spectrum.counts.size]).sum()
        assert float(both.value(expected)[i, 0]) == pytest.approx(float(own), rel=1e-12)
    score, weight = both.slopes(expected)
    step = 1e-6
    slope = (both.per_bin(expected + step) - both.per_bin(expected - step)) / (2.0 * step)
    torch.testing.assert_close(score, -0.5 * slope, rtol=1e-5, atol=1e-6)
    assert bool(((weight > 0) == (both.used[:, None] > 0).expand_as(weight)).all())


def test_the_weights_of_the_profiled_statistics_are_the_curvature_that_data_like_the_model_have(tmp_path: Path) -> None:
    for background, statistic in CASES:
        found = observation(tmp_path, background, exposure=1000.0, seed=None)
        found = replace(found, pha=replace(found.pha, counts=np.round(found.pha.counts)))
        grouping = "min:20" if statistic == "chi2" else None
        fit = fitted(found, "powerlaw", statistic, grouping=grouping, prior=["powerlaw.norm=lin:0.01:0.2"])
        function = statistic_of(fit)
        step = 0.3 * fit.errors[1]
        values = [function([fit.theta[0], fit.theta[1] + shift * step]) for shift in (-1.0, 0.0, 1.0)]
        curvature = (values[0] - 2.0 * values[1] + values[2]) / (2.0 * step**2)
        assert np.linalg.inv(fit.covariance)[1, 1] == pytest.approx(curvature, rel=0.05), statistic


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


def test_the_probit_goal_is_the_posterior_density_in_probit_coordinates(toy: Observation) -> None:
    problem, _ = build_problem([toy], Question("powerlaw", energies=BAND))
    starts, _ = starting_points(problem, 3, generators(1))
    optima = minimise(problem, starts)

    def by_hand(v: np.ndarray) -> float:
        at = torch.from_numpy(np.asarray(v))[None, None]
        return -2.0 * float(problem.log_likelihood(problem.prior.to_theta(at))) + float((v**2).sum())

    best = optima.v[0, optima.objective[0].argmin()].numpy()
    rival = minimize(by_hand, best + 0.01, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-7})
    assert float(optima.objective.min()) == pytest.approx(rival.fun, abs=2e-3)
    assert float(optima.objective.min()) == pytest.approx(by_hand(best), abs=1e-6)
    # half the curvature, by Fisher's information: Poisson counts of this size differ from it by a few percent
    step = 1e-3
    shift = np.array([step, 0.0])
    curvature = (by_hand(best + shift) - 2.0 * by_hand(best) + by_hand(best - shift)) / (2.0 * step**2)
    assert float(optima.information[0, 0, 0, 0]) == pytest.approx(curvature, rel=0.1)


def test_a_batch_gives_what_each_spectrum_gives_alone(tmp_path: Path) -> None:
    batch = []
    for seed, exposure in enumerate((20.0, 100.0, 500.0)):
        (tmp_path / str(seed)).mkdir()
        found = observation(tmp_path / str(seed), exposure=exposure, seed=seed)
        batch.append(replace(found, rmf=batch[0].rmf) if batch else found)
    for objective in ("posterior", "statistic"):
        together = optimise_batch(batch, Question("TBabs*powerlaw", energies=BAND), objective, starts=4)
        for one, fit in zip(batch, together, strict=True):
            alone = optimise(one, "TBabs*powerlaw", energies=BAND, objective=objective, starts=4)
            assert fit.value == pytest.approx(alone.value, abs=1e-3)
            np.testing.assert_allclose(fit.theta[1:], alone.theta[1:], rtol=1e-3)
            assert fit.problem.spectra[0].observation is one


@pytest.mark.parametrize("objective", ["posterior", "statistic"])
def test_every_evaluation_is_counted(toy: Observation, monkeypatch: pytest.MonkeyPatch, objective: str) -> None:
    counted = 0
    expected, jacobian = Problem.expected, Problem.jacobian

    def counting_expected(self: Problem, theta: torch.Tensor) -> torch.Tensor:
        nonlocal counted
        counted += theta.shape[0] * theta.shape[1]
        return expected(self, theta)

    def counting_jacobian(self: Problem, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal counted
        counted += theta.shape[0] * theta.shape[1] * theta.shape[2]
        return jacobian(self, theta)

    monkeypatch.setattr(Problem, "expected", counting_expected)
    monkeypatch.setattr(Problem, "jacobian", counting_jacobian)
    fit = optimise(toy, "powerlaw", energies=BAND, objective=objective, starts=3)
    assert fit.evaluations == counted
    assert counted > 3 * CANDIDATES


def test_a_start_without_a_likelihood_does_not_touch_the_others(toy: Observation) -> None:
    problem, _ = build_problem([toy, toy], Question("powerlaw", energies=BAND))
    starts, _ = starting_points(problem, 3, generators(2))
    clean = minimise(problem, starts)
    broken = starts.clone()
    broken[0, 1] = torch.nan
    broken[1, 2, 0] = torch.inf
    spoilt = minimise(problem, broken)
    assert float(spoilt.objective[0, 1]) == float("inf")
    torch.testing.assert_close(spoilt.objective[0, [0, 2]], clean.objective[0, [0, 2]])
    torch.testing.assert_close(spoilt.objective[1, :2], clean.objective[1, :2])
    torch.testing.assert_close(spoilt.v[0, [0, 2]], clean.v[0, [0, 2]])


def test_all_modes_of_an_ambiguous_model_are_found(toy: Observation) -> None:
    # two blackbodies may change places: every optimum has a twin (a false alarm once in 128 seeds; the seed is fixed)
    problem, _ = build_problem([toy], Question("bbodyrad+bbodyrad", energies=BAND))
    starts, _ = starting_points(problem, 8, generators(1))
    optima = minimise(problem, starts)
    best = optima.objective[0] < optima.objective.min() + 0.01
    hotter = optima.v[0, best, 0] > optima.v[0, best, 2]
    assert bool(hotter.any())
    assert bool((~hotter).any())


def test_the_coarse_search_ends_at_the_minima_of_the_exact_grid() -> None:
    template = read_observation(bundled_pha())
    model = parse_model("TBabs*powerlaw")
    values = {"TBabs.nH": 0.3, "powerlaw.PhoIndex": 1.9, "powerlaw.norm": 0.1}
    found = simulate(template, model, values, 300.0, 5)
    problem, choices = build_problem([found], Question(model))
    thin = coarser(problem)
    assert thin is not None
    assert thin.fold.grid.energy_edges.size < 0.5 * problem.fold.grid.energy_edges.size
    assert set(thin.fold.grid.energy_edges) <= set(problem.fold.grid.energy_edges)
    assert coarser(thin) is None
    starts, _ = starting_points(problem, 4, generators(1))
    for kind in GOALS:
        goal = Goal.of(problem, kind, choices)
        x = goal.from_theta(problem.prior.to_theta(starts))
        coarse, exact = find_ends(goal, x), find_ends(goal, x, coarse=False)
        assert float(coarse.value.min()) == pytest.approx(float(exact.value.min()), abs=2e-3)
        assert int(coarse.evaluations) > 0


def test_starts_that_arrive_at_one_place_become_one() -> None:
    x = torch.tensor([[[0.5, 0.5], [0.501, 0.5], [0.9, 0.5], [0.5, 0.502], [0.5, 0.5]]], dtype=torch.float64)
    value = torch.tensor([[1.0, 1.01, 1.0, 0.99, 50.0]], dtype=torch.float64)
    information = (1e4 * torch.eye(2, dtype=torch.float64)).expand(1, 5, -1, -1)
    yes = torch.ones((1, 5), dtype=torch.bool)
    assert _leaders(Ends(x, value, information, yes, torch.zeros(1))).tolist() == [[3, 3, 2, 3, 4]]
    assert _leaders(Ends(x, value, information, ~yes, torch.zeros(1))).tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("kind", GOALS)
def test_the_gradient_of_a_goal_is_that_of_its_value(toy: Observation, kind: str) -> None:
    problem, choices = build_problem(
        [toy], Question("TBabs*powerlaw", energies=BAND, prior=["powerlaw.PhoIndex~N(1.9,0.2)"])
    )
    asked = Goal.of(problem, kind, choices)
    for goal in (asked, asked.pull()):
        x = torch.tensor([[0.3, 0.4, 0.55]], dtype=torch.float64)
        expected, jacobian = goal.linearised(x)
        score, _ = goal.slopes(expected)
        half = goal.penalty(x)[1] - (jacobian.mT @ score[..., None])[..., 0]
        for i in range(3):
            step = torch.zeros_like(x)
            step[0, i] = 1e-5
            up, down = (goal.value(goal.expected(at), at) for at in (x + step, x - step))
            assert 2.0 * float(half[0, i]) == pytest.approx(float(up - down) / 2e-5, rel=1e-4, abs=1e-2)


def test_coordinates_go_there_and_back(toy: Observation) -> None:
    problem, _ = build_problem(
        [toy],
        Question("TBabs*powerlaw", energies=BAND, prior=["powerlaw.PhoIndex~N(1.9,0.2)", "powerlaw.norm=lin:0:1"]),
    )
    goal = Goal.of(problem, "probit")
    x = torch.rand((50, 3), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    theta = goal.to_theta(x)
    torch.testing.assert_close(goal.from_theta(theta), x)
    torch.testing.assert_close(goal.to_probit(x), problem.prior.to_probit(theta).clamp(-8, 8), rtol=1e-6, atol=1e-6)
    assert bool(problem.prior.contains(goal.to_theta(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]).double())).all())
    step = 1e-7
    v_slope = (goal.to_probit(x + step) - goal.to_probit(x - step)) / (2 * step)
    inside = goal.to_probit(x).abs() < 4
    torch.testing.assert_close(goal.probit_slope(x)[inside], v_slope[inside], rtol=1e-4, atol=1e-4)


def test_the_starting_points_meet_the_observed_counts(toy: Observation) -> None:
    problem, _ = build_problem([toy], Question("powerlaw", energies=BAND))
    starts, evaluations = starting_points(problem, 4, generators(1))
    expected = problem.expected(problem.prior.to_theta(starts)).sum(-1)
    torch.testing.assert_close(expected, problem.noise.counts.sum().expand_as(expected), rtol=5e-3, atol=0.0)
    assert evaluations.tolist() == [4 * CANDIDATES]


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
    assert "300 logarithmic bins" in fit.problem.fold.grid.description
    assert fit.dof == fit.problem.spectra[0].counts.size - 2


def test_a_linked_parameter_follows_the_one_that_is_fitted(toy: Observation) -> None:
    fit = optimise(toy, "powerlaw+powerlaw", energies=BAND, link={"powerlaw_2.PhoIndex": "powerlaw.PhoIndex"}, starts=2)
    alone = optimise(toy, "powerlaw", energies=BAND, starts=2)
    assert "powerlaw_2.PhoIndex" not in fit.names
    assert fit.theta[0] == pytest.approx(alone.theta[0], abs=1e-3)
    assert fit.theta[1] + fit.theta[2] == pytest.approx(alone.theta[1], rel=1e-3)
