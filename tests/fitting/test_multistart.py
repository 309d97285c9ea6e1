"""Many starts of many sources: each ends at its minimum, those that meet become one, none is dropped."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fit_zoo import BAND, observation
from xrayflow.data import bundled_pha
from xrayflow.fitting import Modes, Objective, descend, minimise, starting_points
from xrayflow.fitting.multistart import NEAR, find_minima
from xrayflow.fitting.objective import OBJECTIVES
from xrayflow.folding import SEARCH, Fidelity
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_observation
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """A power law of index 1.7 and norm 0.05, about 2e4 counts in the band."""
    return observation(tmp_path_factory.mktemp("toy"), exposure=200.0)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def test_a_start_without_a_likelihood_does_not_touch_the_others(toy: Observation) -> None:
    problem = build_problem([toy, toy], FitSetup(model="powerlaw", energies=BAND))
    starts, _ = starting_points(problem, 3, generators(2))
    clean = minimise(problem, starts)
    broken = starts.clone()
    broken[0, 1] = torch.nan
    broken[1, 2, 0] = torch.inf
    spoilt = minimise(problem, broken)
    assert float(spoilt.objective[0, 1]) == float("inf")
    torch.testing.assert_close(spoilt.objective[0, [0, 2]], clean.objective[0, [0, 2]])
    torch.testing.assert_close(spoilt.objective[1, :2], clean.objective[1, :2])
    torch.testing.assert_close(spoilt.v[0, [0, 2]], clean.v[0, [0, 2]])


def test_all_modes_of_an_ambiguous_model_are_found(toy: Observation) -> None:
    # two blackbodies may change places: every optimum has a twin (a false alarm once in 128 seeds; the seed is fixed)
    problem = build_problem([toy], FitSetup(model="bbodyrad+bbodyrad", energies=BAND))
    starts, _ = starting_points(problem, 8, generators(1))
    optima = minimise(problem, starts)
    best = optima.objective[0] < optima.objective.min() + 0.01
    hotter = optima.v[0, best, 0] > optima.v[0, best, 2]
    assert bool(hotter.any())
    assert bool((~hotter).any())


def test_the_coarse_search_ends_at_the_minima_of_the_exact_grid() -> None:
    template = read_observation(bundled_pha())
    model = parse_model("TBabs*powerlaw")
    values = {"TBabs.nH": 0.3, "powerlaw.PhoIndex": 1.9, "powerlaw.norm": 0.1}
    found = simulate(template, model, values, 300.0, 5)
    problem = build_problem([found], FitSetup(model=model))
    thin = problem.at(SEARCH)
    edges, kept = (one.data.sets[0].forward.grid.energy_edges for one in (problem, thin))
    assert kept.size < 0.5 * edges.size
    assert set(kept) <= set(edges)
    assert thin.at(SEARCH) is thin
    starts, _ = starting_points(problem, 4, generators(1))
    for kind in OBJECTIVES:
        goal = Objective.of(problem, kind)
        x = goal.from_theta(problem.prior.to_theta(starts))
        coarse, exact = find_minima(goal, x), find_minima(goal, x, coarse=False)
        assert float(coarse.value.min()) == pytest.approx(float(exact.value.min()), abs=2e-3)
        assert int(coarse.evaluations) > 0


@dataclass(frozen=True)
class TwoValleys:
    """A goal of two parameters with its minima at (0.25, 0.5) and (0.75, 0.5), the second 3 higher.

    Attributes:
        asked: Rows of every exact call.
    """

    asked: list[int]
    exact: bool = True
    pulled: bool = True
    lo: float = 0.0
    hi: float = 1.0
    cost: int = 100

    def at(self, fidelity: Fidelity) -> TwoValleys:
        """Uncounted."""
        return replace(self, exact=False)

    def is_sharp(self, error: float) -> torch.Tensor:
        """It is not."""
        return torch.zeros(1, dtype=torch.bool)

    def pull(self) -> TwoValleys:
        """It is."""
        return self

    def select(self, rows: torch.Tensor) -> TwoValleys:
        """The same for every row."""
        return self

    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Two parabolas; each has its side."""
        if self.exact:
            self.asked.append(x.shape[0])
        right = x[:, 0] > 0.5
        middle = torch.where(right, 0.75, 0.25)
        return 1e4 * ((x[:, 0] - middle) ** 2 + (x[:, 1] - 0.5) ** 2) + 3.0 * right

    def curvature(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Halves."""
        middle = torch.stack([torch.where(x[:, 0] > 0.5, 0.75, 0.25), torch.full_like(x[:, 0], 0.5)], dim=-1)
        return 1e4 * (x - middle), 1e4 * torch.eye(2, dtype=x.dtype).expand(x.shape[0], 2, 2)


def test_starts_that_arrive_at_one_place_become_one() -> None:
    """Five starts, two valleys: on the exact grid two rows are followed, and every start ends where its valley does."""
    goal = TwoValleys([])
    starts = torch.tensor([[[0.2, 0.4], [0.3, 0.6], [0.9, 0.5], [0.1, 0.1], [0.6, 0.9]]], dtype=torch.float64)
    ends = find_minima(goal, starts)  # type: ignore[arg-type]
    assert set(goal.asked) == {2}
    assert bool(ends.converged.all())
    np.testing.assert_allclose(ends.x[0, :, 0], [0.25, 0.25, 0.75, 0.25, 0.75], atol=1e-4)
    np.testing.assert_allclose(ends.value[0], [0.0, 0.0, 3.0, 0.0, 3.0], atol=1e-3)
    assert ends.x.shape == (1, 5, 2)


def test_starts_that_have_not_arrived_stay_apart() -> None:
    goal = TwoValleys([])
    starts = torch.full((1, 3, 2), torch.nan, dtype=torch.float64)
    find_minima(goal, starts)  # type: ignore[arg-type]
    assert goal.asked[0] == 3


def test_a_goal_that_is_not_pulled_is_searched_twice() -> None:
    starts = torch.tensor([[[0.2, 0.4], [0.9, 0.5]]], dtype=torch.float64)
    ends = find_minima(replace(TwoValleys([]), pulled=False), starts)  # type: ignore[arg-type]
    assert ends.x.shape == (1, 4, 2)
    single = find_minima(TwoValleys([]), starts)  # type: ignore[arg-type]
    assert int(ends.evaluations) > int(single.evaluations)


def modes_at(v: Tensor, objective: list[float], precision: float = 100.0) -> Modes:
    """Optima of one source with one round information matrix."""
    count, parameters = v.shape
    information = precision * torch.eye(parameters, dtype=torch.float64).expand(1, count, -1, -1)
    return Modes(
        v[None], torch.tensor([objective], dtype=torch.float64), information, torch.zeros(1, dtype=torch.int64)
    )


def test_optima_that_coincide_are_one_and_those_far_above_the_best_are_left_out() -> None:
    v = torch.tensor([[0.0, 0.0], [0.01, 0.0], [1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    assert modes_at(v, [3.0, 2.0, 10.0, 23.0]).distinct()[0].tolist() == [1, 2]
    assert modes_at(v, [3.0, 2.0, 10.0, 2.0 + NEAR]).distinct()[0].tolist() == [1, 2, 3]
    assert modes_at(v, [3.0, 2.0, 10.0, 1e6]).distinct(math.inf)[0].tolist() == [1, 2, 3]
    assert modes_at(v, [3.0, 2.0, 10.0, math.inf]).distinct(math.inf)[0].tolist() == [1, 2]
    assert modes_at(v, [3.0, 2.0, 10.0, 23.0]).distinct(1.0)[0].tolist() == [1]


def test_a_source_without_a_finite_end_has_no_mode() -> None:
    v = torch.zeros((2, 2), dtype=torch.float64)
    assert modes_at(v, [math.inf, math.nan]).distinct()[0].tolist() == []


def test_the_evidence_of_a_mode_is_laplaces() -> None:
    """exp(-objective / 2) times the volume of the ellipsoid: 100 is the precision in two parameters."""
    modes = modes_at(torch.zeros((2, 2), dtype=torch.float64), [3.0, 7.0])
    found = modes.log_evidence(0, torch.tensor([1, 0]))
    assert found.tolist() == pytest.approx([-3.5 - math.log(100.0), -1.5 - math.log(100.0)])


def test_selected_modes_are_those_of_their_sources() -> None:
    one, other = (modes_at(torch.full((3, 2), place).double(), [1.0, 2.0, 3.0]) for place in (0.0, 1.0))
    both = Modes(*(torch.cat(pair) for pair in zip(*(vars(each).values() for each in (one, other)), strict=True)))
    chosen = both.select(torch.tensor([1]))
    assert torch.equal(chosen.v, other.v)
    assert [index.tolist() for index in both.distinct()] == [[0], [0]]


def test_one_more_start_ends_where_another_did() -> None:
    found = modes_at(torch.tensor([[0.0], [1.0]]), [1.0, 2.0]).beside(torch.tensor([1]))
    assert found.v[0, :, 0].tolist() == [0.0, 1.0, 1.0]
    assert found.objective.tolist() == [[1.0, 2.0, 2.0]]
    assert found.information.shape == (1, 3, 1, 1)


def test_a_held_coordinate_keeps_its_place(toy: Observation) -> None:
    problem = build_problem([toy], FitSetup(model="powerlaw", energies=BAND))
    goal = Objective.of(problem, "scale")
    x = torch.tensor([[[0.35, 0.5], [0.35, 0.6]]], dtype=torch.float64)
    held = torch.tensor([[[True, False], [True, False]]])
    ends = descend(goal, x, held, 60, 1e-4)
    assert ends.x[0, :, 0].tolist() == [0.35, 0.35]
    assert float((ends.x[0, 0, 1] - ends.x[0, 1, 1]).abs()) < 1e-4
