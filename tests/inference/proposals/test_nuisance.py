"""A density with nuisances: normalised, drawn from as it says, and as the posterior itself has them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from fit_zoo import observation
from xrayflow.fitting import Modes
from xrayflow.inference.proposals.density import PriorDensity
from xrayflow.inference.proposals.nuisance import FARTHEST, Nuisances, WithNuisances
from xrayflow.inference.rungs import find_modes
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem

SETUP = FitSetup(model="TBabs*powerlaw", freeze={"TBabs.nH": 0.05}, energies=[(1.0, 6.0)], grouping="none")
GRID = torch.linspace(-6.0, 6.0, 2401, dtype=torch.float64)


def known(
    folder: Path, background: str, norm: float = 0.03, exposure: float = 2000.0
) -> tuple[Problem, Modes, Nuisances]:
    """A power law on a background, its modes, and what follows the best of them."""
    problem = build_problem([observation(folder, background, exposure=exposure, norm=norm)], SETUP)
    modes, corrected = find_modes(problem, 8, problem.generators(0), None)
    best = modes.distinct()[0][0]
    return problem, modes, Nuisances.of(corrected, 0, modes.v[0, best], modes.information[0, best])


def around(modes: Modes, widths: float) -> Tensor:
    """(draw, 2) the best mode, and places so many standard deviations away on all sides."""
    best = modes.distinct()[0][0]
    covariance = torch.linalg.inv(modes.information[0, best])[:2, :2]
    angle = torch.arange(8, dtype=torch.float64) * torch.pi / 4.0
    circle = torch.stack([angle.cos(), angle.sin()], -1)
    away = torch.cat([torch.zeros((1, 2), dtype=torch.float64), widths * circle])
    return modes.v[0, best, :2] + away @ torch.linalg.cholesky(covariance).T


def conditional(problem: Problem, own: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the level of the background when the parameters are known, by quadrature."""
    v = torch.cat([own[:, None].expand(-1, GRID.numel(), -1), GRID[None, :, None].expand(own.shape[0], -1, 1)], -1)
    weight = torch.softmax(problem.log_target(v.reshape(1, -1, 3)).reshape(own.shape[0], -1), -1)
    mean = weight @ GRID
    return mean, ((weight @ GRID**2) - mean**2).sqrt()


def test_the_level_is_where_the_posterior_has_it(tmp_path: Path) -> None:
    problem, modes, nuisances = known(tmp_path, "errors")
    own = around(modes, 3.0)
    mean, sd = conditional(problem, own)
    assert float((mean - mean[0]).abs().max() / sd[0]) > 2.0  # or there is nothing to follow
    assert float(((nuisances.middle(own)[:, 0] - mean) / sd).abs().max()) < 0.3
    torch.testing.assert_close(nuisances.factor[0, 0].expand(len(sd)), sd, rtol=0.1, atol=0.0)


def test_a_background_takes_what_a_faint_source_leaves_and_no_more(tmp_path: Path) -> None:
    """The norm goes to nothing: a middle that is linear in its coordinate runs away."""
    problem, modes, nuisances = known(tmp_path, "errors", norm=3e-4, exposure=500.0)
    best = modes.distinct()[0][0]
    place, information = modes.v[0, best], modes.information[0, best]
    own = place[:2] - torch.tensor([[0.0, 0.05], [0.0, 0.2], [0.0, 1.0]], dtype=torch.float64)
    mean, sd = conditional(problem, own)
    line = place[2] - (own - place[:2]) @ information[2, :2] / information[2, 2]
    assert float(((line - mean) / sd)[1:].abs().min()) > 3.0
    assert float(((nuisances.middle(own)[:, 0] - mean) / sd).abs().max()) < 0.3


def test_both_nuisances_of_a_counted_background_follow(tmp_path: Path) -> None:
    """The gradient of the posterior in them is nothing at the middle, in units of their standard deviations."""
    problem, modes, nuisances = known(tmp_path, "counts")
    own = around(modes, 3.0)
    middle = nuisances.middle(own)
    v = torch.cat([own, middle], 1)[None]
    left = problem.target_curvature(v).gradient[0, :, 2:] @ nuisances.factor
    still = torch.cat([own, nuisances.place.expand_as(middle)], 1)[None]
    before = problem.target_curvature(still).gradient[0, :, 2:] @ nuisances.factor
    assert float(before.norm(dim=1)[1:].min()) > 0.2
    assert float(left.norm(dim=1).max()) < 0.05


def test_it_is_normalised_and_its_draws_have_its_density(tmp_path: Path) -> None:
    _, modes, nuisances = known(tmp_path, "errors")
    one = WithNuisances(PriorDensity(2), nuisances)
    for own in around(modes, 3.0):
        v = torch.cat([own.expand(GRID.numel(), 2), GRID[:, None]], dim=1)
        total = torch.trapezoid(torch.exp(one.log_density(v) - PriorDensity(2).log_density(v[:, :2])), GRID)
        torch.testing.assert_close(total, torch.tensor(1.0).double(), rtol=1e-3, atol=0.0)
    v = one.sample(20_000, torch.Generator().manual_seed(0))
    away = (v[:, 2] - nuisances.middle(v[:, :2])[:, 0]) / nuisances.factor[0, 0]
    assert abs(float(away.mean())) < 0.04
    assert float(away.var()) == pytest.approx(8.0 / 6.0, rel=0.05)  # Student-t with 8 degrees of freedom


def test_a_middle_does_not_depend_on_the_draws_beside_it(tmp_path: Path) -> None:
    _, _, nuisances = known(tmp_path, "errors")
    own = 0.5 * torch.randn((3000, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = nuisances.middle(own)
    for rows in (slice(0, 1), slice(5, 40), slice(1000, 2100)):
        torch.testing.assert_close(nuisances.middle(own[rows]), together[rows], rtol=1e-9, atol=1e-9)


def test_it_is_held_far_away_and_finite_where_the_model_gives_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, modes, nuisances = known(tmp_path, "errors")
    far = modes.v[0, :1, :2] + torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    moved = (nuisances.middle(far) - nuisances.place).abs()
    torch.testing.assert_close(moved, FARTHEST * nuisances.width[None])
    nothing = torch.full((1, 1, 49), torch.nan, dtype=torch.float64)
    monkeypatch.setattr(Problem, "expected", lambda *_: nothing)
    assert torch.equal(nuisances.middle(far - 1.0), nuisances.place[None])


def test_an_amplitude_of_calibration_modes_follows_nothing_and_a_background_beside_it_does(tmp_path: Path) -> None:
    for background, still in (("none", True), ("errors", False)):
        given = observation(tmp_path, background, exposure=2000.0, norm=0.03)
        problem = build_problem([given], FitSetup(**{**SETUP.__dict__, "systematic": "modes:generic-v1"}))
        modes, _ = find_modes(problem, 8, problem.generators(0), None)
        best = modes.distinct()[0][0]
        nuisances = Nuisances.of(problem, 0, modes.v[0, best], modes.information[0, best])
        moved = nuisances.middle(around(modes, 3.0)) - nuisances.place
        assert torch.equal(moved[:, -1], torch.zeros(9, dtype=torch.float64))
        assert still == bool((moved == 0.0).all())
