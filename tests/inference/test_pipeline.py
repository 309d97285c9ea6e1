"""The whole way from a spectrum to an answer, against brute force on a toy instrument."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ogip_zoo import toy_observation
from xrayflow.errors import DataError, ModelError, PriorError, XrayflowWarning
from xrayflow.folding import Grid
from xrayflow.inference import Effort, Posterior, infer, infer_batch
from xrayflow.inference.build import DEFAULT_MODEL, Question, build_problem
from xrayflow.inference.importance import Round, log_mean_weight, log_target
from xrayflow.inference.judge import candidates, peak_share
from xrayflow.inference.parts import Parts
from xrayflow.inference.proposal import Mixture, Proposal
from xrayflow.inference.search import Search
from xrayflow.inference.verdict import UNCOVERED_WEIGHT
from xrayflow.models import parse_model
from xrayflow.ogip import Observation
from xrayflow.prior import Prior
from xrayflow.problem import Problem
from xrayflow.statistics import choose, noise_of

BAND = [(1.0, 6.0)]
FREEZE = {"TBabs.nH": 0.05}
MODEL = "TBabs*powerlaw"


@pytest.fixture(scope="module")
def faint(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """About 400 counts of a power law."""
    return toy_observation(tmp_path_factory.mktemp("faint"), exposure=10.0, seed=1)


@pytest.fixture(scope="module")
def bright(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """The same source, longer."""
    return toy_observation(tmp_path_factory.mktemp("bright"), exposure=200.0, seed=2)


@pytest.fixture(scope="module")
def answer(faint: Observation) -> Posterior:
    return infer(faint, MODEL, freeze=FREEZE, energies=BAND, grouping="min:10", ess=2000, draws=4000)


def brute_force(observation: Observation, systematic: float = 0.0) -> tuple[float, np.ndarray, np.ndarray]:
    """ln evidence and the marginals' quantiles (5, 50, 95 %) of PhoIndex and norm on a grid of the posterior's bulk."""
    model = parse_model(MODEL).freeze(FREEZE)
    prior = Prior.of(model)
    spectrum = observation.bin(energies=tuple(BAND), grouping="min:10").undecided()
    problem = Problem.of(model, prior, [spectrum], noise_of([spectrum], [choose(spectrum)], systematic))
    index = np.linspace(0.8, 3.2, 241)
    log_norm = np.linspace(-2.2, -0.6, 321)
    theta = np.stack(np.meshgrid(index, 10.0**log_norm, indexing="ij"), -1).reshape(1, -1, 2)
    value = problem.log_likelihood(torch.from_numpy(theta))[0].reshape(index.size, log_norm.size)
    density = value + prior.log_density(torch.from_numpy(theta[0])).reshape(value.shape)
    cell = (index[1] - index[0]) * (log_norm[1] - log_norm[0])
    log_evidence = float(torch.logsumexp(density.flatten(), 0)) + math.log(cell)
    weight = torch.softmax(density.flatten(), 0).reshape(density.shape).numpy()

    def quantiles(marginal: np.ndarray, place: np.ndarray) -> np.ndarray:
        return np.interp([0.05, 0.5, 0.95], np.cumsum(marginal) - 0.5 * marginal, place)

    return log_evidence, quantiles(weight.sum(1), index), 10.0 ** quantiles(weight.sum(0), log_norm)


def test_evidence_and_quantiles_are_those_of_brute_force(faint: Observation, answer: Posterior) -> None:
    """Errors of 2000 effective draws: evidence 0.02, a quantile 0.05 sd; the bounds are four times that."""
    log_evidence, index, norm = brute_force(faint)
    assert abs(answer.log_evidence - log_evidence) < 0.08
    ours = answer.quantile([0.05, 0.5, 0.95])
    np.testing.assert_allclose(ours[:, 0], index, atol=0.2 * (index[2] - index[0]) / 3.3)
    np.testing.assert_allclose(np.log(ours[:, 1]), np.log(norm), atol=0.2 * np.log(norm[2] / norm[0]) / 3.3)


def test_a_systematic_error_widens_the_posterior_as_brute_force_says(bright: Observation) -> None:
    found = infer(bright, MODEL, freeze=FREEZE, energies=BAND, grouping="min:10", systematic=0.1, ess=2000, draws=4000)
    log_evidence, index, _ = brute_force(bright, 0.1)
    assert abs(found.log_evidence - log_evidence) < 0.08
    ours = found.quantile([0.05, 0.95])[:, 0]
    plain = infer(bright, MODEL, freeze=FREEZE, energies=BAND, grouping="min:10").quantile([0.05, 0.95])[:, 0]
    np.testing.assert_allclose(ours, index[[0, 2]], atol=0.2 * (index[2] - index[0]) / 3.3)
    assert ours[1] - ours[0] > 1.1 * (plain[1] - plain[0])


def test_data_of_the_model_are_certified(answer: Posterior) -> None:
    assert answer.verdict == "certified", answer.reasons
    assert answer.ess >= 2000
    assert answer.efficiency == pytest.approx(answer.ess / answer.evaluations["draws"])
    assert answer.evaluations["draws"] > answer.draws.shape[0]
    assert set(answer.seconds) == {"read", "optimise", "propose", "certify", "total"}


def test_the_best_fit_is_the_likelihoods_maximum(faint: Observation) -> None:
    """Ours comes from a continuous optimiser, so no draw may beat it."""
    answer = infer(faint, MODEL, freeze=FREEZE, energies=BAND, grouping="none")
    assert answer.statistic.name == "cstat"
    assert answer.statistic.value == pytest.approx(answer.deviance.value, rel=1e-9)
    problem_best = answer.deviance.value
    saturated = problem_best / 2.0 + answer.log_likelihood.max()
    lowest_draw = 2.0 * (saturated - answer.log_likelihood.max())
    assert lowest_draw >= problem_best - 1e-6


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(bright: Observation) -> None:
    first, again, other = (
        infer(bright, MODEL, freeze=FREEZE, energies=BAND, grouping="min:10", seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.draws, again.draws)
    np.testing.assert_array_equal(first.log_weight, again.log_weight)
    assert first.log_evidence != other.log_evidence
    assert abs(first.log_evidence - other.log_evidence) < 0.3


def test_an_answer_does_not_depend_on_its_company(faint: Observation, bright: Observation) -> None:
    settings = {"model": MODEL, "freeze": FREEZE, "energies": BAND, "grouping": "min:10"}
    together = infer_batch([faint, bright], Question(**settings))  # type: ignore[arg-type]
    for observation, answer in zip((faint, bright), together, strict=True):
        alone = infer(observation, **settings)  # type: ignore[arg-type]
        np.testing.assert_allclose(answer.draws, alone.draws, rtol=1e-6)
        assert answer.log_evidence == pytest.approx(alone.log_evidence, abs=1e-6)
        assert answer.verdict == alone.verdict


def test_a_background_makes_the_computation_approximate_and_says_why(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=100.0, background=True)
    answer = infer(observation, MODEL, freeze=FREEZE, energies=BAND, grouping="min:20")
    assert answer.likelihood_kind == "approximate"
    assert answer.computation.status == "approximate"
    assert any("background" in reason for reason in answer.computation.reasons)
    assert answer.verdict != "certified"


@pytest.fixture(scope="module")
def brilliant(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    """A million counts, which see the energy grid."""
    return toy_observation(tmp_path_factory.mktemp("brilliant"), exposure=20_000.0, seed=3)


def test_a_grid_that_is_too_coarse_is_replaced_by_a_finer_one(brilliant: Observation) -> None:
    answer = infer(brilliant, MODEL, energies=BAND, grid=Grid.log(0.05, 20.0, 60))
    assert "each bin in 3" in answer.grid
    assert not any("energy grid" in reason for reason in answer.computation.reasons)


def test_a_grid_that_stays_too_coarse_is_not_certified(brilliant: Observation) -> None:
    answer = infer(brilliant, MODEL, energies=BAND, grid=Grid.log(0.05, 20.0, 8))
    assert answer.computation.status != "certified"
    assert any("energy grid" in reason for reason in answer.computation.reasons)


def test_an_optimum_that_the_draws_hardly_reach_is_noticed(bright: Observation) -> None:
    """Draws beside the optimum: a single one at it would outweigh them all."""
    question = Question(MODEL, freeze=FREEZE, energies=BAND, grouping="min:10")
    problem, choices = build_problem([bright], question)
    search = Search(problem, 0, Effort(), lambda step, fraction: None)
    found = candidates(search, search.run(), choices)[0]
    best = found.optima.objective[0].argmin()[None]
    assert peak_share(found, best, float(log_mean_weight(found.fresh.log_weight))) < 0.1 * UNCOVERED_WEIGHT
    place = found.optima.v[:, best] + 1.0
    narrow = Mixture(torch.zeros((1, 1)).double(), place, 1e-2 * torch.eye(2, dtype=torch.float64)[None, None])
    moved = Proposal(narrow, (Parts.prior(2, 1e-9),))
    v = moved.sample(1000, search.generators)
    beside = Round.of(moved, v, log_target(found.problem, v))
    log_evidence = float(log_mean_weight(beside.log_weight))
    assert peak_share(replace(found, fresh=beside), best, log_evidence) > UNCOVERED_WEIGHT


def test_too_few_draws_are_a_failure_and_not_to_be_trusted(bright: Observation) -> None:
    question = Question(MODEL, freeze=FREEZE, energies=BAND, grouping="min:10")
    answer = infer_batch([bright], question, effort=Effort(draws=20, ess=5, first=4.0, most=4.0))[0]
    assert answer.computation.status == "failed"
    assert answer.verdict == "do-not-trust"


def test_progress_ends_at_one(faint: Observation) -> None:
    seen: list[tuple[str, float]] = []
    infer(faint, MODEL, freeze=FREEZE, energies=BAND, grouping="min:10", progress=lambda *step: seen.append(step))
    assert seen[-1] == ("done", 1.0)
    fractions = [fraction for _, fraction in seen]
    assert fractions == sorted(fractions)


def test_a_band_without_counts_is_one_line(faint: Observation) -> None:
    empty = replace(faint, pha=replace(faint.pha, counts=np.zeros(faint.pha.counts.size)))
    with pytest.raises(DataError, match=r"toy\.pha: no counts in .* keV; choose another band with --energies"):
        infer(empty, MODEL, energies=BAND)


def test_the_default_model_is_the_papers() -> None:
    assert parse_model(DEFAULT_MODEL).text == "TBabs*simpl*ezdiskbb"


@pytest.fixture(autouse=True)
def no_overflow() -> Iterator[None]:
    """An overflow in numpy is an error here."""
    with np.errstate(over="raise", invalid="raise"):
        yield


def test_wrong_names_are_refused_before_any_work(faint: Observation) -> None:
    with pytest.raises(ModelError, match="did you mean 'TBabs'"):
        infer(faint, "TBasb*powerlaw")
    with pytest.raises(ModelError, match=r"did you mean 'powerlaw\.PhoIndex'"):
        infer(faint, MODEL, freeze={"powerlaw.PhoIndx": 2.0})
    with pytest.raises(PriorError, match=r"powerlaw\.norm"):
        infer(faint, MODEL, prior=["powerlaw.nrm=1:2"])
    with pytest.raises(ModelError, match="every parameter is frozen"):
        infer(faint, MODEL, freeze={"TBabs.nH": 0.1, "powerlaw.PhoIndex": 2.0, "powerlaw.norm": 1.0}, energies=BAND)


def test_fractional_counts_take_the_gaussian_likelihood(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=300.0, seed=None)
    answer = infer(observation, MODEL, freeze=FREEZE, energies=BAND, grouping="min:20")
    assert answer.statistic.name == "chi2"
    assert answer.likelihood == "Gaussian"
    # the counts are the expectation itself, so chi^2 is nearly nothing
    assert answer.statistic.value < 5.0


def test_sys_err_with_counts_is_warned_of(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=100.0)
    with_error = replace(observation, pha=replace(observation.pha, sys_err=np.full(observation.pha.counts.size, 0.01)))
    with pytest.warns(XrayflowWarning, match="SYS_ERR"):
        infer(with_error, MODEL, freeze=FREEZE, energies=BAND, grouping="min:20")


def test_links_and_priors_on_parameters_frozen_by_default_reach_the_answer(bright: Observation) -> None:
    answer = infer(
        bright,
        "TBabs*(powerlaw+powerlaw)",
        prior=["powerlaw.PhoIndex=1:3"],
        freeze={"TBabs.nH": 0.05, "powerlaw_3.norm": 0.01},
        link={"powerlaw_3.PhoIndex": "powerlaw.PhoIndex - 0.5"},
        energies=BAND,
        grouping="min:10",
    )
    assert answer.names == ("powerlaw.PhoIndex", "powerlaw.norm")
    rows = answer.summary()["parameters"]
    assert rows["powerlaw_3.PhoIndex"]["median"] == pytest.approx(rows["powerlaw.PhoIndex"]["median"] - 0.5)
    model, _ = build_problem(
        [bright], Question("TBabs*simplcutx*powerlaw", prior=["simplcutx.kT_e=10:300"], energies=BAND)
    )
    assert "simplcutx.kT_e" in model.prior.names
    with pytest.raises(PriorError, match="it is frozen"):
        infer(bright, MODEL, freeze=FREEZE, prior=["TBabs.nH=0.1:1"], energies=BAND)
