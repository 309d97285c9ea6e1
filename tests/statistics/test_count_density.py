"""The normalised likelihood against scipy and mpmath: exact, summing to one, without a jump at no systematic error."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from xrayflow.statistics.count_density import log_counts, log_counts_slope, log_saturated_poisson
from xrayflow.statistics.statistic import cstat


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def log_p(counts: Tensor, total: Tensor, phi: Tensor | float) -> Tensor:
    return log_counts(counts, total, phi, log_saturated_poisson(counts))


def random_cases(cases: int) -> tuple[Tensor, Tensor]:
    """Counts of 0 .. 1e9 within 5 sd of the mean."""
    random = np.random.default_rng(0)
    total = 10.0 ** random.uniform(-3, 9, cases)
    counts = np.maximum(np.round(total + random.uniform(-5, 5, cases) * np.sqrt(total)), 0.0)
    return torch.from_numpy(counts), torch.from_numpy(total)


def exact_negative_binomial(counts: float, total: float, phi: float) -> float:
    with mpmath.workdps(50):
        s, m, k = mpmath.mpf(counts), mpmath.mpf(total), 1 / mpmath.mpf(phi)
        value = mpmath.loggamma(s + k) - mpmath.loggamma(k) - mpmath.loggamma(s + 1)
        return float(value + k * mpmath.log(k / (k + m)) + s * mpmath.log(m / (k + m)))


def test_without_a_systematic_error_it_is_poisson() -> None:
    counts, total = random_cases(2000)
    small = total < 1e5
    scipys = torch.from_numpy(scipy.stats.poisson.logpmf(counts[small].numpy(), total[small].numpy()))
    torch.testing.assert_close(log_p(counts, total, 0.0)[small], scipys, rtol=1e-10, atol=1e-9)
    for s, m, value in zip(counts.tolist(), total.tolist(), log_p(counts, total, 0.0).tolist(), strict=True):
        if m > 1e8:
            with mpmath.workdps(40):
                exact = mpmath.mpf(s) * mpmath.log(mpmath.mpf(m)) - m - mpmath.loggamma(mpmath.mpf(s) + 1)
            assert value == pytest.approx(float(exact), rel=1e-12)


@pytest.mark.parametrize("systematic", [1e-3, 0.015, 0.1, 0.3])
def test_with_a_systematic_error_it_is_the_negative_binomial(systematic: float) -> None:
    counts, total = random_cases(300)
    phi = systematic**2
    ours = log_p(counts, total, torch.full_like(total, phi))
    exact = [exact_negative_binomial(s, m, phi) for s, m in zip(counts.tolist(), total.tolist(), strict=True)]
    torch.testing.assert_close(ours, tensor(*exact), rtol=1e-10, atol=1e-9)
    few = total < 1e3
    k = 1.0 / phi
    scipys = scipy.stats.nbinom.logpmf(counts[few].numpy(), k, k / (k + total[few].numpy()))
    torch.testing.assert_close(ours[few], torch.from_numpy(scipys), rtol=1e-8, atol=1e-7)


def test_at_the_largest_systematic_error_stirling_is_good_to_1e_9() -> None:
    counts = torch.arange(200, dtype=torch.float64)
    ours = log_p(counts, torch.full_like(counts, 20.0), torch.full_like(counts, 0.25))
    exact = [exact_negative_binomial(s, 20.0, 0.25) for s in counts.tolist()]
    torch.testing.assert_close(ours, tensor(*exact), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("total", "systematic"), [(0.3, 0.0), (7.0, 0.0), (7.0, 0.3), (40.0, 0.1), (200.0, 0.49)])
def test_probabilities_of_all_counts_sum_to_one(total: float, systematic: float) -> None:
    counts = torch.arange(6000, dtype=torch.float64)
    phi = torch.full_like(counts, systematic**2)
    assert log_p(counts, torch.full_like(counts, total), phi).exp().sum().item() == pytest.approx(1.0, abs=1e-9)


def test_a_vanishing_systematic_error_is_poisson_without_a_jump() -> None:
    counts, total = random_cases(500)
    poisson = log_p(counts, total, 0.0)
    torch.testing.assert_close(log_p(counts, total, torch.zeros_like(total)), poisson, rtol=1e-13, atol=1e-12)
    # what is left is s^2 / 2 times about the number of counts
    for systematic in (1e-10, 1e-8, 1e-7):
        difference = (log_p(counts, total, torch.full_like(total, systematic**2)) - poisson).abs()
        assert bool((difference <= 30.0 * systematic**2 * (1.0 + total) + 1e-11 * poisson.abs()).all())


def test_counts_far_above_the_model_keep_their_digits() -> None:
    for counts, total in ((1.0, 1e-18), (100.0, 1e-14), (3.0, 1e-3)):
        with mpmath.workdps(40):
            exact = counts * mpmath.log(total) - total - mpmath.loggamma(counts + 1)
        assert log_p(tensor(counts), tensor(total), 0.0).item() == pytest.approx(float(exact), rel=1e-12)
        exact_nb = exact_negative_binomial(counts, total, 0.01)
        assert log_p(tensor(counts), tensor(total), tensor(0.01)).item() == pytest.approx(exact_nb, rel=1e-9)


def test_one_bin_far_above_its_model_leaves_the_gradients_of_the_others() -> None:
    """Empty bins without a model among them, as those that pad a batch."""
    total = tensor(1e-9, 0.0, 5.0).requires_grad_(True)
    counts = tensor(3.0, 0.0, 4.0)
    (slope,) = torch.autograd.grad(log_p(counts, total, 0.0).sum(), total)
    torch.testing.assert_close(slope, tensor(3e9 - 1.0, -1.0, 4.0 / 5.0 - 1.0))


def test_zero_counts_have_probability_exp_of_minus_the_mean() -> None:
    total = tensor(0.0, 1e-12, 0.5, 30.0)
    zero = torch.zeros_like(total)
    torch.testing.assert_close(log_p(zero, total, 0.0), -total)
    phi = 0.04
    torch.testing.assert_close(log_p(zero, total, torch.full_like(total, phi)), -torch.log1p(phi * total) / phi)


def test_counts_without_a_model_are_impossible() -> None:
    assert log_p(tensor(2.0), tensor(0.0), 0.0).item() == -np.inf
    assert log_p(tensor(2.0), tensor(0.0), tensor(0.01)).item() == -np.inf
    assert log_p(tensor(0.0), tensor(0.0), tensor(0.01)).item() == 0.0


@pytest.mark.parametrize("systematic", [0.0, 0.015, 0.3])
def test_gradients_are_the_score(systematic: float) -> None:
    counts, total = random_cases(2000)
    total = total.requires_grad_(True)
    phi: Tensor | float = torch.full_like(counts, systematic**2) if systematic else 0.0
    slope = torch.autograd.grad(log_p(counts, total, phi).sum(), total)[0]
    exact = (counts - total) / (total * (1.0 + systematic**2 * total))
    torch.testing.assert_close(slope, exact.detach(), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("systematic", [1e-4, 0.015, 0.1, 0.5])
def test_slopes_by_the_mean_and_by_phi_are_what_differentiation_finds(systematic: float) -> None:
    """The slope by phi is up to S^2 / 2; what autograd loses beside the terms that cancel is a part of that."""
    counts, total = random_cases(2000)
    few = total < 1e5
    counts, total = counts[few], total[few].requires_grad_(True)
    phi = torch.full_like(total, systematic**2).detach().requires_grad_(True)
    by_total, by_phi = torch.autograd.grad(log_p(counts, total, phi).sum(), (total, phi))
    ours = log_counts_slope(counts, total.detach(), phi.detach())
    torch.testing.assert_close(ours[0], by_total, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(ours[1], by_phi, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("counts", "total", "phi"),
    [
        (0.0, 3.0, 0.01),
        (3.0, 5.0, 1e-6),
        (3.0, 5.0, 0.25),
        (40.0, 2.0, 0.04),
        (1e6, 1.01e6, 2e-4),
        (1e8, 1e8 + 3e4, 1e-8),
    ],
)
def test_the_slope_by_phi_is_mpmaths_from_few_counts_to_many(counts: float, total: float, phi: float) -> None:
    def log_probability(p: mpmath.mpf) -> mpmath.mpf:
        s, m, k = mpmath.mpf(counts), mpmath.mpf(total), 1 / p
        value = mpmath.loggamma(s + k) - mpmath.loggamma(k) - mpmath.loggamma(s + 1)
        return value + k * mpmath.log(k / (k + m)) + s * mpmath.log(m / (k + m))

    with mpmath.workdps(80):
        exact = float(mpmath.diff(log_probability, mpmath.mpf(phi), h=mpmath.mpf(phi) * mpmath.mpf(10) ** -20))
    _, by_phi = log_counts_slope(tensor(counts), tensor(total), tensor(phi))
    assert by_phi.item() == pytest.approx(exact, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("systematic", [0.0, 0.015, 0.3])
def test_twice_the_distance_to_the_saturated_model_is_the_closed_deviance(systematic: float) -> None:
    counts, total = random_cases(2000)
    phi = torch.full_like(counts, systematic**2)
    ours = 2.0 * (log_p(counts, counts, phi) - log_p(counts, total, phi))
    if systematic == 0.0:
        expected = cstat(counts, total)
    else:
        k = 1.0 / systematic**2
        d = total - counts
        # 2 [S ln(S/m) - (S + k) ln((S + k)/(m + k))], with logarithms that do not cancel
        some = torch.where(counts > 0, -counts * torch.log1p(d / counts.clamp(min=1.0)), 0.0)
        expected = 2.0 * (some + (counts + k) * torch.log1p(d / (counts + k)))
    slack = 1e-13 * (1.0 + counts)
    assert bool(((ours - expected).abs() < 1e-8 * (1.0 + expected.abs()) + slack).all())
    assert bool((ours > -slack).all())


def test_the_saturated_probability_joins_its_series_smoothly() -> None:
    counts = torch.arange(0, 200, dtype=torch.float64)
    scipys = torch.from_numpy(scipy.stats.poisson.logpmf(counts.numpy(), np.maximum(counts.numpy(), 1e-300)))
    torch.testing.assert_close(log_saturated_poisson(counts), scipys, rtol=1e-12, atol=1e-12)


def test_single_precision_is_good_near_the_peak_of_ten_million_counts() -> None:
    counts = torch.full((101,), 1e7, dtype=torch.float64)
    total = (1e7 + torch.linspace(-1.0, 1.0, 101, dtype=torch.float64) * 3.2e3).float()
    for systematic in (0.0, 0.015):
        phi = torch.full_like(counts, systematic**2)
        exact = log_p(counts, total.double(), phi)
        single = log_counts(counts.float(), total, phi.float(), log_saturated_poisson(counts).float())
        assert float((single.double() - exact).abs().max()) < 1e-4
