"""Counts on a known background: what likelihood, optimiser, simulator and predictive check ask."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import gammaln
from torch import Tensor

from likelihood_zoo import CSTAT, counts_of, score_of
from xrayflow.ogip import Spectrum
from xrayflow.statistics import CountLikelihood, background_in_source, likelihood_of
from xrayflow.statistics.statistic import cstat, pstat


def exact_sum(counts: int, mu: float, beta: float, systematic: float) -> float:
    """ln p of counts that are a negative binomial source plus a Poisson background, by the plain sum."""
    k, j = 1.0 / systematic**2, np.arange(counts + 1)
    source = gammaln(j + k) - gammaln(k) - gammaln(j + 1) - k * np.log1p(mu / k) + j * np.log(mu / (k + mu))
    return float(np.logaddexp.reduce(source + scipy.stats.poisson.logpmf(counts - j, beta)))


def test_likelihood_is_scipys(plain: Spectrum) -> None:
    expected = np.linspace(1.0, 200.0, plain.counts.size)
    at = torch.from_numpy(expected)[None, None]
    ours = likelihood_of([plain], [CSTAT]).log_density(at).item()
    assert ours == pytest.approx(scipy.stats.poisson.logpmf(plain.counts, expected).sum(), rel=1e-12)
    k = 1.0 / 0.1**2
    ours = likelihood_of([plain], [CSTAT], 0.1).log_density(at).item()
    assert ours == pytest.approx(scipy.stats.nbinom.logpmf(plain.counts, k, k / (k + expected)).sum(), rel=1e-10)


def test_deviance_without_systematic_error_is_c_or_pstat(plain: Spectrum, measured: Spectrum) -> None:
    expected = torch.linspace(1.0, 200.0, plain.counts.size, dtype=torch.float64)
    ours = likelihood_of([plain], [CSTAT]).deviance(expected[None, None]).item()
    assert ours == pytest.approx(cstat(torch.from_numpy(plain.counts), expected).sum().item(), rel=1e-10)
    rows = (getattr(measured, name) for name in ("source_exposure", "background", "background_exposure"))
    ts, background, tb = (torch.from_numpy(row) for row in rows)
    pstats = pstat(torch.from_numpy(measured.counts), expected, ts, background, tb).sum().item()
    ours = likelihood_of([measured], [CSTAT]).deviance(expected[None, None]).item()
    assert ours == pytest.approx(pstats, rel=1e-10)


def test_no_model_beats_the_saturated_one_by_more_than_half_the_squared_systematic_error() -> None:
    counts, beta, s = 10_000.0, 4_000.0, 0.03
    likelihood = counts_of([counts], [beta], s)
    mu = torch.linspace(5000.0, 7000.0, 20_001, dtype=torch.float64)[None, :, None]
    lowest = likelihood.deviance(mu).min().item()
    assert -(s**2) < lowest < 0.0
    assert counts_of([counts], None, s).deviance(mu * 2).min().item() > -1e-9


@pytest.mark.parametrize("systematic", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("background", [None, [2.0, 40.0, 0.0]])
def test_score_is_the_slope_of_the_likelihood(systematic: float, background: list[float] | None) -> None:
    likelihood = counts_of([3.0, 100.0, 0.0], background, systematic)
    mu = torch.tensor([[[4.0, 70.0, 0.5]]], dtype=torch.float64)
    step = 1e-5
    up, down = likelihood.log_density_per_bin(mu + step), likelihood.log_density_per_bin(mu - step)
    torch.testing.assert_close(score_of(likelihood, mu), (up - down) / (2 * step), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("systematic", [0.015, 0.3])
@pytest.mark.parametrize("background", [0.3, 40.0])
def test_score_with_background_and_systematic_error_is_autograds(systematic: float, background: float) -> None:
    """Counts about the model, far off it, and none: the error that phi stands for depends on the model too."""
    counts = [0.0, 3.0, 10.0, 300.0, 20_000.0]
    likelihood = counts_of(counts, [background] * 5, systematic)
    mu = torch.tensor([[[0.5, 4.0, 50.0, 250.0, 20_500.0], [2.0, 1e-3, 5.0, 400.0, 18_000.0]]], dtype=torch.float64)
    mu.requires_grad_(True)
    (slope,) = torch.autograd.grad(likelihood.log_density_per_bin(mu).sum(), mu)
    torch.testing.assert_close(score_of(likelihood, mu.detach()), slope, rtol=1e-7, atol=1e-9)


def random_bins(sources: int, bins: int, largest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Counts, backgrounds and expected counts (three draws) of bins from nearly none to `largest` counts."""
    random = np.random.default_rng(3)
    mu = torch.from_numpy(largest ** random.uniform(-0.2, 1.0, (sources, 3, bins)))
    background = torch.from_numpy(random.uniform(0.0, 3.0, (sources, bins)))
    counts = torch.from_numpy(random.poisson((mu[:, 0] + background).numpy()).astype(np.float64))
    mu[:, 1] = mu[:, 0] * torch.from_numpy(random.normal(1.0, 0.01, (sources, bins)))
    return counts, background, mu


