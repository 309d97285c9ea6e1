"""The sums over whole counts against mpmath's convolution: to ten digits, from either end."""

from __future__ import annotations

import math

import pytest
import torch

from sum_zoo import Case, bins_of, convolution, random_cases
from xrayflow.statistics.background_integral import quadrature
from xrayflow.statistics.background_polynomial import BEHIND, FewBehind, Polynomial, most_behind
from xrayflow.statistics.background_sum import FEW


@pytest.mark.parametrize("case", random_cases([0, 1, 3, 8, 20, 40, FEW], 60), ids=str)
def test_few_counts_are_a_polynomial_to_ten_digits(case: Case) -> None:
    bins, mu, rate = bins_of(case)
    exact = convolution(*case)
    for away in (1.0, 1.3):  # of where the coefficients were made
        polynomial = Polynomial.of(bins, away * rate[0])
        assert float(polynomial.value(mu, rate)) == pytest.approx(exact, rel=1e-10, abs=1e-12)
        assert float(polynomial(mu, rate).value) == pytest.approx(exact, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("systematic", [0.0, 0.01, 0.1])
@pytest.mark.parametrize("counts", [70.0, 1000.0, 1e5])
def test_few_counts_behind_many_are_summed_from_the_other_end(counts: float, systematic: float) -> None:
    """As the quadrature, wherever the source stands: far off it takes over."""
    sd = math.sqrt(counts + (systematic * counts) ** 2)
    cases = []
    for behind, alpha in ((0.3, 0.5), (4.0, 3.0), (15.0, 60.0)):
        for away in (-1e9, -20.0, -8.0, -5.0, -1.0, 0.0, 2.0, 6.0):
            cases.append((counts, max(counts - behind + away * sd, 1e-6), alpha, alpha / behind, systematic))
    seen = 0
    for case in cases:
        bins, mu, rate = bins_of(case)
        most = float(most_behind(bins, rate[0]))
        if math.isinf(most):
            continue
        seen += 1
        ours = FewBehind.of(bins, 1.2 * rate[0], next(size for size in BEHIND if size >= most))
        known = quadrature(bins, mu, rate, 60, 32.0)
        torch.testing.assert_close(ours.value(mu, rate), known.value, rtol=1e-9, atol=1e-6)
        found = ours(mu, rate)
        torch.testing.assert_close(found.by_mu, known.by_mu, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(found.by_rate, known.by_rate, rtol=1e-5, atol=1e-7)
    assert seen >= 16


def test_powers_that_would_overflow_are_held() -> None:
    bins, mu, rate = bins_of((60.0, 1e9, 2.0, 1.0, 0.0))
    value = Polynomial.of(bins, rate[0]).value(mu, rate)
    assert bool(torch.isfinite(value).all())
    assert float(value) < -1e8
