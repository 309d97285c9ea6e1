"""The integral over the background against mpmath's convolution: to a millionth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch

from sum_zoo import Case, bins_of, convolution, random_cases
from xrayflow.statistics.background_integral import WELL_KNOWN, near_normal, quadrature


@pytest.mark.parametrize("case", random_cases([0, 3, 40, 65, 150, 400], 60, 1), ids=str)
def test_the_quadrature_is_exact_to_a_millionth(case: Case) -> None:
    bins, mu, rate = bins_of(case)
    assert float(quadrature(bins, mu, rate).value) == pytest.approx(convolution(*case), abs=1e-6)


@pytest.mark.parametrize("counts", [1e4, 1e6])
def test_bright_bins_are_as_exact(counts: float) -> None:
    """scipy's mixture over a fine grid of the background."""
    mu, alpha, rate = 0.7 * counts, 0.3 * counts, 1.0
    beta = alpha / rate + np.linspace(-12, 12, 40_001) * math.sqrt(alpha) / rate
    log = scipy.stats.gamma.logpdf(beta, alpha, scale=1.0 / rate) + scipy.stats.poisson.logpmf(counts, mu + beta)
    top = log.max()
    exact = top + math.log(np.trapezoid(np.exp(log - top), beta))
    bins, m, g = bins_of((counts, mu, alpha, rate, 0.0))
    assert float(quadrature(bins, m, g).value) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("systematic", [0.0, 0.02, 0.1])
def test_a_well_known_background_takes_few_nodes(systematic: float) -> None:
    random = np.random.default_rng(4)
    for _ in range(200):
        counts, alpha = float(int(10.0 ** random.uniform(1.9, 6))), WELL_KNOWN * 10.0 ** random.uniform(0, 3)
        behind = min(alpha * 10.0 ** random.uniform(-2, 1), counts)
        sd = math.sqrt(counts + behind**2 / alpha + (systematic * counts) ** 2)
        mu = max(counts - behind + random.uniform(-20, 6) * sd, 1e-6 * counts)
        bins, m, g = bins_of((counts, mu, alpha, alpha / behind, systematic))
        ours, known = near_normal(bins, m, g), quadrature(bins, m, g, 60, 32.0)
        torch.testing.assert_close(ours.value, known.value, rtol=1e-9, atol=1e-6)
        torch.testing.assert_close(ours.by_mu, known.by_mu, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(ours.by_rate, known.by_rate, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(near_normal(bins, m, g, slopes=False).value, ours.value, rtol=1e-9, atol=1e-6)
