"""A cut normal's series: the integral that it stands for, inside its intervals and beyond, and its slopes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from cut_zoo import Case, bins_of, integral
from sum_zoo import tensor
from xrayflow.statistics.background_cut import CutNormals
from xrayflow.statistics.background_cut_table import ERROR, FAR, CutTable
from xrayflow.statistics.background_integral import Bins
from xrayflow.statistics.background_sum import BackgroundSum

SPREAD = 0.1


def zoo(systematic: float) -> CutNormals:
    """From no counts to many, behind them everything from hardly a background to more of it than of counts."""
    random = np.random.default_rng(5)
    source = 10.0 ** random.uniform(-1.0, 5.0, 60)
    middle = 10.0 ** random.uniform(-2.0, 3.0, 60)
    middle[:3] = 0.0, -0.5, -3.0
    error = random.uniform(0.31, 2.0, 60) * np.maximum(np.abs(middle), 0.1)
    counts = random.poisson(source + middle.clip(min=0.0)).astype(float)
    counts[3:6] = 0.0
    return CutNormals(tensor(*counts), tensor(*middle), tensor(*error), torch.ones(60).double(), systematic**2)


def mean_of(normals: CutNormals) -> Tensor:
    """About that of the background."""
    return normals.middle.clamp(min=0.0) + 0.5 * normals.error


def table_of(normals: CutNormals, spread: float = SPREAD) -> CutTable:
    return CutTable.of(normals, mean_of(normals), spread)


def asked(normals: CutNormals, far: float = 1.0) -> tuple[Tensor, Tensor]:
    """Sources about what the counts say, and levels."""
    generator = torch.Generator().manual_seed(2)
    shape = 200, normals.counts.numel()
    met = (normals.counts - normals.middle).clamp(min=0.3)
    sd = torch.sqrt(normals.counts + normals.s2 * normals.counts**2 + normals.error**2 + 1.0)
    mu = met + far * 2.0 * sd * torch.randn(shape, generator=generator, dtype=torch.float64)
    scale = torch.exp(far * SPREAD * torch.randn((shape[0], 1), generator=generator, dtype=torch.float64))
    return torch.maximum(mu, 0.05 * met), (normals.rate / scale).expand(shape)


@pytest.mark.parametrize(("systematic", "roughly"), [(0.0, 0.005), (0.02, 0.01), (0.2, 0.1)])
@pytest.mark.parametrize("far", [1.0, 30.0])
def test_it_is_the_integral(systematic: float, roughly: float, far: float) -> None:
    """Beyond the intervals the integral itself serves; far down, where searches set out, its peak."""
    normals = zoo(systematic)
    table, (mu, rate) = table_of(normals), asked(normals, far)
    assert table.rest.numel() < 6
    exact = normals(mu, rate)
    near = ~(exact.value < table.highest - FAR + roughly)
    deep = exact.value < table.highest - FAR - roughly
    for found in (table.value(mu, rate), table(mu, rate).value):
        error = (found - exact.value).abs()
        assert float(error[near].max()) < 2.0 * ERROR
        assert float(error[deep].max()) < roughly
    found = table(mu, rate)
    for own, known in ((found.by_mu * mu, exact.by_mu * mu), (found.by_rate * rate, exact.by_rate * rate)):
        error = (own - known).abs() / (1.0 + known.abs())
        assert float(error[near].max()) < 1e-4
        assert float(error[deep].max()) < 0.05
    if far > 1.0:
        assert int(deep.sum()) > 0.3 * deep.numel()


@pytest.mark.parametrize(("systematic", "roughly"), [(0.0, 0.01), (0.02, 0.01), (0.2, 0.02)])
def test_a_rough_one_is_the_series_and_elsewhere_the_peak(systematic: float, roughly: float) -> None:
    """At levels that no posterior has, where the counts alone would be met; inside the intervals nothing changes."""
    normals = zoo(systematic)
    table = table_of(normals)
    rough = replace(table, rough=True)
    mu, rate = asked(normals)
    inside = table.value(mu, rate) == rough.value(mu, rate)
    assert float(inside.double().mean()) > 0.8
    scale = torch.exp(torch.linspace(-9.0, 9.0, mu.shape[0]).double() * SPREAD)[:, None]
    rate = (normals.rate / scale).expand(mu.shape)
    exact, told = table(mu, rate), rough(mu, rate)
    beyond = (scale.log().abs() > 5.1 * SPREAD).expand(mu.shape)
    near = beyond & (exact.value > table.highest - 10.0)
    assert int(near.sum()) > 100
    error = (told.value - exact.value).abs()
    assert float(error[near].max()) < 0.5
    assert ERROR < float(error[near].median()) < roughly
    torch.testing.assert_close(rough.value(mu, rate), told.value, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("systematic", [0.0, 0.02, 0.2])
def test_far_down_no_bin_is_out_of_reach(systematic: float) -> None:
    """At levels and sources that only a start of a search comes to."""
    normals = zoo(systematic)
    table = table_of(normals)
    mu = torch.logspace(-30, 20, 13, dtype=torch.float64)[:, None].expand(-1, normals.counts.numel())
    for level in (-8.0, -1.0, 1.0, 8.0):
        found = table(mu, (normals.rate * math.exp(-level)).expand(mu.shape))
        assert bool(torch.isfinite(found.value).all())
        assert bool(torch.isfinite(found.by_mu).all())
        assert bool(torch.isfinite(found.by_rate).all())
        assert float(found.value.max()) < 1e-6


def test_it_is_mpmaths_integral() -> None:
    cases: list[Case] = [(12.0, 8.0, 5.0, 3.0, 1.05), (0.0, 1.0, 2.0, 1.0, 0.9), (400.0, 350.0, 40.0, 20.0, 1.1)]
    normals, mu, rate = bins_of(cases)
    for number, case in enumerate(cases):  # each draw has one level
        one = table_of(normals.select(torch.tensor([number])))
        found = one.value(mu[:, number : number + 1], rate[:, number : number + 1])
        assert float(found) == pytest.approx(integral(*case), abs=1e-6)


def test_slopes_are_those_of_differences() -> None:
    normals = zoo(0.02)
    table, (mu, rate) = table_of(normals), asked(normals, 0.5)
    mu, step = mu.clamp(min=1.0), 1e-4
    found = table(mu, rate)
    near = found.value > table.highest - FAR + 1.0
    by_mu = (table.value(mu * (1 + step), rate) - table.value(mu * (1 - step), rate)) / (2 * step)
    by_rate = (table.value(mu, rate * (1 + step)) - table.value(mu, rate * (1 - step))) / (2 * step)
    torch.testing.assert_close((found.by_mu * mu)[near], by_mu[near], rtol=1e-4, atol=1e-3)
    torch.testing.assert_close((found.by_rate * rate)[near], by_rate[near], rtol=1e-4, atol=1e-3)
    assert int(near.sum()) > 0.9 * near.numel()


def test_a_level_that_is_held_has_one_power() -> None:
    normals = zoo(0.02)
    table, (mu, _) = table_of(normals, spread=0.0), asked(normals)
    assert all(one.coefficients.shape[0] == 1 for _, one in table.series)
    rate = normals.rate.expand(mu.shape)
    exact = normals.value(mu, rate)
    near = exact > table.highest - FAR + 0.1
    assert float((table.value(mu, rate) - exact)[near].abs().max()) < 2.0 * ERROR
    # another level than the held one is the integral's
    other = 1.3 * rate
    exact = normals.value(mu, other)
    near = exact > table.highest - FAR + 0.1
    torch.testing.assert_close(table.value(mu, other)[near], exact[near], rtol=0.0, atol=1e-9)


def test_a_bin_has_the_same_series_in_any_company() -> None:
    normals = zoo(0.02)
    mu, rate = asked(normals)
    together = table_of(normals).value(mu, rate)
    for number in (0, 4, 20, 55):
        alone = table_of(normals.select(torch.tensor([number])))
        one = slice(number, number + 1)
        torch.testing.assert_close(alone.value(mu[:, one], rate[:, one]), together[:, one], rtol=0.0, atol=1e-9)


def test_hardly_any_integral_is_left_to_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the series are for."""
    normals = zoo(0.02)
    bins = Bins(normals.counts, mean_of(normals), normals.s2)
    whole = BackgroundSum.of(bins, normals.rate, normals.middle, normals.error, SPREAD)
    left = list[int]()
    slow = CutNormals.value

    def counted(self: CutNormals, mu: Tensor, rate: Tensor) -> Tensor:
        left.append(mu.numel())
        return slow(self, mu, rate)

    monkeypatch.setattr(CutNormals, "value", counted)
    mu, rate = asked(normals, 0.5)
    whole.value(mu, rate)
    assert sum(left) < 0.05 * mu.numel()
