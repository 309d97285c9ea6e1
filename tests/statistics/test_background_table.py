"""The series of bins of many counts: against mpmath and the integral, its slopes, its edges, and who has one."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sum_zoo import Case, bins_of, convolution, random_cases, tensor
from xrayflow.statistics.background_integral import Bins, finest, quadrature
from xrayflow.statistics.background_sum import BackgroundSum
from xrayflow.statistics.background_table import DEGREE, ERROR, ROUNDING, Table, log_product


def table_of(bins: Bins, rate: Tensor) -> tuple[Table, Tensor]:
    return Table.of(bins, rate, torch.ones_like(rate, dtype=torch.bool))


def bright_cases(number: int, systematic: float, seed: int = 2) -> list[Case]:
    """S to 1e7, where source and background are what the bin may have; mu up to 6 standard deviations off."""
    random, found = np.random.default_rng(seed), []
    for _ in range(number):
        counts = float(int(10.0 ** random.uniform(1.9, 7)))
        behind = counts * 10.0 ** random.uniform(-3, -0.2)
        alpha = 10.0 ** random.uniform(1.5, 6)
        sd = math.sqrt(counts + behind**2 / alpha + (systematic * counts) ** 2)
        mu = max(counts - behind + random.uniform(-6, 6) * sd, 1e-3 * counts)
        found.append((counts, mu, alpha, alpha / behind, systematic))
    return found


@pytest.mark.parametrize("case", random_cases([65, 150, 400], 40, 5), ids=str)
def test_a_series_is_mpmaths_sum_to_a_millionth(case: Case) -> None:
    """At the level that it was made at, and at others; wherever the bin is, for beyond its interval the integral is."""
    bins, mu, rate = bins_of(case)
    for away in (0.7, 1.0, 1.3):
        table, has = table_of(bins, away * rate[0])
        if bool(has):
            assert float(table.value(mu, rate)) == pytest.approx(convolution(*case), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("systematic", [0.0, 1e-6, 0.02, 0.1, 0.3])
def test_bright_bins_are_the_integral_at_every_level(systematic: float) -> None:
    bins, mu, rate = bins_of(*bright_cases(300, systematic))
    table, has = table_of(bins, rate[0])
    assert float(has.double().mean()) > (0.9 if systematic < 0.1 else 0.6)
    at = has.nonzero()[:, 0]
    bins = bins.select(at)
    for level in (math.exp(-0.3), 1.0, math.exp(0.3)):
        m, g = mu, (rate[0] * level).expand(mu.shape)
        ours, known = table(m, g), quadrature(bins, m[:, at], g[:, at], 60, 34.0)
        off = (table.bare(m, g) + table.bins.alpha * torch.log(g / table.rate))[:, at] - known.value
        allowed = 10.0 * ERROR + 30.0 * ROUNDING * (bins.counts + bins.alpha)
        assert bool((off.abs() < allowed + 1e-10 * known.value.abs()).all())
        torch.testing.assert_close(ours.value[:, at] - off, known.value, rtol=1e-9, atol=1e-6)
        sd = torch.sqrt(bins.counts + bins.alpha / g[:, at] ** 2 + bins.s2 * bins.counts**2)
        torch.testing.assert_close(ours.by_mu[:, at] * sd, known.by_mu * sd, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(ours.by_rate[:, at] * g[:, at], known.by_rate * g[:, at], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("systematic", [0.0, 1e-6, 0.02, 0.3])
def test_all_bins_together_are_their_sum_or_no_number(systematic: float) -> None:
    bins, mu, rate = bins_of(*bright_cases(300, systematic))
    at = table_of(bins, rate[0])[1].nonzero()[:, 0]
    bins, mu, rate = bins.select(at), mu[:, at], rate[:, at]
    moved = mu * torch.linspace(0.999, 1.001, 5, dtype=torch.float64)[:, None]
    g = rate * torch.linspace(0.9, 1.1, 5, dtype=torch.float64)[:, None]
    for width in (1, 2, 7, 40):
        some = torch.arange(width)
        one, _ = table_of(bins.select(some), rate[0, some])
        found, wanted = one.total(moved[:, some], g[:, some]), one.bare(moved[:, some], g[:, some]).sum(-1)
        torch.testing.assert_close(found[~found.isnan()], wanted[~found.isnan()], rtol=1e-12, atol=1e-8)
        assert bool(one.total(edges(one, -1.01), rate[:, some]).isnan().all())


def test_the_logarithm_of_a_product_is_the_sum_of_logarithms() -> None:
    generator = torch.Generator().manual_seed(1)
    for width in (1, 2, 3, 5, 8, 9, 17, 239):
        each = 0.5 + torch.rand((3, width), generator=generator, dtype=torch.float64)
        torch.testing.assert_close(log_product(each), each.log().sum(-1), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("systematic", [0.0, 0.05])
def test_slopes_are_those_of_the_very_values(systematic: float) -> None:
    bins, mu, rate = bins_of(
        (90.0, 80.0, 40.0, 2.0, systematic),
        (400.0, 250.0, 90.0, 0.8, systematic),
        (3000.0, 3100.0, 200.0, 20.0, systematic),
        (1e5, 7.2e4, 3e3, 0.1, systematic),
    )
    table, has = table_of(bins, 1.1 * rate[0])
    assert bool(has.all())
    found, step = table(mu, rate), 1e-5
    by_mu = (table.value(mu * (1 + step), rate) - table.value(mu * (1 - step), rate)) / (2 * step * mu)
    by_rate = (table.value(mu, rate * (1 + step)) - table.value(mu, rate * (1 - step))) / (2 * step * rate)
    torch.testing.assert_close(found.by_mu, by_mu, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.by_rate, by_rate, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(found.value, table.value(mu, rate), rtol=1e-13, atol=1e-9)


def edges(table: Table, place: float) -> Tensor:
    """mu at the nominal level, so far on the interval."""
    z = table.bend / (table.start - place) - table.far
    return (z / (1.0 - table.held * table.bins.s2 * z))[None]


@pytest.mark.parametrize("systematic", [0.0, 0.02])
@pytest.mark.parametrize("end", [-1.0, 1.0])
def test_nothing_jumps_where_the_interval_ends(systematic: float, end: float) -> None:
    cases = [(120.0, 1.0, 40.0, 2.0), (400.0, 1.0, 90.0, 0.8), (3000.0, 1.0, 200.0, 20.0), (1e5, 1.0, 3e3, 0.1)]
    bins, _, rate = bins_of(*((*case, systematic) for case in cases))
    table, has = table_of(bins, rate[0])
    assert bool(has.all())
    inside, outside = (table(edges(table, end * (1.0 + step)), rate) for step in (-1e-7, 1e-7))
    beyond = edges(table, end * (1.0 + 1e-7))
    torch.testing.assert_close(outside.value[0], finest(bins, beyond, rate)[0], rtol=0.0, atol=1e-6)
    step = (beyond - edges(table, end * (1.0 - 1e-7)))[0]
    moved = 0.5 * (inside.by_mu + outside.by_mu)[0] * step
    torch.testing.assert_close((outside.value - inside.value)[0], moved, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(outside.by_mu, inside.by_mu, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(outside.by_rate, inside.by_rate, rtol=1e-4, atol=1e-4)


def test_no_source_and_one_far_too_bright_are_answered() -> None:
    bins, _, rate = bins_of((100.0, 1.0, 100.0, 1.0, 0.0), (100.0, 1.0, 50.0, 1.0, 0.0))
    table, has = table_of(bins, rate[0])
    assert bool(has.all())
    mu = tensor(0.0, 1e-9, 1e9)[:, None].expand(3, 2)
    exact = finest(bins, mu, rate.expand(3, 2))
    torch.testing.assert_close(table.value(mu, rate.expand(3, 2)), exact, rtol=1e-9, atol=1e-7)


def test_a_source_that_no_level_makes_is_left_to_the_integral() -> None:
    """A background ten times as faint: Z would be negative."""
    bins, mu, rate = bins_of((1e5, 9.9e4, 1e5, 100.0, 0.1))
    table, has = table_of(bins, rate[0])
    assert bool(has.all())
    g = 1e4 * rate
    torch.testing.assert_close(table.value(mu, g), quadrature(bins, mu, g, 60, 34.0).value, rtol=1e-9, atol=1e-6)


def test_a_background_of_which_little_is_known_has_no_series_and_others_serve() -> None:
    bins, mu, rate = bins_of((300.0, 200.0, 0.3, 0.003, 0.0), (300.0, 200.0, 400.0, 4.0, 0.0))
    _, has = table_of(bins, rate[0])
    assert has.tolist() == [False, True]
    whole = BackgroundSum.of(bins, rate[0])
    assert [at.tolist() for at, _ in whole.others] == [[0]]
    torch.testing.assert_close(
        whole.value(mu, rate)[0],
        tensor(convolution(300.0, 200.0, 0.3, 0.003, 0.0), *(convolution(300.0, 200.0, 400.0, 4.0, 0.0),)),
        rtol=1e-9,
        atol=1e-6,
    )


def test_a_spectrum_of_many_bins_errs_by_a_millionth_in_all() -> None:
    """240 bins within three standard deviations, summed: what a posterior sees."""
    random = np.random.default_rng(8)
    mean = 10.0 ** random.uniform(1.9, 4, 240)
    behind = mean * random.uniform(0.02, 0.5, 240)
    counts = random.poisson(mean + behind).clip(66).astype(float)
    alpha = random.poisson(behind).astype(float) + 30.0
    bins, rate = Bins(tensor(*counts), tensor(*alpha), 0.0), tensor(*(alpha / behind))
    table, has = table_of(bins, rate)
    assert bool(has.all())
    draws = 200
    mu = tensor(*mean) * (1.0 + 0.03 * torch.from_numpy(random.normal(size=(draws, 1))))
    level = torch.exp(0.1 * torch.from_numpy(random.normal(size=(draws, 1))))
    off = table.value(mu, rate * level) - finest(bins, mu, (rate * level).expand(mu.shape))
    assert float(off.sum(-1).abs().max()) < 1e-6
    assert table.coefficients.shape == (DEGREE + 1, 240)
