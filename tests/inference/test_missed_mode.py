"""A proposal that misses a mode is not certified, a whole one is: two lines of which the model has one.

The proposals are stripped as in `benchmarks/missed_mode.py`, which measures the same on many real-sized spectra.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ogip_zoo import ENERGY_EDGES, effective_area, power_law_counts, redistribution, toy_observation
from xrayflow.inference import Posterior, SamplingBudget
from xrayflow.inference.answer import Candidate, judge
from xrayflow.inference.ladder import State
from xrayflow.inference.rungs import missing_tails
from xrayflow.ogip import Observation
from xrayflow.prior import log_standard_normal
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem

LINES = 2.0, 3.5
"""keV; their middle parts the modes."""

STRENGTHS = (5.0, 5.0), (5.2, 5.0), (4.9, 5.1)
"""Of the two lines, in standard deviations of the counts; the data have no noise, so that both modes stay."""

BUDGET = SamplingBudget(starts=16)
SETUP = FitSetup(
    model="TBabs*(powerlaw+gaussian)",
    prior=["powerlaw.norm=1e-3:1", "gaussian.LineE=1:6", "gaussian.norm=1e-4:1e-2"],
    freeze={"TBabs.nH": 0.0, "powerlaw.PhoIndex": 1.7, "gaussian.Sigma": 0.01},
    energies=[(0.8, 7.0)],
)


@pytest.fixture(scope="module")
def stripped() -> Iterator[Any]:
    """The benchmark's module of stripped proposals."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    import stripped

    yield stripped
    sys.path.pop(0)


def two_lines(folder: Path, strengths: tuple[float, float]) -> Observation:
    """The expected counts of a power law with two narrow lines, with errors that say how counts would scatter."""
    counts = power_law_counts()
    added = np.zeros_like(counts)
    for energy, strength in zip(LINES, strengths, strict=True):
        at = int(np.searchsorted(ENERGY_EDGES, energy)) - 1
        profile = effective_area()[at] * redistribution()[at]
        added += strength * profile / np.sqrt((profile**2 / counts).sum())
    return toy_observation(folder, counts=counts + added, stat_err=np.sqrt(counts + added))


@dataclass(frozen=True)
class Answers:
    """Of all spectra: whole, and stripped of one mode or the other in turn."""

    whole: list[Posterior]
    stripped: list[Posterior]
    blind: list[Posterior]
    draws: list[Candidate]
    sides: list[Any]
    searches: list[str]
    """Of every spectrum, stripped of either mode, with two seeds."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, stripped: Any) -> Answers:
    spectra = [two_lines(tmp_path_factory.mktemp("lines"), pair) for pair in STRENGTHS]
    problem = build_problem(spectra, SETUP)
    usual = stripped.climbed(problem, 0, BUDGET)
    whole = stripped.candidates(usual, problem)
    line = problem.prior.names.index("gaussian.LineE")
    theta = torch.tensor([[0.05, sum(LINES) / 2, 1e-3]], dtype=torch.float64)
    bound = float(problem.prior.to_probit(theta)[0, line])
    sides = [stripped.Side(line, bound, (-1.0) ** i) for i in range(len(STRENGTHS))]
    drawing = stripped.StrippedDrawing(dict(zip(stripped.keys_of(problem), sides, strict=True)))
    left = stripped.without(usual.modes, sides), usual.problem
    top = stripped.climbed(problem, 1, BUDGET, drawing=drawing, modes=left, rungs=stripped.WITHOUT_SEARCHES)
    cut = stripped.candidates(top, problem, searched=False, rungs=stripped.WITHOUT_SEARCHES)
    seen = [replace(one, modes=other.modes) for one, other in zip(cut, whole, strict=True)]
    blind = [replace(one, modes=stripped.without(one.modes, [side])) for one, side in zip(seen, sides, strict=True)]
    judged = [[judge(one, BUDGET, 0) for one in some] for some in (whole, seen, blind)]
    return Answers(*judged, cut, sides, searched(stripped, problem, usual, sides))


def searched(stripped: Any, problem: Problem, usual: State, sides: list[Any]) -> list[str]:
    """What searches from stripped draws say."""
    said = []
    for seed in (1, 2):
        for mirror in (1.0, -1.0):
            away = [replace(side, sign=mirror * side.sign) for side in sides]
            drawing = stripped.StrippedDrawing(dict(zip(stripped.keys_of(problem), away, strict=True)))
            left = stripped.without(usual.modes, away), usual.problem
            said += missing_tails(
                stripped.climbed(problem, seed, BUDGET, drawing=drawing, modes=left, rungs=stripped.WITHOUT_SEARCHES)
            )
    return said


def upper_share(answer: Posterior) -> float:
    """What the line at the higher energy has of the posterior."""
    energy = answer.draws[:, answer.prior.names.index("gaussian.LineE")]
    return float(answer.weights[energy > sum(LINES) / 2].sum())


def test_whole_answers_hold_both_modes_and_are_certified(answers: Answers) -> None:
    for one in answers.whole:
        assert one.computation.status == "certified", one.computation.reasons
        assert 0.05 < upper_share(one) < 0.95, upper_share(one)
        assert "several_modes" in one.flags


def test_answers_stripped_of_a_mode_are_not_certified(answers: Answers) -> None:
    for one, side in zip(answers.stripped, answers.sides, strict=True):
        assert upper_share(one) == pytest.approx(0.0 if side.sign > 0 else 1.0, abs=0.01)
        assert one.computation.status != "certified"
        assert any("hardly covered" in reason for reason in one.computation.reasons)


def test_only_the_modes_that_the_starts_found_tell(answers: Answers) -> None:
    """Weights alone look as good as ever: ess and tail cannot see what no draw has met."""
    assert [one.computation.status for one in answers.blind] == ["certified"] * len(STRENGTHS)


def test_a_search_from_the_draws_tells(answers: Answers) -> None:
    """Five of six times: a path has to lead across the valley. Of twelve, fewer than eight once in fifty."""
    assert sum(reason != "" for reason in answers.searches) >= 8, answers.searches


def test_a_stripped_proposal_keeps_out_and_is_normalised(answers: Answers) -> None:
    """The mean of N(v; 0, I) / q over draws is 1, within four standard errors (it is at most 50)."""
    for one, side in zip(answers.draws, answers.sides, strict=True):
        proposal = one.drawn.proposal
        v = proposal.sample(6000, [torch.Generator().manual_seed(0)])
        assert float(side.holds(v).double().mean()) < float(proposal.prior)
        ratio = torch.exp(log_standard_normal(v) - proposal.log_density(v))
        assert float(ratio.mean()) == pytest.approx(1.0, abs=4.0 * float(ratio.std()) / 6000**0.5)
