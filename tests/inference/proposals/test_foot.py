"""What stands beside the ellipsoids: floors and first shares."""

from __future__ import annotations

import pytest
import torch

from guide_zoo import Fake
from ladder_zoo import BUDGET, pair_problem
from xrayflow.inference.proposals.density import PriorDensity
from xrayflow.inference.proposals.foot import (
    AMORTISED,
    AMORTISED_FLOOR,
    LOCAL,
    RIDGES,
    SHAPED_FLOOR,
    Guided,
    beside_ellipsoids,
    guided_from_modes,
    prior_density,
)
from xrayflow.inference.proposals.mixture import PRIOR_FLOOR
from xrayflow.inference.rungs import find_modes

PRIOR = PriorDensity(2)


def test_the_prior_alone_has_its_floor() -> None:
    parts = beside_ellipsoids(PRIOR, [], None)
    assert parts.share.tolist() == pytest.approx([PRIOR_FLOOR])


def test_ridges_take_their_share_of_what_a_network_leaves() -> None:
    alone = beside_ellipsoids(PRIOR, [PRIOR, PRIOR], None)
    assert alone.above.tolist() == pytest.approx([0.0, RIDGES / 2, RIDGES / 2])
    assert alone.floor.tolist() == pytest.approx([PRIOR_FLOOR, SHAPED_FLOOR / 2, SHAPED_FLOOR / 2])
    guided = Guided(PRIOR, [PRIOR, PRIOR], [0.75, 0.25])
    beside = beside_ellipsoids(PRIOR, [PRIOR], guided)
    rest = 1.0 - AMORTISED - LOCAL
    assert beside.above.tolist() == pytest.approx([0.0, AMORTISED, 0.75 * LOCAL, 0.25 * LOCAL, RIDGES * rest])
    assert beside.floor.tolist() == pytest.approx([PRIOR_FLOOR, AMORTISED_FLOOR, *[SHAPED_FLOOR / 3] * 3])


def test_a_source_that_the_network_does_not_know_has_the_prior(tmp_path_factory: pytest.TempPathFactory) -> None:
    pair = pair_problem([tmp_path_factory.mktemp("pair") for _ in range(2)])
    guide = Fake(torch.zeros((2, 2), dtype=torch.float64), 1.0, torch.tensor([False, True]))
    modes, _ = find_modes(pair, BUDGET.starts, pair.generators(0), guide)
    absent, present = guided_from_modes(pair, modes, guide)
    assert absent is None
    assert present is not None
    assert isinstance(prior_density(pair, modes, 0, modes.distinct()[0]), PriorDensity)
