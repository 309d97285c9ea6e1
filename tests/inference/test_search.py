"""The search with and without a guide, on the toy instrument."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from guide_zoo import Fake
from ogip_zoo import toy_observation
from xrayflow.inference.build import Question, build_problem
from xrayflow.inference.importance import Round, log_mean_weight, log_target
from xrayflow.inference.optimiser import CANDIDATES, GUIDED_CANDIDATES, starting_points
from xrayflow.inference.parts import PriorPart
from xrayflow.inference.search import GUIDED, Effort, Search, ess_of
from xrayflow.prior import FAR
from xrayflow.problem import Problem

EFFORT = Effort(draws=2000, ess=1000)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """Two spectra of a power law, 400 and 8000 counts; index and norm are free."""
    observations = [
        toy_observation(tmp_path_factory.mktemp("pair"), exposure=exposure, seed=seed)
        for exposure, seed in ((10.0, 1), (200.0, 2))
    ]
    question = Question("TBabs*powerlaw", freeze={"TBabs.nH": 0.05}, energies=[(1.0, 6.0)], grouping="min:10")
    return build_problem(observations, question)[0]


def search(problem: Problem, guide: Fake | None = None) -> Search:
    return Search(problem, 0, EFFORT, lambda step, fraction: None, guide)


@pytest.fixture(scope="module")
def unguided(pair: Problem) -> list[Round]:
    return search(pair).run()


def moments(one: Round) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each coordinate."""
    weight = torch.softmax(one.log_weight[0], 0)[:, None]
    mean = (weight * one.v[0]).sum(0)
    return mean, (weight * (one.v[0] - mean).square()).sum(0).sqrt()


def same_answer(one: Round, other: Round) -> None:
    """Evidence within 0.12 and mean within 0.2 sd: four standard errors of 1000 effective draws and more."""
    assert min(ess_of(one), ess_of(other)) >= EFFORT.ess
    assert float((log_mean_weight(one.log_weight) - log_mean_weight(other.log_weight)).abs()) < 0.12
    (mean, sd), (known, width) = moments(one), moments(other)
    assert float(((mean - known) / width).abs().max()) < 0.2
    assert float((sd / width - 1.0).abs().max()) < 0.15


def test_a_good_guide_and_a_wrong_one_leave_the_answer_as_it_is(pair: Problem, unguided: list[Round]) -> None:
    both = torch.tensor([True, True])
    places = torch.stack([moments(one)[0] for one in unguided])
    for mean, sd in (places, 0.05), (places + 3.0, 0.2), (places - 1.0, 1e-3):
        for one, known in zip(search(pair, Fake(mean, sd, both)).run(), unguided, strict=True):
            same_answer(one, known)


def test_a_guide_that_draws_outside_the_box_leaves_the_answer_as_it_is(pair: Problem, unguided: list[Round]) -> None:
    outside = Fake(torch.full((2, 2), FAR, dtype=torch.float64), 1.0, torch.tensor([True, True]))
    for one, known in zip(search(pair, outside).run(), unguided, strict=True):
        same_answer(one, known)
        assert bool((one.v.abs() > FAR).any())
        assert bool(torch.isneginf(one.log_target[(one.v.abs() >= FAR).any(-1)]).all())


def test_a_source_without_a_guide_answers_as_if_there_were_none(pair: Problem, unguided: list[Round]) -> None:
    guide = Fake(torch.zeros((2, 2), dtype=torch.float64), 1.0, torch.tensor([False, True]))
    found = search(pair, guide).run()
    torch.testing.assert_close(found[0].v, unguided[0].v, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[0].log_weight, unguided[0].log_weight, rtol=1e-9, atol=1e-9)
    assert not torch.equal(found[1].v[:, :10], unguided[1].v[:, :10])


def test_a_guided_answer_does_not_depend_on_its_company(pair: Problem) -> None:
    guide = Fake(torch.zeros((2, 2), dtype=torch.float64), 1.0, torch.tensor([True, True]))
    together = search(pair, guide).run()
    for source in range(2):
        at = torch.tensor([source])
        alone = search(pair.select(at), guide.select(at)).run()[0]
        np.testing.assert_allclose(together[source].v.numpy(), alone.v.numpy(), rtol=1e-6)


def test_every_proposal_holds_a_share_of_the_guide_and_of_the_prior(pair: Problem) -> None:
    at = torch.tensor([[4.0, 4.0], [4.0, 4.0]], dtype=torch.float64)
    one = search(pair, Fake(at, 0.01, torch.tensor([True, True])))
    one.run()
    for rounds in one.history:
        for drawn in rounds:
            near = ((drawn.v - 4.0).norm(dim=-1) < 0.1).double().mean()
            # at least what every proposal keeps; more at first, before its draws have shown what it is worth
            assert 0.05 - 1.01 / drawn.v.shape[1] <= float(near) <= 0.05 + GUIDED
            assert all(isinstance(beside.parts[0], PriorPart) for beside in drawn.proposal.parts)
            assert all(float(beside.share[0]) >= 0.01 for beside in drawn.proposal.parts)


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
    typical = log_target(pair, other).median(1).values
    assert bool((log_target(pair, starts[:, :4]).amin(1) > typical).all())


def test_nothing_outside_the_box_has_a_posterior_density(pair: Problem) -> None:
    v = torch.zeros((2, 3, 2), dtype=torch.float64)
    v[:, 1, 0], v[:, 2, 1] = FAR, -FAR - 1.0
    assert torch.isfinite(log_target(pair, v)).tolist() == [[True, False, False]] * 2


def test_too_short_a_search_is_refined_again_before_it_explores(pair: Problem) -> None:
    """One block cannot reach the ess: the second proposal is fitted to all draws before it."""
    one = replace(search(pair.select(torch.tensor([0]))), effort=replace(EFFORT, ess=1999, first=1.1, most=1.1))
    one.run()
    blocks = [drawn for drawn in one.history[0] if drawn.v.shape[1] == EFFORT.draws]
    assert len(blocks) == 3