@pytest.mark.parametrize("with_background", [False, True])
@pytest.mark.parametrize("largest", [3.0, 1e3, 1e6])
def test_the_density_of_a_spectrum_is_that_of_its_bins(largest: float, with_background: bool) -> None:
    """Of spectra of other lengths, bins that pad being empty and without a model; and where bins are empty."""
    counts, background, mu = random_bins(2, 40, largest)
    used = torch.ones_like(counts)
    used[1, 25:] = 0.0
    counts, background, mu = counts * used, background * used, mu * used[:, None]
    counts[0, 3], mu[0, :, 4] = 0.0, 1e-12
    behind = background if with_background else torch.zeros_like(background)
    counts[0, 4] = 0.0
    likelihood = CountLikelihood.of(counts, behind, torch.zeros(2, dtype=torch.float64), used)
    per_bin = likelihood.log_density_per_bin(mu)
    assert bool((per_bin[1, :, 25:] == 0.0).all())
    torch.testing.assert_close(likelihood.log_density(mu), per_bin.sum(-1), rtol=0, atol=1e-7)
    # each draw has data of its own in a replica
    again = likelihood.replicate(mu, torch.Generator().manual_seed(1))
    assert again.counts.shape == mu.shape
    torch.testing.assert_close(again.log_density(mu), again.log_density_per_bin(mu).sum(-1), rtol=0, atol=1e-7)
    alone = likelihood.select(torch.tensor([1]))
    torch.testing.assert_close(alone.log_density(mu[1:, :, :25]), per_bin[1:].sum(-1), rtol=0, atol=1e-7)


def test_the_density_is_scipys_up_to_where_bins_are_summed_one_by_one() -> None:
    """At 9e7 counts S ln M - M is 1.5e9, of which seven digits behind the point are left."""
    for total in (1e4, 9e7, 3e8):
        mu = total / 30 * (1.0 + 1e-4 * np.arange(30.0))
        counts = np.round(mu + 0.5 * np.sqrt(mu))
        with mpmath.workdps(40):
            exact = sum(
                mpmath.mpf(s) * mpmath.log(mpmath.mpf(m)) - m - mpmath.loggamma(mpmath.mpf(s) + 1)
                for s, m in zip(counts.tolist(), mu.tolist(), strict=True)
            )
        ours = counts_of(counts.tolist()).log_density(torch.from_numpy(mu)[None, None]).item()
        assert ours == pytest.approx(float(exact), abs=1e-6)


# Measured over 1500 random bins each (mu and beta 0.1 .. 1e4): 0.0073, 0.022, 0.13, 0.76 at most.
@pytest.mark.parametrize(("systematic", "worst"), [(0.01, 0.01), (0.015, 0.03), (0.03, 0.2), (0.1, 1.0)])
def test_matching_costs_little_against_the_exact_sum_with_a_background(systematic: float, worst: float) -> None:
    random = np.random.default_rng(5)
    errors = []
    for _ in range(120):
        mu, beta = 10.0 ** random.uniform(-1, 4, 2)
        sd = np.sqrt(mu + beta + (systematic * mu) ** 2)
        counts = max(0, round(mu + beta + random.uniform(-3, 3) * sd))
        exact = exact_sum(counts, mu, beta, systematic)
        likelihood = counts_of([float(counts)], [beta], systematic)
        ours = likelihood.log_density(torch.tensor([[[mu]]], dtype=torch.float64)).item()
        errors.append(abs(ours - exact))
    assert max(errors) < worst
    assert np.median(errors) < 2e-4


