"""Is every mode that the starts found covered by the draws?"""

from __future__ import annotations

import pytest
import torch

from ladder_zoo import SETUP, climbed
from ogip_zoo import toy_observation
from xrayflow.inference.checks.modes import peak_share
from xrayflow.inference.checks.verdict import UNCOVERED_WEIGHT
from xrayflow.inference.ladder import State
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.student import StudentMixture
from xrayflow.inference.weights import log_mean_weight
from xrayflow.setup import build_problem


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> State:
    return climbed(build_problem([toy_observation(tmp_path_factory.mktemp("one"), exposure=200.0, seed=2)], SETUP))


def test_a_mode_among_the_draws_is_covered(state: State) -> None:
    drawn = state.answers()[0]
    modes = state.modes.v[0, state.modes.distinct()[0]]
    log_evidence = float(log_mean_weight(drawn.log_weight))
    assert peak_share(state.problem, drawn, modes, log_evidence) < 0.1 * UNCOVERED_WEIGHT
    by_hand = state.problem.log_target(modes[None]) - drawn.proposal.log_density(modes[None]) - log_evidence
    share = float(by_hand.exp().max()) / drawn.v.shape[1]
    assert peak_share(state.problem, drawn, modes, log_evidence) == pytest.approx(share)


def test_a_mode_that_the_draws_hardly_reach_is_noticed(state: State) -> None:
    """Draws beside the mode: a single one at it would outweigh them all."""
    mode = state.modes.v[0, state.modes.distinct()[0][:1]]
    narrow = StudentMixture(
        torch.zeros((1, 1)).double(), mode[None] + 1.0, 1e-2 * torch.eye(2, dtype=torch.float64)[None, None]
    )
    moved = Proposal(narrow, (Components.prior(2, 1e-9),))
    v = moved.sample(1000, [torch.Generator().manual_seed(1)])
    beside = WeightedDraws.of(moved, v, state.problem.log_target(v))
    log_evidence = float(log_mean_weight(beside.log_weight))
    assert peak_share(state.problem, beside, mode, log_evidence) > UNCOVERED_WEIGHT


def test_without_any_mode_nothing_is_known_to_be_covered(state: State) -> None:
    assert peak_share(state.problem, state.answers()[0], torch.zeros((0, 2), dtype=torch.float64), 0.0) == 1.0
