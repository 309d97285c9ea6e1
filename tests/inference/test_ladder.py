"""The ladder with and without a guide, on the toy instrument: each source climbs as far as it needs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from guide_zoo import Fake
from ladder_zoo import BUDGET, at_foot, climbed, pair_problem
from ogip_zoo import toy_observation
from xrayflow.folding import SEARCH
from xrayflow.inference.checks.grid import FOLLOWS
from xrayflow.inference.clock import Clock
from xrayflow.inference.ladder import ExactDrawing, climb, is_good
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.rungs import LADDER, missing_tails
from xrayflow.inference.weights import log_mean_weight, systematic_rows
from xrayflow.prior import FAR
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return pair_problem([tmp_path_factory.mktemp("pair") for _ in range(2)])


@pytest.fixture(scope="module")
def unguided(pair: Problem) -> list[WeightedDraws]:
    return climbed(pair).answers()


def moments(one: WeightedDraws) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each coordinate."""
    weight = torch.softmax(one.log_weight[0], 0)[:, None]
    mean = (weight * one.v[0]).sum(0)
    return mean, (weight * (one.v[0] - mean).square()).sum(0).sqrt()


def same_answer(one: WeightedDraws, other: WeightedDraws) -> None:
    """Evidence within 0.12 and mean within 0.2 sd: four standard errors of 1000 effective draws and more."""
    assert min(one.ess, other.ess) >= BUDGET.ess
    assert float((log_mean_weight(one.log_weight) - log_mean_weight(other.log_weight)).abs()) < 0.12
    (mean, sd), (known, width) = moments(one), moments(other)
    assert float(((mean - known) / width).abs().max()) < 0.2
    assert float((sd / width - 1.0).abs().max()) < 0.15


def test_a_good_guide_and_a_wrong_one_leave_the_answer_as_it_is(pair: Problem, unguided: list[WeightedDraws]) -> None:
    both = torch.tensor([True, True])
    places = torch.stack([moments(one)[0] for one in unguided])
    for mean, sd in (places, 0.05), (places + 3.0, 0.2), (places - 1.0, 1e-3):
        for one, known in zip(climbed(pair, Fake(mean, sd, both)).answers(), unguided, strict=True):
            same_answer(one, known)


def test_a_guide_that_draws_outside_the_box_leaves_the_answer_as_it_is(
    pair: Problem, unguided: list[WeightedDraws]
) -> None:
    outside = Fake(torch.full((2, 2), FAR, dtype=torch.float64), 1.0, torch.tensor([True, True]))
    for one, known in zip(climbed(pair, outside).answers(), unguided, strict=True):
        same_answer(one, known)
        assert bool((one.v.abs() > FAR).any())
        assert bool(torch.isneginf(one.log_target[(one.v.abs() >= FAR).any(-1)]).all())


