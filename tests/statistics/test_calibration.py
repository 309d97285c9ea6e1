"""Counts through a response with errors: against importance sampling, differences, other binnings and a background."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from calibration_zoo import Bright, bright, detector
from xrayflow.calibration import BinModes, find_mode_set
from xrayflow.errors import DataError
from xrayflow.ogip import Spectrum
from xrayflow.statistics import (
    AMPLITUDE,
    BackgroundTreatment,
    CalibratedLikelihood,
    StatisticChoice,
    likelihood_of,
)
from xrayflow.statistics.calibration import AMPLITUDE_SPREAD
from xrayflow.statistics.mode_peak import find_peak
from xrayflow.statistics.seen import Seen

CSTAT, WSTAT = (StatisticChoice(name, "", gaussian=False) for name in ("cstat", "wstat"))
NOMINAL = torch.zeros((1, 1, 1), dtype=torch.float64)


def centred(one: Bright, nominal: float = 1.0) -> CalibratedLikelihood:
    return one.likelihood(nominal).centred(one.expected(), NOMINAL)


def sampled(one: Bright, likelihood: CalibratedLikelihood, expected: Tensor, amplitude: float, draws: int) -> float:
    """ln of the mean over z of p(counts | mu exp(eta)): normal draws about the peak, weighed."""
    basis = likelihood.basis
    peak = find_peak(basis, expected, torch.full((1, 1, 1), amplitude, dtype=torch.float64), Seen.of(one.inner))
    psi = amplitude * basis.psi_at(peak)[0, 0]
    curved = psi.T @ (peak.expected[0, 0][:, None] * psi) + torch.eye(psi.shape[1], dtype=torch.float64)
    root = torch.linalg.cholesky(curved)
    unit = torch.randn((draws, psi.shape[1]), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    z = peak.z[0] + torch.linalg.solve_triangular(root.T, unit.T, upper=True).T
    log_p = one.inner.log_density((expected[0] * torch.exp(z @ psi.T))[None])[0] - 0.5 * (z**2).sum(-1)
    log_q = -0.5 * (unit**2).sum(-1) + root.diagonal().log().sum()
    weight = log_p - log_q
    share = torch.softmax(weight, 0)
    assert 1.0 / float((share**2).sum()) > 0.8 * draws  # the peak is nearly normal
    return float(torch.logsumexp(weight, 0)) - math.log(draws)


@pytest.mark.parametrize("amplitude", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("total", [3e4, 1e6, 1e7])
def test_the_integral_over_z_is_that_of_importance_sampling(total: float, amplitude: float) -> None:
    one = bright(total, wiggle=0.02)
    likelihood = centred(one).centred(one.expected(), NOMINAL + math.log(amplitude))
    found = likelihood.log_density(one.expected(), NOMINAL + math.log(amplitude))
    wanted = sampled(one, likelihood, one.expected(), amplitude, 20_000)
    # 20 000 draws tell it to 2e-4 at most
    assert float(found) == pytest.approx(wanted, abs=1.5e-3)


def test_without_modes_that_matter_it_is_the_likelihood_within() -> None:
    one = bright(1e5)
    found = one.likelihood(1e-4).log_density(one.expected(), NOMINAL)
    assert float(found) == pytest.approx(float(one.inner.log_density(one.expected())), abs=1e-3)


def test_an_error_of_the_response_is_taken_in() -> None:
    one = bright(1e7, wiggle=0.02)
    expected = one.expected()
    plain = float(one.inner.deviance(expected))
    found = float(one.likelihood().deviance(expected, NOMINAL))
    bins = one.spectrum.counts.size
    assert plain > 10 * bins
    assert found < 1.5 * bins


def test_the_gradient_is_the_slope_of_the_density() -> None:
    """At a peak of its own and the determinant held, as the docstring has it: against the penalised ln p."""
    one = bright(1e6, wiggle=0.02)
    likelihood = centred(one)
    theta = one.theta * torch.tensor([1.005, 0.998, 1.01])
    step = 1e-4 * theta
    about = torch.cat([theta[None], theta + torch.diag(step), theta - torch.diag(step)])
    expected, n = one.expected(about), theta.numel()
    jacobian = ((expected[0, 1 : n + 1] - expected[0, n + 1 :]) / (2 * step[:, None])).T
    nuisance = torch.full((1, 1, 1), 0.2, dtype=torch.float64)
    found = likelihood.curvature(expected[:, :1], jacobian[None, None], nuisance)

    amplitude = torch.exp(nuisance)
    peak = find_peak(likelihood.basis, expected, amplitude, Seen.of(one.inner))
    value = (one.inner.log_density(peak.expected) - 0.5 * (peak.z**2).sum(-1))[0]
    slope = (value[1 : n + 1] - value[n + 1 :]) / (2 * step)
    scale = torch.sqrt(found.information[0, 0].diagonal())
    assert torch.allclose(found.gradient[0, 0, :n] / scale[:n], slope / scale[:n], atol=0.05)
    assert (torch.linalg.eigvalsh(found.information[0, 0]) > 0).all()


def test_the_slope_with_the_amplitude_is_that_of_the_whole() -> None:
    one = bright(1e6, wiggle=0.02)
    likelihood = centred(one)
    about = torch.tensor([[[-0.01], [0.0], [0.01]]], dtype=torch.float64) + 0.1
    value = likelihood.log_density(one.expected().expand(1, 3, -1), about)[0]
    jacobian = torch.zeros((1, 1, one.spectrum.counts.size, 1), dtype=torch.float64)
    found = likelihood.curvature(one.expected(), jacobian, about[:, 1:2])
    assert float(found.gradient[0, 0, -1]) == pytest.approx(float(value[2] - value[0]) / 0.02, abs=0.1)
    assert float(found.information[0, 0, -1, -1]) == pytest.approx(
        float(2 * value[1] - value[0] - value[2]) / 0.01**2, rel=0.5
    )


def test_information_of_parameters_is_what_modes_leave() -> None:
    """J' C^-1 J with C = D + U U' in full."""
    one = bright(1e6)
    likelihood = centred(one)
    theta, expected = one.theta, one.expected()
    step = 1e-4 * theta
    about = torch.cat([theta + torch.diag(step), theta - torch.diag(step)])
    near, n = one.expected(about), theta.numel()
    jacobian = ((near[0, :n] - near[0, n:]) / (2 * step[:, None])).T
    found = likelihood.curvature(expected, jacobian[None, None], NOMINAL).information[0, 0, :n, :n]
    basis, amplitude = likelihood.basis, torch.exp(NOMINAL)
    peak = find_peak(basis, expected, amplitude, Seen.of(one.inner))
    bent = basis.bent_jacobian(peak, jacobian[None, None], amplitude)[0, 0]
    modes = basis.psi_at(peak)[0, 0] * peak.expected[0, 0][:, None]
    covariance = torch.diag(peak.expected[0, 0]) + modes @ modes.T
    wanted = bent.T @ torch.linalg.solve(covariance, bent)
    assert torch.allclose(found, wanted, rtol=0.02)


def test_splitting_bins_changes_a_posterior_little() -> None:
    """Differences of ln L between models are those of a four times finer binning (of counts without noise)."""
    about = bright(1e6).theta * torch.tensor(
        [[1.0, 1.0, 1.0], [1.03, 1.0, 1.01], [1.0, 0.98, 0.985], [0.96, 1.01, 1.0]]
    )
    found = []
    for grouping in ("optimal", "none"):
        one = bright(1e6, grouping, noisy=False)
        likelihood = CalibratedLikelihood.of(one.inner, [BinModes.of(one.spectrum, find_mode_set("nicer-v1"), 1.0)])
        likelihood = likelihood.centred(one.expected(), NOMINAL)
        value = likelihood.log_density(one.expected(about), NOMINAL.expand(1, 4, 1))[0]
        found.append(value - value[0])
    assert found[0][1:].min() < -0.5
    assert torch.allclose(found[0], found[1], rtol=0.1, atol=0.1)


def test_replicas_scatter_as_the_likelihood_believes() -> None:
    """Counts of other detectors: the deviance of each, z at its own peak, is chi^2 of the bins."""
    one = bright(1e6)
    likelihood = centred(one)
    expected = one.expected().expand(1, 300, -1)
    nuisance = NOMINAL.expand(1, 300, 1)
    replica = likelihood.replicate(expected, torch.Generator().manual_seed(3), nuisance)
    found = replica.deviance(expected, nuisance)[0]
    bins = one.spectrum.counts.size
    assert float(found.mean()) == pytest.approx(bins, rel=0.03)
    assert float(found.std()) == pytest.approx(math.sqrt(2 * bins), rel=0.15)
    sd = torch.log(replica.counts / expected)[0].std(0)
    assert float(sd[20:60].mean()) > 0.01


def test_a_fit_is_judged_at_the_nominal_amplitude() -> None:
    likelihood = bright(1e6).likelihood(2.0)
    assert likelihood.nominal.tolist() == [2.0]
    nuisance = torch.tensor([[[0.3]]], dtype=torch.float64)
    assert likelihood.as_judged(nuisance).tolist() == [[[0.0]]]
    (marginal,) = likelihood.nuisances
    assert (marginal.name, marginal.mean, marginal.sd) == (AMPLITUDE, 0.0, AMPLITUDE_SPREAD)


def test_the_data_tell_the_amplitude() -> None:
    """Of spectra whose response is off by twice the modes, A = 2 is likelier than 1 and than 4, in the mean."""
    one = bright(1e7, noisy=False)
    likelihood = centred(one)
    generator = torch.Generator().manual_seed(2)
    expected = one.expected().expand(1, 40, -1)
    replica = likelihood.replicate(expected, generator, torch.full((1, 40, 1), math.log(2.0), dtype=torch.float64))
    value = [
        float(replica.log_density(expected, torch.full((1, 40, 1), math.log(a), dtype=torch.float64)).mean())
        for a in (1.0, 2.0, 4.0)
    ]
    assert value[1] > value[0] + 5
    assert value[1] > value[2] + 1


def two(first: Spectrum, second: Spectrum) -> tuple[CalibratedLikelihood, list[CalibratedLikelihood]]:
    """A batch, and each alone."""
    both = likelihood_of([first, second], [CSTAT, CSTAT], "modes:nicer-v1:1")
    alone = [likelihood_of([one], [CSTAT], "modes:nicer-v1:1") for one in (first, second)]
    assert isinstance(both, CalibratedLikelihood)
    return both, alone  # type: ignore[return-value]


def test_a_source_has_the_same_answer_in_any_company() -> None:
    fine, wide = bright(1e6, "none"), bright(1e5)
    both, alone = two(fine.spectrum, wide.spectrum)
    bins = fine.spectrum.counts.size
    expected = torch.zeros((2, 3, bins), dtype=torch.float64)
    scales = torch.tensor([0.98, 1.0, 1.01], dtype=torch.float64)[:, None]
    expected[0], expected[1, :, : wide.spectrum.counts.size] = scales * fine.expected()[0], scales * wide.expected()[0]
    nuisance = torch.tensor([[[0.0], [0.1], [-0.1]]], dtype=torch.float64).expand(2, 3, 1)
    found = both.log_density(expected, nuisance)
    for i, one in enumerate(alone):
        own = expected[i : i + 1, :, : one.used.shape[-1]]
        assert torch.allclose(found[i], one.log_density(own, nuisance[:1])[0], rtol=0, atol=1e-7)
    rows = torch.tensor([1, 1, 0])
    chosen = both.select(rows)
    repeated = chosen.log_density(expected[rows, :, : chosen.used.shape[-1]], nuisance[[0, 1, 0]])
    assert torch.allclose(repeated, found[rows], rtol=0, atol=1e-7)


def test_sets_are_not_mixed_in_a_batch() -> None:
    with pytest.raises(DataError, match="cannot mix sets of calibration modes"):
        likelihood_of([bright(1e6).spectrum, bright(3e4).spectrum], [CSTAT, CSTAT], None)


def with_background(total: float, level: float) -> tuple[Spectrum, float]:
    """A bright spectrum on a counted background of `level` of its counts, and the background's scale."""
    template, one = detector(), bright(total)
    behind = np.full(template.pha.channel.size, level * total / 970.0)
    random = np.random.default_rng(9)
    observation = one.spectrum.observation
    counts = observation.pha.counts + random.poisson(behind)
    background = replace(
        observation.pha,
        counts=random.poisson(behind).astype(float),
        sha256="b",
        path=observation.pha.path.with_name("b.pha"),
    )
    pha = replace(observation.pha, counts=counts)
    return replace(observation, pha=pha, background=background).bin(grouping="optimal"), level


