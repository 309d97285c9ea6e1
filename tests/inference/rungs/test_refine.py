"""The rung that serves most spectra: shares from a few draws, components where these are not enough."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from faded_zoo import faded_problem
from ladder_zoo import BUDGET, at_foot, pair_problem
from xrayflow.inference.rungs import Refine
from xrayflow.inference.rungs.refine import LEAST_PILOT, PEEK, refitted
from xrayflow.inference.weights import effective_sample_size
from xrayflow.problem import Problem


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return pair_problem([tmp_path_factory.mktemp("pair") for _ in range(2)])


def test_a_good_first_proposal_costs_a_peek_alone(pair: Problem) -> None:
    state = at_foot(pair)
    every = Refine().climbers(state)
    proposal = Refine().propose(state, every)
    assert every.tolist() == [0, 1]
    pilot = max(round(BUDGET.pilot * BUDGET.draws), LEAST_PILOT)
    assert state.spent.tolist() == [pilot // PEEK] * 2
    assert proposal.mixture.mean.shape[0] == 2
    assert Refine().most(BUDGET) == BUDGET.first


def test_a_poor_first_proposal_is_refined_in_rounds_and_the_best_is_taken(pair: Problem) -> None:
    state = at_foot(pair)
    mixture = state.first.mixture
    off = 2.5 * mixture.scale_tril[:, :1].diagonal(dim1=-2, dim2=-1)
    spoilt = replace(state.first, mixture=replace(mixture, mean=mixture.mean + off))
    state.first = spoilt
    proposal = Refine().propose(state, torch.tensor([1]))
    pilot = max(round(BUDGET.pilot * BUDGET.draws), LEAST_PILOT)
    assert pilot < int(state.spent[1]) <= (BUDGET.rounds + 1) * pilot
    assert int(state.spent[0]) == 0

    def efficiency(one: object) -> float:
        drawn = state.draw(torch.tensor([1]), one, 1000)  # type: ignore[arg-type]
        return float(effective_sample_size(drawn.log_weight)) / 1000

    assert efficiency(proposal) > 3.0 * efficiency(spoilt.select(torch.tensor([1])))


def test_rounds_are_as_many_as_the_budget_says(tmp_path_factory: pytest.TempPathFactory) -> None:
    problem = faded_problem(tmp_path_factory.mktemp("faded"))
    spent = []
    for rounds in (0, 2):
        state = at_foot(problem, budget=replace(BUDGET, rounds=rounds, enough=1.0))
        Refine().propose(state, torch.tensor([0]))
        spent.append(int(state.spent))
    pilot = max(round(BUDGET.pilot * BUDGET.draws), LEAST_PILOT)
    assert spent == [pilot, 3 * pilot]


def test_a_refit_learns_from_all_draws_so_far(pair: Problem) -> None:
    state, at = at_foot(pair), torch.tensor([0])
    state.draw(at, state.first.select(at), 500)
    once = refitted(state, at)[0]
    state.draw(at, once, 500)
    twice = refitted(state, at)[0]
    assert not torch.equal(once.mixture.mean[:, 0], twice.mixture.mean[:, 0])
    assert [drawn.v.shape[1] for drawn in state.history[0]] == [500, 500]
