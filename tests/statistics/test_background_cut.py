"""A background that is a cut normal: its integral against mpmath, its slopes, its sum, its limits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import torch

from cut_zoo import Case, bins_of, integral
from sum_zoo import tensor
from xrayflow.statistics.count_density import log_counts, log_saturated_poisson


def random_cases(number: int) -> list[Case]:
    """Wherever the source stands, and the background too."""
    random, found = np.random.default_rng(1), []
    for _ in range(number):
        counts = float(random.choice([0, 1, 3, 10, 64, 300, 1e4, 1e6]))
        middle = float(10.0 ** random.uniform(-2, 5) * random.choice([1.0, 1.0, 1.0, -0.3, 0.0]))
        error = float(random.uniform(0.3, 3.0) * max(abs(middle), 0.05))
        mu = float(random.choice([10.0 ** random.uniform(-6, 5), max(counts - middle, 0.1)]))
        found.append((counts, mu, middle, error, float(np.exp(0.2 * random.normal()))))
    return found


def test_its_integral_is_exact_to_a_millionth() -> None:
    cases = random_cases(60)
    exact = np.array([integral(*case) for case in cases])
    bins, mu, rate = bins_of(cases)
    np.testing.assert_allclose(bins.value(mu, rate)[0].numpy(), exact, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("systematic", [0.01, 0.03, 0.1, 0.3])
def test_a_systematic_error_is_integrated_over_too(systematic: float) -> None:
    """Against 8001 places of ln F, to a millionth.

    Few counts and many, where s^2 S is far above 1 and they do not tell source and background apart; a source that is
    twice or half what the counts say is not lost.
    """
    n = 1.0 / systematic**2
    cases: list[Case] = [
        (0.0, 0.3, 0.2, 0.2, 1.1),
        (5.0, 3.0, 2.0, 2.0, 1.1),
        (10.0, 8.0, 3.0, 5.0, 0.9),
        (10.0, 1e-9, 3.0, 5.0, 0.9),
        *((round(n), share * n, 0.3 * n, 0.1 * n, 1.1) for share in (0.5, 0.7, 0.9)),
        *((round(10.0 * n), share * n, 0.1 * n, 0.1 * n, 1.1) for share in (5.0, 20.0)),
        *((round(10.0 * n), share * n, 6.0 * n, 5.0 * n, 0.9) for share in (2.0, 5.0, 9.0, 12.0)),
        (round(3.0 * n), 2.0 * n, -2.0 * n, 3.0 * n, 1.0),
        (round(100.0 * n), 60.0 * n, 40.0 * n, 20.0 * n, 1.0),
    ]
    k, u = n, torch.linspace(-max(12.0 * systematic, 1.2), max(9.0 * systematic, 1.0), 8001, dtype=torch.float64)
    log_weight = torch.log_softmax(k * (u - torch.expm1(u)), 0)[:, None]
    bins, mu, rate = bins_of(cases)
    known = torch.logsumexp(bins.value(torch.exp(u)[:, None] * mu, rate.expand(8001, -1)) + log_weight, 0)
    ours, mu, rate = bins_of(cases, systematic)
    torch.testing.assert_close(ours.value(mu, rate)[0], known, rtol=0.0, atol=1e-6)
    torch.testing.assert_close(ours(mu, rate).value[0], known, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("systematic", [0.02, 0.3])
def test_a_bin_has_the_same_value_in_any_company(systematic: float) -> None:
    """Its peak is found when it is found, however long those of others take; a source far below the counts too."""
    cases = [*random_cases(60), (1674.0, 0.618, 1.062, 0.328, 1.474)]
    together, mu, rate = bins_of(cases, systematic)
    found = together.value(mu, rate)[0]
    for number, case in enumerate(cases):
        alone, mu, rate = bins_of([case], systematic)
        torch.testing.assert_close(found[number], alone.value(mu, rate)[0, 0], rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize(("counts", "mu", "middle", "error"), [(14.0, 5.0, 6.0, 6.0), (20.0, 30.0, 2.0, 3.0)])
def test_a_wide_systematic_error_is_mpmaths_sum(counts: float, mu: float, middle: float, error: float) -> None:
    """s^2 S is 2 and 3: every share of the source times what the background gives."""
    systematic = 0.4
    k = mpmath.mpf(1) / mpmath.mpf(systematic) ** 2
    total = mpmath.mpf(0)
    for i in range(int(counts) + 1):
        source = mpmath.rf(k, i) / mpmath.factorial(i) * (k / (k + mu)) ** k * (mu / (k + mu)) ** i
        total += source * mpmath.exp(integral(counts - i, 0.0, middle, error, 1.1))
    bins, m, rate = bins_of([(counts, mu, middle, error, 1.1)], systematic)
    assert float(bins.value(m, rate)) == pytest.approx(float(mpmath.log(total)), abs=1e-6)


@pytest.mark.parametrize("systematic", [0.0, 0.05, 0.3])
def test_slopes_are_those_of_differences(systematic: float) -> None:
    cases: list[Case] = [
        (0.0, 0.5, 0.4, 0.4, 1.0),
        (7.0, 3.0, 5.0, 2.5, 1.2),
        (40.0, 35.0, -3.0, 6.0, 0.8),
        (300.0, 200.0, 90.0, 60.0, 1.0),
        (2e4, 1.5e4, 6e3, 2e3, 1.1),
    ]
    bins, mu, rate = bins_of(cases, systematic)
    found, step = bins(mu, rate), 1e-4
    by_mu = (bins.value(mu * (1 + step), rate) - bins.value(mu * (1 - step), rate)) / (2 * step * mu)
    by_rate = (bins.value(mu, rate * (1 + step)) - bins.value(mu, rate * (1 - step))) / (2 * step * rate)
    torch.testing.assert_close(found.by_mu, by_mu, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(found.by_rate, by_rate, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("systematic", [0.0, 0.1])
def test_the_probabilities_of_all_counts_add_up_to_one(systematic: float) -> None:
    bins, mu, rate = bins_of([(float(s), 12.0, 5.0, 4.0, 1.1) for s in range(150)], systematic)
    assert bins.value(mu, rate).exp().sum().item() == pytest.approx(1.0, abs=1e-7)


def test_a_small_error_goes_over_to_a_known_background_and_a_huge_one_says_nothing() -> None:
    counts = tensor(0.0, 4.0, 80.0)
    cases: list[Case] = [(float(s), 3.0, 20.0, 1e-4, 1.0) for s in counts]
    bins, mu, rate = bins_of(cases)
    poisson = log_counts(counts, torch.full_like(counts, 23.0), 0.0, log_saturated_poisson(counts))
    torch.testing.assert_close(bins.value(mu, rate)[0], poisson, rtol=1e-6, atol=1e-6)
    bins, mu, rate = bins_of([(float(s), 3.0, 20.0, 1e10, 1.0) for s in range(10, 200)])
    assert float(np.ptp(bins.value(mu, rate).numpy())) < 1e-3
