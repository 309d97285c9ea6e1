"""The whole way from a spectrum to an answer, against brute force on a toy instrument."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from ogip_zoo import toy_observation
from xrayflow.errors import DataError, MismatchError, ModelError, PriorError, XrayflowWarning
from xrayflow.folding import Grid
from xrayflow.inference import NoAnswer, Posterior, SamplingBudget, infer, infer_batch
from xrayflow.models import parse_model
from xrayflow.ogip import Observation
from xrayflow.prior import Prior
from xrayflow.setup import FitSetup, build_problem, problem_of

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
    spectrum = observation.bin(energies=tuple(BAND), grouping="min:10")
    problem = problem_of([spectrum], model, prior, FitSetup(systematic=systematic))
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
    assert answer.efficiency == pytest.approx(answer.ess / answer.weighing.evaluations["draws"])
    assert answer.weighing.evaluations["draws"] > answer.draws.shape[0]
    assert set(answer.provenance.seconds) == {"read", "optimise", "propose", "certify", "total"}


def test_the_best_fit_is_where_scipy_ends_on_the_same_target(faint: Observation, answer: Posterior) -> None:
    """For a plain box it is the likelihood's maximum, and no draw may beat it."""
    problem = build_problem([faint], FitSetup(model=MODEL, freeze=FREEZE, energies=BAND, grouping="min:10"))

    def by_hand(p: np.ndarray) -> float:
        return -2.0 * float(problem.log_likelihood(torch.tensor([[[p[0], 10.0 ** p[1]]]], dtype=torch.float64)))

    options = {"xatol": 1e-7, "fatol": 1e-8}
    rival = minimize(by_hand, [1.5, -1.4], method="Nelder-Mead", options=options)
    saturated = float(problem.data.sets[0].likelihood.log_saturated())
    assert answer.deviance.value == pytest.approx(2.0 * saturated + rival.fun, abs=1e-3)
    np.testing.assert_allclose(answer.best, [rival.x[0], 10.0 ** rival.x[1]], rtol=3e-3)
    assert by_hand(np.array([answer.best[0], np.log10(answer.best[1])])) == pytest.approx(rival.fun, abs=1e-3)
    heaviest = torch.from_numpy(answer.draws[np.argsort(answer.log_likelihood)[-200:]])[None]
    exact = problem.log_likelihood(heaviest)[0].numpy()
    assert 2.0 * (saturated - exact.max()) >= answer.deviance.value - 1e-6
    # draws are weighed on the corrected grid, which may not lift one above the best by what weights would see
    assert 2.0 * (saturated - answer.log_likelihood.max()) >= answer.deviance.value - 0.02


def test_without_groups_the_statistic_is_the_deviance(faint: Observation) -> None:
    answer = infer(faint, MODEL, freeze=FREEZE, energies=BAND, grouping="none")
    assert answer.statistic.name == "cstat"
    assert answer.statistic.value == pytest.approx(answer.deviance.value, rel=1e-9)


def test_with_a_normal_prior_the_best_fit_is_the_posteriors_mode(faint: Observation) -> None:
    words = {"model": MODEL, "freeze": FREEZE, "energies": BAND, "grouping": "min:10"}
    prior = ["powerlaw.PhoIndex~N(2.4,0.1)"]
    answer = infer(faint, prior=prior, **words)  # type: ignore[arg-type]
    problem = build_problem([faint], FitSetup(prior=prior, **words))  # type: ignore[arg-type]

    def by_hand(p: np.ndarray) -> float:
        theta = torch.tensor([[[p[0], 10.0 ** p[1]]]], dtype=torch.float64)
        return -2.0 * float(problem.log_likelihood(theta)) + ((p[0] - 2.4) / 0.1) ** 2

    rival = minimize(by_hand, [2.0, -1.4], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-8})
    np.testing.assert_allclose(answer.best, [rival.x[0], 10.0 ** rival.x[1]], rtol=1e-3)
    density = answer.log_likelihood + problem.prior.log_density(torch.from_numpy(answer.draws)).numpy()
    at_best = -0.5 * rival.fun + float(problem.prior.log_density(torch.from_numpy(answer.best)))
    at_best += 0.5 * ((answer.best[0] - 2.4) / 0.1) ** 2
    assert density.max() <= at_best + 1e-6


