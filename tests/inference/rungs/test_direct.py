"""The rung of half of all spectra: what the modes describe is drawn from at once."""

from __future__ import annotations

import pytest

from faded_zoo import faded_problem
from ladder_zoo import BUDGET, at_foot, pair_problem
from xrayflow.inference.ladder import climb
from xrayflow.inference.rungs import LADDER, Direct
from xrayflow.inference.rungs.direct import PILOT


def test_what_the_modes_describe_is_answered_without_ridges(tmp_path_factory: pytest.TempPathFactory) -> None:
    """8000 counts of a power law are an ellipsoid."""
    state = at_foot(pair_problem([tmp_path_factory.mktemp("pair") for _ in range(2)]))
    searched = int(state.modes.evaluations[1])
    chosen = Direct().climbers(state)
    assert 1 in chosen.tolist()
    assert state.spent.tolist() == [PILOT] * 2
    proposal = Direct().propose(state, chosen)
    assert proposal.mixture.mean.shape[0] == chosen.numel()
    assert Direct().most(BUDGET) == BUDGET.first
    for _ in climb(state, LADDER):
        pass
    assert int(state.modes.evaluations[1]) == searched, "nothing was walked"
    assert state.drawn(1).ess >= BUDGET.ess


def test_what_bends_is_left_to_the_next_rung(tmp_path_factory: pytest.TempPathFactory) -> None:
    state = at_foot(faded_problem(tmp_path_factory.mktemp("faded")))
    assert Direct().climbers(state).numel() == 0
    assert state.fresh == [None]
