"""Is the photon-energy grid fine enough?"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ogip_zoo import toy_observation
from xrayflow.folding import FINER, Grid
from xrayflow.inference.checks.grid import DRAWS, grid_spread
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


def test_the_spread_is_that_of_the_change_of_ln_l(coarse: Problem) -> None:
    v = places(coarse)
    theta = coarse.prior.to_theta(v)[None]
    change = coarse.at(FINER).log_likelihood(theta) - coarse.log_likelihood(theta)
    assert grid_spread(coarse, coarse.at(FINER), v) == pytest.approx(float(change.std()))
    assert grid_spread(coarse, coarse.at(FINER), v) > 0.01


def test_a_change_that_is_the_same_for_all_draws_is_none(coarse: Problem) -> None:
    """Weights do not mind a constant: neither the same grid nor draws at one place spread."""
    v = places(coarse)
    assert grid_spread(coarse, coarse, v) == 0.0
    assert grid_spread(coarse, coarse.at(FINER), v[:1].expand(DRAWS, -1)) == pytest.approx(0.0, abs=1e-6)


def test_a_finer_grid_spreads_less(coarse: Problem, tmp_path: Path) -> None:
    v = places(coarse)
    fine = coarse.finer(4)
    assert grid_spread(fine, fine.at(FINER), v) < 0.3 * grid_spread(coarse, coarse.at(FINER), v)
