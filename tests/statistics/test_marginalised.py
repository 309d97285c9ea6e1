"""A background that is integrated over: the whole likelihood against numbers by hand, its gradient, its replicas."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from xrayflow.errors import DataError, XrayflowWarning
from xrayflow.ogip import Spectrum
from xrayflow.statistics import KNOWN, BackgroundTreatment, MarginalisedCounts, StatisticChoice, likelihood_of
from xrayflow.statistics.background import BackgroundPrior, counted
from xrayflow.statistics.background_integral import Bins, finest

WSTAT, PGSTAT = (StatisticChoice(name, "", gaussian=False) for name in ("wstat", "pgstat"))
TREATMENT = BackgroundTreatment()


def of(spectrum: Spectrum, systematic: float = 0.0, choice: StatisticChoice = WSTAT) -> MarginalisedCounts:
    found = likelihood_of([spectrum], [choice], systematic, TREATMENT)
    assert isinstance(found, MarginalisedCounts)
    return found


@pytest.fixture(params=["counted", "modelled", "wide"])
def spectrum(request: pytest.FixtureRequest, measured: Spectrum, modelled: Spectrum) -> Spectrum:
    if request.param == "wide":  # cut normals in most bins
        return replace(modelled, background_err=np.where(np.arange(modelled.counts.size) % 4, 5.0, 1.0) * 4.0)
    return measured if request.param == "counted" else modelled


def places(spectrum: Spectrum) -> tuple[Tensor, Tensor]:
    """(1, 3, bin) expected counts about the observed, and (1, 3, nuisance) level and, of a counted background, tilt."""
    mu = torch.from_numpy(spectrum.counts)[None, None] * torch.tensor([0.7, 1.0, 1.3])[None, :, None] + 0.5
    nuisances = torch.tensor([[[-0.2, 0.1], [0.0, 0.0], [0.3, -0.2]]], dtype=torch.float64)
    return mu.double(), nuisances[..., : 2 if spectrum.background_err is None else 1]


def test_a_counted_background_is_the_mixture_over_its_rate(measured: Spectrum) -> None:
    """Every bin integrated over the background's rate by scipy; both regions are in the likelihood."""
    prior, likelihood = counted(measured), of(measured)
    mu, scale = places(measured)
    mu, scale = mu[:, 1:2], scale[:, 2:]
    level = np.exp(scale[0, 0].numpy() @ prior.basis)
    ratio = measured.source_exposure / measured.background_exposure
    total = 0.0
    for i in range(measured.counts.size):
        known = scipy.stats.gamma(
            prior.shape, scale=level[i] * prior.mean[i] / prior.shape
        )  # of the counts in B's region
        middle = measured.background[i]
        reach = 12.0 * np.sqrt(middle + 1.0)
        b = np.linspace(max(middle - reach, 1e-9), middle + reach, 20_001)
        log = (
            known.logpdf(b)
            + scipy.stats.poisson.logpmf(measured.background[i], b)
            + scipy.stats.poisson.logpmf(measured.counts[i], mu[0, 0, i].item() + ratio[i] * b)
        )
        total += log.max() + np.log(np.trapezoid(np.exp(log - log.max()), b))
    assert likelihood.log_density(mu, scale).item() == pytest.approx(total, rel=1e-6)


@pytest.mark.parametrize("systematic", [0.0, 0.05])
def test_the_gradient_is_the_slope_of_the_density(spectrum: Spectrum, systematic: float) -> None:
    likelihood = of(spectrum, systematic)
    mu, scale = places(spectrum)
    slopes = torch.stack([mu[0, 1], torch.linspace(-1.0, 2.0, mu.shape[-1]).double()], dim=-1)
    found = likelihood.curvature(mu, slopes.expand(1, 3, -1, -1), scale)
    h = 1e-6
    for parameter in range(2):
        step = h * slopes[:, parameter]
        known = (likelihood.log_density(mu + step, scale) - likelihood.log_density(mu - step, scale)) / (2 * h)
        torch.testing.assert_close(found.gradient[..., parameter], known, rtol=1e-5, atol=1e-4)
    for number in range(scale.shape[-1]):
        step = h * torch.eye(scale.shape[-1], dtype=torch.float64)[number]
        known = (likelihood.log_density(mu, scale + step) - likelihood.log_density(mu, scale - step)) / (2 * h)
        torch.testing.assert_close(found.gradient[..., 2 + number], known, rtol=1e-5, atol=1e-4)
    assert bool((torch.linalg.eigvalsh(found.information) > 0).all())


