"""A source with a systematic error on a background that is known: the sum against mpmath's convolution."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

from sum_zoo import tensor
from xrayflow.statistics.background_known import KnownIntegral, KnownPolynomial, KnownSum
from xrayflow.statistics.background_sum import FEW

Case = tuple[float, float, float, float]
"""S, mu, beta, s."""


def convolution(counts: float, mu: float, behind: float, systematic: float) -> float:
    """ln p(S), with 40 digits."""
    with mpmath.workdps(40):
        m, k, most = mpmath.mpf(mu), 1 / mpmath.mpf(systematic) ** 2, int(counts)
        poisson = [mpmath.exp(-mpmath.mpf(behind))]
        for j in range(most):
            poisson.append(poisson[-1] * behind / (j + 1))
        term, total = (k / (k + m)) ** k, mpmath.mpf(0)
        for i in range(most + 1):
            total += term * poisson[most - i]
            term *= (k + i) / (i + 1) * m / (k + m)
        return float(mpmath.log(total))


def random_cases(counts: tuple[float, ...], number: int) -> list[Case]:
    random = np.random.default_rng(len(counts))
    found = []
    for _ in range(number):
        s, behind = float(random.choice([0.003, 0.03, 0.1, 0.45])), float(10.0 ** random.uniform(-3, 3.3))
        found.append((float(random.choice(counts)), float(10.0 ** random.uniform(-3, 3.5)), behind, s))
    return found


@pytest.mark.parametrize("case", random_cases((0, 1, 3, 10, 40, FEW), 30), ids=str)
def test_few_counts_are_a_polynomial_to_twelve_digits(case: Case) -> None:
    counts, mu, behind, s = case
    of = KnownSum.of(tensor(counts), tensor(behind), s)
    assert isinstance(of.parts[0][1], KnownPolynomial)
    assert float(of.value(tensor(mu)[None])) == pytest.approx(convolution(*case), rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("case", random_cases((FEW + 1, 300, 2000), 30), ids=str)
def test_many_counts_are_the_integral_over_the_sources_factor(case: Case) -> None:
    counts, mu, behind, s = case
    of = KnownSum.of(tensor(counts), tensor(behind), s)
    assert isinstance(of.parts[0][1], KnownIntegral)
    assert float(of.value(tensor(mu)[None])) == pytest.approx(convolution(*case), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("systematic", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("counts", [0.0, 12.0, 100.0, 5000.0])
def test_its_limits_are_the_negative_binomial_and_the_poisson(counts: float, systematic: float) -> None:
    """Without a background, and without a source, at which it stays a number."""
    k = 1.0 / systematic**2
    for mu in (0.3, 40.0, 6000.0):
        with mpmath.workdps(40):
            parts = [
                mpmath.loggamma(counts + k) - mpmath.loggamma(k) - mpmath.loggamma(counts + 1),
                k * mpmath.log(k / (k + mu)) + counts * mpmath.log(mpmath.mpf(mu) / (k + mu)),
            ]
            known = float(sum(parts))
        ours = float(KnownSum.of(tensor(counts), tensor(0.0), systematic).value(tensor(mu)[None]))
        assert ours == pytest.approx(known, rel=1e-9, abs=1e-6)
    behind = counts + 3.0
    poisson = float(counts * mpmath.log(behind) - behind - mpmath.loggamma(counts + 1))
    for mu in (0.0, 1e-12):
        of = KnownSum.of(tensor(counts), tensor(behind), systematic)
        assert float(of.value(tensor(mu)[None])) == pytest.approx(poisson, rel=1e-9, abs=1e-6)
        assert torch.isfinite(of.slope(tensor(mu)[None])).all()


@pytest.mark.parametrize("systematic", [0.02, 0.3])
def test_slopes_are_those_of_differences(systematic: float) -> None:
    counts = tensor(0.0, 4.0, 30.0, 64.0, 70.0, 500.0, 4e4)
    behind = tensor(0.5, 3.0, 20.0, 0.0, 50.0, 100.0, 1e4)
    of = KnownSum.of(counts, behind, systematic)
    mu = torch.stack([counts + 0.3 - 0.5 * behind, 0.8 * counts + 2.0]).clamp(min=0.1)
    step = 1e-4 * mu
    slope = (of.value(mu + step) - of.value(mu - step)) / (2.0 * step)
    torch.testing.assert_close(of.slope(mu), slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("mu", "behind", "systematic"), [(3.0, 0.5, 0.1), (40.0, 25.0, 0.3), (60.0, 200.0, 0.05)])
def test_the_probabilities_of_all_counts_add_up_to_one(mu: float, behind: float, systematic: float) -> None:
    counts = torch.arange(600, dtype=torch.float64)
    of = KnownSum.of(counts, torch.full_like(counts, behind), systematic)
    total = of.value(torch.full_like(counts, mu)[None]).exp().sum().item()
    assert total == pytest.approx(1.0, abs=1e-6)
