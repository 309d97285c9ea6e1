"""The rung for sources that came close."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ladder_zoo import BUDGET, climbed, pair_problem
from xrayflow.inference.rungs import Refine, Refit
from xrayflow.inference.rungs.refit import CLOSE
from xrayflow.problem import Problem


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return pair_problem([tmp_path_factory.mktemp("pair") for _ in range(2)])


def test_only_sources_that_came_close_are_fitted_again(pair: Problem) -> None:
    state = climbed(pair, rungs=[Refine()])
    assert Refit().climbers(state).tolist() == []
    state.budget = replace(BUDGET, ess=1e6)
    assert Refit().climbers(state).tolist() == [0, 1]
    one = state.answers()[0]
    target = one.log_target.clone()
    target[0, 3] += 40.0
    state.fresh[0] = replace(one, log_target=target)
    assert state.answers()[0].ess < CLOSE
    assert Refit().climbers(state).tolist() == [1]


def test_a_refit_keeps_the_parts_of_the_first_proposal_and_draws_nothing(pair: Problem) -> None:
    state = climbed(pair, rungs=[Refine()])
    before = state.spent.tolist()
    proposal = Refit().propose(state, torch.tensor([1]))
    assert state.spent.tolist() == before
    assert [type(part) for part in proposal.parts[0].parts] == [type(part) for part in state.first.parts[1].parts]
    assert Refit().most(BUDGET) == BUDGET.first
    assert proposal.mixture.mean.shape[1] > state.first.mixture.mean.shape[1]
