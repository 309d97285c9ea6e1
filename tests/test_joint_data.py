"""Several instruments as one: their log densities add, their bins stand end to end, each has nuisances of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.special
import torch
from torch import Tensor

from ogip_zoo import toy_observation
from xrayflow.dataset import DataSet
from xrayflow.errors import DataError
from xrayflow.folding import EXACT, SEARCH
from xrayflow.inference import SamplingBudget, infer_problem
from xrayflow.joint_data import JointData
from xrayflow.models import Model, parse_model
from xrayflow.ogip import Spectrum
from xrayflow.prior import Marginal, Prior, log_standard_normal
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup
from xrayflow.setup import problem_of as problem_of_spectra
from xrayflow.shown import predictions
from xrayflow.statistics import CountLikelihood, Curvature, StatisticChoice

CSTAT = StatisticChoice("cstat", "", gaussian=False)


@dataclass(frozen=True)
class Scaled(CountLikelihood):
    """Counts whose expectation is multiplied by a factor that only a prior knows.

    Attributes:
        sd: Of the factor, about 1.
    """

    sd: float = 0.1

    @classmethod
    def beside(cls, known: CountLikelihood, sd: float) -> Scaled:
        """The same data with the factor."""
        return cls(known.counts, known.background, known.systematic, known.used, known.saturated, sd=sd)

    @property
    def nuisances(self) -> tuple[Marginal, ...]:
        """The factor, held at 5 sd."""
        return (Marginal("calibration.factor", "", 1.0 - 5.0 * self.sd, 1.0 + 5.0 * self.sd, "linear", 1.0, self.sd),)

    def log_density(self, expected: Tensor, nuisance: Tensor | None = None) -> Tensor:
        """Of the scaled counts."""
        return super().log_density(expected if nuisance is None else expected * nuisance)

    def curvature(self, expected: Tensor, jacobian: Tensor, nuisance: Tensor | None = None) -> Curvature:
        """The factor's column is the last."""
        assert nuisance is not None
        columns = torch.cat([jacobian * nuisance[..., None], expected[..., None]], dim=-1)
        return super().curvature(expected * nuisance, columns)

    def score(self, expected: Tensor, jacobian: Tensor, nuisance: Tensor | None = None) -> Tensor:
        """The factor's column is the last."""
        assert nuisance is not None
        slope = super().slope(expected * nuisance)
        return torch.cat([(slope * nuisance) @ jacobian, (slope * expected).sum(-1, keepdim=True)], dim=-1)

    def select(self, sources: Tensor) -> Scaled:
        """Some of the sources."""
        return Scaled.beside(super().select(sources), self.sd)


def data_set(model: Model, spectra: list[Spectrum], wrap: Callable[[CountLikelihood], CountLikelihood]) -> DataSet:
    """The data of one instrument."""
    plain = problem_of_spectra(spectra, model, Prior.of(model), FitSetup(), [CSTAT] * len(spectra)).data.sets[0]
    assert isinstance(plain.likelihood, CountLikelihood)
    return replace(plain, likelihood=wrap(plain.likelihood))


@pytest.fixture(scope="module")
def instruments(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Spectrum], list[Spectrum]]:
    """Two sources, each seen by two instruments; the second counts half as much and in other bins."""
    first = [
        toy_observation(tmp_path_factory.mktemp("one"), exposure=exposure, seed=seed).bin(
            ((1.0, 6.0),), grouping="none"
        )
        for exposure, seed in ((10.0, 1), (20.0, 2))
    ]
    second = [
        toy_observation(tmp_path_factory.mktemp("two"), exposure=exposure, seed=seed).bin(
            ((2.0, 7.0),), grouping="optimal"
        )
        for exposure, seed in ((5.0, 3), (10.0, 4))
    ]
    return first, second


MODEL = parse_model("powerlaw")


@pytest.fixture(scope="module")
def scaled(instruments: tuple[list[Spectrum], list[Spectrum]]) -> JointData:
    """Each instrument with a factor of its own."""
    return JointData(
        (
            data_set(MODEL, instruments[0], lambda one: Scaled.beside(one, 0.1)),
            data_set(MODEL, instruments[1], lambda one: Scaled.beside(one, 0.2)),
        )
    )


def theta_of(scaled: JointData, draws: int = 5) -> Tensor:
    """Of a power law about the truth, and two factors about 1."""
    prior = Prior.of(MODEL).extended(scaled.nuisances)
    generator = torch.Generator().manual_seed(2)
    return prior.to_theta(0.5 * torch.randn((2, draws, 4), generator=generator, dtype=torch.float64))