def test_background_and_modes_stand_together() -> None:
    """Both errors at once: a background's level and tilt are nuisances, and gradient and information have them."""
    spectrum, _ = with_background(3e5, 0.1)
    likelihood = likelihood_of([spectrum], [WSTAT], "modes:nicer-v1:1", BackgroundTreatment())
    assert [one.name for one in likelihood.nuisances] == ["background.lnA", "background.tilt", AMPLITUDE]
    one = bright(3e5)
    from xrayflow.folding import Forward

    expected = one.scale * Forward.of(one.model, [spectrum]).expected(one.theta[None, None])
    nuisance = torch.zeros((1, 1, 3), dtype=torch.float64)
    deviance = float(likelihood.deviance(expected, nuisance))
    bins = spectrum.counts.size
    assert abs(deviance - bins) < 5 * math.sqrt(2 * bins)
    jacobian = expected[..., None]
    found = likelihood.curvature(expected, jacobian, nuisance)
    assert (torch.linalg.eigvalsh(found.information[0, 0]) > 0).all()
    step = 1e-3
    value = likelihood.log_density(
        torch.cat([expected * math.exp(step), expected * math.exp(-step), expected, expected], 1),
        torch.tensor([[[0, 0, 0], [0, 0, 0], [step, 0, 0], [-step, 0, 0]]], dtype=torch.float64),
    )[0]
    scale = found.information[0, 0].diagonal().sqrt()
    # the determinant is held in the gradient, which moves it a little
    assert float(found.gradient[0, 0, 0] / scale[0]) == pytest.approx(
        float((value[0] - value[1]) / (2 * step) / scale[0]), abs=0.1
    )
    assert float(found.gradient[0, 0, 1] / scale[1]) == pytest.approx(
        float((value[2] - value[3]) / (2 * step) / scale[1]), abs=0.1
    )


