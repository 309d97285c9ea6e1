"""A fit with a component more: its evidence is the integral, its priors are those of both, and its answer repeats."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from answer_zoo import altered, toy_posterior
from fit_zoo import observation
from xrayflow.errors import DataError
from xrayflow.inference import Missing, Posterior, compared, fit_larger, infer, larger_model
from xrayflow.inference.checks.verdict import Computation
from xrayflow.inference.larger import BEYOND, least_log_bayes, misses_a_mode
from xrayflow.setup import FitSetup, build_problem

BAND = [(0.6, 8.0)]
NORM = "powerlaw.norm=log:0.03:0.08"
COVERED = Missing(
    *("partial covering", "", "", 3.0, 0.001, "TBpcf*(powerlaw)", "TBpcf"),
    prior=("TBpcf.nH=log:0.01:100",),
    freeze={"TBpcf.pcf": 0.5},
)
SCALE = Missing("energy scale", "", "", 3.0, 0.001, "", why_not="no component of a model")


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Posterior:
    found = observation(tmp_path_factory.mktemp("larger"), exposure=100.0)
    return infer(found, "powerlaw", [NORM], {"powerlaw.PhoIndex": 1.7}, energies=BAND, seed=3, ess=800)


def integral(answer: Posterior, text: str, prior: list[str], freeze: dict[str, float], points: int = 300) -> float:
    """ln Z of two parameters at most, by the midpoint rule over the cube of their priors."""
    setup = FitSetup(model=text, prior=prior, freeze=freeze, energies=BAND)
    problem = build_problem([answer.observation()], setup)
    middles = torch.special.ndtri((torch.arange(points, dtype=torch.float64) + 0.5) / points)
    v = torch.cartesian_prod(*[middles] * len(problem.prior.marginals)).reshape(
        points ** len(problem.prior.marginals), -1
    )
    log_likelihood = problem.log_likelihood(problem.prior.to_theta(v)[None])[0]
    return float(torch.logsumexp(log_likelihood, 0)) - math.log(v.shape[0])


def test_ln_b_is_that_of_the_integrals(answer: Posterior) -> None:
    larger = fit_larger(answer, COVERED)
    found = compared(answer, larger, COVERED)
    frozen = {"powerlaw.PhoIndex": 1.7}
    with_it = integral(answer, "TBpcf*powerlaw", [NORM, *COVERED.prior], {**frozen, **COVERED.freeze})
    exact = with_it - integral(answer, "powerlaw", [NORM], frozen, 3000)
    assert found.error < 0.1
    assert found.log_bayes == pytest.approx(exact, abs=4.0 * found.error + 0.01)
    assert (found.computation, found.computation_here, found.doubt) == ("certified", "certified", "")
    assert list(found.parameters) == list(found.prior) == ["TBpcf.nH"]
    assert found.prior["TBpcf.nH"] == "0.01 .. 100 log"


def test_the_same_seed_gives_the_same_answer_as_the_command_would(answer: Posterior) -> None:
    first, second = fit_larger(answer, COVERED), fit_larger(answer, COVERED)
    asked = {"powerlaw.PhoIndex": 1.7, **COVERED.freeze}
    by_hand = infer(
        *(answer.observation(), "TBpcf*powerlaw", [NORM, *COVERED.prior], asked), energies=BAND, seed=3, ess=800
    )
    assert first.log_evidence == second.log_evidence == by_hand.log_evidence
    assert (first.draws == by_hand.draws).all()


def test_old_parameters_keep_priors_values_and_links_under_their_new_names(tmp_path: Path) -> None:
    problem = FitSetup(
        model="TBabs*(gaussian+gaussian+powerlaw)",
        prior=["TBabs.nH~N(0.2,0.05)", "gaussian.LineE=2:3"],
        freeze={"powerlaw.PhoIndex": 1.7},
        link={"gaussian_3.Sigma": "2*gaussian.Sigma"},
    )
    model, prior = problem.model_and_prior()
    before = altered(toy_posterior(), model=model, prior=prior)
    absorber = Missing(
        *("absorber of gaussian", "", "", 3.0, 0.001, "TBabs*(TBabs*(gaussian)+gaussian+powerlaw)", "TBabs_2"),
        prior=("TBabs_2.nH=log:0.01:100",),
    )
    larger, own = larger_model(before, absorber)
    names = {"gaussian": "gaussian", "gaussian_3": "gaussian_4", "powerlaw": "powerlaw", "TBabs": "TBabs"}
    old = {one.name: one for one in prior.marginals}
    new = {one.name: one for one in own.marginals}
    for name, marginal in old.items():
        component, _, last = name.partition(".")
        assert replace(new.pop(f"{names[component]}.{last}"), name=name) == marginal
    assert [str(one) for one in new.values()] == ["0.01 .. 100 log"]
    said = {p.name: p for p in larger.parameters}
    assert said["powerlaw.PhoIndex"].value == 1.7
    assert said["powerlaw.PhoIndex"].frozen
    assert said["gaussian_4.Sigma"].link is not None
    assert said["gaussian_4.Sigma"].link.text == "2*gaussian.Sigma"


def test_an_evidence_that_is_not_certified_is_said_to_be_so(answer: Posterior) -> None:
    larger, doubtful = fit_larger(answer, COVERED), Computation("approximate", ("few draws",))
    assert compared(answer, larger, COVERED).doubt == ""
    with_it = compared(answer, replace(larger, computation=doubtful), COVERED)
    assert with_it.doubt == "evidence not certified: with it approximate"
    without_it = compared(replace(answer, computation=doubtful), larger, COVERED)
    assert without_it.doubt == "evidence not certified: without it approximate"


def test_draws_of_the_smaller_model_show_that_a_fit_has_missed_where_it_is_good(answer: Posterior) -> None:
    """ln B is never below what they say; a fit whose evidence is lower is not believed."""
    larger = fit_larger(answer, COVERED)
    least = least_log_bayes(answer, larger, COVERED)
    exact = larger.log_evidence - answer.log_evidence
    # of so small a change the mean ratio is good: below by ln 100, as it says
    assert least + math.log(BEYOND) == pytest.approx(exact, abs=0.2)
    assert not misses_a_mode(answer, larger, COVERED)
    poor = altered(larger, log_evidence=larger.log_evidence - 10.0)
    assert misses_a_mode(answer, poor, COVERED)
    assert compared(answer, poor, COVERED).doubt.startswith("the fit with it misses a mode: ln B is")


def test_what_cannot_be_fitted_is_refused_in_words(answer: Posterior) -> None:
    with pytest.raises(DataError, match="energy scale: cannot be fitted; no component of a model"):
        fit_larger(answer, SCALE)
    with pytest.raises(DataError, match="have no evidence; fit without --amortised"):
        fit_larger(altered(answer, mode="amortised"), COVERED)