def test_each_part_is_a_data_set_with_its_bins_and_its_columns(scaled: JointData) -> None:
    theta = theta_of(scaled)
    expected = scaled.expected(theta)
    first, second = scaled.parts(expected, theta)
    assert (first[0], second[0]) == scaled.sets
    assert torch.equal(torch.cat([first[1], second[1]], dim=-1), expected)
    assert torch.equal(first[1], scaled.sets[0].forward.expected(theta[..., :2]))
    assert torch.equal(torch.stack([first[2][..., 0], second[2][..., 0]], dim=-1), theta[..., 2:])
    plain = JointData(tuple(replace(one, likelihood=CountLikelihood(*counts(one))) for one in scaled.sets))
    assert [nuisance for _, _, nuisance in plain.parts(expected, theta)] == [None, None]
    assert plain.nuisances == []


def counts(data: DataSet) -> tuple[Tensor, ...]:
    """What a likelihood of counts is made of."""
    known = data.likelihood
    assert isinstance(known, CountLikelihood)
    return known.counts, known.background, known.systematic, known.used, known.saturated


def test_counts_of_all_bins_are_the_sum_over_bins_and_instruments(scaled: JointData) -> None:
    theta = theta_of(scaled)
    torch.testing.assert_close(scaled.expected_counts(theta), scaled.expected(theta).sum(-1), rtol=1e-12, atol=0)


def test_the_score_with_the_jacobian_of_one_draw_is_the_gradient_there(scaled: JointData) -> None:
    theta = theta_of(scaled, 1)
    score = scaled.score(scaled.expected(theta), theta, scaled.mean_jacobian(theta))
    gradient = scaled.curvature(theta, torch.ones_like(theta)).gradient
    torch.testing.assert_close(score, gradient, rtol=1e-10, atol=0)


def test_residuals_are_counts_less_their_mean_in_bins_that_are_there(scaled: JointData) -> None:
    theta = theta_of(scaled)
    left = scaled.residuals(scaled.expected(theta), theta)
    bins = [one.likelihood.used.shape[-1] for one in scaled.sets]
    for source in range(2):
        for data, part in zip(scaled.sets, left[source].split(bins, dim=-1), strict=True):
            observed = torch.from_numpy(data.spectra[source].counts)
            mean = data.forward.select(torch.tensor([source])).expected(theta[source : source + 1, :, :2])[0]
            torch.testing.assert_close(part[:, : observed.numel()], observed - mean, rtol=1e-9, atol=1e-9)
            assert not part[:, observed.numel() :].any()


def test_what_changes_nothing_is_the_data_themselves(scaled: JointData) -> None:
    theta = theta_of(scaled)
    assert scaled.at(EXACT) is scaled
    assert scaled.select(torch.arange(2)) is scaled
    assert scaled.centred(theta[:, :1], range(2)) is scaled
    assert scaled.select(torch.tensor([1])).as_asked().sources == 1
    search = scaled.at(SEARCH)
    assert (search is scaled, search.at(SEARCH) is search) == (False, True)
    assert scaled.folds_like(search, 1)
    assert not scaled.folds_like(scaled.select(torch.tensor([1, 0])), 1)


def test_xspecs_statistic_has_no_nuisances(scaled: JointData) -> None:
    with pytest.raises(DataError, match="XSPEC's statistic has no nuisances; build the problem for objective 'statis"):
        scaled.of_statistic()


