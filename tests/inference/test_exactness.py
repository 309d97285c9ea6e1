"""Weights of the corrected grid become the answer's: looked at, corrected at more places, or computed anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import xrayflow.inference.exactness
from ladder_zoo import BUDGET, climbed
from ogip_zoo import ENERGY_EDGES, effective_area, power_law_counts, redistribution, toy_observation
from xrayflow.fitting import minimise
from xrayflow.folding import SEARCH, Grid
from xrayflow.inference import SamplingBudget, infer_problem
from xrayflow.inference.answer import Candidate, picked_rows
from xrayflow.inference.checks.grid import DRAWS, FINER_DRAWS, FOLLOWS
from xrayflow.inference.checks.verdict import GRID_SPREAD
from xrayflow.inference.exactness import HIDDEN, MORE_PLACES, PARTS, SEEN, weighed_exactly
from xrayflow.inference.ladder import State
from xrayflow.inference.weights import log_mean_weight
from xrayflow.joint_data import JointData
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem

SOFT = FitSetup(model="TBabs*powerlaw", energies=[(0.4, 6.0)])


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """Of 2e6 counts, which see the search's grid, and of a thousand, in the band where absorption bends most."""
    settings = ((20_000.0, 3), (10.0, 4))
    return build_problem(
        [toy_observation(tmp_path_factory.mktemp("soft"), exposure=exposure, seed=seed) for exposure, seed in settings],
        SOFT,
    )


@pytest.fixture(scope="module")
def state(bright: Problem) -> State:
    """At the top of the ladder."""
    return climbed(bright)


def never(source: int, problem: Problem, exactly: bool) -> State:
    raise AssertionError(f"source {source} was climbed again")


def places(problem: Problem) -> int:
    """Where the first source of a corrected problem is exact."""
    correction = problem.data.sets[0].forward.correction
    assert correction is not None
    return int(correction.known[correction.rows[0]].sum())


def uncorrected(state: State, source: int = 0) -> State:
    """One source alone, with the same draws weighed on the search's grid, with nothing corrected."""
    at = torch.tensor([source])
    cheap = state.problem.select(at).at(SEARCH)
    (data,) = cheap.data.sets
    correction = data.forward.correction
    assert correction is not None
    forward = replace(data.forward, correction=replace(correction, table=torch.zeros_like(correction.table)))
    cheap = replace(cheap, data=JointData((replace(data, forward=forward),)))
    drawn = state.drawn(source)
    again = replace(drawn, log_target=cheap.log_target(drawn.v))
    generators = [torch.Generator().manual_seed(5)]
    made = State(cheap, state.budget, generators, state.modes.select(at), drawn.proposal)
    made.fresh = [again]
    made.tails.last = {0: state.tails.last[source]}
    return made


def change(one: Candidate) -> torch.Tensor:
    """What the answer's own grid makes of the log likelihoods that posterior draws were weighed with."""
    rows = picked_rows(one.drawn, 100, torch.Generator().manual_seed(6))
    theta = one.exact.prior.to_theta(one.drawn.v[:, rows])
    return one.exact.log_likelihood(theta)[0] - one.drawn.log_likelihood[0, rows]


def test_weights_that_follow_are_kept_as_they_are(state: State, bright: Problem) -> None:
    for source, one in enumerate(weighed_exactly(state, bright, True, never)):
        assert not one.problem.is_exact
        assert one.exact.is_exact
        assert torch.equal(one.drawn.log_target, state.drawn(source).log_target)
        visited = state.tails.last[source].visited
        assert visited is not None
        assert one.spent == int(state.spent[source]) + 2 * visited.shape[0] + DRAWS + 2 * FINER_DRAWS
        assert one.grid_spread <= GRID_SPREAD
        assert float(change(one).mean().abs()) <= FOLLOWS
        assert float(change(one).std()) <= FOLLOWS
        assert one.searched == state.tails.evaluations[source]


def test_without_a_correction_they_would_not_follow(state: State, bright: Problem) -> None:
    """Else nothing here would tell whether there is one."""
    poor = uncorrected(state)
    v = state.drawn(0).v[:, :50]
    off = bright.select(torch.tensor([0])).log_target(v) - poor.problem.log_target(v)
    assert float(off.mean().abs()) > 5.0 * FOLLOWS


def test_a_correction_that_does_not_follow_is_made_anew_with_more_places(state: State, bright: Problem) -> None:
    poor, at = uncorrected(state), torch.tensor([0])
    (one,) = weighed_exactly(poor, bright.select(at), True, never)
    assert not one.problem.is_exact
    assert places(one.problem) == one.modes.distinct()[0].numel() + MORE_PLACES
    assert torch.equal(one.drawn.v, state.drawn(0).v), "the draws are the same, their weights are others"
    torch.testing.assert_close(one.drawn.log_target, one.problem.log_target(one.drawn.v))
    assert float(change(one).mean().abs()) <= FOLLOWS
    assert float(change(one).std()) <= FOLLOWS
    good = log_mean_weight(state.drawn(0).log_weight)
    torch.testing.assert_close(log_mean_weight(one.drawn.log_weight), good, rtol=0, atol=FOLLOWS)


