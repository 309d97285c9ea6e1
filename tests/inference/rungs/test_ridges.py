"""Ridges beside the modes: followed on what the exact grid says, and given to the sources that ask."""

from __future__ import annotations

import pytest
import torch

from faded_zoo import faded_problem
from ladder_zoo import at_foot, pair_problem
from ogip_zoo import toy_observation
from xrayflow.folding import SEARCH
from xrayflow.inference.proposals.foot import RIDGES, SHAPED_FLOOR
from xrayflow.inference.proposals.profiles import PathPoints, walk
from xrayflow.inference.proposals.ridge import Ridge
from xrayflow.inference.rungs import find_modes
from xrayflow.inference.rungs.ridges import NEARBY, SEEN, WRONG, followed_ridges, stand_on_ridges
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem

ALONE = torch.tensor([0])


def test_ridges_get_most_of_a_proposal_where_there_are_some(tmp_path_factory: pytest.TempPathFactory) -> None:
    state = at_foot(faded_problem(tmp_path_factory.mktemp("faded")))
    before = int(state.modes.evaluations[0])
    stand_on_ridges(state, ALONE)
    assert int(state.modes.evaluations[0]) > before, "the walk counts"
    parts = state.base(0).parts[0]
    ridges = [i for i, part in enumerate(parts.parts) if isinstance(part, Ridge)]
    assert ridges
    assert float(parts.above[ridges].sum()) == pytest.approx(RIDGES)
    assert float(parts.floor[ridges].sum()) == pytest.approx(SHAPED_FLOOR)


def test_only_the_sources_that_ask_are_walked(tmp_path_factory: pytest.TempPathFactory) -> None:
    pair = pair_problem([tmp_path_factory.mktemp("pair") for _ in range(2)])
    state = at_foot(pair)
    before = state.modes.evaluations.clone()
    points, _, _ = followed_ridges(state.problem, state.modes, pair, torch.tensor([1]))
    assert points is not None
    assert set(points.source.tolist()) == {1}
    stand_on_ridges(state, torch.tensor([1]))
    assert (state.modes.evaluations > before).tolist() == [False, True]


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
    points, evaluations, followed = followed_ridges(plain, modes, soft, ALONE)
    assert points is not None
    assert off(followed, soft, points) <= WRONG
    again, more, same = followed_ridges(corrected, modes, soft, ALONE)
    assert again is not None
    assert same is corrected, "a correction at the modes does here"
    assert int(more) < int(evaluations), "walking twice costs more"


def test_on_the_exact_grid_nothing_is_corrected(soft: Problem) -> None:
    modes, _ = find_modes(soft, 4, soft.generators(0), None, exact=True)
    _, _, same = followed_ridges(soft, modes, soft, ALONE)
    assert same is soft
