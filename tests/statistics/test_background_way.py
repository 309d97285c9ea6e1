"""What all ways have in common: the level apart from the bins, and the integral where a way does not hold."""

from __future__ import annotations

import pytest
import torch

from sum_zoo import bins_of, convolution, tensor
from xrayflow.statistics.background_polynomial import FewBehind, Polynomial
from xrayflow.statistics.background_table import Table
from xrayflow.statistics.background_way import Integral, Way

CASES = [(100.0, 90.0, 40.0, 2.0, 0.02), (120.0, 60.0, 60.0, 1.0, 0.02)]


def ways() -> list[Way]:
    """All that serve these bins, made a little beside the level."""
    bins, _, rate = bins_of(*CASES)
    nominal = 1.1 * rate[0]
    table, has = Table.of(bins, nominal, torch.tensor([True, True]))
    assert bool(has.all())
    return [
        Polynomial.of(bins, nominal),
        FewBehind.of(bins, nominal, 256),
        Integral(bins, nominal),
        table,
    ]


@pytest.mark.parametrize("number", range(4))
def test_a_level_is_the_power_of_g_that_a_bare_value_lacks(number: int) -> None:
    way, (bins, mu, rate) = ways()[number], bins_of(*CASES)
    exact = tensor(*(convolution(*case) for case in CASES))
    torch.testing.assert_close(way.value(mu, rate)[0], exact, rtol=1e-9, atol=1e-6)
    torch.testing.assert_close(way(mu, rate).value[0], exact, rtol=1e-9, atol=1e-6)
    level = bins.alpha * torch.log(rate[0] / (1.1 * rate[0]))
    torch.testing.assert_close(way.bare(mu, rate)[0], exact - level, rtol=1e-9, atol=1e-6)


def test_only_the_places_that_a_way_does_not_reach_are_integrated() -> None:
    """Of two draws, one beyond the interval of one bin."""
    bins, mu, rate = bins_of(*CASES)
    table = ways()[3]
    far = torch.cat([mu, mu])
    far[1, 0] = 1e4
    both = table.value(far, rate.expand(far.shape))
    assert both[0].tolist() == table.value(mu, rate)[0].tolist()
    assert both[1, 1] == both[0, 1]
    assert float(both[1, 0]) == pytest.approx(float(Integral(bins, rate[0]).value(far, rate)[1, 0]), abs=1e-9)
