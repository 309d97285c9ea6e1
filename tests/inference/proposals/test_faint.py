"""Features that are hardly there: a whole density, that of its own draws."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xrayflow.inference.proposals.faint import Cells, Faint, FaintFeature, log_seen
from xrayflow.models import parse_model
from xrayflow.prior import Prior, log_standard_normal

PRIOR = Prior.of(parse_model("powerlaw+gaussian").freeze({"powerlaw.PhoIndex": 1.7}))
"""Norm of the power law; place, width and norm of the line."""


def cells() -> Cells:
    """Two widths, with two places and three."""
    edges = [[0.0, 0.3, 1.0], [0.0, 0.1, 0.6, 1.0]]
    width = torch.tensor([0.0, 0.4, 1.0], dtype=torch.float64)
    return Cells.of(width, [torch.tensor(row, dtype=torch.float64) for row in edges])


def line(width: int | None = 2) -> FaintFeature:
    ratio = torch.linspace(-2.0, 2.0, 15, dtype=torch.float64).reshape(5, 3).sin()
    strength = torch.tensor([0.0, 0.5, 0.7, 1.0], dtype=torch.float64)
    return FaintFeature.of((1, width, 3), cells(), strength, ratio, torch.full((5, 1), 5e-4, dtype=torch.float64))


def faint() -> Faint:
    return Faint(PRIOR, (line(),), torch.tensor([0.3]).double(), torch.tensor([[0.2]]).double())


def test_each_draw_is_in_its_cell() -> None:
    place = torch.tensor([0.0, 0.29, 0.31, 1.0, 0.05, 0.1, 0.59, 0.61, 1.0], dtype=torch.float64)
    width = torch.tensor([0.0, 0.1, 0.2, 0.39, 0.4, 0.5, 0.6, 1.0, 0.9], dtype=torch.float64)
    assert cells().at(place, width).tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 4]


def test_the_density_is_whole_and_that_of_its_draws() -> None:
    one = faint()
    prior = torch.randn((400_000, 4), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    prior[:, 0] = 0.3 + 0.5 * prior[:, 0]
    wide = -0.5 * ((prior[:, 0] - 0.3) / 0.5) ** 2 - math.log(0.5) - 0.5 * math.log(2 * math.pi)
    over = one.log_density(prior) - wide - log_standard_normal(prior[:, 1:])
    assert float(over.exp().mean()) == pytest.approx(1.0, abs=0.01)
    drawn = one.sample(200_000, torch.Generator().manual_seed(2))
    weight = over.exp() / over.exp().sum()
    for column in range(4):
        for power in (1, 2):
            assert float((drawn[:, column] ** power).mean()) == pytest.approx(
                float((weight * prior[:, column] ** power).sum()), abs=0.02
            )


def test_cells_are_met_as_often_as_they_say() -> None:
    one = line()
    v, cell = one.sample(100_000, torch.Generator().manual_seed(3))
    whole = torch.zeros((v.shape[0], 4), dtype=torch.float64)
    whole[:, one.own] = v
    _, again = one.log_density(whole)
    assert torch.equal(cell, again)
    volume = (one.cells.high - one.cells.low).prod(-1)
    share = (one.log_ratio.exp() * one.strength.diff()).sum(-1) * volume
    assert float(share.sum()) == pytest.approx(1.0)
    torch.testing.assert_close(torch.bincount(cell) / cell.numel(), share.to(torch.float32), rtol=0, atol=0.006)


def test_a_width_that_is_held_is_no_column() -> None:
    v, _ = line(None).sample(10, torch.Generator().manual_seed(4))
    assert v.shape == (10, 2)
    assert line(None).own == [1, 3]


def test_the_others_follow_the_strength() -> None:
    one = faint()
    v = torch.zeros((2, 4), dtype=torch.float64)
    v[:, 3] = torch.tensor([0.0, 1.2], dtype=torch.float64)  # 1e-3 and 27 photons
    norm = PRIOR.to_theta(v)[:, 3]
    assert float(norm[1]) > 10.0
    v[:, 0] = 0.3 + 5e-4 * norm
    own = one.features[0].log_density(v)[0]
    at_middle = one.log_density(v) - own
    torch.testing.assert_close(at_middle[0], at_middle[1], rtol=1e-9, atol=1e-9)
    v[1, 0] = 0.3
    assert float(one.log_density(v)[1] - own[1]) < float(at_middle[1])


@pytest.mark.parametrize("best", [-2.0, 0.0, 3.0])
def test_what_is_seen_is_nothing_where_there_is_none(best: float) -> None:
    def seen(strength: float) -> float:
        values: list[Tensor] = [torch.tensor(one, dtype=torch.float64) for one in (strength, best, 1.0)]
        return float(log_seen(*values))

    assert seen(0.0) == 0.0
    assert seen(0.01) == pytest.approx(0.01 * best, rel=0.5, abs=1e-4)
    if best > 0.0:
        assert seen(best) == max(seen(best - 0.5), seen(best), seen(best + 0.5))
        assert seen(best) < 0.5 * best**2
    assert seen(30.0) < -10.0
