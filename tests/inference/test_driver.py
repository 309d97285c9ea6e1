"""From a problem to its answers: every likelihood is counted, a coarse grid is found out, progress ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch

from faded_zoo import faded_problem
from ogip_zoo import toy_observation
from xrayflow.folding import Grid
from xrayflow.inference import Posterior, SamplingBudget, infer, infer_problem
from xrayflow.ogip import Observation
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.statistics import Curvature

BAND = [(1.0, 6.0)]
FREEZE = {"TBabs.nH": 0.05}
MODEL = "TBabs*powerlaw"


@pytest.fixture(scope="module")
def faint(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """About 400 counts of a power law."""
    return toy_observation(tmp_path_factory.mktemp("faint"), exposure=10.0, seed=1)


@pytest.fixture(scope="module")
def brilliant(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """A million counts, which see the energy grid."""
    return toy_observation(tmp_path_factory.mktemp("brilliant"), exposure=20_000.0, seed=3)


OPTIMISERS = "/fitting/", "/proposals/profiles.py", "/rungs/ridges.py"


def counted_during(monkeypatch: pytest.MonkeyPatch, function: Callable[[], Posterior]) -> tuple[Posterior, int]:
    """An answer, and how many rows of theta its likelihood was asked for outside the optimiser.

    Everything asks `Problem.log_likelihood`, or `Problem.curvature`, which counts as one for each parameter (the
    optimiser's calls are those below `fitting`, and of the profile paths and their correction).
    """
    rows = 0
    value, curvature = Problem.log_likelihood, Problem.curvature

    def count(theta: torch.Tensor, each: int) -> None:
        nonlocal rows
        frame = sys._getframe(2)
        while frame is not None and not any(room in frame.f_code.co_filename for room in OPTIMISERS):
            frame = frame.f_back  # type: ignore[assignment]
        if frame is None:
            rows += theta.shape[0] * theta.shape[1] * each

    def counting(self: Problem, theta: torch.Tensor) -> torch.Tensor:
        count(theta, 1)
        return value(self, theta)

    def counting_curvature(self: Problem, theta: torch.Tensor, slope: torch.Tensor) -> Curvature:
        count(theta, theta.shape[-1])
        return curvature(self, theta, slope)

    with monkeypatch.context() as patch:
        patch.setattr(Problem, "log_likelihood", counting)
        patch.setattr(Problem, "curvature", counting_curvature)
        return function(), rows


def outside_the_optimiser(answer: Posterior) -> int:
    """What an answer says that its draws, checks and searches cost."""
    return answer.weighing.evaluations["draws"] + answer.weighing.evaluations["tails"]


def test_every_likelihood_of_a_draw_is_counted(faint: Observation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pilots, rejected rounds, the grid's check and the modes' coverage included."""
    problem = build_problem([faint], FitSetup(model=MODEL, freeze=FREEZE, energies=BAND, grouping="min:10"))
    answer, rows = counted_during(monkeypatch, lambda: infer_problem(problem)[0])
    assert outside_the_optimiser(answer) == rows
    assert rows > answer.draws.shape[0]


def test_draws_that_are_weighed_again_on_a_finer_grid_are_counted(
    brilliant: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 bins: the draws stay good on the finer grid. 8 bins: everything is climbed again."""
    problem = build_problem([brilliant], FitSetup(model=MODEL, energies=BAND))
    for bins in (60, 8):
        coarse = problem.on(Grid.log(0.05, 20.0, bins))
        answer, rows = counted_during(monkeypatch, lambda coarse=coarse: infer_problem(coarse)[0])
        assert "each bin in 3" in answer.provenance.grid
        assert outside_the_optimiser(answer) == rows, bins


def test_explored_answers_count_their_ensemble(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = faded_problem(tmp_path_factory.mktemp("faded"))
    answer, rows = counted_during(
        monkeypatch,
        lambda: infer_problem(problem, budget=SamplingBudget(ess=1500, first=1.0, most=2.0))[0],
    )
    assert rows > 12_000
    assert outside_the_optimiser(answer) == rows


def test_a_grid_that_is_too_coarse_is_replaced_by_a_finer_one(brilliant: Observation) -> None:
    problem = build_problem([brilliant], FitSetup(model=MODEL, energies=BAND))
    answer = infer_problem(problem.on(Grid.log(0.05, 20.0, 60)))[0]
    assert "each bin in 3" in answer.provenance.grid
    assert not any("energy grid" in reason for reason in answer.computation.reasons)


def test_a_grid_that_stays_too_coarse_is_not_certified(brilliant: Observation) -> None:
    problem = build_problem([brilliant], FitSetup(model=MODEL, energies=BAND))
    answer = infer_problem(problem.on(Grid.log(0.05, 20.0, 8)))[0]
    assert answer.computation.status != "certified"
    assert any("energy grid" in reason for reason in answer.computation.reasons)


def test_a_grid_that_a_user_gives_is_the_answers_and_the_reasons_say_how_far_off_it_is(
    brilliant: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = Grid.log(0.05, 20.0, 60)
    answer, rows = counted_during(monkeypatch, lambda: infer(brilliant, MODEL, energies=BAND, grid=grid))
    assert answer.provenance.grid == grid.description
    assert answer.computation.status == "approximate"
    assert any("ln L scatters by" in reason and "on a finer one" in reason for reason in answer.reasons)
    # nothing is weighed again: the weights are those of this grid
    assert outside_the_optimiser(answer) == rows
    problem = build_problem([brilliant], FitSetup(model=MODEL, energies=BAND, grid=grid))
    theta = torch.from_numpy(answer.draws)[None, :50]
    np.testing.assert_allclose(answer.log_likelihood[:50], problem.log_likelihood(theta)[0], rtol=1e-9)
    assert float((problem.finer(3).log_likelihood(theta) - problem.log_likelihood(theta)).std()) > 0.3


def test_progress_ends_at_one(faint: Observation) -> None:
    seen: list[tuple[str, float]] = []
    problem = build_problem([faint], FitSetup(model=MODEL, freeze=FREEZE, energies=BAND, grouping="min:10"))
    infer_problem(problem, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("done", 1.0)
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)
