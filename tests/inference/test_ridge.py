"""Ridges: a bent density is exact, and the walk finds what an ellipsoid misses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ogip_zoo import toy_observation
from xrayflow.inference.build import Question, build_problem
from xrayflow.inference.importance import Round, effective_sample_size, log_target, pareto_k
from xrayflow.inference.optimiser import minimise, starting_points
from xrayflow.inference.parts import PRIOR_FLOOR, Parts
from xrayflow.inference.proposal import Proposal
from xrayflow.inference.refine import distinct_optima, laplace_mixture
from xrayflow.inference.ridge import Ridge, hermite, root_of_inverse
from xrayflow.inference.ridges import lines
from xrayflow.inference.walk import LOST, OUTERMOST, Places, other_index, others_of, walk
from xrayflow.problem import Problem


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
    mean, unit, log_width = ridge._at(place)
    slope = torch.stack([place, torch.cos(place)], 1)
    factor = 0.8 * unit * torch.exp(log_width)[:, None, :]
    other = Ridge.of(held, place, mean, slope, factor, -0.7 * place**2)
    ratio = torch.exp(other.log_density(v) - ridge.log_density(v))
    assert abs(float(ratio.mean()) - 1.0) < 0.02
    assert float(ratio.std()) > 0.1


def test_a_ridge_follows_its_line_between_the_places() -> None:
    ridge = wave()
    u = torch.linspace(-2.0, 2.0, 101, dtype=torch.float64)
    mean, _, _ = ridge._at(u)
    torch.testing.assert_close(mean, torch.stack([0.5 * u**2, torch.sin(u)], 1), atol=3e-4, rtol=0.0)


def test_along_a_ridge_the_masses_are_as_told() -> None:
    """A flat ridge draws its held parameter evenly, a steep one as an exponential; 0.02 is 4 standard errors."""
    place = wave().place
    for slope, mean in (0.0, 0.0), (3.0, 2.0 - 1.0 / 3.0):
        u = wave(log_mass=slope * place).sample(20_000, torch.Generator().manual_seed(1))[:, 1]
        assert abs(float(u.mean()) - mean) < 0.035


def test_beyond_its_ends_a_ridge_has_no_density() -> None:
    v = torch.tensor([[2.0, 2.1, 0.9], [2.0, 1.9, 0.9]], dtype=torch.float64)
    assert torch.isfinite(wave().log_density(v)).tolist() == [False, True]


def test_the_cubic_is_exact_for_cubics() -> None:
    def curve(u: Tensor) -> Tensor:
        return (u**3 - 2.0 * u)[:, None]

    def slope(u: Tensor) -> Tensor:
        return (3.0 * u**2 - 2.0)[:, None]

    low, high = torch.tensor([0.5], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    for part in (0.0, 0.3, 1.0, 1.7):
        at = low + part * (high - low)
        ends, slopes = torch.stack([curve(low), curve(high)]), torch.stack([slope(low), slope(high)])
        torch.testing.assert_close(hermite(ends, slopes, high - low, torch.full_like(low, part)), curve(at))


def test_the_root_of_the_inverse_survives_what_cholesky_does_not() -> None:
    root = torch.tensor([[3.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(root_of_inverse(torch.linalg.inv(root @ root.T))[None], root[None])
    singular = torch.tensor([[1e12, 1e12], [1e12, 1e12]], dtype=torch.float64)
    with pytest.raises(torch.linalg.LinAlgError):
        torch.linalg.cholesky(torch.linalg.inv(singular))
    assert torch.isfinite(root_of_inverse(singular)).all()


def test_others_follow_a_held_parameter_as_a_normal_says() -> None:
    """Conditional mean and covariance of a normal, by its covariance matrix."""
    factor = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.7, 0.0], [-0.3, 0.2, 0.4]], dtype=torch.float64)
    covariance = factor @ factor.T
    for held in range(3):
        at = torch.tensor([held])
        slope, root = others_of(torch.linalg.inv(covariance)[None], at)
        other = other_index(at, 3)[0]
        known = covariance[other, held] / covariance[held, held]
        torch.testing.assert_close(slope[0], known)
        left = covariance[other][:, other] - covariance[held, held] * known[:, None] * known
        torch.testing.assert_close(root[0] @ root[0].T, left)


@pytest.fixture(scope="module")
def faded(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """A power law of 400 counts under a disc that is not there: below some norm its temperature means nothing."""
    observation = toy_observation(tmp_path_factory.mktemp("faded"), exposure=10.0, seed=1)
    question = Question(
        "TBabs*(powerlaw+bbodyrad)",
        freeze={"TBabs.nH": 0.05, "powerlaw.PhoIndex": 1.7},
        prior=["bbodyrad.norm=1e-3:1e4", "bbodyrad.kT=0.1:3"],
        energies=[(1.0, 6.0)],
        grouping="min:10",
    )
    return build_problem([observation], question)[0]


def first_proposal(problem: Problem) -> tuple[Proposal, Proposal, list[Places]]:
    """With ridges, without, and the places of the walk."""
    starts, _ = starting_points(problem, 4, [torch.Generator().manual_seed(1)])
    optima = minimise(problem, starts)
    places, evaluations = walk(problem, optima, distinct_optima(optima))
    assert 100 < int(evaluations) < 4000
    mixture = laplace_mixture(optima)
    ridges = lines(Places.joined(places), 0)
    prior = Parts.prior(mixture.mean.shape[-1])
    share = 0.7 / len(ridges)
    beside = Parts.of([*prior.parts, *ridges], [PRIOR_FLOOR, *[0.0 for _ in ridges]], [0.0, *[share for _ in ridges]])
    return Proposal(mixture, (beside,)), Proposal(mixture, (prior,)), places


def test_a_walk_ends_where_the_posterior_or_the_prior_does(faded: Problem) -> None:
    _, _, parts = first_proposal(faded)
    places = Places.joined(parts)
    torch.testing.assert_close(places.rise[:3], torch.zeros(3, dtype=torch.float64))
    assert places.held[:3].tolist() == [0, 1, 2]
    own = places.v[torch.arange(places.held.numel()), places.held]
    assert float(own.abs().max()) <= OUTERMOST + 1e-9
    for held in range(3):
        rows = places.held == held
        ends = torch.stack([own[rows].argmin(), own[rows].argmax()])
        lost = places.rise[rows][ends] > 0.25 * LOST
        assert bool((lost | (own[rows][ends].abs() > OUTERMOST - 0.2)).all())


def test_a_tail_that_fades_into_the_prior_is_covered(faded: Problem) -> None:
    """The disc's norm below 1: as often as in the posterior, found by brute force from the prior, to a tenth."""
    ridged, plain, _ = first_proposal(faded)
    generator = torch.Generator().manual_seed(2)
    v = torch.randn((1, 20_000, 3), generator=generator, dtype=torch.float64)
    weight = torch.softmax(faded.log_likelihood(faded.prior.to_theta(v))[0], 0)
    low = faded.prior.to_theta(v)[0, :, faded.prior.names.index("bbodyrad.norm")] < 1.0
    known = float(weight[low].sum())
    assert 0.1 < known < 0.9

    def weighed(proposal: Proposal) -> Round:
        drawn = proposal.sample(2000, [generator])
        return Round.of(proposal, drawn, log_target(faded, drawn))

    one, other = weighed(ridged), weighed(plain)
    faint = faded.prior.to_theta(one.v)[0, :, faded.prior.names.index("bbodyrad.norm")] < 1.0
    found = float(torch.softmax(one.log_weight[0], 0)[faint].sum())
    assert found == pytest.approx(known, abs=0.1 * math.sqrt(known * (1.0 - known)) + 0.02)
    assert pareto_k(one.log_weight[0].numpy()) < 0.6
    ess = [float(effective_sample_size(drawn.log_weight)) for drawn in (one, other)]
    assert ess[0] > 600
    assert ess[0] > 1.3 * ess[1]