@pytest.mark.parametrize("systematic", [0.0, 0.02])
def test_draws_that_a_series_does_not_reach_are_as_exact_as_others(systematic: float) -> None:
    """Bright bins, some draws far off in all bins or in one, against the integral."""
    mean, one = np.array([900.0, 3000.0, 200.0, 1e5]), np.ones(4)
    counts, behind = np.array([930.0, 2950.0, 220.0, 1e5]), np.full(4, 40.0)
    prior = BackgroundPrior(
        alpha=behind + 50.0,
        fixed=one,
        scaled=50.0 * one / 40.0,
        counts=behind,
        mean=behind,
        shape=50.0,
        sd=1.0,
        basis=np.stack([one, np.linspace(-1.0, 1.0, 4)]),
        middle=0.0 * one,
        error=0.0 * one,
    )
    likelihood = MarginalisedCounts.of([counts], [prior], [systematic])
    off = torch.tensor([[1.0] * 4, [3.0] * 4, [1.0, 0.2, 1.0, 1.0], [0.998] * 4], dtype=torch.float64)
    mu = torch.from_numpy(mean) * off
    reached = ~likelihood.sums[0].total(mu, likelihood.sums[0].rate.expand(4, 4)).isnan()
    assert reached.tolist() == [True, False, False, True]
    level = torch.tensor([0.1, -0.05], dtype=torch.float64)
    found = likelihood.log_density(mu[None], level.expand(1, 4, 2))[0]
    rate = torch.from_numpy(prior.fixed + prior.scaled / np.exp(level.numpy() @ prior.basis))
    bins = Bins(torch.from_numpy(counts), torch.from_numpy(prior.alpha), systematic**2)
    exact = finest(bins, mu, rate.expand(4, 4)).sum(-1)
    torch.testing.assert_close(found - found[0], exact - exact[0], rtol=1e-9, atol=1e-6)


def test_the_information_is_the_spread_of_the_score_over_replicas(spectrum: Spectrum) -> None:
    """Of the level of source and background, to a few per cent."""
    likelihood = of(spectrum)
    expected = torch.full((1, 4000, spectrum.counts.size), 30.0, dtype=torch.float64)
    scale = torch.zeros((1, 4000, len(likelihood.nuisances)), dtype=torch.float64)
    slopes = torch.ones((1, spectrum.counts.size, 1), dtype=torch.float64)
    replica = likelihood.replicate(expected, torch.Generator().manual_seed(1), scale)
    score = replica.score(expected, slopes, scale)[0]
    assert bool((score.mean(0).abs() < 5.0 * score.std(0) / 4000**0.5).all())
    jacobian = slopes[:, None].expand(1, 1, -1, -1)
    information = likelihood.curvature(expected[:, :1], jacobian, scale[:, :1]).information[0, 0]
    if spectrum.background_err is None:  # B is replicated, and with it the shape that the score takes
        for number in (1, 2):
            torch.testing.assert_close(score[:, number].var(), information[number, number], rtol=0.15, atol=0.0)
    torch.testing.assert_close(score[:, 0].var(), information[0, 0], rtol=0.15, atol=0.0)