def test_a_posterior_rests_on_the_exact_sum(measured: Spectrum) -> None:
    """On a background that is taken as known, with a systematic error; in any company, and each bin's."""
    likelihood = likelihood_of([measured, measured], [CSTAT] * 2, 0.05)
    behind = background_in_source(measured)
    mu = np.linspace(1.0, 200.0, measured.counts.size)
    exact = [
        exact_sum(int(counts), m, max(b, 1e-12), 0.05) for counts, m, b in zip(measured.counts, mu, behind, strict=True)
    ]
    at = torch.from_numpy(mu)[None, None]
    ours = likelihood.log_density_per_bin(at.expand(2, -1, -1))[1, 0].numpy()
    np.testing.assert_allclose(ours, exact, rtol=1e-9, atol=1e-9)
    alone = likelihood.select(torch.tensor([1]))
    assert float(alone.log_density(at)) == pytest.approx(sum(exact), rel=1e-10)
    step = 1e-4
    slope = (alone.log_density_per_bin(at + step) - alone.log_density_per_bin(at - step)) / (2 * step)
    torch.testing.assert_close(score_of(alone, at), slope, rtol=1e-6, atol=1e-8)
    # observed and replicated counts are compared by one measure
    replica = alone.replicate(at.expand(1, 300, -1), torch.Generator().manual_seed(2))
    deviance = replica.deviance(at.expand(1, 300, -1))[0]
    assert abs(float(deviance.mean()) - mu.size) < 5.0 * float(deviance.std()) / np.sqrt(300) + 0.1 * mu.size


def test_the_matched_probabilities_sum_to_one() -> None:
    counts = torch.arange(3000, dtype=torch.float64)
    likelihood = counts_of(counts.tolist(), [20.0] * 3000, 0.2)
    mu = torch.full((1, 1, 3000), 50.0, dtype=torch.float64)
    assert likelihood.log_density_per_bin(mu).exp().sum().item() == pytest.approx(1.0, abs=1e-9)


# False-alarm probability of each: 1e-4 for the chi2 test, 6e-5 (4 sd) for mean and variance.
@pytest.mark.parametrize("systematic", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("background", [0.0, 5.0])
def test_sampled_counts_follow_the_distribution_they_are_said_to(systematic: float, background: float) -> None:
    draws, mu = 40_000, 12.0
    likelihood = counts_of([0.0], [background], systematic)
    expected = torch.full((1, draws, 1), mu, dtype=torch.float64)
    sample = likelihood.sample(expected, torch.Generator().manual_seed(1))[0, :, 0].numpy()
    variance = likelihood.variance(expected)[0, 0, 0].item()
    assert variance == pytest.approx(mu + background + (systematic * mu) ** 2)
    assert abs(sample.mean() - mu - background) < 4.0 * np.sqrt(variance / draws)
    fourth = ((sample - sample.mean()) ** 4).mean()
    assert abs(sample.var() - variance) < 4.0 * np.sqrt((fourth - variance**2) / draws)
    values = np.arange(120)
    if systematic:
        probability = np.exp([exact_sum(int(v), mu, max(background, 1e-12), systematic) for v in values])
    else:
        probability = scipy.stats.poisson.pmf(values, mu + background)
    enough = probability * draws > 10
    seen = np.bincount(sample.astype(np.int64), minlength=values.size)[: values.size]
    seen = np.append(seen[enough], draws - seen[enough].sum())
    wanted = np.append(probability[enough], 1.0 - probability[enough].sum()) * draws
    assert scipy.stats.chisquare(seen, wanted).pvalue > 1e-4


def test_a_model_of_zero_where_counts_are_is_impossible_but_not_nan() -> None:
    likelihood = counts_of([3.0, 0.0], None, 0.1)
    value: Tensor = likelihood.log_density(torch.zeros(1, 1, 2, dtype=torch.float64))
    assert value.item() == -np.inf
    without = counts_of([3.0, 0.0])
    mu = torch.tensor([[[0.0, 0.0], [2.0, 0.0]]], dtype=torch.float64)
    assert without.log_density(mu)[0].tolist() == pytest.approx([-np.inf, scipy.stats.poisson.logpmf(3, 2.0)])
