"""The sum of two negative binomials as a whole: normalised, with its slopes and its limits."""

from __future__ import annotations

import pytest
import scipy.stats
import torch

from sum_zoo import bins_of, convolution, tensor
from xrayflow.statistics.background_integral import Bins, quadrature
from xrayflow.statistics.background_polynomial import Polynomial
from xrayflow.statistics.background_sum import FEW, BackgroundSum


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


@pytest.mark.parametrize("systematic", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("level", [0.8, 1.0, 1.3])
def test_the_probabilities_of_bright_bins_add_up_to_one_at_every_level(systematic: float, level: float) -> None:
    """Each count by the way that a spectrum would take: nearly all of them a series."""
    counts = torch.arange(100, 2500, dtype=torch.float64)
    bins, rate = Bins(counts, torch.full_like(counts, 200.0), systematic**2), torch.ones_like(counts)
    whole = BackgroundSum.of(bins, rate)
    assert whole.table is not None
    assert float((whole.table.bend > 0).double().mean()) > 0.9
    value = whole.value(400.0 + 0 * counts[None], (rate / level)[None])
    assert float(value.exp().sum()) == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("counts", [0.0, 3.0, 40.0, 200.0])
@pytest.mark.parametrize("systematic", [0.0, 0.1])
def test_slopes_are_those_of_differences(counts: float, systematic: float) -> None:
    bins, mu, rate = bins_of((counts, 0.6 * counts + 1.0, 0.4 * counts + 2.0, 0.8, systematic))
    ways = [lambda m, g: quadrature(bins, m, g)]
    if counts <= FEW:
        ways.append(Polynomial.of(bins, rate[0]))
    for way in ways:
        found, h = way(mu, rate), 1e-5
        by_mu = (way(mu + h, rate).value - way(mu - h, rate).value) / (2 * h)
        by_rate = (way(mu, rate + h).value - way(mu, rate - h).value) / (2 * h)
        torch.testing.assert_close(found.by_mu, by_mu, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(found.by_rate, by_rate, rtol=1e-6, atol=1e-7)


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


def test_every_bin_of_a_source_is_evaluated_as_its_counts_ask() -> None:
    cases = [(s, 0.6 * s + 1.0, 0.3 * s + 2.0, 0.9, 0.05) for s in (0.0, 5.0, 9.0, 30.0, 64.0, 65.0, 300.0)]
    cases += [(1e4, 1e4, 2.0, 5.0, 0.05), (2000.0, 1000.0, 900.0, 0.9, 0.05), (2000.0, 1e3, 10.0, 0.01, 0.05)]
    bins, mu, rate = bins_of(*cases)
    found = BackgroundSum.of(bins, rate[0])
    assert [(type(one).__name__, at.tolist()) for at, one in found.others] == [
        *(("Polynomial", places) for places in ([0, 1], [2], [3], [4])),
        ("Integral", [9]),
    ]
    assert found.table is not None
    assert (found.tabled, found.table.bend.bool().tolist()) == (slice(5, 10), [True, True, True, True, False])
    both = found(mu, rate)
    torch.testing.assert_close(found.value(mu, rate), both.value, rtol=1e-9, atol=1e-7)
    exact = [convolution(*case) for case in cases[:7]]
    torch.testing.assert_close(both.value[0, :7], tensor(*exact), rtol=1e-9, atol=1e-6)