def test_nothing_is_walked_where_one_parameter_is_free(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=10.0, seed=1)
    frozen = {"TBabs.nH": 0.05, "powerlaw.PhoIndex": 1.7}
    problem, _ = build_problem([observation], Question("TBabs*powerlaw", freeze=frozen, energies=[(1.0, 6.0)]))
    starts, _ = starting_points(problem, 2, [torch.Generator().manual_seed(1)])
    optima = minimise(problem, starts)
    places, evaluations = walk(problem, optima, distinct_optima(optima))
    assert places == []
    assert evaluations.tolist() == [0]


def test_a_walk_does_not_depend_on_its_company(faded: Problem, tmp_path: Path) -> None:
    del tmp_path
    starts, _ = starting_points(faded, 4, [torch.Generator().manual_seed(1)])
    optima = minimise(faded, starts)
    twice = faded.select(torch.tensor([0, 0]))
    both = optima.select(torch.tensor([0, 0]))
    alone, cost = walk(faded, optima, distinct_optima(optima))
    together, costs = walk(twice, both, distinct_optima(both))
    assert costs.tolist() == [int(cost)] * 2
    place, pair = Places.joined(alone), Places.joined(together)
    np.testing.assert_allclose(pair.v[pair.source == 1].numpy(), place.v.numpy(), atol=1e-6)
