"""Walking along the lines of a posterior: from every mode, until it is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from faded_zoo import BAND, FADED_FROZEN, FADED_PRIOR, faded_problem
from ogip_zoo import toy_observation
from xrayflow.fitting import corrected_modes, minimise, starting_points
from xrayflow.inference.checks.grid import FOLLOWS
from xrayflow.inference.proposals.profiles import (
    LOST,
    OUTERMOST,
    PathPoints,
    hermite,
    other_index,
    others_of,
    walk,
)
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem, problem_of


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
    return faded_problem(tmp_path_factory.mktemp("faded"))


def test_a_walk_ends_where_the_posterior_or_the_prior_does(faded: Problem) -> None:
    starts, _ = starting_points(faded, 4, [torch.Generator().manual_seed(1)])
    modes = minimise(faded, starts)
    parts, evaluations = walk(faded, modes, modes.distinct())
    assert 100 < int(evaluations) < 4000
    places = PathPoints.joined(parts)
    torch.testing.assert_close(places.rise[:3], torch.zeros(3, dtype=torch.float64))
    assert places.held[:3].tolist() == [0, 1, 2]
    own = places.v[torch.arange(places.held.numel()), places.held]
    assert float(own.abs().max()) <= OUTERMOST + 1e-9
    for held in range(3):
        rows = places.held == held
        ends = torch.stack([own[rows].argmin(), own[rows].argmax()])
        lost = places.rise[rows][ends] > 0.25 * LOST
        assert bool((lost | (own[rows][ends].abs() > OUTERMOST - 0.2)).all())


def test_nothing_is_walked_where_one_parameter_is_free(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=10.0, seed=1)
    frozen = {"TBabs.nH": 0.05, "powerlaw.PhoIndex": 1.7}
    problem = build_problem([observation], FitSetup(model="TBabs*powerlaw", freeze=frozen, energies=[(1.0, 6.0)]))
    starts, _ = starting_points(problem, 2, [torch.Generator().manual_seed(1)])
    modes = minimise(problem, starts)
    places, evaluations = walk(problem, modes, modes.distinct())
    assert places == []
    assert evaluations.tolist() == [0]


def test_a_walk_does_not_depend_on_its_company(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two spectra of other counts, bands' bins and modes: each is walked as it is alone."""
    observations = [
        toy_observation(tmp_path_factory.mktemp("pair"), exposure=exposure, seed=seed)
        for exposure, seed in ((10.0, 1), (60.0, 5))
    ]
    settings = {"model": "TBabs*(powerlaw+bbodyrad)", "freeze": FADED_FROZEN, "prior": FADED_PRIOR, "energies": BAND}
    setups = [FitSetup(**settings, grouping=grouping) for grouping in ("min:10", "min:40")]  # type: ignore[arg-type]
    model, prior = setups[0].model_and_prior()
    spectra = [setup.bin(one) for setup, one in zip(setups, observations, strict=True)]
    assert spectra[0].counts.size != spectra[1].counts.size
    both = problem_of(spectra, model, prior, setups[0])
    starts, _ = starting_points(both, 4, [torch.Generator().manual_seed(i) for i in (1, 2)])
    modes = minimise(both, starts)
    together, costs = walk(both, modes, modes.distinct())
    pair = PathPoints.joined(together)
    for source in range(2):
        at = torch.tensor([source])
        own = modes.select(at)
        alone, cost = walk(both.select(at), own, own.distinct())
        place = PathPoints.joined(alone)
        rows = pair.source == source
        assert int(costs[source]) == int(cost)
        np.testing.assert_allclose(pair.v[rows].numpy(), place.v.numpy(), atol=1e-6)
        np.testing.assert_allclose(pair.rise[rows].numpy(), place.rise.numpy(), atol=1e-4)
    assert abs(int(costs[0]) - int(costs[1])) > 0


def test_the_rise_along_a_walk_is_that_of_the_posterior(faded: Problem) -> None:
    starts, _ = starting_points(faded, 4, [torch.Generator().manual_seed(1)])
    modes = minimise(faded, starts)
    places = PathPoints.joined(walk(faded, modes, modes.distinct())[0])
    height = -2.0 * faded.log_target(places.v[None])[0]
    at_mode = {int(i): -2.0 * float(faded.log_target(modes.v[:, [int(i)]])) for i in set(places.optimum.tolist())}
    rise = height - torch.tensor([at_mode[i] for i in places.optimum.tolist()], dtype=torch.float64)
    assert float((places.rise - rise).abs().max()) < 1e-3
    assert float(places.rise.max()) > 2.0


def test_a_walk_is_on_the_grid_that_it_is_given(faded: Problem) -> None:
    """The corrected one: what the walk says is its posterior, and the exact one's to what weights do not see."""
    starts, _ = starting_points(faded, 4, [torch.Generator().manual_seed(1)])
    modes, corrected = corrected_modes(faded, starts)
    assert not corrected.is_exact
    places = PathPoints.joined(walk(corrected, modes, modes.distinct())[0])
    for problem, bound in ((corrected, 1e-3), (faded, 2.0 * FOLLOWS)):
        height = -2.0 * problem.log_target(places.v[None])[0]
        home = -2.0 * problem.log_target(modes.v)[0][places.optimum]
        assert float((places.rise - (height - home)).abs().max()) < bound