def test_where_no_correction_follows_the_answers_own_grid_weighs(
    state: State, bright: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    poor, exact = uncorrected(state), bright.select(torch.tensor([0]))
    monkeypatch.setattr(xrayflow.inference.exactness, "_corrected", lambda *arguments: poor.problem)
    (one,) = weighed_exactly(poor, exact, True, never)
    assert one.problem.is_exact
    assert torch.equal(one.drawn.v, state.drawn(0).v)
    torch.testing.assert_close(one.drawn.log_target, exact.log_target(one.drawn.v), rtol=1e-12, atol=0)
    assert float(change(one).abs().max()) < 1e-6


def test_a_proposal_whose_exact_weights_are_too_few_is_climbed_from_again(
    state: State, bright: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the answer's own grid from the start, and counted."""
    poor, exact = uncorrected(state), bright.select(torch.tensor([0]))
    poor.budget = replace(BUDGET, ess=1.5 * state.drawn(0).ess)
    monkeypatch.setattr(xrayflow.inference.exactness, "_corrected", lambda *arguments: poor.problem)
    climbs = []

    def climb_again(source: int, problem: Problem, exactly: bool) -> State:
        assert problem.is_exact
        climbs.append(exactly)
        return climbed(problem, budget=poor.budget, exactly=exactly)

    (one,) = weighed_exactly(poor, exact, True, climb_again)
    assert climbs == [True]
    assert one.drawn.ess >= poor.budget.ess
    assert one.problem.is_exact
    assert one.spent > int(poor.spent[0]) + state.drawn(0).v.shape[1]
    torch.testing.assert_close(one.drawn.log_target, exact.log_target(one.drawn.v), rtol=1e-12, atol=0)


def counted(monkeypatch: pytest.MonkeyPatch, state: State, exact: Problem) -> tuple[Candidate, int]:
    """A candidate, and the rows whose likelihood was asked for on its way; finding the best point is not of it."""
    rows = 0
    value = Problem.log_likelihood

    def counting(self: Problem, theta: torch.Tensor) -> torch.Tensor:
        nonlocal rows
        rows += theta.shape[0] * theta.shape[1]
        return value(self, theta)

    (best,) = xrayflow.inference.exactness.best_points(state.problem, state.modes, state.answers())
    with monkeypatch.context() as patch:
        patch.setattr(Problem, "log_likelihood", counting)
        patch.setattr(xrayflow.inference.exactness, "best_points", lambda *arguments: [best])
        (one,) = weighed_exactly(state, exact, True, never)
    return one, rows


@pytest.mark.parametrize("case", ["follows", "more places", "exact"])
def test_every_evaluation_on_the_way_is_counted(
    state: State, bright: Problem, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_state, exact = uncorrected(state), bright.select(torch.tensor([0]))
    if case == "follows":
        drawn = state.drawn(0)
        one_state.problem = state.problem.select(torch.tensor([0]))
        one_state.fresh = [drawn]
    elif case != "more places":
        monkeypatch.setattr(xrayflow.inference.exactness, "_corrected", lambda *arguments: one_state.problem)
    found, rows = counted(monkeypatch, one_state, exact)
    assert found.spent == rows


def assert_best(one: Candidate) -> None:
    """The best point is that of the answer's own grid, sought from the modes and from the likeliest draws."""
    likeliest = one.drawn.v[:, one.drawn.log_target[0].topk(4).indices]
    v = torch.cat([one.modes.v[:, one.modes.distinct()[0]], likeliest], dim=1)
    known = minimise(one.exact, v, objective="scale", near=True)
    at = one.exact.prior.to_theta(known.v[0, known.objective[0].argmin()])
    places = (one.best.theta[None, None], at[None, None])
    best, wanted = (one.exact.data.deviance(one.exact.expected(theta), theta) for theta in places)
    assert float(best) == pytest.approx(float(wanted), abs=0.02)


@pytest.mark.parametrize(("bins", "climbs"), [(60, False), (8, True)])
def test_a_grid_of_ours_that_is_too_coarse_is_made_finer(bright: Problem, bins: int, climbs: bool) -> None:
    """With draws that stay good they are weighed again, else the ladder is climbed on the finer grid."""
    coarse = bright.select(torch.tensor([0])).on(Grid.log(0.05, 20.0, bins))
    again: list[Problem] = []

    def climb_again(source: int, problem: Problem, exactly: bool) -> State:
        assert source == 0
        again.append(problem)
        return climbed(problem, exactly=exactly)

    below = climbed(coarse)
    (one,) = weighed_exactly(below, coarse, True, climb_again)
    assert one.exact.data.sets[0].forward.grid.energy_edges.size == PARTS[0] * bins + 1
    assert bool(again) == climbs
    assert float(change(one).abs().max()) <= FOLLOWS
    if climbs:
        assert one.spent > int(below.spent[0]) + one.drawn.v.shape[1]
    assert_best(one)


def test_a_grid_that_a_user_gives_is_never_made_finer(bright: Problem) -> None:
    coarse = bright.select(torch.tensor([0])).on(Grid.log(0.05, 20.0, 60))
    (one,) = weighed_exactly(climbed(coarse), coarse, False, never)
    assert one.grid_spread > GRID_SPREAD
    assert not one.own_grid
    assert one.exact is coarse


@pytest.fixture(scope="module")
def narrow_line(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """A line of 1 eV at 3 keV, twelve standard deviations strong: the search's bins there are 60 eV wide, so its place
    jumps from bin to bin."""
    counts = power_law_counts(2000.0)
    at = int(ENERGY_EDGES.searchsorted(3.0)) - 1
    profile = effective_area()[at] * redistribution()[at]
    counts = counts + 12.0 * profile / ((profile**2 / counts).sum()) ** 0.5
    setup = FitSetup(
        model="TBabs*(powerlaw+gaussian)",
        prior=["powerlaw.norm=1e-3:1", "gaussian.LineE=2:4", "gaussian.norm=1e-5:1e-2"],
        freeze={"TBabs.nH": 0.0, "powerlaw.PhoIndex": 1.7, "gaussian.Sigma": 0.001},
        energies=[(0.8, 7.0)],
    )
    folder = tmp_path_factory.mktemp("line")
    return build_problem([toy_observation(folder, counts=counts.round(), exposure=2000.0)], setup)


def test_a_line_narrower_than_the_searchs_bins_is_weighed_on_a_grid_that_has_it(narrow_line: Problem) -> None:
    state = climbed(narrow_line, budget=SamplingBudget())

    def climb_again(source: int, problem: Problem, exactly: bool) -> State:
        return climbed(problem, budget=SamplingBudget(), exactly=exactly)

    (one,) = weighed_exactly(state, narrow_line, False, climb_again)
    off = change(replace(one, drawn=state.drawn(0)))
    assert not (float(off.mean().abs()) <= FOLLOWS and float(off.std()) <= FOLLOWS), "the search's grid did for it"
    assert float(change(one).mean().abs()) <= FOLLOWS
    assert float(change(one).std()) <= FOLLOWS
    assert_best(one)


def test_a_line_narrower_than_the_searchs_bins_is_certified_like_any_other(narrow_line: Problem) -> None:
    """A proposal that knows the search's grid alone is none for the exact posterior."""
    for seed in (0, 1):
        (answer,) = infer_problem(narrow_line, seed=seed)
        assert answer.computation.status == "certified", answer.computation.reasons
        saturated = float(narrow_line.data.sets[0].likelihood.log_saturated())
        assert answer.deviance.value <= 2.0 * (saturated - answer.log_likelihood.max()) + 1e-4


def test_what_a_correction_hides_from_every_draw_is_seen_where_a_search_went(state: State, bright: Problem) -> None:
    """At a place three standard deviations out the correction is wrecked: it makes the posterior too small there."""
    at, exact = torch.tensor([0]), bright.select(torch.tensor([0]))
    own, mode = state.problem.select(at), state.modes.v[0, state.modes.distinct()[0][0]]
    width = torch.linalg.inv(state.modes.information[0, state.modes.distinct()[0][0]])
    out = (mode + 3.0 * torch.linalg.cholesky(width)[:, -1])[None]
    further = own.corrected(own.prior.to_theta(out)[None], torch.ones((1, 1), dtype=torch.bool))
    (data,) = further.data.sets
    correction = data.forward.correction
    assert correction is not None
    table = correction.table.clone()
    table[0, -1, 0] -= 0.003 * torch.linspace(-1.0, 1.0, table.shape[-1])
    forward = replace(data.forward, correction=replace(correction, table=table))
    hiding = replace(further, data=JointData((replace(data, forward=forward),)))
    truth, seen = (float(of.log_target(out[None])) for of in (exact, hiding))
    assert seen < truth - HIDDEN
    assert truth > float(state.drawn(0).log_target.max()) - SEEN
    climbs: list[bool] = []

    def climb_again(source: int, problem: Problem, exactly: bool) -> State:
        climbs.append(exactly)
        assert abs(float(problem.log_target(out[None])) - truth) < FOLLOWS, "it is corrected where that was seen"
        return climbed(problem, exactly=exactly)

    for problem, wanted in ((hiding, [True]), (own, [])):
        alone = uncorrected(state)
        alone.problem, alone.fresh = problem, [state.drawn(0)]
        alone.tails.last = {0: replace(state.tails.last[0], visited=out)}
        climbs.clear()
        (one,) = weighed_exactly(alone, exact, True, climb_again)
        assert climbs == wanted
        assert float(change(one).abs().mean()) <= FOLLOWS
