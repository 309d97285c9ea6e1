"""The foot of the ladder: modes, and what they, their ridges and a network propose."""

from __future__ import annotations

import pytest
import torch

from faded_zoo import faded_problem
from guide_zoo import Fake
from ladder_zoo import BUDGET, at_foot, climbed, pair_problem
from ogip_zoo import toy_observation
from xrayflow.folding import SEARCH
from xrayflow.inference.proposals.density import PriorDensity
from xrayflow.inference.proposals.mixture import PRIOR_FLOOR
from xrayflow.inference.proposals.network import NetworkDensity
from xrayflow.inference.proposals.profiles import PathPoints, walk
from xrayflow.inference.proposals.ridge import Ridge
from xrayflow.inference.rungs import find_modes
from xrayflow.inference.rungs.first import (
    AMORTISED,
    AMORTISED_FLOOR,
    NEARBY,
    RIDGES,
    SEEN,
    SHAPED_FLOOR,
    WRONG,
    followed_ridges,
)
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem


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
    assert NetworkDensity not in {type(part) for part in absent.parts}
    assert [type(part) for part in present.parts[:2]] == [PriorDensity, NetworkDensity]
    assert present.floor[:2].tolist() == pytest.approx([PRIOR_FLOOR, AMORTISED_FLOOR])


def test_ridges_get_most_of_the_first_proposal_where_there_are_some(tmp_path_factory: pytest.TempPathFactory) -> None:
    parts = at_foot(faded_problem(tmp_path_factory.mktemp("faded"))).first.parts[0]
    ridges = [i for i, part in enumerate(parts.parts) if isinstance(part, Ridge)]
    assert ridges
    assert float(parts.above[ridges].sum()) == pytest.approx(RIDGES)
    assert float(parts.floor[ridges].sum()) == pytest.approx(SHAPED_FLOOR)


def test_looking_for_modes_counts_what_the_starts_cost(pair: Problem) -> None:
    few, many = (find_modes(pair, starts, pair.generators(0), None)[0] for starts in (2, 8))
    assert bool((few.evaluations < many.evaluations).all())
    assert few.v.shape[1] == 2
    state = at_foot(pair)
    plain, _ = find_modes(pair, BUDGET.starts, pair.generators(0), None)
    assert bool((state.modes.evaluations > plain.evaluations).all()), "the walk along ridges counts too"


@pytest.fixture(scope="module")
def soft(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """2e6 counts where absorption bends most: the search's grid is off by more than one in ln posterior."""
    observation = toy_observation(tmp_path_factory.mktemp("soft"), exposure=20_000.0, seed=3)
    return build_problem([observation], FitSetup(model="TBabs*powerlaw", energies=[(0.4, 6.0)]))


def off(problem: Problem, exact: Problem, points: PathPoints) -> float:
    """The most that a problem says differently along ridges, in natural log."""
    truth, seen = (of.log_target(points.v[None])[0] for of in (exact, problem))
    matters = (torch.maximum(truth, seen) > truth.max() - SEEN) & (points.rise.abs() > NEARBY)
    return float((truth - seen)[matters].abs().max())


def test_ridges_are_followed_on_what_the_exact_grid_says(soft: Problem) -> None:
    modes, corrected = find_modes(soft, 8, soft.generators(0), None)
    plain = soft.at(SEARCH)
    walked, _ = walk(plain, modes, modes.distinct())
    assert off(plain, soft, PathPoints.joined(walked)) > WRONG, "the case is none"
    points, evaluations, followed = followed_ridges(plain, modes, soft)
    assert points is not None
    assert off(followed, soft, points) <= WRONG
    again, more, same = followed_ridges(corrected, modes, soft)
    assert again is not None
    assert same is corrected, "a correction at the modes does here"
    assert int(more) < int(evaluations), "walking twice costs more"


def test_on_the_exact_grid_nothing_is_corrected(soft: Problem) -> None:
    modes, _ = find_modes(soft, 4, soft.generators(0), None, exact=True)
    _, _, same = followed_ridges(soft, modes, soft)
    assert same is soft
