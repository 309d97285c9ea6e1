"""The foot of the ladder: modes, and what they and a network propose."""

from __future__ import annotations

import pytest
import torch

from guide_zoo import Fake, OneOfFake
from ladder_zoo import BUDGET, at_foot, climbed, pair_problem
from xrayflow.inference.proposals.density import PriorDensity
from xrayflow.inference.proposals.foot import AMORTISED, AMORTISED_FLOOR
from xrayflow.inference.proposals.mixture import PRIOR_FLOOR
from xrayflow.inference.rungs import find_modes
from xrayflow.problem import Problem


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return pair_problem([tmp_path_factory.mktemp("pair") for _ in range(2)])


def test_every_proposal_holds_a_share_of_the_guide_and_of_the_prior(pair: Problem) -> None:
    at = torch.tensor([[4.0, 4.0], [4.0, 4.0]], dtype=torch.float64)
    one = climbed(pair, Fake(at, 0.01, torch.tensor([True, True])))
    for rounds in one.history:
        for drawn in rounds:
            near = ((drawn.v - 4.0).norm(dim=-1) < 0.1).double().mean()
            # at least what every proposal keeps; more at first, before its draws have shown what it is worth
            assert AMORTISED_FLOOR - 1.01 / drawn.v.shape[1] <= float(near) <= AMORTISED_FLOOR + AMORTISED
            assert all(isinstance(beside.parts[0], PriorDensity) for beside in drawn.proposal.parts)
            assert all(float(beside.share[0]) >= 0.01 for beside in drawn.proposal.parts)


def test_a_plain_posterior_is_ellipsoids_and_the_prior(pair: Problem) -> None:
    state = at_foot(pair)
    bright = state.first.parts[1]
    assert [type(part) for part in bright.parts] == [PriorDensity]
    assert bright.share.tolist() == pytest.approx([PRIOR_FLOOR])
    assert state.modes.v.shape == (2, BUDGET.starts, 2)


def test_a_guide_stands_beside_the_prior_with_its_floor(pair: Problem) -> None:
    guide = Fake(torch.zeros((2, 2), dtype=torch.float64), 1.0, torch.tensor([False, True]))
    absent, present = at_foot(pair, guide).first.parts
    assert OneOfFake not in {type(part) for part in absent.parts}
    assert [type(part) for part in present.parts[:2]] == [PriorDensity, OneOfFake]
    assert present.floor[:2].tolist() == pytest.approx([PRIOR_FLOOR, AMORTISED_FLOOR])


def test_looking_for_modes_counts_what_the_starts_cost(pair: Problem) -> None:
    few, many = (find_modes(pair, starts, pair.generators(0), None)[0] for starts in (2, 8))
    assert bool((few.evaluations < many.evaluations).all())
    assert few.v.shape[1] == 2