def test_bins_that_pad_a_batch_with_backgrounds_change_nothing() -> None:
    """Gradient and information of two sources of other bins are those of each alone."""
    spectra = [with_background(3e5, 0.1)[0], with_background(3e4, 0.3)[0]]
    both = likelihood_of(spectra, [WSTAT, WSTAT], "modes:nicer-v1:1", BackgroundTreatment())
    bins = [one.counts.size for one in spectra]
    assert bins[0] != bins[1]
    expected = torch.zeros((2, 2, max(bins)), dtype=torch.float64)
    for i, one in enumerate(spectra):
        expected[i, :, : bins[i]] = torch.from_numpy(0.8 * one.counts + 5.0) * torch.tensor([[1.0], [1.02]])
    nuisance = 0.1 * torch.ones((2, 2, 3), dtype=torch.float64)
    found = both.curvature(expected, expected[..., None], nuisance)
    for i, one in enumerate(spectra):
        alone = likelihood_of([one], [WSTAT], "modes:nicer-v1:1", BackgroundTreatment())
        own = expected[i : i + 1, :, : bins[i]]
        wanted = alone.curvature(own, own[..., None], nuisance[:1])
        torch.testing.assert_close(found.gradient[i], wanted.gradient[0], rtol=1e-7, atol=1e-6)
        torch.testing.assert_close(found.information[i], wanted.information[0], rtol=1e-7, atol=1e-6)


