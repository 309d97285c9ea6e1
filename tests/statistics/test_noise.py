"""The noise of a batch: what likelihood, optimiser, simulator and predictive check ask."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import gammaln
from torch import Tensor

from ogip_zoo import toy_observation
from xrayflow.errors import DataError
from xrayflow.ogip import Spectrum
from xrayflow.statistics import Choice, CountNoise, GaussianNoise, noise_of
from xrayflow.statistics.likelihood import log_saturated_poisson
from xrayflow.statistics.statistic import cstat, pstat

CSTAT = Choice("cstat", "", gaussian=False)
CHI2 = Choice("chi2", "", gaussian=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Spectrum:
    return toy_observation(tmp_path_factory.mktemp("plain")).bin(energies=((1.0, 6.0),))


@pytest.fixture(scope="module")
def with_background(tmp_path_factory: pytest.TempPathFactory) -> Spectrum:
    return toy_observation(tmp_path_factory.mktemp("background"), background=True).bin(energies=((1.0, 6.0),))


def counts_of(values: list[float], background: list[float] | None = None, systematic: float = 0.0) -> CountNoise:
    """One source, made by hand."""
    counts = torch.tensor([values], dtype=torch.float64)
    behind = torch.zeros_like(counts) if background is None else torch.tensor([background], dtype=torch.float64)
    s = torch.full((1, 1), systematic, dtype=torch.float64)

    return CountNoise(counts, behind, s, torch.ones_like(counts), log_saturated_poisson(counts))


def errors_of(values: list[float], sd: list[float], systematic: float = 0.0) -> GaussianNoise:
    counts = torch.tensor([values], dtype=torch.float64)
    variance = torch.tensor([sd], dtype=torch.float64) ** 2
    return GaussianNoise(counts, variance, torch.full((1, 1), systematic, dtype=torch.float64), torch.ones_like(counts))


def exact_sum(counts: int, mu: float, beta: float, systematic: float) -> float:
    """ln p of counts that are a negative binomial source plus a Poisson background, by the plain sum."""
    k, j = 1.0 / systematic**2, np.arange(counts + 1)
    source = gammaln(j + k) - gammaln(k) - gammaln(j + 1) - k * np.log1p(mu / k) + j * np.log(mu / (k + mu))
    return float(np.logaddexp.reduce(source + scipy.stats.poisson.logpmf(counts - j, beta)))


def test_the_noise_says_what_it_is(plain: Spectrum, with_background: Spectrum) -> None:
    said = [
        (noise_of([plain], [CSTAT]), "Poisson", "exact"),
        (noise_of([plain], [CSTAT], 0.02), "negative binomial", "exact"),
        (noise_of([with_background], [CSTAT]), "Poisson, known background", "approximate"),
        (noise_of([with_background], [CSTAT], 0.02), "negative binomial, known background", "approximate"),
        (noise_of([replace(plain, stat_err=np.ones(plain.counts.size))], [CHI2]), "Gaussian", "exact"),
        (noise_of([plain], [CHI2]), "Gaussian", "approximate"),
        (noise_of([with_background], [CHI2]), "Gaussian", "approximate"),
        (errors_of([3.0], [1.0]), "Gaussian", "exact"),
        (counts_of([3.0]), "Poisson", "exact"),
        (counts_of([3.0], [1.0]), "Poisson, known background", "approximate"),
    ]
    for noise, name, kind in said:
        assert (noise.name, noise.kind, bool(noise.why)) == (name, kind, kind == "approximate")
        assert noise.negligible or kind == "approximate"
    assert counts_of([3.0], [1.0]).why == "the background's own error is not in the likelihood"


def test_each_source_of_a_batch_has_its_own_reason(plain: Spectrum, with_background: Spectrum) -> None:
    assert with_background.background is not None
    faint = replace(
        with_background, background=np.ones_like(plain.counts), background_exposure=np.full(plain.counts.size, 1e7)
    )
    for spectra, choice in (([plain, faint, with_background], CSTAT), ([plain, with_background], CHI2)):
        noise = noise_of(spectra, [choice] * len(spectra))
        alone = [noise_of([spectrum], [choice]) for spectrum in spectra]
        for source, one in enumerate(alone):
            chosen = noise.select(torch.tensor([source, source]))
            assert (chosen.kind, chosen.why, chosen.negligible) == (one.kind, one.why, one.negligible)
        matter = [one.why for one in alone if not one.negligible]
        assert noise.why == (matter or [one.why for one in alone if one.why])[0]
        assert noise.negligible is not bool(matter)


def test_the_background_is_scaled_to_the_source(with_background: Spectrum) -> None:
    noise = noise_of([with_background], [CSTAT])
    assert isinstance(noise, CountNoise)
    # region 4 times the source's, equal exposures
    np.testing.assert_allclose(noise.background[0].numpy(), with_background.background / 4.0)
    expected = torch.full((1, 1, with_background.counts.size), 3.0, dtype=torch.float64)
    torch.testing.assert_close(noise.total(expected), expected + noise.background[:, None])


def test_likelihood_is_scipys(plain: Spectrum) -> None:
    expected = np.linspace(1.0, 200.0, plain.counts.size)
    at = torch.from_numpy(expected)[None, None]
    ours = noise_of([plain], [CSTAT]).log_likelihood(at).item()
    assert ours == pytest.approx(scipy.stats.poisson.logpmf(plain.counts, expected).sum(), rel=1e-12)
    k = 1.0 / 0.1**2
    ours = noise_of([plain], [CSTAT], 0.1).log_likelihood(at).item()
    assert ours == pytest.approx(scipy.stats.nbinom.logpmf(plain.counts, k, k / (k + expected)).sum(), rel=1e-10)


def test_deviance_without_systematic_error_is_c_or_pstat(plain: Spectrum, with_background: Spectrum) -> None:
    expected = torch.linspace(1.0, 200.0, plain.counts.size, dtype=torch.float64)
    ours = noise_of([plain], [CSTAT]).deviance(expected[None, None]).item()
    assert ours == pytest.approx(cstat(torch.from_numpy(plain.counts), expected).sum().item(), rel=1e-10)
    rows = (getattr(with_background, name) for name in ("source_exposure", "background", "background_exposure"))
    ts, background, tb = (torch.from_numpy(row) for row in rows)
    pstats = pstat(torch.from_numpy(with_background.counts), expected, ts, background, tb).sum().item()
    ours = noise_of([with_background], [CSTAT]).deviance(expected[None, None]).item()
    assert ours == pytest.approx(pstats, rel=1e-10)


def test_no_model_beats_the_saturated_one_by_more_than_half_the_squared_systematic_error() -> None:
    counts, beta, s = 10_000.0, 4_000.0, 0.03
    noise = counts_of([counts], [beta], s)
    mu = torch.linspace(5000.0, 7000.0, 20_001, dtype=torch.float64)[None, :, None]
    lowest = noise.deviance(mu).min().item()
    assert -(s**2) < lowest < 0.0
    assert counts_of([counts], None, s).deviance(mu * 2).min().item() > -1e-9


@pytest.mark.parametrize("systematic", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("background", [None, [2.0, 40.0, 0.0]])
def test_score_is_the_slope_of_the_likelihood(systematic: float, background: list[float] | None) -> None:
    noise = counts_of([3.0, 100.0, 0.0], background, systematic)
    mu = torch.tensor([[[4.0, 70.0, 0.5]]], dtype=torch.float64)
    step = 1e-5
    up, down = noise.log_likelihood_per_bin(mu + step), noise.log_likelihood_per_bin(mu - step)
    torch.testing.assert_close(noise.score(mu), (up - down) / (2 * step), rtol=1e-6, atol=1e-8)


def test_score_of_gaussian_data_is_the_slope_of_the_likelihood() -> None:
    noise = errors_of([3.0, -2.0], [1.0, 2.0], 0.1)
    mu = torch.tensor([[[4.0, 0.5]]], dtype=torch.float64)
    step = 1e-5
    up, down = noise.log_likelihood_per_bin(mu + step), noise.log_likelihood_per_bin(mu - step)
    torch.testing.assert_close(noise.score(mu), (up - down) / (2 * step), rtol=1e-6, atol=1e-8)


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
        noise = counts_of([float(counts)], [beta], systematic)
        ours = noise.log_likelihood(torch.tensor([[[mu]]], dtype=torch.float64)).item()
        errors.append(abs(ours - exact))
    assert max(errors) < worst
    assert np.median(errors) < 2e-4


def test_the_matched_probabilities_sum_to_one() -> None:
    counts = torch.arange(3000, dtype=torch.float64)
    noise = counts_of(counts.tolist(), [20.0] * 3000, 0.2)
    mu = torch.full((1, 1, 3000), 50.0, dtype=torch.float64)
    assert noise.log_likelihood_per_bin(mu).exp().sum().item() == pytest.approx(1.0, abs=1e-9)


# False-alarm probability of each: 1e-4 for the chi2 test, 6e-5 (4 sd) for mean and variance.
@pytest.mark.parametrize("systematic", [0.0, 0.1, 0.4])
@pytest.mark.parametrize("background", [0.0, 5.0])
def test_sampled_counts_follow_the_distribution_they_are_said_to(systematic: float, background: float) -> None:
    draws, mu = 40_000, 12.0
    noise = counts_of([0.0], [background], systematic)
    expected = torch.full((1, draws, 1), mu, dtype=torch.float64)
    sample = noise.sample(expected, torch.Generator().manual_seed(1))[0, :, 0].numpy()
    variance = noise.variance(expected)[0, 0, 0].item()
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


# False-alarm probability 1e-4.
def test_sampled_gaussian_data_are_normal_with_the_stated_variance() -> None:
    noise = errors_of([0.0], [3.0], 0.1)
    expected = torch.full((1, 20_000, 1), 40.0, dtype=torch.float64)
    sample = noise.sample(expected, torch.Generator().manual_seed(2))[0, :, 0].numpy()
    assert noise.variance(expected)[0, 0, 0].item() == pytest.approx(25.0)
    assert scipy.stats.kstest(sample, scipy.stats.norm(40.0, 5.0).cdf).pvalue > 1e-4


def test_gaussian_likelihood_keeps_its_determinant() -> None:
    noise = errors_of([3.0, -2.0], [1.0, 2.0], 0.1)
    mu = torch.tensor([[[4.0, 0.5]]], dtype=torch.float64)
    sd = np.sqrt([1.0 + 0.16, 4.0 + 0.0025])
    assert noise.log_likelihood(mu).item() == pytest.approx(scipy.stats.norm.logpdf([3.0, -2.0], [4.0, 0.5], sd).sum())
    assert errors_of([3.0, -2.0], [1.0, 2.0]).deviance(mu).item() == pytest.approx(1.0 + 2.5**2 / 4.0)


def test_gaussian_data_are_the_counts_less_the_scaled_background(with_background: Spectrum) -> None:
    noise = noise_of([with_background], [CHI2])
    assert isinstance(noise, GaussianNoise)
    np.testing.assert_allclose(noise.counts[0].numpy(), with_background.counts - with_background.background / 4.0)
    expected_variance = with_background.counts + with_background.background / 16.0
    np.testing.assert_allclose(noise.data_variance[0].numpy(), expected_variance)


@pytest.mark.parametrize("choice", [CSTAT, CHI2])
@pytest.mark.parametrize("systematic", [0.0, 0.05])
def test_padding_and_neighbours_change_nothing(choice: Choice, systematic: float, tmp_path: Path) -> None:
    observation = toy_observation(tmp_path)
    spectra = [observation.bin(energies=band) for band in (((1.0, 6.0),), ((2.0, 3.0),), ((1.5, 5.0),))]
    together = noise_of(spectra, [choice] * 3, systematic)
    bins = max(spectrum.counts.size for spectrum in spectra)
    expected = torch.zeros(3, 2, bins, dtype=torch.float64)
    for i, spectrum in enumerate(spectra):
        expected[i, :, : spectrum.counts.size] = torch.linspace(1.0, 90.0, spectrum.counts.size, dtype=torch.float64)
    replicas = together.sample(expected, torch.Generator().manual_seed(0))
    for i, spectrum in enumerate(spectra):
        size = spectrum.counts.size
        alone, own = noise_of([spectrum], [choice], systematic), expected[i : i + 1, :, :size]
        torch.testing.assert_close(together.log_likelihood(expected)[i], alone.log_likelihood(own)[0])
        torch.testing.assert_close(together.deviance(expected)[i], alone.deviance(own)[0])
        torch.testing.assert_close(together.score(expected)[i, :, :size], alone.score(own)[0])
        others = replicas[i : i + 1, :, :size]
        torch.testing.assert_close(together.deviance(expected, replicas)[i], alone.deviance(own, others)[0])
        assert not replicas[i, :, size:].any()
        chosen = together.select(torch.tensor([i, i]))
        twice = expected[i].expand(2, -1, -1)
        torch.testing.assert_close(chosen.log_likelihood(twice)[1], alone.log_likelihood(own)[0])


def test_a_model_of_zero_where_counts_are_is_impossible_but_not_nan() -> None:
    noise = counts_of([3.0, 0.0], None, 0.1)
    value: Tensor = noise.log_likelihood(torch.zeros(1, 1, 2, dtype=torch.float64))
    assert value.item() == -np.inf


@pytest.mark.parametrize("systematic", [-0.01, 0.5, 1.5, float("nan")])
def test_a_systematic_error_must_be_a_small_fraction(plain: Spectrum, systematic: float) -> None:
    with pytest.raises(DataError, match=r"--systematic .*: it is a fraction of the model; give 0 or more, below 0\.5"):
        noise_of([plain], [CSTAT], systematic)


def test_a_negative_background_is_refused(with_background: Spectrum) -> None:
    assert with_background.background is not None
    bent = replace(with_background, background=with_background.background - 1000.0)
    with pytest.raises(DataError, match="bins of its background are negative"):
        noise_of([bent], [CSTAT])


def test_counts_that_are_none_are_refused(plain: Spectrum) -> None:
    for bent in (plain.counts + 0.5, plain.counts - 1e6):
        with pytest.raises(DataError, match="its counts are negative or not whole numbers; use --statistic chi2"):
            noise_of([replace(plain, counts=bent)], [CSTAT])


def test_a_batch_does_not_mix_counts_with_gaussian_data(plain: Spectrum) -> None:
    with pytest.raises(DataError, match="a batch cannot mix Poisson counts with data that have Gaussian errors"):
        noise_of([plain, plain], [CSTAT, CHI2])


def test_each_spectrum_of_a_batch_needs_a_statistic(plain: Spectrum) -> None:
    with pytest.raises(DataError, match="a batch of 1 spectra with 2 statistics"):
        noise_of([plain], [CSTAT, CSTAT])
    with pytest.raises(DataError, match="a batch of 0 spectra"):
        noise_of([], [])
