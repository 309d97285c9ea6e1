"""Is the photon-energy grid fine enough, and does another follow it?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ogip_zoo import toy_observation
from xrayflow.folding import FINER, SEARCH, Grid
from xrayflow.inference.checks.grid import DRAWS, FOLLOWS, GridChange
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """A bright spectrum on sixty bins."""
    observation = toy_observation(tmp_path_factory.mktemp("bright"), exposure=20_000.0, seed=3)
    setup = FitSetup(model="TBabs*powerlaw", energies=[(1.0, 6.0)], grid=Grid.log(0.05, 20.0, 60))
    return build_problem([observation], setup)


def places(problem: Problem) -> torch.Tensor:
    """About the truth."""
    truth = problem.prior.to_probit(torch.tensor([0.02, 1.7, 0.05], dtype=torch.float64))
    return truth + 1e-3 * torch.randn((DRAWS, 3), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def change(problem: Problem, other: Problem, v: torch.Tensor) -> GridChange:
    """From one problem's log likelihoods to another's."""
    return GridChange.of(problem.log_likelihood(problem.prior.to_theta(v)[None])[0], other, v)


def test_mean_and_spread_are_those_of_the_change_of_ln_l(coarse: Problem) -> None:
    v = places(coarse)
    theta = coarse.prior.to_theta(v)[None]
    by_hand = coarse.at(FINER).log_likelihood(theta) - coarse.log_likelihood(theta)
    found = change(coarse, coarse.at(FINER), v)
    assert found.mean == pytest.approx(float(by_hand.mean()))
    assert found.spread == pytest.approx(float(by_hand.std()))
    assert found.spread > 0.01


def test_a_change_that_is_the_same_for_all_draws_has_no_spread(coarse: Problem) -> None:
    """Weights do not mind a constant: neither the same grid nor draws at one place spread."""
    v = places(coarse)
    same = change(coarse, coarse, v)
    assert (same.mean, same.spread) == (0.0, 0.0)
    assert change(coarse, coarse.at(FINER), v[:1].expand(DRAWS, -1)).spread == pytest.approx(0.0, abs=1e-6)


def test_a_finer_grid_spreads_less(coarse: Problem, tmp_path: Path) -> None:
    v = places(coarse)
    fine = coarse.finer(4)
    assert change(fine, fine.at(FINER), v).spread < 0.3 * change(coarse, coarse.at(FINER), v).spread


def test_a_grid_follows_where_neither_mean_nor_scatter_is_seen(coarse: Problem) -> None:
    """A shift of all weights is an error of the evidence; a scatter, of the quantiles; nothing known is not small."""
    assert GridChange(0.9 * FOLLOWS, 0.9 * FOLLOWS).is_small
    assert GridChange(-0.9 * FOLLOWS, 0.0).is_small
    for mean, spread in ((1.1, 0.0), (-1.1, 0.0), (0.0, 1.1), (float("nan"), 0.0), (0.0, float("nan"))):
        assert not GridChange(mean * FOLLOWS, spread * FOLLOWS).is_small
    v = places(coarse)
    assert not change(coarse, coarse.at(FINER), v).is_small
    theta = coarse.prior.to_theta(v)
    fine = coarse.finer(20)
    corrected = fine.corrected(theta[None, :1], torch.ones((1, 1), dtype=torch.bool))
    assert not corrected.is_exact
    assert change(corrected, fine, v).is_small
    assert not change(fine.at(SEARCH), fine, v).is_small, "or no correction was needed"
