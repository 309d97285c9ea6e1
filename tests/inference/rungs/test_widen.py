"""The rung that looks for tails: whom it searches from, and what comes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ladder_zoo import BUDGET, at_foot, climbed, pair_problem
from xrayflow import infer, parse_model, read_observation
from xrayflow.inference.checks.tails import PILOT
from xrayflow.inference.ladder import State, climb
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.rungs import LADDER, WIDENINGS, Explore, Refine, Widen, missing_tails
from xrayflow.inference.rungs.widen import MORE, search
from xrayflow.inference.weights import log_mean_weight
from xrayflow.problem import Problem


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return pair_problem([tmp_path_factory.mktemp(name) for name in ("faint", "bright")])


@pytest.fixture(scope="module")
def top(pair: Problem) -> State:
    return climbed(pair)


def half_blind(pair: Problem) -> State:
    """At the foot, with a first proposal of the second source that is half of its posterior, cut along the index."""
    state = at_foot(pair)
    mixture = state.first.mixture
    root = torch.linalg.cholesky(torch.linalg.inv(state.modes.information[1, 0]))
    mean = mixture.mean.clone()
    mean[1] = state.modes.v[1, 0] + 1.3 * root[:, 0]
    scale = mixture.scale_tril.clone()
    scale[1] = 0.5 * root
    bare = (state.first.parts[0], Components.prior(pair.parameters))
    state.first = Proposal(replace(mixture, mean=mean, scale_tril=scale), bare)
    return state


def weighed_as_it_is(state: State) -> State:
    """Fresh draws of the first proposals."""
    state.weigh(torch.tensor([0, 1]), state.first, BUDGET.first)
    return state


def test_the_rung_stands_before_and_after_the_ensemble() -> None:
    explores = [type(rung) for rung in LADDER].index(Explore)
    kinds = [type(rung) is Widen for rung in LADDER]
    assert (sum(kinds[:explores]), sum(kinds[explores:])) == WIDENINGS


def test_whole_answers_are_searched_from_once_and_keep_their_draws(top: State, pair: Problem) -> None:
    assert set(top.tails.last) == {0, 1}
    assert not top.tails.widened
    assert all(top.tails.evaluations[source] > 0 for source in (0, 1))
    before = dict(top.tails.evaluations)
    assert missing_tails(top) == ["", ""]
    search(top)
    assert dict(top.tails.evaluations) == before
    unsearched = climbed(pair, rungs=[Refine()])
    for source in (0, 1):
        assert torch.equal(unsearched.drawn(source).v, top.drawn(source).v)


def test_sources_without_draws_wait_for_other_rungs(pair: Problem) -> None:
    assert Widen().climbers(at_foot(pair)).numel() == 0


def test_an_answer_that_misses_half_is_widened_and_made_whole(pair: Problem, top: State) -> None:
    state = weighed_as_it_is(half_blind(pair))
    rung = Widen()
    assert rung.climbers(state).tolist() == [1]
    assert state.tails.last[1].kernels is not None
    spent = int(state.spent[1])
    for _ in climb(state, [rung] * WIDENINGS[0]):
        pass
    assert int(state.spent[1]) >= spent + MORE
    assert [len(one.parts[0].parts) for one in (state.base(0), state.base(1))] == [
        len(state.first.parts[0].parts),
        len(state.first.parts[1].parts) + 1,
    ]
    evidence = [float(log_mean_weight(one.drawn(1).log_weight)) for one in (state, top)]
    assert evidence[0] == pytest.approx(evidence[1], abs=0.1)
    assert missing_tails(state) == ["", ""]


def test_new_draws_are_searched_from_anew(pair: Problem) -> None:
    state = weighed_as_it_is(at_foot(pair))
    search(state)
    assert set(state.tails.last) == {0, 1}
    state.weigh(torch.tensor([1]), state.first.select(torch.tensor([1])), BUDGET.first)
    assert set(state.tails.last) == {0}


def test_the_modes_keep_their_share_however_often_a_proposal_is_widened(pair: Problem) -> None:
    state = weighed_as_it_is(half_blind(pair))
    for _ in climb(state, [Widen()] * WIDENINGS[0]):
        pass
    assert torch.equal(state.base(1).mixture.mean, state.first.mixture.mean[1:])


def test_the_search_is_counted_apart_from_the_draws(pair: Problem) -> None:
    state = weighed_as_it_is(half_blind(pair))
    spent = state.spent.clone()
    Widen().climbers(state)
    assert torch.equal(state.spent, spent)
    assert state.tails.evaluations[1] > PILOT


def test_the_tail_that_was_certified_away_is_found(cases_folder: Path) -> None:
    """A third of the mass lies at T_max < 0.1; two boxes fitted apart give ln Z -1036.25, a 5 % quantile of .036.

    The quantile is known to a twentieth of the interval's width, which is .17 keV.
    """
    answer = infer(
        read_observation(
            cases_folder / "thin-tail/s.pha",
            rmf=cases_folder.parent / "data/nicer_response/nicer.rmf.gz",
            background="none",
        ),
        parse_model("TBabs*simpl*ezdiskbb", abund="angr"),
        energies=[(0.5, 1.5), (2.3, 10.0)],
        systematic=0.0,
        seed=1,
    )
    summary = answer.summary()
    low = summary["parameters"]["ezdiskbb.T_max"]["lower90"]
    assert summary["evaluations"]["tails"] > 0
    assert answer.computation.status == "certified"
    assert answer.log_evidence == pytest.approx(-1036.25, abs=0.15)
    assert low == pytest.approx(0.036, abs=0.009)