def test_a_source_without_a_guide_answers_as_if_there_were_none(pair: Problem, unguided: list[WeightedDraws]) -> None:
    guide = Fake(torch.zeros((2, 2), dtype=torch.float64), 1.0, torch.tensor([False, True]))
    found = climbed(pair, guide).answers()
    torch.testing.assert_close(found[0].v, unguided[0].v, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(found[0].log_weight, unguided[0].log_weight, rtol=1e-9, atol=1e-9)
    assert not torch.equal(found[1].v[:, :10], unguided[1].v[:, :10])


def test_a_guided_answer_does_not_depend_on_its_company(pair: Problem) -> None:
    guide = Fake(torch.zeros((2, 2), dtype=torch.float64), 1.0, torch.tensor([True, True]))
    together = climbed(pair, guide).answers()
    for source in range(2):
        at = torch.tensor([source])
        alone = climbed(pair.select(at), guide.select(at)).answers()[0]
        np.testing.assert_allclose(together[source].v.numpy(), alone.v.numpy(), rtol=1e-6)


def test_too_short_a_search_is_refined_again_before_it_explores(pair: Problem) -> None:
    """One block cannot reach the ess: the second proposal is fitted to all draws before it."""
    short = replace(BUDGET, ess=1999, first=1.1, most=1.1)
    state = at_foot(pair.select(torch.tensor([0])), budget=short)
    blocks = []
    for now in climb(state, LADDER):
        blocks.append((now.rung, sum(drawn.v.shape[1] == BUDGET.draws for drawn in now.history[0])))
    assert blocks == [("proposing", 1), ("following ridges", 2), ("proposing again", 3), ("exploring", 1)]


def test_the_ladder_tells_where_it_stands_after_each_rung(pair: Problem) -> None:
    state = at_foot(pair, budget=replace(BUDGET, ess=1999, first=1.1, most=1.1))
    seen = [(now.rung, now.spent.tolist(), len(now.answers())) for now in climb(state, LADDER)]
    assert [rung for rung, _, _ in seen] == ["proposing", "following ridges", "proposing again", "exploring"]
    for (_, before, _), (_, after, answers) in pairwise(seen):
        assert all(b < a for b, a in zip(before, after, strict=True))
        assert answers == 2
    assert set(state.clock.steps) == {"propose", "certify"}


def test_good_sources_climb_no_further(pair: Problem) -> None:
    state = at_foot(pair)
    assert [now.rung for now in climb(state, LADDER)] == ["proposing"]
    assert state.unsettled().tolist() == []


def test_fresh_draws_are_of_one_frozen_proposal_and_come_in_blocks(pair: Problem) -> None:
    state = climbed(pair)
    for source, drawn in enumerate(state.answers()):
        assert drawn.v.shape[1] % BUDGET.draws == 0
        assert drawn.v.shape[1] <= BUDGET.first * BUDGET.ess
        v = drawn.proposal.sample(10, [torch.Generator().manual_seed(1)])
        at = torch.tensor([source])
        problem = state.problem.select(at)
        torch.testing.assert_close(drawn.log_target, problem.log_target(drawn.v), rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(drawn.log_proposal, drawn.proposal.log_density(drawn.v))
        assert v.shape == (1, 10, 2)


def test_weights_on_the_corrected_grid_are_those_of_the_exact_one(tmp_path: Path) -> None:
    """To what weights do not see; 2e6 counts, with which the plain coarse grid is far off where absorption bends."""
    setup = FitSetup(model="TBabs*powerlaw", energies=[(0.4, 6.0)])
    bright = build_problem([toy_observation(tmp_path, exposure=20_000.0, seed=3)], setup)
    state = climbed(bright)
    assert not state.problem.is_exact
    drawn = state.drawn(0)
    rows = systematic_rows(torch.softmax(drawn.log_weight[0], 0), 200, torch.Generator().manual_seed(1))
    change = bright.log_target(drawn.v[:, rows]) - drawn.log_target[:, rows]
    assert float(change.mean().abs()) < FOLLOWS
    assert float(change.std()) < FOLLOWS
    plain = bright.at(SEARCH).log_target(drawn.v[:, rows]) - bright.log_target(drawn.v[:, rows])
    assert float(plain.mean().abs()) > 5.0 * FOLLOWS


def test_all_draws_are_kept_and_counted(pair: Problem) -> None:
    state = climbed(pair)
    kept = [sum(drawn.v.shape[1] for drawn in rounds) for rounds in state.history]
    assert state.spent.tolist() == kept


def test_a_source_stays_unsettled_below_its_ess_or_with_a_heavy_tail(pair: Problem) -> None:
    state = climbed(pair)
    one = state.answers()[0]
    assert is_good(one, 1000.0)
    assert not is_good(one, one.ess + 1.0)
    heavy = one.log_target.clone()
    heavy[0, 0] += 30.0
    assert not is_good(replace(one, log_target=heavy), 0.5)
    state.fresh[1] = None
    assert state.unsettled().tolist() == [1]
    state.fresh[0] = replace(one, log_target=heavy)
    assert state.unsettled().tolist() == [0, 1]
    assert state.unsettled(least=100.0).tolist() == [1]


def test_another_way_of_drawing_decides_what_is_learnt(pair: Problem) -> None:
    """Draws are weighed as they come; the history that shapes proposals holds what the drawing lets it."""

    class Blind(ExactDrawing):
        def learnt(self, problem: Problem, drawn: WeightedDraws) -> WeightedDraws:
            return replace(drawn, log_target=torch.full_like(drawn.log_target, -1.0))

    state = replace(at_foot(pair), drawing=Blind())
    drawn = state.draw(torch.tensor([1]), state.first.select(torch.tensor([1])), 30)
    assert bool((state.history[1][0].log_target == -1.0).all())
    assert not bool((drawn.log_target == -1.0).any())
    assert state.spent.tolist() == [0, 30]


def test_a_source_at_its_time_limit_gets_one_block_and_says_so(pair: Problem) -> None:
    """The time is told by hand: finding the modes took all of the first source's."""
    state = at_foot(pair)
    hand = [0.0]
    state.clock = Clock(2, 5.0, lambda: hand[0])
    with state.clock.charged("optimise", [0]):
        hand[0] += 6.0
    rungs = [now.rung for now in climb(state, LADDER)]
    assert rungs[0] == "proposing"
    assert state.drawn(0).v.shape[1] == BUDGET.draws
    assert is_good(state.drawn(1), BUDGET.ess)
    assert missing_tails(state) == ["", ""]
    assert set(state.tails.last) == {1}, "the first was not searched from"
    assert state.clock.reason(0) == "stopped at the time limit of 5 s"
    assert state.clock.reason(1) == ""
