"""The rung for posteriors that bend: what an ensemble walked becomes a part of the proposal."""

from __future__ import annotations

import pytest
import torch

from faded_zoo import faded_problem
from ladder_zoo import BUDGET, climbed, pair_problem
from xrayflow.inference.ladder import climb
from xrayflow.inference.proposals.counts_coordinates import MixtureInCoordinates
from xrayflow.inference.proposals.ensemble import EXPLORED, STEPS, WALKERS
from xrayflow.inference.rungs import Explore, Refine
from xrayflow.inference.weights import effective_sample_size
from xrayflow.problem import Problem


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return pair_problem([tmp_path_factory.mktemp("pair") for _ in range(2)])


def test_good_sources_are_not_explored(pair: Problem) -> None:
    state = climbed(pair, rungs=[Refine()])
    assert Explore().climbers(state).tolist() == []
    state.fresh[1] = None
    assert Explore().climbers(state).tolist() == [1]
    assert Explore().most(BUDGET) == BUDGET.most


def test_an_explored_proposal_counts_its_walk_and_carries_the_posterior(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    problem = faded_problem(tmp_path_factory.mktemp("faded"))
    state = climbed(problem, rungs=[Refine()])
    before, at = int(state.spent), torch.tensor([0])
    proposal = Explore().propose(state, at)
    assert int(state.spent) - before == WALKERS * (STEPS + 1)
    parts = proposal.parts[0]
    assert isinstance(parts.parts[-1], MixtureInCoordinates)
    assert float(parts.above[-1]) == pytest.approx(EXPLORED)
    drawn = state.draw(at, proposal, 2000)
    assert float(effective_sample_size(drawn.log_weight)) > 300


def test_a_source_that_nobody_weighed_cannot_be_missed(pair: Problem) -> None:
    """The last rung takes whoever is left, and after it every source has fresh draws."""
    state = climbed(pair, rungs=[Refine()])
    state.fresh[0] = None
    for now in climb(state, [Explore()]):
        assert now.rung == "exploring"
    assert len(state.answers()) == 2
