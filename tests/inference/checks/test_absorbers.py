"""Absorbers that a fit may lack: their evidence is that of fits, and what a model has already is not looked for."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from fit_zoo import observation
from missing_zoo import BAND, TRUTH, best_of, spectrum_of, toy
from xrayflow.inference import infer, infer_problem
from xrayflow.inference.checks.absorbers import COLUMNS, FRACTIONS, _changed, absorbers_of
from xrayflow.linear_set import LinearSet
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem


def looked_for(problem: Problem) -> dict[str, str]:
    """The absorbers of a search, with how each is written."""
    v = problem.prior.to_probit(_middle(problem))
    (one,) = problem.linear(v)
    return {kind.name: kind.addition(0).expression for kind in absorbers_of(problem, one, v)}


def _middle(problem: Problem) -> torch.Tensor:
    return problem.prior.to_theta(torch.zeros(len(problem.prior.marginals), dtype=torch.float64))


def problem_of(tmp_path: Path, model: str, **asked: object) -> Problem:
    setup = FitSetup(model=model, energies=BAND, **asked)  # type: ignore[arg-type]
    return build_problem([observation(tmp_path, exposure=300.0)], setup)


def test_a_model_without_absorbers_may_lack_each(tmp_path: Path) -> None:
    assert looked_for(toy()) == {"absorber": "TBabs*(powerlaw)", "partial covering": "TBpcf*(powerlaw)"}
    assert looked_for(problem_of(tmp_path, "bbody+powerlaw")) == {
        "absorber": "TBabs*(bbody+powerlaw)",
        "absorber of bbody": "TBabs*(bbody)+powerlaw",
        "absorber of powerlaw": "bbody+TBabs*(powerlaw)",
        "partial covering": "TBpcf*(bbody+powerlaw)",
    }


@pytest.mark.parametrize(
    ("model", "freeze", "left"),
    [
        ("TBabs*powerlaw", {}, {"partial covering"}),
        ("phabs*powerlaw", {}, {"partial covering"}),
        ("TBabs*powerlaw", {"TBabs.nH": 0.2}, {"absorber", "partial covering"}),
        ("pcfabs*TBpcf*powerlaw", {}, {"absorber"}),
        ("TBabs*(bbody+powerlaw)", {}, {"absorber of bbody", "absorber of powerlaw", "partial covering"}),
        ("TBabs*(bbody+phabs*powerlaw)", {}, {"absorber of bbody", "partial covering"}),
        ("TBabs*bbody+powerlaw", {}, {"absorber", "absorber of powerlaw", "partial covering"}),
    ],
)
def test_a_second_absorber_of_what_has_a_free_one_is_not_looked_for(
    tmp_path: Path, model: str, freeze: dict[str, float], left: set[str]
) -> None:
    assert set(looked_for(problem_of(tmp_path, model, freeze=freeze))) == left


def test_parameters_take_in_a_second_absorber_however_bright_the_source(tmp_path: Path) -> None:
    """It is the first with another column."""
    problem = build_problem(
        [observation(tmp_path, exposure=4000.0)],
        FitSetup(model="TBabs*powerlaw", energies=BAND, prior=["TBabs.nH=0.01:3"]),
    )
    answer = infer_problem(problem, None, 1)[0]
    again = problem.centred(torch.from_numpy(answer.best)[None, None])
    v = again.prior.to_probit(torch.from_numpy(answer.best))
    (one,) = again.linear(v)
    each = _changed(again, one, v, one.transmission(COLUMNS), None)(one.fit.residual[None])
    assert float(torch.logsumexp(each, -1)) - math.log(len(COLUMNS)) < 0.7


def evidences(problem: Problem, v: torch.Tensor, one: LinearSet) -> dict[str, torch.Tensor]:
    """ln B of each place, by kind."""
    return {kind.name: kind.evidence(one.fit.residual[None])[0] for kind in absorbers_of(problem, one, v)}


def test_the_evidence_of_a_column_is_that_of_a_fit_with_it(tmp_path: Path) -> None:
    """Of all of the source and of a part, held: against answers by draws."""
    found = observation(tmp_path, exposure=300.0)
    problem = build_problem([found], FitSetup(model="powerlaw", energies=BAND))
    plain = infer(found, "powerlaw", energies=BAND, ess=2000, draws=4000)
    v = problem.prior.to_probit(torch.from_numpy(plain.best))
    (one,) = problem.linear(v)
    linear = evidences(problem, v, one)
    column, fraction = COLUMNS[5], FRACTIONS[0]
    cases = {
        float(linear["absorber"][1]): ("TBabs*powerlaw", {"TBabs.nH": COLUMNS[1]}),
        float(linear["partial covering"][5]): ("TBpcf*powerlaw", {"TBpcf.nH": column, "TBpcf.pcf": fraction}),
    }
    for said, (text, frozen) in cases.items():
        other = infer(found, text, energies=BAND, freeze=frozen, ess=2000, draws=4000)
        exact = other.log_evidence - plain.log_evidence
        error = math.hypot(other.log_evidence_error, plain.log_evidence_error)
        assert said == pytest.approx(exact, abs=0.15 + 3 * error + 0.02 * abs(exact)), text


def test_a_planted_column_is_at_its_place() -> None:
    problem = spectrum_of("TBabs*powerlaw", [0.3, *TRUTH.tolist()], 1)
    v = best_of(problem)
    (one,) = problem.linear(v)
    best = int(evidences(problem, v, one)["absorber"].argmax())
    assert COLUMNS[best] == pytest.approx(0.3, rel=0.4)
