"""What is believed of a background: smooth where it was counted, a cut normal where a model gave it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from xrayflow.ogip import Spectrum
from xrayflow.statistics.background import (
    COUNTED_SCALE,
    SCALE,
    TILT,
    UNSEEN,
    _log_predictive,
    _neighbours,
    counted,
    cut_normal,
)
from xrayflow.statistics.background import modelled as prior_of


def test_the_moments_of_a_cut_normal_are_scipys() -> None:
    for middle, sd in ((5.0, 1.0), (0.3, 1.0), (0.0, 2.0), (-3.0, 1.0), (-20.0, 1.5), (1e4, 3.0)):
        known = scipy.stats.truncnorm(-middle / sd, np.inf, loc=middle, scale=sd)
        mean, variance = cut_normal(np.array([middle]), np.array([sd]))
        np.testing.assert_allclose([mean[0], variance[0]], [known.mean(), known.var()], rtol=1e-6)


def test_a_normal_far_below_nothing_goes_over_without_a_jump() -> None:
    mean, variance = cut_normal(np.array([-29.999, -30.001, -1e4]), np.ones(3))
    assert mean[0] == pytest.approx(mean[1], rel=1e-3)
    assert variance[0] == pytest.approx(variance[1], rel=1e-3)
    assert mean[2] == pytest.approx(1e-4, rel=1e-6)


def test_a_bin_is_left_out_of_its_own_neighbours() -> None:
    counts, size = np.array([1.0, 2.0, 100.0, 4.0, 5.0]), np.array([1.0, 1.0, 2.0, 1.0, 1.0])
    found = _neighbours(counts, size, 1)
    assert found[2] == pytest.approx((2.0 + 4.0 + UNSEEN) / 2.0 * 2.0)
    assert found[0] == pytest.approx((2.0 + UNSEEN) / 1.0)
    np.testing.assert_allclose(_neighbours(np.array([7.0]), np.array([3.0]), 2), [7.0 + UNSEEN])


def test_the_predictive_of_counts_is_the_negative_binomial() -> None:
    counts, mean = np.array([0.0, 3.0, 50.0]), np.array([0.5, 4.0, 40.0])
    known = scipy.stats.nbinom.logpmf(counts, 10.0, 10.0 / (10.0 + mean))
    np.testing.assert_allclose(_log_predictive(counts, 10.0, mean), known, rtol=1e-10)


def test_a_smooth_background_is_smoothed_and_a_rough_one_is_not(measured: Spectrum) -> None:
    random = np.random.default_rng(2)
    flat = replace(measured, background=random.poisson(20.0, measured.counts.size).astype(float))
    rough = replace(measured, background=random.poisson(random.gamma(1.0, 20.0, measured.counts.size)).astype(float))
    assert counted(flat).shape >= 100.0
    assert counted(rough).shape <= 3.0


def test_the_posterior_of_a_counted_background_is_gammas(measured: Spectrum) -> None:
    """Shape B + a, rate t_b / t_s + a / (bhat t_s); the region is 4 times as large."""
    found = counted(measured)
    assert measured.background is not None
    np.testing.assert_allclose(found.alpha, measured.background + found.shape)
    np.testing.assert_allclose(found.fixed, 4.0)
    np.testing.assert_allclose(found.scaled, found.shape * 4.0 / found.mean)
    assert [(one.name, one.mean, one.sd, one.hi) for one in found.scale] == [
        (name, 0.0, COUNTED_SCALE, 2.0) for name in (SCALE, TILT)
    ]
    np.testing.assert_allclose(found.basis[0], 1.0)
    assert (found.basis[1][0], found.basis[1][-1]) == pytest.approx((-1.0, 1.0))


def test_a_modelled_background_has_the_moments_of_its_cut_normal(modelled: Spectrum) -> None:
    assert modelled.background is not None
    assert modelled.background_err is not None
    found = prior_of(modelled, 0.2)
    mean, variance = cut_normal(modelled.background / 4.0, modelled.background_err / 4.0)
    np.testing.assert_allclose(found.alpha / found.scaled, mean)
    np.testing.assert_allclose(found.alpha / found.scaled**2, variance)
    assert found.scale[0].sd == 0.2
    assert prior_of(modelled, 0.0).scale == ()


def test_a_wide_error_is_a_cut_normal_and_no_gamma_distribution(modelled: Spectrum) -> None:
    assert modelled.background is not None
    sd = np.where(np.arange(modelled.counts.size) % 2, 0.29, 0.31) * np.abs(modelled.background)
    found = prior_of(replace(modelled, background_err=sd))
    np.testing.assert_allclose(found.error[::2], sd[::2] / 4.0)
    np.testing.assert_allclose(found.middle[::2], modelled.background[::2] / 4.0)
    assert (found.error[1::2] == 0).all()
    far = prior_of(replace(modelled, background=-100.0 * np.ones_like(sd), background_err=np.ones_like(sd)))
    assert (far.error == 0).all()
    np.testing.assert_allclose(far.alpha, 1.0, rtol=1e-2)


def test_a_modelled_background_may_be_negative_or_without_an_error_in_some_bins(modelled: Spectrum) -> None:
    assert modelled.background is not None
    odd = np.where(np.arange(modelled.counts.size) % 3 == 0, -2.0, modelled.background)
    odd[1] = 0.0
    error = np.where(np.arange(modelled.counts.size) % 3 == 1, 0.0, 0.5)
    found = prior_of(replace(modelled, background=odd, background_err=error))
    for values in (found.alpha, found.scaled):
        assert np.isfinite(values).all()
        assert (values > 0).all()
