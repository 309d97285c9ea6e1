"""What an answer shows of one source: statistic, deviance, predictions, remarks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from ogip_zoo import toy_observation
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.shown import predictions, remarks, shown_at, shown_statistic

SETUP = FitSetup(model="TBabs*simpl*ezdiskbb", energies=[(2.0, 5.0)])


def problem_of(folder: Path, systematic: float = 0.0) -> Problem:
    """Two sources of other exposures."""
    first = toy_observation(folder)
    second = replace(first, pha=replace(first.pha, exposure=300.0))
    return build_problem([first, second], replace(SETUP, systematic=systematic))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return problem_of(tmp_path_factory.mktemp("toy"))


def draws_of(problem: Problem, draws: int = 7) -> Tensor:
    v = torch.randn(problem.sources, draws, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return 0.7 * v


def test_what_is_shown_at_a_point_is_the_statistic_and_the_deviance_there(toy: Problem) -> None:
    one = toy.select(torch.tensor([1]))
    theta = toy.prior.to_theta(draws_of(toy))[1, 0]
    statistic, deviance = shown_at(one, theta)
    spectrum = one.data.sets[0].spectra[0]
    best = scipy.stats.poisson.logpmf(spectrum.counts, spectrum.counts).sum()
    by_hand = 2.0 * (best - float(one.log_likelihood(theta[None, None])))
    assert deviance.value == pytest.approx(by_hand, rel=1e-9)
    assert statistic.value == pytest.approx(by_hand, rel=1e-9)
    assert (statistic.name, statistic.dof, deviance.dof) == (
        "cstat",
        spectrum.counts.size - 5,
        spectrum.counts.size - 5,
    )
    assert float(one.statistic(theta[None, None])) == pytest.approx(by_hand, rel=1e-9)
    assert one.of_statistic().data.rests_on.kind == "profile"


def test_c_of_many_draws_is_told_by_their_likelihood_where_that_is_poissons(toy: Problem, tmp_path: Path) -> None:
    for of, poisson in ((toy, True), (problem_of(tmp_path, 0.01), False)):
        one = of.select(torch.tensor([1]))
        theta = of.prior.to_theta(draws_of(of))[1]
        known = one.log_likelihood(theta[None])[0]
        torch.testing.assert_close(shown_statistic(one, theta, known), shown_statistic(one, theta), rtol=1e-9, atol=0)
        moved = shown_statistic(one, theta, known - 1.0) - shown_statistic(one, theta)
        assert moved.mean() == pytest.approx(2.0 if poisson else 0.0, abs=1e-4), "elsewhere C is another number"


def test_predictions_are_of_the_bins_that_there_are_with_their_background(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, background=True)
    one = build_problem([observation], replace(SETUP, likelihood="known"))
    theta = one.prior.to_theta(draws_of(one))
    (found,) = predictions(one, one.expected(theta), theta)
    spectrum = one.data.sets[0].spectra[0]
    assert spectrum.background is not None
    np.testing.assert_array_equal(found.counts, spectrum.counts)
    np.testing.assert_array_equal(found.energy_lo, spectrum.energy_lo)
    np.testing.assert_array_equal(found.expected, one.expected(theta)[0])
    np.testing.assert_allclose(found.total - found.expected, np.tile(spectrum.background / 4.0, (7, 1)), atol=1e-9)
    np.testing.assert_allclose(found.variance, found.total, rtol=1e-9)


def test_a_parameter_that_is_held_outside_its_prior_is_remarked(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path)
    held = replace(SETUP, freeze={"simpl.Gamma": 1.0})
    (remark,) = remarks(build_problem([observation], held))
    assert remark == "simpl.Gamma is held at 1, where its prior would not go (1.3 .. 4)"
    assert remarks(build_problem([observation], SETUP)) == ()