def test_words_say_what_it_is() -> None:
    likelihood = bright(1e6).likelihood()
    assert likelihood.name == "Poisson, calibration modes nicer-v1 marginalised"
    assert (likelihood.kind, likelihood.why) == ("exact", "")


def test_a_set_without_an_energy_scale_does_for_any_instrument() -> None:
    one = bright(1e6, wiggle=0.02)
    likelihood = one.likelihood(name="generic-v1")
    expected = one.expected()
    assert float(likelihood.deviance(expected, NOMINAL)) < 1.5 * one.spectrum.counts.size
    assert likelihood.energy_scale(expected, NOMINAL) == ((0.0, 0.0), 0.0)
    found = likelihood.centred(expected, NOMINAL).curvature(expected, expected[..., None], NOMINAL)
    assert (torch.linalg.eigvalsh(found.information[0, 0]) > 0).all()
    replica = likelihood.replicate(expected, torch.Generator().manual_seed(1), NOMINAL)
    assert torch.isfinite(replica.log_density(expected, NOMINAL)).all()


def test_xspecs_statistic_knows_no_modes() -> None:
    spectrum, _ = with_background(3e5, 0.1)
    treatment = BackgroundTreatment("profile")
    with pytest.raises(DataError, match="profile is XSPEC's, which knows no calibration modes"):
        likelihood_of([spectrum], [WSTAT], "modes", treatment)
    assert not isinstance(likelihood_of([spectrum], [WSTAT], None, treatment), CalibratedLikelihood)
