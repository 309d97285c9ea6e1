"""The sum of two negative binomials against mpmath's convolution: to 1e-10 where it is a polynomial, 1e-6 elsewhere."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from xrayflow.statistics.background_sum import (
    BEHIND,
    FEW,
    WELL_KNOWN,
    BackgroundSum,
    Bins,
    FewBehind,
    Polynomial,
    is_matched,
    matched,
    matched_value,
    most_behind,
    near_normal,
    quadrature,
)

Case = tuple[float, float, float, float, float]
"""S, mu, alpha, g, s."""


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def bins_of(*cases: Case) -> tuple[Bins, Tensor, Tensor]:
    """Bins of one systematic error, with mu and g as one draw."""
    s, mu, alpha, rate, systematic = (list(column) for column in zip(*cases, strict=True))
    assert len(set(systematic)) == 1
    return Bins(tensor(*s), tensor(*alpha), systematic[0] ** 2), tensor(*mu)[None], tensor(*rate)[None]


def convolution(s: float, mu: float, alpha: float, rate: float, systematic: float) -> float:
    """ln p(S), with 40 digits."""
    with mpmath.workdps(40):
        m, a, g = mpmath.mpf(mu), mpmath.mpf(alpha), mpmath.mpf(rate)
        if systematic == 0.0:
            source = [mpmath.exp(-m) * m**i / mpmath.factorial(i) for i in range(int(s) + 1)]
        else:
            k = 1 / mpmath.mpf(systematic) ** 2
            p = (k / (k + m)) ** k
            source = [mpmath.rf(k, i) / mpmath.factorial(i) * p * (m / (k + m)) ** i for i in range(int(s) + 1)]
        first = (g / (1 + g)) ** a
        behind = [mpmath.rf(a, j) / mpmath.factorial(j) * first / (1 + g) ** j for j in range(int(s) + 1)]
        return float(mpmath.log(mpmath.fsum(one * other for one, other in zip(source, reversed(behind), strict=True))))


def random_cases(counts: list[int], number: int, seed: int = 0) -> list[Case]:
    random = np.random.default_rng(seed)
    return [
        (
            float(random.choice(counts)),
            10.0 ** random.uniform(-3, 3),
            float(random.choice([0.3, 1.5, 10.3, 300.0, 1e4])),
            10.0 ** random.uniform(-3, 3),
            float(random.choice([0.0, 0.01, 0.1, 0.3])),
        )
        for _ in range(number)
    ]


@pytest.mark.parametrize("case", random_cases([0, 1, 3, 8, 20, 40, FEW], 60), ids=str)
def test_few_counts_are_a_polynomial_to_ten_digits(case: Case) -> None:
    bins, mu, rate = bins_of(case)
    exact = convolution(*case)
    for away in (1.0, 1.3):  # of where the coefficients were made
        polynomial = Polynomial.of(bins, away * rate[0])
        assert float(polynomial.value(mu, rate)) == pytest.approx(exact, rel=1e-10, abs=1e-12)
        assert float(polynomial(mu, rate).value) == pytest.approx(exact, rel=1e-10, abs=1e-12)


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


@pytest.mark.parametrize("systematic", [0.0, 0.02, 0.2])
@pytest.mark.parametrize(("mu", "alpha", "rate"), [(5.0, 3.0, 0.5), (30.0, 10.0, 2.0), (0.1, 0.3, 0.2)])
def test_the_probabilities_of_all_counts_add_up_to_one(mu: float, alpha: float, rate: float, systematic: float) -> None:
    counts = torch.arange(4000, dtype=torch.float64)
    bins = Bins(counts, torch.full_like(counts, alpha), systematic**2)
    rates = torch.full_like(counts, rate)
    every = [
        Polynomial.of(bins.select(at := torch.arange(FEW + 1)), rates[at]).value(mu + 0 * counts[None, at], rates[at])
    ]
    rest = torch.arange(FEW + 1, counts.numel())
    every.append(quadrature(bins.select(rest), mu + 0 * counts[None, rest], rates[None, rest]).value)
    assert float(torch.cat(every, dim=1).exp().sum()) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("counts", [0.0, 3.0, 40.0, 200.0])
@pytest.mark.parametrize("systematic", [0.0, 0.1])
def test_slopes_are_those_of_differences(counts: float, systematic: float) -> None:
    bins, mu, rate = bins_of((counts, 0.6 * counts + 1.0, 0.4 * counts + 2.0, 0.8, systematic))
    ways = [lambda m, g: quadrature(bins, m, g), lambda m, g: matched(bins, m, g)]
    if counts <= FEW:
        ways.append(Polynomial.of(bins, rate[0]))
    for way in ways:
        found, h = way(mu, rate), 1e-5
        by_mu = (way(mu + h, rate).value - way(mu - h, rate).value) / (2 * h)
        by_rate = (way(mu, rate + h).value - way(mu, rate - h).value) / (2 * h)
        torch.testing.assert_close(found.by_mu, by_mu, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(found.by_rate, by_rate, rtol=1e-6, atol=1e-7)


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
        torch.testing.assert_close(near_normal(bins, m, g, slopes=False).value, ours.value)


@pytest.mark.parametrize("counts", [2.0, 30.0, 100.0])
def test_its_limits_are_poissons_and_the_negative_binomials(counts: float) -> None:
    """No systematic error, and a background that is known, or is not there."""
    mu, behind = 0.7 * counts + 0.5, 0.3 * counts

    def value(alpha: float, rate: float, systematic: float, at: float = mu) -> float:
        bins, m, g = bins_of((counts, at, alpha, rate, systematic))
        return float(BackgroundSum.of(bins, g[0]).value(m, g))

    assert value(3.0, 1.0, 1e-5) == pytest.approx(value(3.0, 1.0, 0.0), abs=1e-6)
    alpha = 1e8
    known = scipy.stats.poisson.logpmf(counts, mu + behind)
    assert value(alpha, alpha / behind, 0.0) == pytest.approx(known, abs=1e-5)
    assert value(1.0, 1e12, 0.0) == pytest.approx(scipy.stats.poisson.logpmf(counts, mu), abs=1e-6)
    k = 1.0 / 0.1**2
    assert value(1.0, 1e12, 0.1) == pytest.approx(scipy.stats.nbinom.logpmf(counts, k, k / (k + mu)), abs=1e-6)
    # without a source it is the background's own
    assert value(3.0, 0.5, 0.1, 1e-12) == pytest.approx(scipy.stats.nbinom.logpmf(counts, 3.0, 0.5 / 1.5), abs=1e-6)


def test_a_bin_is_matched_only_where_that_is_close() -> None:
    """Within 8 of the peak, in ln p."""
    random = np.random.default_rng(3)
    seen = 0
    for _ in range(3000):
        systematic = float(random.choice([0.0, 0.02]))
        mu, rate = 10.0 ** random.uniform(2, 5), 10.0 ** random.uniform(-1, 2)
        alpha = 10.0 ** random.uniform(-1, 4)
        counts = float(random.poisson(mu + alpha / rate))
        bins, _m, g = bins_of((counts, mu, alpha, rate, systematic))
        if counts <= FEW or not bool(is_matched(bins, g[0])):
            continue
        seen += 1
        sd = math.sqrt(counts + alpha / rate**2 + (systematic * mu) ** 2)
        near = max(counts - alpha / rate, 1.0) + torch.tensor([[-3.0], [0.0], [3.0]], dtype=torch.float64) * sd
        near, wide = near.clamp(min=1.0), g.expand(3, 1)
        off = matched_value(bins, near, wide) - quadrature(bins, near, wide).value
        assert float(off.abs().max()) < 2e-4
    assert seen > 100


def test_every_bin_of_a_source_is_evaluated_as_its_counts_ask() -> None:
    cases = [(s, 0.6 * s + 1.0, 0.3 * s + 2.0, 0.9, 0.05) for s in (0.0, 5.0, 9.0, 30.0, 64.0, 65.0, 300.0)]
    cases += [(1e4, 1e4, 2.0, 5.0, 0.05), (2000.0, 1000.0, 900.0, 0.9, 0.05), (2000.0, 1e3, 10.0, 0.01, 0.05)]
    bins, mu, rate = bins_of(*cases)
    found = BackgroundSum.of(bins, rate[0])
    assert [(type(one).__name__, at.tolist()) for at, one in found.few] == [
        *(("Polynomial", places) for places in ([0, 1], [2], [3], [4], [5])),
        ("FewBehind", [6]),
    ]
    assert found.alike[0].tolist() == [7]
    assert (found.known[0].tolist(), found.rest[0].tolist()) == ([8], [9])
    both = found(mu, rate)
    torch.testing.assert_close(found.value(mu, rate), both.value, rtol=1e-12, atol=1e-12)
    exact = [convolution(*case) for case in cases[:7]]
    torch.testing.assert_close(both.value[0, :7], tensor(*exact), rtol=1e-9, atol=1e-6)


def test_powers_that_would_overflow_are_held() -> None:
    bins, mu, rate = bins_of((60.0, 1e9, 2.0, 1.0, 0.0))
    value = Polynomial.of(bins, rate[0]).value(mu, rate)
    assert bool(torch.isfinite(value).all())
    assert float(value) < -1e8
