"""Another prior by weights is the fit with that prior, or it is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from answer_zoo import altered, first_parameters
from ogip_zoo import toy_observation
from xrayflow.errors import DataError, FileError, PriorError
from xrayflow.inference import Posterior, infer, reweigh
from xrayflow.inference.another_prior import changed, log_ratio
from xrayflow.ogip import Observation
from xrayflow.prior import Marginal, Prior, log_standard_normal

SAID = {"energies": [(1.0, 6.0)], "grouping": "min:20"}
MODEL = "TBabs*powerlaw"


@pytest.fixture(scope="module")
def observation(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    return toy_observation(tmp_path_factory.mktemp("toy"), exposure=200.0, background=True)


@pytest.fixture(scope="module")
def answer(observation: Observation) -> Posterior:
    return infer(observation, MODEL, **SAID)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        ["powerlaw.PhoIndex~N(1.68,0.05)"],
        ["powerlaw.PhoIndex=1.6:1.7", "powerlaw.norm=lin:1e-9:1e3"],
    ],
)
def test_it_is_the_fit_with_that_prior(answer: Posterior, observation: Observation, changes: list[str]) -> None:
    again = reweigh(answer, changes)
    fit = infer(observation, MODEL, prior=changes, draws=2000, ess=800, **SAID)  # type: ignore[arg-type]
    assert again.prior == fit.prior
    assert again.ess < answer.ess
    # five standard errors of both: false alarms in one of 2e6
    error = math.hypot(again.log_evidence_error, fit.log_evidence_error)
    assert abs(again.log_evidence - fit.log_evidence) < 5.0 * error
    assert_allclose(again.best, fit.best, rtol=1e-3, atol=1e-3)
    assert again.deviance.value == pytest.approx(fit.deviance.value, abs=0.01)
    assert again.statistic.value == pytest.approx(fit.statistic.value, abs=0.01)
    sd = 0.5 * (fit.quantile(0.84) - fit.quantile(0.16))
    off = np.abs(again.quantile(0.5) - fit.quantile(0.5)) / sd
    assert off.max() < 5.0 * 1.25 * math.hypot(1 / math.sqrt(again.ess), 1 / math.sqrt(fit.ess))
    assert again.verdict == fit.verdict == "certified"
    assert any(reason.startswith("reweighed from the draws of another prior") for reason in again.reasons)
    assert changes[0].split("=")[0].split("~")[0] in again.reasons[-1] + " ".join(again.reasons)


def test_its_weights_are_likelihood_times_prior_over_proposal(answer: Posterior) -> None:
    again = reweigh(answer, ["powerlaw.PhoIndex~N(1.68,0.05)"])
    v = again.prior.to_probit(torch.from_numpy(again.draws))
    expected = again.log_likelihood + log_standard_normal(v).numpy() - again.sample.log_proposal
    kept = again.log_weight > again.log_weight.max() - 30.0
    assert_allclose(again.log_weight[kept], expected[kept], atol=1e-6)


def test_the_same_prior_changes_nothing_but_the_words(answer: Posterior) -> None:
    again = reweigh(answer, ["powerlaw.PhoIndex=-2:9"])
    assert_allclose(again.log_weight, answer.log_weight)
    assert again.ess == pytest.approx(answer.ess)
    assert again.log_evidence == pytest.approx(answer.log_evidence)
    assert again.computation == answer.computation
    assert again.flags == answer.flags


def test_twice_is_once(answer: Posterior) -> None:
    first = reweigh(reweigh(answer, ["powerlaw.PhoIndex=1.5:1.8"]), ["powerlaw.PhoIndex=1.6:1.7"])
    assert_allclose(first.weights, reweigh(answer, ["powerlaw.PhoIndex=1.6:1.7"]).weights, atol=1e-12)


def test_too_few_draws_are_a_refusal_with_their_number(answer: Posterior) -> None:
    with pytest.raises(DataError, match=r"\d+ effective draws of \d+ are left; fit again with this prior"):
        reweigh(answer, ["powerlaw.PhoIndex~N(1.95,0.01)"])
    with pytest.raises(DataError, match="no draw lies in the new prior"):
        reweigh(answer, ["powerlaw.PhoIndex=8.99999:9"])
    # and the user may want fewer
    assert reweigh(answer, ["powerlaw.PhoIndex~N(1.75,0.02)"], least=5.0).ess < 200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("powerlaw.norm=1e-12:1", r"powerlaw.norm in 1e-12 .. 1 reaches beyond 1e-09 .. 1000, which was fitted"),
        ("powerlaw.PhoIndex=-3:9", r"reaches beyond -2 .. 9"),
        ("background.lnA=0:1", "no free parameter 'background.lnA'"),
        ("diskbb.Tin=0:1", "no free parameter 'diskbb.Tin'"),
        ("powerlaw.PhoIndex", "not understood"),
    ],
)
def test_a_prior_that_cannot_be_is_one_line(answer: Posterior, change: str, message: str) -> None:
    with pytest.raises(PriorError, match=message):
        reweigh(answer, [change])


def test_draws_of_a_network_alone_have_no_weights(answer: Posterior) -> None:
    with pytest.raises(DataError, match="fit without --amortised"):
        reweigh(replace(answer, mode="amortised"), ["powerlaw.PhoIndex=1:2"])


def test_data_that_are_gone_are_told(answer: Posterior, tmp_path: Path) -> None:
    gone = replace(answer, data=(replace(answer.data[0], pha=tmp_path / "gone.pha"),))
    with pytest.raises(FileError, match=r"gone.pha: no such file"):
        reweigh(gone, ["powerlaw.PhoIndex=1:2"])


def test_parameters_that_are_not_named_keep_their_priors(answer: Posterior) -> None:
    model, normal = answer.model, Prior.of(answer.model, ["TBabs.nH~N(0.1,0.05)", "powerlaw.PhoIndex=1:3"])
    found = changed(model, normal.marginals, ["powerlaw.PhoIndex=1.5:2"])
    assert found[0] == normal.marginals[0]
    assert (found[1].lo, found[1].hi, found[1].mean) == (1.5, 2.0, None)
    assert found[2] == normal.marginals[2]


def test_the_ratio_of_priors_is_one_of_densities_of_the_parameter() -> None:
    log, linear = Marginal("a", "", 0.1, 10.0, "log"), Marginal("a", "", 0.1, 10.0, "linear")
    theta = torch.tensor([[0.2], [1.0], [5.0]], dtype=torch.float64)
    expected = np.log(theta[:, 0].numpy() * np.log(100.0) / 9.9)
    assert_allclose(log_ratio(theta, [log], [linear]).numpy(), expected, rtol=1e-12)
    assert_allclose(log_ratio(theta, [linear], [log]).numpy(), -expected, rtol=1e-12)
    assert float(log_ratio(theta, [log], [log]).abs().max()) == 0.0
    narrow = Marginal("a", "", 0.5, 10.0, "log")
    assert log_ratio(theta, [log], [narrow])[0] == -torch.inf


def test_frozen_parameters_stay_frozen(answer: Posterior) -> None:
    bent = first_parameters(altered(answer, draws=answer.draws), 1)
    found = changed(bent.model, bent.prior.marginals, ["TBabs.nH=0.01:1"])
    assert [one.name for one in found] == ["TBabs.nH"]
