"""The rung that looks for tails: whom it walks from, and what comes of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ladder_zoo import at_foot, climbed, pair_problem
from xrayflow import infer, parse_model, read_observation
from xrayflow.inference.ladder import State
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.student import StudentMixture
from xrayflow.inference.rungs import LADDER, TAIL_ROUNDS, Widen, missing_tail
from xrayflow.inference.rungs.widen import EVEN, TailFinder, leaves_doubt
from xrayflow.problem import Problem


def drawn_with(log_weight: torch.Tensor) -> WeightedDraws:
    """Draws of one source with given weights."""
    draws = log_weight.numel()
    eye = torch.eye(2, dtype=torch.float64)[None, None]
    mixture = StudentMixture(torch.zeros((1, 1)).double(), torch.zeros((1, 1, 2)).double(), eye)
    v = torch.zeros((1, draws, 2), dtype=torch.float64)
    nothing = torch.zeros((draws, 0), dtype=torch.float64)
    return WeightedDraws(
        Proposal(mixture, (Components.none(),)), v, log_weight[None], torch.zeros_like(log_weight)[None], (nothing,)
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    return pair_problem([tmp_path_factory.mktemp(name) for name in ("faint", "bright")])


@pytest.fixture(scope="module")
def top(pair: Problem) -> State:
    return climbed(pair)


def test_even_weights_leave_no_doubt_and_uneven_or_heavy_ones_do() -> None:
    generator = torch.Generator().manual_seed(1)
    normal = torch.randn(2000, generator=generator, dtype=torch.float64)
    assert not leaves_doubt(drawn_with(0.3 * normal))
    uneven = drawn_with(1.5 * normal)
    assert uneven.ess < EVEN * 2000
    assert leaves_doubt(uneven)
    heavy = 0.3 * normal
    heavy[:20] = torch.linspace(1.0, 2.0, 20, dtype=torch.float64)
    assert drawn_with(heavy).ess > EVEN * 2000
    assert leaves_doubt(drawn_with(heavy))


def test_the_ladder_ends_with_it_as_often_as_a_proposal_may_be_widened() -> None:
    assert [type(rung) for rung in LADDER[-TAIL_ROUNDS:]] == [Widen] * TAIL_ROUNDS


def test_sources_without_doubt_are_not_walked_from(top: State) -> None:
    assert not any(leaves_doubt(drawn) for drawn in top.answers())
    assert top.tails.whole == {0, 1}
    assert not top.tails.evaluations
    assert [missing_tail(top, source) for source in (0, 1)] == ["", ""]


def test_sources_without_draws_wait_for_other_rungs(pair: Problem) -> None:
    assert Widen().climbers(at_foot(pair)).numel() == 0


def test_a_walk_counts_what_it_cost_and_finds_a_whole_answer_whole(top: State) -> None:
    """The toy's posterior is nearly normal; the walk is on the search's fidelity, whose draws are weighed once."""
    finder = TailFinder.of(top.problem.select(torch.tensor([1])), top.answers()[1])
    seen = finder.probe(torch.Generator().manual_seed(2))
    assert not bool(seen.alarm)
    assert seen.evaluations >= 128 * 41 + finder.tried
    assert finder.tried == (top.answers()[1].v.shape[1] if finder.cheap else 0)


def test_the_tail_that_was_certified_away_is_found(cases_folder: Path) -> None:
    """A third of the mass lies at T_max < 0.1; two boxes fitted apart give ln Z -1036.25, a 5 % quantile of .036."""
    answer = infer(
        read_observation(
            cases_folder / "thin-tail/s.pha",
            rmf=cases_folder.parent / "data/nicer_response/nicer.rmf.gz",
            background="none",
        ),
        parse_model("TBabs*simpl*ezdiskbb", abund="angr"),
        energies=[(0.5, 1.5), (2.3, 10.0)],
        seed=1,
    )
    summary = answer.summary()
    low = summary["parameters"]["ezdiskbb.T_max"]["lower90"]
    assert summary["evaluations"]["tails"] > 0
    found = abs(answer.log_evidence + 1036.25) < 0.15 and low < 0.06
    assert found or answer.computation.status != "certified"
