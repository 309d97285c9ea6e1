"""Ridges: a bent density is exact, and covers what an ellipsoid misses."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from faded_zoo import BAND, faded_problem
from ogip_zoo import toy_observation
from xrayflow.fitting import minimise, starting_points
from xrayflow.folding import SEARCH
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.laplace import laplace_mixture
from xrayflow.inference.proposals.mixture import PRIOR_FLOOR, Components, Proposal
from xrayflow.inference.proposals.profiles import PathPoints, walk
from xrayflow.inference.proposals.ridge import Ridge, ridges_of
from xrayflow.inference.weights import effective_sample_size, pareto_k
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem


def wave(held: int = 1, log_mass: Tensor | None = None) -> Ridge:
    """Three parameters; the others follow a parabola and a sine of the held one."""
    place = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64)
    mean = torch.stack([0.5 * place**2, torch.sin(place)], 1)
    slope = torch.stack([place, torch.cos(place)], 1)
    factor = torch.tensor([[0.2, 0.0], [0.1, 0.3]], dtype=torch.float64) * (1.0 + 0.2 * place[:, None, None])
    return Ridge.of(held, place, mean, slope, factor, -0.5 * place**2 if log_mass is None else log_mass)


@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_ridges_draws_have_its_density(held: int) -> None:
    """E_q[p / q] = 1 for a narrower density p about the same line: its error is below 0.01."""
    ridge = wave(held)
    v = ridge.sample(200_000, torch.Generator().manual_seed(held))
    place = torch.linspace(-1.9, 1.9, 9, dtype=torch.float64)
    mean = torch.stack([0.5 * place**2, torch.sin(place)], 1)
    slope = torch.stack([place, torch.cos(place)], 1)
    factor = 0.8 * torch.tensor([[0.2, 0.0], [0.1, 0.3]], dtype=torch.float64) * (1.0 + 0.2 * place[:, None, None])
    other = Ridge.of(held, place, mean, slope, factor, -0.7 * place**2)
    ratio = torch.exp(other.log_density(v) - ridge.log_density(v))
    assert abs(float(ratio.mean()) - 1.0) < 0.02
    assert float(ratio.std()) > 0.1


def test_a_ridge_follows_its_line_between_the_places() -> None:
    """Newton's step from the true line to the density's peak at a fixed place is no longer than the cubic's error."""
    ridge = wave()
    for u in torch.linspace(-1.99, 1.99, 41, dtype=torch.float64):
        line = torch.stack([0.5 * u**2, torch.sin(u)])

        step = 1e-3 * torch.eye(2, dtype=torch.float64)

        def density(others: Tensor, u: Tensor = u) -> Tensor:
            return ridge.log_density(torch.stack([others[..., 0], u.expand(len(others)), others[..., 1]], 1))

        up, here, down = density(line + step), density(line[None]), density(line - step)
        cross = density(torch.stack([line + step.sum(0), line - step.sum(0)]))
        mixed = 0.5 * (cross.sum() - up.sum() - down.sum() + 2.0 * here[0])
        hessian = torch.diag(up + down - 2.0 * here) + mixed * (1.0 - torch.eye(2, dtype=torch.float64))
        gradient = 0.5 * (up - down)
        assert float(1e-3 * torch.linalg.solve(hessian, gradient).abs().max()) < 3e-4


def test_along_a_ridge_the_masses_are_as_told() -> None:
    """A flat ridge draws its held parameter evenly, a steep one as an exponential; 0.02 is 4 standard errors."""
    place = wave().place
    for slope, mean in (0.0, 0.0), (3.0, 2.0 - 1.0 / 3.0):
        u = wave(log_mass=slope * place).sample(20_000, torch.Generator().manual_seed(1))[:, 1]
        assert abs(float(u.mean()) - mean) < 0.035


def test_beyond_its_ends_a_ridge_has_no_density() -> None:
    v = torch.tensor([[2.0, 2.1, 0.9], [2.0, 1.9, 0.9]], dtype=torch.float64)
    assert torch.isfinite(wave().log_density(v)).tolist() == [False, True]


@pytest.fixture(scope="module")
def faded(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return faded_problem(tmp_path_factory.mktemp("faded"))


def first_proposal(problem: Problem) -> tuple[Proposal, Proposal]:
    """With ridges, and without."""
    starts, _ = starting_points(problem, 4, [torch.Generator().manual_seed(1)])
    modes = minimise(problem, starts)
    places, _ = walk(problem, modes, modes.distinct())
    mixture = laplace_mixture(modes)
    ridges = ridges_of(PathPoints.joined(places), 0)
    prior = Components.prior(mixture.mean.shape[-1])
    share = 0.7 / len(ridges)
    beside = Components.of(
        [*prior.parts, *ridges], [PRIOR_FLOOR, *[0.0 for _ in ridges]], [0.0, *[share for _ in ridges]]
    )
    return Proposal(mixture, (beside,)), Proposal(mixture, (prior,))


def test_a_tail_that_fades_into_the_prior_is_covered(faded: Problem) -> None:
    """The disc's norm below 1: as often as in the posterior, found by brute force from the prior, to a tenth.

    The brute force has 1200 effective draws, so that its own error is a fifth of the bound, on the search's grid, which
    400 counts do not tell from the exact one."""
    ridged, plain = first_proposal(faded)
    generator = torch.Generator().manual_seed(2)
    v = torch.randn((1, 200_000, 3), generator=generator, dtype=torch.float64)
    weight = torch.softmax(faded.at(SEARCH).log_likelihood(faded.prior.to_theta(v))[0], 0)
    low = faded.prior.to_theta(v)[0, :, faded.prior.names.index("bbodyrad.norm")] < 1.0
    known = float(weight[low].sum())
    assert 0.1 < known < 0.9

    def weighed(proposal: Proposal) -> WeightedDraws:
        drawn = proposal.sample(2000, [generator])
        return WeightedDraws.of(proposal, drawn, faded.log_target(drawn))

    one, other = weighed(ridged), weighed(plain)
    faint = faded.prior.to_theta(one.v)[0, :, faded.prior.names.index("bbodyrad.norm")] < 1.0
    found = float(torch.softmax(one.log_weight[0], 0)[faint].sum())
    assert found == pytest.approx(known, abs=0.1 * math.sqrt(known * (1.0 - known)) + 0.02)
    assert pareto_k(one.log_weight[0].numpy()) < 0.6
    ess = [float(effective_sample_size(drawn.log_weight)) for drawn in (one, other)]
    assert ess[0] > 600
    assert ess[0] > 1.3 * ess[1]


def test_a_posterior_that_is_an_ellipsoid_has_no_ridge(tmp_path: Path) -> None:
    """2e4 counts of a power law: both lines are what the curvature at the mode says."""
    observation = toy_observation(tmp_path, exposure=400.0, seed=2)
    setup = FitSetup(model="powerlaw", energies=BAND, prior=["powerlaw.PhoIndex=1:2.4", "powerlaw.norm=0.03:0.08"])
    problem = build_problem([observation], setup)
    starts, _ = starting_points(problem, 4, [torch.Generator().manual_seed(1)])
    modes = minimise(problem, starts)
    assert ridges_of(PathPoints.joined(walk(problem, modes, modes.distinct())[0]), 0) == []