def test_data_sets_of_one_source_add_their_likelihoods(
    instruments: tuple[list[Spectrum], list[Spectrum]],
) -> None:
    sets = [data_set(MODEL, spectra, lambda one: one) for spectra in instruments]
    alone = [Problem.of(MODEL, Prior.of(MODEL), [one]) for one in sets]
    joint = Problem.of(MODEL, Prior.of(MODEL), sets)
    v = 0.3 * torch.randn((2, 6, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    theta, slope = joint.prior.to_theta(v), joint.prior.slope(v)
    torch.testing.assert_close(joint.log_likelihood(theta), sum(one.log_likelihood(theta) for one in alone))
    torch.testing.assert_close(joint.expected(theta), torch.cat([one.expected(theta) for one in alone], dim=-1))
    deviances = sum(one.data.deviance(one.expected(theta), theta) for one in alone)
    torch.testing.assert_close(joint.data.deviance(joint.expected(theta), theta), deviances)
    whole, parts = joint.curvature(theta, slope), [one.curvature(theta, slope) for one in alone]
    torch.testing.assert_close(whole.gradient, parts[0].gradient + parts[1].gradient)
    torch.testing.assert_close(whole.information, parts[0].information + parts[1].information)
    assert joint.data.facts.bins.tolist() == (alone[0].data.facts.bins + alone[1].data.facts.bins).tolist()
    torch.testing.assert_close(joint.data.facts.counts, alone[0].data.facts.counts + alone[1].data.facts.counts)
    one = joint.select(torch.tensor([1]))
    torch.testing.assert_close(one.log_likelihood(theta[1:]), joint.log_likelihood(theta)[1:])
    assert [found.pha.parent.name[:3] for found in one.data.observed()] == ["one", "two"]
    assert [part.expected.shape[-1] for part in predictions(one, one.expected(theta[1:]), theta[1:])] == [
        one.data.sets[number].spectra[0].counts.size for number in (0, 1)
    ]
    assert len({generator.initial_seed() for problem in (joint, *alone) for generator in problem.generators(0)}) == 6


def test_a_nuisance_stands_behind_theta_with_its_own_prior_and_column(
    instruments: tuple[list[Spectrum], list[Spectrum]],
) -> None:
    sets = [
        data_set(MODEL, instruments[0], lambda one: Scaled.beside(one, 0.1)),
        data_set(MODEL, instruments[1], lambda one: Scaled.beside(one, 0.2)),
    ]
    problem = Problem.of(MODEL, Prior.of(MODEL), sets)
    assert problem.prior.names == (*MODEL.names, "calibration.factor", "calibration.factor")
    assert [marginal.sd for marginal in problem.prior.marginals[2:]] == [0.1, 0.2]
    assert (problem.parameters, len(problem.model.free)) == (4, 2)
    v = 0.5 * torch.randn((2, 5, 4), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    theta = problem.prior.to_theta(v)
    # each data set sees its own factor: a power law's counts are linear in its norm
    by_hand = 0.0
    for number, one in enumerate(sets):
        scaled = torch.stack([theta[..., 0], theta[..., 1] * theta[..., 2 + number]], dim=-1)
        plain = Problem.of(MODEL, Prior.of(MODEL), [replace(one, likelihood=one.likelihood)])
        by_hand = by_hand + one.likelihood.log_density_per_bin(plain.expected(scaled)).sum(-1)
    torch.testing.assert_close(problem.log_likelihood(theta), by_hand, rtol=1e-10, atol=0)
    torch.testing.assert_close(problem.log_target(v), by_hand + log_standard_normal(v), rtol=1e-10, atol=0)
    found = problem.curvature(theta, problem.prior.slope(v))
    for i in range(4):
        step = torch.zeros(4, dtype=torch.float64)
        step[i] = 3e-5  # ln L is of the order 1e7: smaller steps drown in its rounding
        up, down = (problem.log_likelihood(problem.prior.to_theta(v + sign * step)) for sign in (1.0, -1.0))
        torch.testing.assert_close(found.gradient[..., i], (up - down) / 6e-5, rtol=1e-5, atol=1e-4)
    assert not found.information[..., 2, 3].any()
    assert bool((found.information[..., 1, 2] != 0).all())
    assert bool((torch.linalg.eigvalsh(found.information) > -1e-6 * found.information.abs().amax()).all())
    one = problem.select(torch.tensor([1]))
    torch.testing.assert_close(one.log_target(v[1:]), problem.log_target(v)[1:], rtol=1e-10, atol=0)


def test_a_factor_that_only_its_prior_knows_widens_the_norm_as_the_closed_form_says(
    instruments: tuple[list[Spectrum], list[Spectrum]],
) -> None:
    """With the index frozen, norm x factor of N counts is a gamma variate of shape N (the norm's box is logarithmic):
    var ln norm = trigamma(N) + var ln factor. 2000 effective draws know a width to 1.6 %; the bound is four times that.
    """
    model, sd = MODEL.freeze({"powerlaw.PhoIndex": 1.7}), 0.05
    one = data_set(model, instruments[0][:1], lambda known: Scaled.beside(known, sd))
    problem = Problem.of(model, Prior.of(model), [one])
    answer = infer_problem(problem, budget=SamplingBudget(draws=4000, ess=2000))[0]
    assert answer.names == ("powerlaw.norm", "calibration.factor")
    assert answer.computation.status == "certified", answer.computation.reasons
    factor = np.random.default_rng(0).normal(1.0, sd, 400_000)
    counts = float(problem.data.facts.counts)
    variance = scipy.special.polygamma(1, counts) + np.log(factor).var()
    assert 1.2 < variance * counts < 5.0
    places = np.stack([np.log(answer.draws[:, 0]), answer.draws[:, 1]])
    covariance = np.cov(places, aweights=answer.weights)
    widths = np.sqrt(covariance.diagonal())
    np.testing.assert_allclose(widths, [math.sqrt(variance), sd], rtol=0.065)
    assert covariance[0, 1] / widths.prod() < -0.5


def test_a_replica_has_data_of_its_own_for_every_draw(instruments: tuple[list[Spectrum], list[Spectrum]]) -> None:
    """The deviance of simulated counts about their own model: as many as bins, within 5 of its standard errors."""
    joint = JointData(tuple(data_set(MODEL, spectra, lambda one: one) for spectra in instruments))
    one = joint.select(torch.tensor([0]))
    theta = torch.tensor([1.2, 3.0]).double().expand(1, 400, -1)
    expected = one.expected(theta)
    assert float(expected.amin()) > 5.0
    deviance = one.replicate(expected, theta, torch.Generator().manual_seed(3)).deviance(expected, theta)
    bins = int(one.facts.bins)
    assert deviance.shape == (1, 400)
    assert float(deviance.mean()) == pytest.approx(bins, abs=5.0 * math.sqrt(2.0 * bins / 400) + 0.05 * bins)
    assert float(deviance.std()) > 1.0