def test_the_deviance_of_replicas_is_as_many_as_bins(spectrum: Spectrum) -> None:
    likelihood = of(spectrum, 0.05)
    expected = torch.full((1, 1000, spectrum.counts.size), 20.0, dtype=torch.float64)
    scale = torch.full((1, 1000, len(likelihood.nuisances)), 0.1, dtype=torch.float64)
    replica = likelihood.replicate(expected, torch.Generator().manual_seed(2), scale)
    if not bool((likelihood.error > 0).any()):  # about the middle of a normal that was cut it is another number
        assert float(replica.deviance(expected, scale).mean()) == pytest.approx(spectrum.counts.size, rel=0.05)
    assert bool((replica.deviance(expected, scale) >= 0).all())


def test_both_regions_are_observed_anew_only_where_the_background_was_counted(
    measured: Spectrum, modelled: Spectrum
) -> None:
    expected = torch.full((1, 500, measured.counts.size), 5.0, dtype=torch.float64)
    scale = torch.tensor([0.2, 0.1], dtype=torch.float64).expand(1, 500, 2)
    both = of(measured)
    again = both.replicate(expected, torch.Generator().manual_seed(3), scale)
    torch.testing.assert_close(
        again.background.mean(1)[0], both.mean[0] * torch.exp(0.2 + 0.1 * both.basis[0, :, 1]), rtol=0.15, atol=0.5
    )
    torch.testing.assert_close(again.alpha, again.background + both.shape[:, None])
    model = of(modelled, choice=PGSTAT)
    scale = scale[..., :1]
    kept = model.replicate(expected, torch.Generator().manual_seed(3), scale)
    torch.testing.assert_close(kept.alpha, model.alpha.expand_as(kept.alpha))
    mean = model.total(expected, scale)[0, 0]
    spread = (model.variance(expected, scale)[0, 0] / 500).sqrt()
    assert bool(((kept.counts.mean(1)[0] - mean).abs() < 5.0 * spread).all())


def test_a_wide_background_is_replicated_as_a_cut_normal(modelled: Spectrum) -> None:
    """False-alarm probability 1e-4 of each of two bins."""
    assert modelled.background is not None
    likelihood = of(replace(modelled, background_err=2e4 * np.ones_like(modelled.background)), choice=PGSTAT)
    nothing = torch.zeros((1, 4000, modelled.counts.size), dtype=torch.float64)
    scale = torch.full((1, 4000, 1), 0.2, dtype=torch.float64)
    counts = likelihood.replicate(nothing, torch.Generator().manual_seed(5), scale).counts[0].numpy()
    for i in (0, 9):
        middle, error = (np.exp(0.2) * one[0, i].item() for one in (likelihood.middle, likelihood.error))
        known = scipy.stats.truncnorm(-middle / error, np.inf, loc=middle, scale=error)
        assert scipy.stats.kstest(counts[:, i], known.cdf).pvalue > 1e-4


def test_a_bin_without_a_usable_error_does_not_spoil_the_deviance(modelled: Spectrum) -> None:
    assert modelled.background_err is not None
    plain = of(modelled, choice=PGSTAT)
    error = modelled.background_err.copy()
    error[3] = 1e10
    odd = of(replace(modelled, background_err=error), choice=PGSTAT)
    mu = torch.from_numpy(modelled.counts)[None, None]
    shares = [one.deviance(mu).item() for one in (plain, odd)]
    assert shares[1] == pytest.approx(shares[0], abs=1.0)


def test_a_rough_likelihood_is_cheap_where_no_posterior_is_and_exact_again_when_asked(spectrum: Spectrum) -> None:
    """Six standard deviations of the level off, a cut normal is told by its peak; at the middle nothing changes."""
    likelihood = of(spectrum, choice=WSTAT if spectrum.background_err is None else PGSTAT)
    rough = likelihood.roughly(True)
    mu, scale = places(spectrum)
    met = mu[:, 1:2], scale[:, 1:2]
    assert torch.equal(rough.log_density(*met), likelihood.log_density(*met))
    away = torch.full_like(scale, -0.62)
    exact, told = likelihood.log_density(mu, away), rough.log_density(mu, away)
    assert torch.equal(told, exact) == (not bool((likelihood.error > 0).any()))
    assert float((told - exact).abs().max()) < 0.1 * spectrum.counts.size
    assert torch.equal(rough.roughly(False).log_density(mu, away), exact)


