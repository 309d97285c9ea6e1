"""A network alone: its draws as they come, judged by as few likelihoods as a reader needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from guide_zoo import Fake
from ladder_zoo import SETUP
from ogip_zoo import toy_observation
from xrayflow.errors import NetworkError
from xrayflow.fitting import minimise, starting_points
from xrayflow.inference import Posterior
from xrayflow.inference.amortised import MOST_OUTSIDE, answer_amortised
from xrayflow.inference.checks.predictive import DRAWS
from xrayflow.prior import FAR, Prior
from xrayflow.problem import Problem
from xrayflow.setup import build_problem


@dataclass(frozen=True)
class Alone(Fake):
    """A guide that draws no spectra."""

    def reconstruction(self, source: int, theta: torch.Tensor) -> None:
        """None."""


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return build_problem([toy_observation(tmp_path_factory.mktemp("one"), exposure=200.0, seed=2)], SETUP)


@pytest.fixture(scope="module")
def place(problem: Problem) -> torch.Tensor:
    """(1, parameter) of the mode."""
    modes = minimise(problem, starting_points(problem, 4, problem.generators(0))[0])
    return modes.v[:, modes.objective[0].argmin()]


def answered(problem: Problem, mean: torch.Tensor, sd: float, draws: int = 2000) -> Posterior:
    network = Alone(mean, sd, torch.tensor([True]), "theirs")
    generator = torch.Generator().manual_seed(1)
    return answer_amortised(problem, network, draws, generator, 5)  # type: ignore[arg-type]


def test_the_draws_are_the_networks_and_have_no_weights(problem: Problem, place: torch.Tensor) -> None:
    answer = answered(problem, place, 0.02)
    v = problem.prior.to_probit(torch.from_numpy(answer.draws))
    torch.testing.assert_close(v.mean(0), place[0], rtol=0.0, atol=4.0 * 0.02 / 2000**0.5)
    assert (answer.log_weight == 0.0).all()
    assert (answer.mode, answer.network, answer.seed, answer.ess) == ("amortised", "theirs", 5, 2000.0)
    assert np.isnan(answer.log_evidence)
    assert np.isnan(answer.efficiency)
    assert answer.computation.status == "approximate"
    assert answer.computation.reasons == ("draws of the network theirs alone, not weighted by the likelihood",)
    assert answer.verdict != "certified"


def test_the_likelihood_is_asked_for_few_of_them(problem: Problem, place: torch.Tensor) -> None:
    answer = answered(problem, place, 0.02)
    asked = np.isfinite(answer.log_likelihood)
    assert answer.weighing.evaluations["draws"] == asked.sum() == DRAWS
    theta = torch.from_numpy(answer.draws[asked])[None]
    np.testing.assert_allclose(answer.log_likelihood[asked], problem.log_likelihood(theta)[0], rtol=1e-9)


def test_the_best_point_is_the_mode_next_to_the_likeliest_draw(problem: Problem, place: torch.Tensor) -> None:
    answer = answered(problem, place + 0.05, 0.05)
    best = minimise(problem, place[None], objective="scale", near=True)
    np.testing.assert_allclose(answer.best, problem.prior.to_theta(best.v[0, 0]).numpy(), rtol=1e-3)
    draws = torch.from_numpy(answer.draws)[None]
    assert answer.deviance.value < float(problem.data.deviance(problem.expected(draws), draws).min())


def test_with_a_normal_prior_the_best_point_is_the_posteriors_mode(problem: Problem, place: torch.Tensor) -> None:
    """By scipy on the same likelihood and a prior written by hand; the likelihood's own maximum lies 2.5 sd away."""
    mean = float(problem.prior.to_theta(place)[0, 0]) + 0.1
    prior = Prior.of(problem.model, [f"powerlaw.PhoIndex~N({mean},0.02)"])
    pulled = replace(problem, prior=prior)
    answer = answered(pulled, prior.to_probit(problem.prior.to_theta(place)), 0.5)

    def by_hand(p: np.ndarray) -> float:
        theta = torch.tensor([[[p[0], 10.0 ** p[1]]]], dtype=torch.float64)
        return -2.0 * float(pulled.log_likelihood(theta)) + ((p[0] - mean) / 0.02) ** 2

    start = [mean, float(problem.prior.to_theta(place)[0, 1].log10())]
    rival = minimize(by_hand, start, method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-8})
    np.testing.assert_allclose(answer.best, [rival.x[0], 10.0 ** rival.x[1]], rtol=1e-3)
    assert by_hand(np.array([answer.best[0], np.log10(answer.best[1])])) == pytest.approx(rival.fun, abs=1e-3)
    free = minimise(problem, place[None], objective="scale", near=True)
    assert abs(float(problem.prior.to_theta(free.v)[0, 0, 0]) - answer.best[0]) > 0.02
    saturated = float(pulled.data.sets[0].likelihood.log_saturated())
    at_best = float(pulled.log_likelihood(torch.from_numpy(answer.best)[None, None]))
    assert answer.deviance.value == pytest.approx(2.0 * (saturated - at_best), abs=1e-6)
    asked = np.isfinite(answer.log_likelihood)
    density = answer.log_likelihood[asked] - 0.5 * ((answer.draws[asked, 0] - mean) / 0.02) ** 2
    assert density.max() <= -0.5 * rival.fun + 1e-6


def test_a_network_that_is_far_off_is_told_by_the_predictive_check(problem: Problem, place: torch.Tensor) -> None:
    assert answered(problem, place, 0.02).fit.status == "acceptable"
    assert answered(problem, place + 0.6, 0.02).fit.p_value < 0.01


def test_draws_outside_the_box_are_drawn_anew_and_said(problem: Problem, place: torch.Tensor) -> None:
    mean = place.clone()
    mean[0, 0] = FAR - 0.1
    answer = answered(problem, mean, 0.2)
    assert answer.draws.shape == (2000, 2)
    assert bool(problem.prior.contains(torch.from_numpy(answer.draws)).all())
    assert any("of its draws left the prior's box" in reason for reason in answer.computation.reasons)


def test_a_network_that_hardly_meets_the_box_is_refused(problem: Problem, place: torch.Tensor) -> None:
    mean = place.clone()
    mean[0, 0] = FAR + 0.1
    assert MOST_OUTSIDE == 0.5
    with pytest.raises(NetworkError, match=r"network theirs: \d+% of its draws lie outside the prior's box; leave"):
        answered(problem, mean, 0.2)
