"""What the optimiser minimises: values, slopes and coordinates that belong together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from fit_zoo import BAND, observation
from xrayflow.fitting import Objective, minimise, starting_points
from xrayflow.fitting.objective import OBJECTIVES
from xrayflow.folding import FINER
from xrayflow.ogip import Observation
from xrayflow.setup import FitSetup, build_problem


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """A power law of index 1.7 and norm 0.05, about 2e4 counts in the band."""
    return observation(tmp_path_factory.mktemp("toy"), exposure=200.0)


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed + i) for i in range(count)]


def test_the_probit_goal_is_the_posterior_density_in_probit_coordinates(toy: Observation) -> None:
    problem = build_problem([toy], FitSetup(model="powerlaw", energies=BAND))
    starts, _ = starting_points(problem, 3, generators(1))
    optima = minimise(problem, starts)

    def by_hand(v: np.ndarray) -> float:
        at = torch.from_numpy(np.asarray(v))[None, None]
        return -2.0 * float(problem.log_likelihood(problem.prior.to_theta(at))) + float((v**2).sum())

    best = optima.v[0, optima.objective[0].argmin()].numpy()
    rival = minimize(by_hand, best + 0.01, method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-7})
    assert float(optima.objective.min()) == pytest.approx(rival.fun, abs=2e-3)
    assert float(optima.objective.min()) == pytest.approx(by_hand(best), abs=1e-6)
    # half the curvature, by Fisher's information: Poisson counts of this size differ from it by a few percent
    step = 1e-3
    shift = np.array([step, 0.0])
    curvature = (by_hand(best + shift) - 2.0 * by_hand(best) + by_hand(best - shift)) / (2.0 * step**2)
    assert float(optima.information[0, 0, 0, 0]) == pytest.approx(curvature, rel=0.1)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_the_gradient_of_a_goal_is_that_of_its_value(toy: Observation, kind: str) -> None:
    problem = build_problem(
        [toy], FitSetup(model="TBabs*powerlaw", energies=BAND, prior=["powerlaw.PhoIndex~N(1.9,0.2)"])
    )
    asked = Objective.of(problem, kind)
    for goal in (asked, asked.pull()):
        x = torch.tensor([[0.3, 0.4, 0.55]], dtype=torch.float64)
        half, curvature = goal.curvature(x)
        assert bool((torch.linalg.eigvalsh(curvature) > 0).all())
        for i in range(3):
            step = torch.zeros_like(x)
            step[0, i] = 1e-5
            up, down = (goal.value(at) for at in (x + step, x - step))
            assert 2.0 * float(half[0, i]) == pytest.approx(float(up - down) / 2e-5, rel=1e-4, abs=1e-2)


def test_coordinates_go_there_and_back(toy: Observation) -> None:
    problem = build_problem(
        [toy],
        FitSetup(
            model="TBabs*powerlaw", energies=BAND, prior=["powerlaw.PhoIndex~N(1.9,0.2)", "powerlaw.norm=lin:0:1"]
        ),
    )
    goal = Objective.of(problem, "probit")
    x = torch.rand((50, 3), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    theta = goal.to_theta(x)
    torch.testing.assert_close(goal.from_theta(theta), x)
    torch.testing.assert_close(goal.to_probit(x), problem.prior.to_probit(theta).clamp(-8, 8), rtol=1e-6, atol=1e-6)
    assert bool(problem.prior.contains(goal.to_theta(torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]).double())).all())
    step = 1e-7
    v_slope = (goal.to_probit(x + step) - goal.to_probit(x - step)) / (2 * step)
    inside = goal.to_probit(x).abs() < 4
    torch.testing.assert_close(goal.probit_slope(x)[inside], v_slope[inside], rtol=1e-4, atol=1e-4)


def test_the_statistic_has_no_prior_but_the_edges_of_the_box(toy: Observation) -> None:
    problem = build_problem([toy], FitSetup(model="powerlaw", energies=BAND, prior=["powerlaw.PhoIndex~N(1.9,0.2)"]))
    goal, x = Objective.of(problem, "statistic"), torch.tensor([[0.3, 0.5]], dtype=torch.float64)
    value, slope, bend = goal.penalty(x)
    assert not any(bool(part.any()) for part in (value, slope, bend))
    assert float(goal.value(x)) == pytest.approx(float(problem.statistic(goal.to_theta(x)[:, None])), rel=1e-12)
    assert (goal.lo, goal.hi) == (0.0, 1.0)
    assert 0.0 < goal.pull().lo < goal.pull().hi < 1.0


def test_an_objective_is_followed_at_any_fidelity_and_by_rows(toy: Observation) -> None:
    problem = build_problem([toy, toy], FitSetup(model="bbodyrad", energies=BAND))
    goal, x = Objective.of(problem, "scale"), torch.tensor([[0.8, 0.5], [0.9, 0.4]], dtype=torch.float64)
    finer = goal.at(FINER)
    assert goal.cost < finer.cost
    assert 0.0 < float((finer.value(x) / goal.value(x) - 1.0).abs().max()) < 0.01
    row = torch.tensor([1])
    torch.testing.assert_close(goal.select(row).value(x[row]), goal.value(x)[row])
    again = goal.pull()
    assert (again.kind, again.pulled, Objective.of(problem, "statistic").pull().kind) == ("probit", True, "statistic")