def test_a_source_has_the_same_numbers_in_any_company(measured: Spectrum) -> None:
    other = replace(measured, counts=measured.counts + 70.0)
    together = likelihood_of([measured, other], [WSTAT, WSTAT], 0.02, TREATMENT)
    mu, scale = places(measured)
    rows = torch.tensor([1, 0, 0, 1])
    many = together.select(rows).log_density(mu[:, :1].expand(4, 1, -1), scale[:, :1].expand(4, 1, -1))
    alone = torch.cat([of(one, 0.02).log_density(mu[:, :1], scale[:, :1]) for one in (measured, other)])
    torch.testing.assert_close(many, alone[rows], rtol=1e-13, atol=1e-10)
    by_bin = together.log_density_per_bin(mu.expand(2, -1, -1)).sum(-1)
    at_one = together.log_density(mu.expand(2, -1, -1), torch.zeros((2, 3, 2)).double())
    assert bool((by_bin >= at_one).all())  # which has ln p(B | A) besides


def test_a_level_that_is_taken_at_its_word_is_no_nuisance(modelled: Spectrum) -> None:
    held = likelihood_of([modelled], [PGSTAT], 0.0, BackgroundTreatment(scale=0.0))
    assert held.nuisances == ()
    mu, _ = places(modelled)
    free = of(modelled, choice=PGSTAT)
    assert [one.sd for one in free.nuisances] == [0.1]
    torch.testing.assert_close(held.log_density(mu), free.log_density(mu, torch.zeros((1, 3, 1)).double()))
    jacobian = mu[..., None]
    torch.testing.assert_close(
        held.curvature(mu, jacobian).gradient[..., 0],
        free.curvature(mu, jacobian, torch.zeros((1, 3, 1)).double()).gradient[..., 0],
    )


def test_a_background_of_many_counts_is_nearly_known(measured: Spectrum) -> None:
    """In a region 1e4 times as large and smooth, it is what the known one's Poisson says."""
    times = 1e4 * measured.source_exposure
    mean = np.full(measured.counts.size, 4e4)
    known = replace(measured, background=mean, background_exposure=times)
    ours = of(known).log_density_per_bin(places(known)[0])
    theirs = likelihood_of([known], [WSTAT], 0.0, KNOWN).log_density_per_bin(places(known)[0])
    torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-4)


def test_the_name_says_what_it_is(measured: Spectrum) -> None:
    assert of(measured).name == "Poisson, background marginalised"
    assert of(measured, 0.01).name == "negative binomial, background marginalised"
    assert (of(measured).kind, of(measured).why) == ("exact", "")


def test_the_spectrum_itself_is_no_background(measured: Spectrum) -> None:
    observation = replace(measured.observation, background=measured.observation.pha)
    with pytest.raises(DataError, match="its background is the spectrum itself; give another --background, or none"):
        of(replace(measured, observation=observation))


def test_a_modelled_background_that_is_negative_is_told_of(modelled: Spectrum) -> None:
    assert modelled.background is not None
    negative = np.where(np.arange(modelled.counts.size) < 2, -1.0, modelled.background)
    with pytest.warns(XrayflowWarning, match=r"the background is negative in 2 of \d+ bins"):
        of(replace(modelled, background=negative), choice=PGSTAT)


def test_without_a_background_there_is_nothing_to_profile(plain: Spectrum) -> None:
    cstat = StatisticChoice("cstat", "", gaussian=False)
    assert likelihood_of([plain], [cstat], 0.0, BackgroundTreatment("profile")).kind == "exact"
    with pytest.raises(DataError, match="--likelihood profil: no such likelihood; did you mean 'profile'"):
        BackgroundTreatment("profil")
    with pytest.raises(DataError, match=r"--background-scale 1\.5: it is a fraction"):
        BackgroundTreatment(scale=1.5)