def test_the_same_seed_gives_the_same_answer_and_another_seed_another(bright: Observation) -> None:
    first, again, other = (
        infer(bright, MODEL, freeze=FREEZE, energies=BAND, grouping="min:10", seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.draws, again.draws)
    np.testing.assert_array_equal(first.log_weight, again.log_weight)
    assert first.log_evidence != other.log_evidence
    assert abs(first.log_evidence - other.log_evidence) < 0.3


def differently_grouped(observation: Observation, step: int) -> Observation:
    """With a GROUPING column of so many channels a bin."""
    grouping = np.where(np.arange(observation.pha.channel.size) % step == 0, 1, -1)
    return replace(observation, pha=replace(observation.pha, grouping=grouping))


def test_spectra_with_and_without_a_background_are_answered_apart(tmp_path: Path) -> None:
    """Their likelihoods have other nuisances; each answer is the one that it has alone."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = toy_observation(tmp_path / "a", exposure=20.0, seed=1)
    measured = [toy_observation(tmp_path / "b", exposure=20.0, seed=seed, background=True) for seed in (2, 3)]
    setup = FitSetup(model=MODEL, freeze=FREEZE, energies=BAND, grouping="none")
    batch = [measured[0], plain, measured[1]]
    together = infer_batch(batch, setup)
    assert [len(answer.names) for answer in together] == [4, 2, 4]
    for observation, answer in zip(batch, together, strict=True):
        alone = infer_batch([observation], setup)[0]
        np.testing.assert_allclose(answer.draws, alone.draws, rtol=1e-9, atol=1e-12)
        assert answer.log_evidence == pytest.approx(alone.log_evidence, abs=1e-9)
        assert answer.computation == alone.computation
    rows = infer_batch(batch, setup, on_error="row")
    assert [row.log_evidence for row in rows if isinstance(row, Posterior)] == [one.log_evidence for one in together]


def test_a_setup_in_the_place_of_a_model_is_told(faint: Observation) -> None:
    with pytest.raises(DataError, match="infer: takes a model and options by name"):
        infer(faint, FitSetup())  # type: ignore[arg-type]


def test_an_answer_does_not_depend_on_its_company(faint: Observation, bright: Observation) -> None:
    """Two spectra of other counts in other bins."""
    batch = [differently_grouped(faint, 6), differently_grouped(bright, 2)]
    setup = FitSetup(model=MODEL, freeze=FREEZE, energies=BAND)
    together = infer_batch(batch, setup)
    assert [answer.data[0].counts.size for answer in together] == [7, 24]
    for observation, answer in zip(batch, together, strict=True):
        alone = infer_batch([observation], setup)[0]
        np.testing.assert_allclose(answer.draws, alone.draws, rtol=1e-9)
        np.testing.assert_allclose(answer.log_weight, alone.log_weight, atol=1e-8)
        np.testing.assert_allclose(answer.best, alone.best, rtol=1e-5)
        assert answer.log_evidence == pytest.approx(alone.log_evidence, abs=1e-9)
        assert (answer.verdict, answer.flags) == (alone.verdict, alone.flags)
        assert answer.fit.p_value == alone.fit.p_value
        assert answer.weighing.evaluations == alone.weighing.evaluations


def test_bad_spectra_of_a_batch_are_rows_and_the_others_are_answered_as_alone(
    faint: Observation, bright: Observation, tmp_path: Path
) -> None:
    with_background = toy_observation(tmp_path, exposure=100.0, background=True, seed=7)
    assert with_background.background is not None
    spoilt = with_background.background.counts.copy()
    spoilt[20] = -40.0
    bad = {
        "no counts": replace(faint, pha=replace(faint.pha, counts=np.zeros(faint.pha.counts.size))),
        "negative": replace(with_background, background=replace(with_background.background, counts=spoilt)),
    }
    other_rmf = replace(bright, rmf=replace(bright.rmf, sha256="f" * 64))
    gaussian = replace(bright, pha=replace(bright.pha, counts=bright.pha.counts + 0.5))
    batch = [faint, bad["no counts"], bright, other_rmf, bad["negative"], gaussian]
    setup = FitSetup(model=MODEL, freeze=FREEZE, energies=BAND)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XrayflowWarning)  # a background that is neither counts nor has errors
        rows = infer_batch(batch, setup, on_error="row")
    assert [isinstance(row, NoAnswer) for row in rows] == [False, True, False, False, True, False]
    for place, words in (1, "no counts in"), (4, "bins of its background are negative"):
        row = rows[place]
        assert isinstance(row, NoAnswer)
        assert words in row.reason
        assert row.reason.count("\n") == 0
        assert row.path == batch[place].pha.path
    for place in (0, 2, 3, 5):
        row, alone = rows[place], infer_batch([batch[place]], setup)[0]
        assert isinstance(row, Posterior)
        np.testing.assert_allclose(row.draws, alone.draws, rtol=1e-6)
        assert row.log_evidence == pytest.approx(alone.log_evidence, abs=1e-6)
    assert [rows[i].likelihood.name for i in (0, 5)] == ["Poisson", "Gaussian"]  # type: ignore[union-attr]


def test_a_bad_spectrum_ends_the_batch_where_nobody_asked_for_rows(faint: Observation, bright: Observation) -> None:
    setup = FitSetup(model=MODEL, freeze=FREEZE, energies=BAND)
    empty = replace(faint, pha=replace(faint.pha, counts=np.zeros(faint.pha.counts.size)))
    with pytest.raises(DataError, match="no counts in"):
        infer_batch([bright, empty], setup)
    with pytest.raises(MismatchError, match="must share one RMF"):
        infer_batch([bright, replace(faint, rmf=replace(faint.rmf, sha256="f" * 64))], setup)


def test_what_is_wrong_with_all_spectra_is_no_row(bright: Observation) -> None:
    with pytest.raises(ModelError, match="did you mean 'TBabs'"):
        infer_batch([bright], FitSetup(model="TBasb*powerlaw"), on_error="row")
    with pytest.raises(DataError, match="on_error='rows': give one of raise, row"):
        infer_batch([bright], FitSetup(model=MODEL), on_error="rows")  # type: ignore[call-overload]
    for on_error in ("raise", "row"):
        with pytest.raises(DataError, match="a batch without spectra; give at least one"):
            infer_batch([], FitSetup(model=MODEL), on_error=on_error)  # type: ignore[call-overload]


def test_several_observations_are_for_another_function(faint: Observation, bright: Observation) -> None:
    for several in ([faint, bright], (faint,)):
        with pytest.raises(DataError, match=r"not a list; xrayflow\.inference\.infer_batch answers several") as told:
            infer(several, MODEL)  # type: ignore[arg-type]
        assert "\n" not in str(told.value)
    with pytest.raises(DataError, match="takes one observation of read_observation, not str"):
        infer("toy.pha", MODEL)  # type: ignore[arg-type]


def test_abundances_reach_the_answer(faint: Observation) -> None:
    words = {"energies": BAND, "grouping": "min:10", "freeze": {"TBabs.nH": 1.0}}
    angr, wilm = (infer(faint, MODEL, abund=abund, **words) for abund in ("angr", None))  # type: ignore[arg-type]
    assert (angr.summary()["abund"], wilm.summary()["abund"]) == ("angr", "wilm")
    # angr has more metals: the same column absorbs more, so the source must be brighter or steeper
    assert angr.log_evidence != pytest.approx(wilm.log_evidence, abs=1e-3)


def test_a_background_is_certified_and_one_taken_as_known_says_why_it_is_not(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=100.0, background=True)
    whole = infer(observation, MODEL, freeze=FREEZE, energies=BAND, grouping="min:20")
    assert (whole.likelihood.kind, whole.computation.status) == ("exact", "certified")
    assert whole.prior.names[-2:] == ("background.lnA", "background.tilt")
    answer = infer(observation, MODEL, freeze=FREEZE, energies=BAND, grouping="min:20", likelihood="known")
    assert answer.likelihood.kind == "approximate"
    assert answer.computation.status == "approximate"
    assert any("background" in reason for reason in answer.computation.reasons)
    assert answer.verdict != "certified"


def test_a_fine_grid_that_a_user_gives_is_certified(faint: Observation) -> None:
    answer = infer(faint, MODEL, freeze=FREEZE, energies=BAND, grouping="min:10", grid=Grid.log(0.05, 20.0, 2000))
    assert answer.computation.status == "certified", answer.computation.reasons
    assert "2000 logarithmic bins" in answer.provenance.grid


def test_too_few_draws_are_a_failure_and_not_to_be_trusted(bright: Observation) -> None:
    setup = FitSetup(model=MODEL, freeze=FREEZE, energies=BAND, grouping="min:10")
    answer = infer_batch([bright], setup, budget=SamplingBudget(draws=20, ess=5, first=4.0, most=4.0))[0]
    assert answer.computation.status == "failed"
    assert answer.verdict == "do-not-trust"


def test_a_band_without_counts_is_one_line(faint: Observation) -> None:
    empty = replace(faint, pha=replace(faint.pha, counts=np.zeros(faint.pha.counts.size)))
    with pytest.raises(DataError, match=r"toy\.pha: no counts in .* keV; choose another band with --energies"):
        infer(empty, MODEL, energies=BAND)


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
    assert (answer.likelihood.name, answer.likelihood.kind) == ("Gaussian", "approximate"), "no STAT_ERR in the file"
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
    setup = FitSetup(model="TBabs*simplcutx*powerlaw", prior=["simplcutx.kT_e=10:300"], energies=BAND)
    assert "simplcutx.kT_e" in build_problem([bright], setup).prior.names
    with pytest.raises(PriorError, match="it is frozen"):
        infer(bright, MODEL, freeze=FREEZE, prior=["TBabs.nH=0.1:1"], energies=BAND)


def test_many_spectra_are_answered_some_at_a_time(
    faint: Observation, bright: Observation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each spectrum has a folding matrix of its own, so a batch's memory is bounded."""
    setup = FitSetup(model=MODEL, freeze=FREEZE, energies=BAND, grouping="min:10")
    together = infer_batch([faint, bright, faint], setup)
    seen: list[float] = []
    monkeypatch.setattr("xrayflow.setup.TOGETHER", 2)
    parted = infer_batch([faint, bright, faint], setup, progress=lambda step, fraction: seen.append(fraction))
    assert [one.data[0].pha for one in parted] == [one.data[0].pha for one in together]
    for one, other in zip(parted, together, strict=True):
        np.testing.assert_allclose(one.draws, other.draws, rtol=1e-5)
    assert seen[-1] == 1.0
    assert 0.5 in seen
