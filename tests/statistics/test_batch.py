"""The likelihood of a batch of spectra: padded, and each as it is alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from likelihood_zoo import CHI2, CSTAT, score_of
from ogip_zoo import toy_observation
from xrayflow.errors import DataError
from xrayflow.ogip import Spectrum
from xrayflow.statistics import CountLikelihood, GaussianLikelihood, Likelihood, StatisticChoice, likelihood_of
from xrayflow.statistics.count_density import log_saturated_poisson


def with_counts(likelihood: Likelihood, replicas: Likelihood, source: int, bins: int) -> Likelihood:
    """The same of the counts of one source of a replica."""
    counts = replicas.counts[source : source + 1, :, :bins]
    if isinstance(likelihood, CountLikelihood):
        return replace(likelihood, counts=counts, saturated=log_saturated_poisson(counts))
    assert isinstance(likelihood, GaussianLikelihood)
    return replace(likelihood, counts=counts)


def test_the_likelihood_says_what_it_is(plain: Spectrum, measured: Spectrum) -> None:
    said = [
        (likelihood_of([plain], [CSTAT]), "Poisson", "exact"),
        (likelihood_of([plain], [CSTAT], 0.02), "negative binomial", "exact"),
        (likelihood_of([measured], [CSTAT]), "Poisson, known background", "approximate"),
        (likelihood_of([measured], [CSTAT], 0.02), "negative binomial, known background", "approximate"),
        (likelihood_of([replace(plain, stat_err=np.ones(plain.counts.size))], [CHI2]), "Gaussian", "exact"),
        (likelihood_of([plain], [CHI2]), "Gaussian", "approximate"),
        (likelihood_of([measured], [CHI2]), "Gaussian", "approximate"),
    ]
    for likelihood, name, kind in said:
        assert (likelihood.name, likelihood.kind, bool(likelihood.why)) == (name, kind, kind == "approximate")
        assert likelihood.negligible or kind == "approximate"


def test_each_source_of_a_batch_has_its_own_reason(plain: Spectrum, measured: Spectrum) -> None:
    assert measured.background is not None
    faint = replace(
        measured, background=np.ones_like(plain.counts), background_exposure=np.full(plain.counts.size, 1e7)
    )
    for spectra, choice in (([plain, faint, measured], CSTAT), ([plain, measured], CHI2)):
        together = likelihood_of(spectra, [choice] * len(spectra))
        alone = [likelihood_of([spectrum], [choice]) for spectrum in spectra]
        for source, one in enumerate(alone):
            chosen = together.select(torch.tensor([source, source]))
            assert (chosen.kind, chosen.why, chosen.negligible) == (one.kind, one.why, one.negligible)
        matter = [one.why for one in alone if not one.negligible]
        assert together.why == (matter or [one.why for one in alone if one.why])[0]
        assert together.negligible is not bool(matter)


def test_the_background_is_scaled_to_the_source(measured: Spectrum) -> None:
    likelihood = likelihood_of([measured], [CSTAT])
    assert isinstance(likelihood, CountLikelihood)
    # region 4 times the source's, equal exposures
    np.testing.assert_allclose(likelihood.background[0].numpy(), measured.background / 4.0)
    expected = torch.full((1, 1, measured.counts.size), 3.0, dtype=torch.float64)
    torch.testing.assert_close(likelihood.total(expected), expected + likelihood.background[:, None])


def test_gaussian_data_are_the_counts_less_the_scaled_background(measured: Spectrum) -> None:
    likelihood = likelihood_of([measured], [CHI2])
    assert isinstance(likelihood, GaussianLikelihood)
    np.testing.assert_allclose(likelihood.counts[0, 0].numpy(), measured.counts - measured.background / 4.0)
    expected_variance = measured.counts + measured.background / 16.0
    np.testing.assert_allclose(likelihood.data_variance[0].numpy(), expected_variance)


@pytest.mark.parametrize("choice", [CSTAT, CHI2])
@pytest.mark.parametrize("systematic", [0.0, 0.05])
def test_padding_and_neighbours_change_nothing(choice: StatisticChoice, systematic: float, tmp_path: Path) -> None:
    observation = toy_observation(tmp_path)
    spectra = [observation.bin(energies=band) for band in (((1.0, 6.0),), ((2.0, 3.0),), ((1.5, 5.0),))]
    together = likelihood_of(spectra, [choice] * 3, systematic)
    bins = max(spectrum.counts.size for spectrum in spectra)
    expected = torch.zeros(3, 2, bins, dtype=torch.float64)
    for i, spectrum in enumerate(spectra):
        expected[i, :, : spectrum.counts.size] = torch.linspace(1.0, 90.0, spectrum.counts.size, dtype=torch.float64)
    replicas = together.replicate(expected, torch.Generator().manual_seed(0))
    for i, spectrum in enumerate(spectra):
        size = spectrum.counts.size
        alone, own = likelihood_of([spectrum], [choice], systematic), expected[i : i + 1, :, :size]
        torch.testing.assert_close(together.log_density(expected)[i], alone.log_density(own)[0])
        torch.testing.assert_close(together.deviance(expected)[i], alone.deviance(own)[0])
        torch.testing.assert_close(score_of(together, expected)[i, :, :size], score_of(alone, own)[0])
        torch.testing.assert_close(
            replicas.deviance(expected)[i], with_counts(alone, replicas, i, size).deviance(own)[0]
        )
        assert not replicas.counts[i, :, size:].any()
        chosen = together.select(torch.tensor([i, i]))
        twice = own.expand(2, -1, -1)
        torch.testing.assert_close(chosen.log_density(twice)[1], alone.log_density(own)[0])


@pytest.mark.parametrize("systematic", [-0.01, 0.5, 1.5, float("nan")])
def test_a_systematic_error_must_be_a_small_fraction(plain: Spectrum, systematic: float) -> None:
    with pytest.raises(DataError, match=r"--systematic .*: it is a fraction of the model; give 0 or more, below 0\.5"):
        likelihood_of([plain], [CSTAT], systematic)


def test_a_negative_background_is_refused(measured: Spectrum) -> None:
    assert measured.background is not None
    bent = replace(measured, background=measured.background - 1000.0)
    with pytest.raises(DataError, match="bins of its background are negative"):
        likelihood_of([bent], [CSTAT])


def test_counts_that_are_none_are_refused(plain: Spectrum) -> None:
    for bent in (plain.counts + 0.5, plain.counts - 1e6):
        with pytest.raises(DataError, match="its counts are negative or not whole numbers; use --statistic chi2"):
            likelihood_of([replace(plain, counts=bent)], [CSTAT])


def test_a_batch_does_not_mix_counts_with_gaussian_data(plain: Spectrum) -> None:
    with pytest.raises(DataError, match="a batch cannot mix Poisson counts with data that have Gaussian errors"):
        likelihood_of([plain, plain], [CSTAT, CHI2])


def test_each_spectrum_of_a_batch_needs_a_statistic(plain: Spectrum) -> None:
    with pytest.raises(DataError, match="a batch of 1 spectra with 2 statistics"):
        likelihood_of([plain], [CSTAT, CSTAT])
    with pytest.raises(DataError, match="a batch of 0 spectra"):
        likelihood_of([], [])
