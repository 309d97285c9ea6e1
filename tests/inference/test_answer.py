"""From weighted draws to a judged answer: every number of the verdict comes from where it says."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from ladder_zoo import BUDGET, SETUP, climbed, pair_problem
from ogip_zoo import toy_observation
from xrayflow.fitting import minimise
from xrayflow.inference import Posterior
from xrayflow.inference.answer import Candidate, best_points, judge, picked_rows, resampled
from xrayflow.inference.checks.grid import FOLLOWS
from xrayflow.inference.checks.verdict import GRID_SPREAD
from xrayflow.inference.weights import effective_sample_size, log_mean_weight, pareto_k
from xrayflow.setup import build_problem
from xrayflow.shown import shown_at


@pytest.fixture(scope="module")
def candidate(tmp_path_factory: pytest.TempPathFactory) -> Candidate:
    """A spectrum of 8000 counts, weighed."""
    problem = build_problem([toy_observation(tmp_path_factory.mktemp("one"), exposure=200.0, seed=2)], SETUP)
    state = climbed(problem)
    (best,) = best_points(state.problem, state.modes, state.answers())
    return Candidate(
        exact=problem,
        problem=state.problem,
        generator=state.generators[0],
        modes=state.modes,
        drawn=state.answers()[0],
        best=best,
        grid_spread=0.01,
        spent=int(state.spent[0]),
    )


@pytest.fixture(scope="module")
def answer(candidate: Candidate) -> Posterior:
    return judge(candidate, BUDGET, 7)


def test_the_weights_speak_for_themselves(candidate: Candidate, answer: Posterior) -> None:
    log_weight = candidate.drawn.log_weight
    assert answer.ess == pytest.approx(float(effective_sample_size(log_weight)))
    assert answer.pareto_k == pareto_k(log_weight[0].numpy())
    assert answer.log_evidence == pytest.approx(float(log_mean_weight(log_weight)))
    assert answer.log_evidence_error == pytest.approx(math.sqrt(1.0 / answer.ess - 1.0 / log_weight.numel()))
    np.testing.assert_array_equal(answer.log_weight, log_weight[0].numpy())
    theta = candidate.problem.prior.to_theta(candidate.drawn.v)
    np.testing.assert_allclose(answer.draws, theta[0].numpy())
    # as the weights were computed, and as the answer's own grid has them to what weights do not see
    np.testing.assert_allclose(answer.log_likelihood, candidate.problem.log_likelihood(theta)[0].numpy(), rtol=1e-9)
    exact = candidate.exact.log_likelihood(theta)[0].numpy()
    change = (exact - answer.log_likelihood)[picked_rows(candidate.drawn, 200, torch.Generator().manual_seed(1))]
    assert abs(change.mean()) < FOLLOWS
    assert change.std() < FOLLOWS
    assert (answer.seed, answer.mode, answer.network) == (7, "exact", None)


def test_evaluations_are_those_of_the_candidate_and_of_its_modes(candidate: Candidate, answer: Posterior) -> None:
    modes = candidate.modes.distinct()[0].numel()
    assert answer.weighing.evaluations["draws"] == candidate.spent + modes
    assert answer.efficiency == pytest.approx(answer.ess / (candidate.spent + modes))
    assert answer.weighing.evaluations["optimise"] == int(candidate.modes.evaluations) + candidate.best.evaluations
    assert candidate.best.evaluations > 0


def test_the_best_point_is_found_from_a_draw_where_the_modes_missed_it(candidate: Candidate, answer: Posterior) -> None:
    """Modes that say they are far from the best: the likeliest draw leads to the same place."""
    away = replace(candidate.modes, v=torch.full_like(candidate.modes.v, 2.5))
    (best,) = best_points(candidate.problem, away, [candidate.drawn])
    again = judge(replace(candidate, modes=away, best=best), BUDGET, 7)
    np.testing.assert_allclose(again.best, answer.best, rtol=1e-4)
    assert again.deviance.value == pytest.approx(answer.deviance.value, abs=1e-3)
    # and both are the best of the exact problem
    known = minimise(candidate.exact, candidate.modes.v[:, :4], objective="scale")
    at = candidate.exact.prior.to_theta(known.v[0, known.objective[0].argmin()])
    np.testing.assert_allclose(answer.best, at.numpy(), rtol=1e-3)
    value = candidate.exact.data.deviance(candidate.exact.expected(at[None, None]), at[None, None])
    assert answer.deviance.value == pytest.approx(float(value), abs=2e-3)


def test_what_is_shown_of_the_best_point_is_of_the_answers_own_grid(candidate: Candidate, answer: Posterior) -> None:
    statistic, deviance = shown_at(candidate.exact, candidate.best.theta)
    assert (answer.statistic, answer.deviance) == (statistic, deviance)
    assert answer.provenance.grid == candidate.exact.data.grid
    assert "thinned" not in answer.provenance.grid


def test_the_best_points_of_a_batch_are_those_of_each_source(tmp_path_factory: pytest.TempPathFactory) -> None:
    state = climbed(pair_problem([tmp_path_factory.mktemp("pair") for _ in range(2)]))
    together = best_points(state.problem, state.modes, state.answers())
    for source, found in enumerate(together):
        at = torch.tensor([source])
        (alone,) = best_points(state.problem.select(at), state.modes.select(at), [state.drawn(source)])
        torch.testing.assert_close(found.theta, alone.theta, rtol=1e-6, atol=0)
        assert found.evaluations == alone.evaluations


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"grid_spread": GRID_SPREAD + 0.01}, "energy grid is too coarse"),
        ({"modes": "moved"}, "hardly covered"),
    ],
)
def test_what_a_candidate_brings_is_judged(candidate: Candidate, change: dict[str, object], words: str) -> None:
    if change.get("modes") == "moved":
        drawn = replace(candidate.drawn, log_target=candidate.drawn.log_target - 300.0)
        change = {"drawn": drawn}
    bent = judge(replace(candidate, **change), BUDGET, 7)  # type: ignore[arg-type]
    assert bent.computation.status == "approximate"
    assert any(words in reason for reason in bent.computation.reasons)


def test_more_than_one_mode_is_a_flag(candidate: Candidate, answer: Posterior) -> None:
    assert "several_modes" not in answer.flags
    modes = candidate.modes
    v = torch.cat([modes.v, modes.v[:, :1] + 1.0], dim=1)
    objective = torch.cat([modes.objective, modes.objective[:, :1] + 5.0], dim=1)
    information = torch.cat([modes.information, modes.information[:, :1]], dim=1)
    twice = replace(modes, v=v, objective=objective, information=information)
    assert "several_modes" in judge(replace(candidate, modes=twice), BUDGET, 7).flags


def test_resampled_draws_follow_the_weights(candidate: Candidate) -> None:
    generator = torch.Generator().manual_seed(3)
    v = resampled(candidate.drawn, 4000, generator)
    weight = torch.softmax(candidate.drawn.log_weight[0], 0)
    mean = (weight[:, None] * candidate.drawn.v[0]).sum(0)
    assert v.shape == (4000, 2)
    torch.testing.assert_close(v.mean(0), mean, rtol=0.0, atol=0.05 * float(v.std(0).max()))
    again = resampled(candidate.drawn, 4000, torch.Generator().manual_seed(3))
    assert torch.equal(v, again)
    rows = picked_rows(candidate.drawn, 4000, torch.Generator().manual_seed(3))
    assert torch.equal(candidate.drawn.v[0, rows], v)
