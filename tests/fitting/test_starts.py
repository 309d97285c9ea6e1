"""Where an optimiser starts: prior draws at the observed counts, and some of who knows better."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fit_zoo import BAND, observation
from guide_zoo import Fake
from ogip_zoo import toy_observation
from xrayflow.fitting import FAR, starting_points
from xrayflow.fitting.starts import CANDIDATES, GUIDED_CANDIDATES
from xrayflow.ogip import Observation
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """A power law of index 1.7 and norm 0.05, about 2e4 counts in the band."""
    return observation(tmp_path_factory.mktemp("toy"), exposure=200.0)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """Two spectra of a power law, 400 and 8000 counts; index and norm are free."""
    observations = [
        toy_observation(tmp_path_factory.mktemp("pair"), exposure=exposure, seed=seed)
        for exposure, seed in ((10.0, 1), (200.0, 2))
    ]
    question = FitSetup(model="TBabs*powerlaw", freeze={"TBabs.nH": 0.05}, energies=[(1.0, 6.0)], grouping="min:10")
    return build_problem(observations, question)


def test_the_starting_points_meet_the_observed_counts(toy: Observation) -> None:
    problem = build_problem([toy], FitSetup(model="powerlaw", energies=BAND))
    starts, evaluations = starting_points(problem, 4, generators(1))
    expected = problem.expected(problem.prior.to_theta(starts)).sum(-1)
    torch.testing.assert_close(expected, problem.data.facts.counts.expand_as(expected), rtol=5e-3, atol=0.0)
    assert evaluations.tolist() == [4 * CANDIDATES]


def test_four_of_the_starts_come_from_the_guide_and_half_at_most(pair: Problem) -> None:
    place = torch.tensor([[0.3, -0.2], [0.3, -0.2]], dtype=torch.float64)
    guide = Fake(place, 1e-3, torch.tensor([True, False]))
    generators = [torch.Generator().manual_seed(i) for i in range(2)]
    starts, tried = starting_points(pair, 8, generators, guide)
    near = (starts - place[:, None]).norm(dim=-1) < 0.02
    assert near.sum(1).tolist() == [4, 0]
    assert tried.tolist() == [4 * CANDIDATES + 4 * GUIDED_CANDIDATES, 8 * CANDIDATES]
    for starts_each, guided in (32, 4), (4, 2):
        starts_of, _ = starting_points(pair, starts_each, generators, guide)
        assert (starts_of - place[:, None]).norm(dim=-1).lt(0.02).sum(1).tolist() == [guided, 0]
    plain, _ = starting_points(pair, 8, [torch.Generator().manual_seed(i) for i in range(2)])
    assert torch.equal(starts[1], plain[1])


def test_the_guides_starts_are_its_likeliest_draws(pair: Problem) -> None:
    wide = Fake(torch.zeros((2, 2), dtype=torch.float64), 1.0, torch.tensor([True, True]))
    starts, _ = starting_points(pair, 8, [torch.Generator().manual_seed(i) for i in range(2)], wide)
    other = wide.sample(400, [torch.Generator().manual_seed(i + 5) for i in range(2)])
    typical = pair.log_target(other).median(1).values
    assert bool((pair.log_target(starts[:, :4]).amin(1) > typical).all())


def test_starts_do_not_depend_on_the_company(pair: Problem) -> None:
    together, tried = starting_points(pair, 6, generators(2))
    for source in range(2):
        alone, cost = starting_points(pair.select(torch.tensor([source])), 6, generators(1, source))
        np.testing.assert_allclose(together[source].numpy(), alone[0].numpy(), rtol=1e-9)
        assert int(cost) == int(tried[source])


def test_a_model_that_gives_no_number_starts_somewhere_else(pair: Problem) -> None:
    """A guide whose draws lie beyond every edge is held where the optimiser can stand."""
    far = Fake(torch.full((2, 2), 30.0, dtype=torch.float64), 0.1, torch.tensor([True, True]))
    starts, _ = starting_points(pair, 4, generators(2), far)
    assert bool((starts.abs() <= FAR).all())
