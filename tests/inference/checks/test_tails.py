"""A search from draws: what it says of those that know a tail, and of those that do not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from sheet_zoo import BEGIN, PROBITS, Tailed, drawn_of, proposal
from xrayflow.inference.checks.tails import (
    CLOUD,
    HEAVIEST,
    MATERIAL,
    PILOT,
    PRIOR,
    TYPICAL,
    TailSearch,
    look_for_tails,
)
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.widening import Widening
from xrayflow.inference.weights import log_mean_weight
from xrayflow.statistics import Curvature

ROWS = HEAVIEST + TYPICAL + CLOUD + PRIOR


def searched(mass: float, knows_the_tail: bool, seed: int, level: float = 0.0) -> tuple[TailSearch, WeightedDraws]:
    generator = torch.Generator().manual_seed(seed)
    target = Tailed(mass, level)
    drawn = drawn_of(target, proposal(knows_the_tail), generator)
    (found,) = look_for_tails(target, PROBITS, [drawn], [generator])
    return found, drawn


@pytest.mark.parametrize("mass", [0.1, 0.3])
def test_a_tail_that_no_draw_reached_gives_an_alarm(mass: float) -> None:
    """With every one of eight seeds, and between a quarter of the tail's mass (half of it on average) and all of it
    within four standard errors: a little of it has draws, and the kernels may not reach its end. ln Z is 0."""
    parts = []
    for seed in range(8):
        found, drawn = searched(mass, False, seed)
        if drawn.ess < 100.0:  # a draw of the prior's share fell into the tail: the weights tell
            continue
        assert found.alarm
        evidence = math.exp(float(log_mean_weight(drawn.log_weight)))
        parts.append(found.missing * evidence / mass)
        assert 0.25 < parts[-1] < 1.0 + 4.0 * found.error * evidence / mass
        assert found.heaviest > 0.5
    assert sum(parts) / len(parts) > 0.5


def test_draws_that_know_the_posterior_give_none() -> None:
    whole = [searched(mass, True, seed)[0] for mass in (0.1, 0.3) for seed in range(4)]
    whole += [searched(0.0, False, seed)[0] for seed in range(8)]
    assert not any(one.alarm for one in whole)
    assert max(one.missing for one in whole) < 0.5 * MATERIAL


def test_what_is_missing_does_not_depend_on_the_scale_of_the_evidence() -> None:
    plain, shifted = searched(0.3, False, 1)[0], searched(0.3, False, 1, level=-1234.5)[0]
    assert shifted.missing == pytest.approx(plain.missing, rel=1e-6)


def test_a_search_says_what_it_cost_and_what_it_found() -> None:
    found, _ = searched(0.3, False, 1)
    assert found.evaluations > ROWS * 4 + PILOT
    assert found.kernels is not None
    assert found.pilot.shape == (PILOT, 3)
    torch.testing.assert_close(found.log_target, Tailed(0.3).log_target(found.pilot))
    assert float((found.pilot[:, 0] > BEGIN + 0.4).double().mean()) > 0.5
    assert found.reason.startswith("a tail may be missing: a search from the draws found ")
    whole = 1.0 + found.missing
    assert f"{100.0 * found.missing / whole:.0f} +- {100.0 * found.error / whole**2:.0f} %" in found.reason


def test_few_effective_draws_are_no_alarm() -> None:
    """An ordinary draw of fifty carries 2 % of all weight. Of 48 whole answers one alarm at most."""
    alarms = 0
    for draws in (50, 100, 200, 400):
        for mass, knows in ((0.0, False), (0.3, True)):
            for seed in range(6):
                generator = torch.Generator().manual_seed(seed)
                target = Tailed(mass)
                drawn = drawn_of(target, proposal(knows), generator, draws)
                (found,) = look_for_tails(target, PROBITS, [drawn], [generator])
                alarms += found.alarm
    assert alarms <= 1


def test_a_mode_that_is_worlds_better_is_no_overflow() -> None:
    """e^4000 times the posterior of what was drawn: missing, and said in words."""

    class Better(Tailed):
        def log_target(self, v: torch.Tensor) -> torch.Tensor:
            away = 4000.0 - 0.5 * ((v - 2.0) / 0.3).square().sum(-1)
            return torch.logaddexp(super().log_target(v), away)

        def target_curvature(self, v: torch.Tensor) -> Curvature:
            return Curvature(-(v - 2.0) / 0.09, torch.eye(3).double().expand(*v.shape, 3) / 0.09)

    generator = torch.Generator().manual_seed(3)
    drawn = drawn_of(Tailed(0.0), proposal(False), generator)
    target = Better(0.0)
    (found,) = look_for_tails(target, PROBITS, [drawn], [generator])
    assert found.alarm
    assert "found most of the posterior" in found.reason
    assert found.kernels is not None
    assert Widening.of(drawn, found.kernels, found.missing, drawn.proposal.mixture).proposal.parts[0].share.sum() < 1.0


def test_a_whole_answer_has_no_kernels_and_no_pilot() -> None:
    found, _ = searched(0.0, False, 3)
    assert found.missing == 0.0
    assert found.kernels is None
    assert found.pilot.shape == (0, 3)


def test_sources_are_searched_from_alone_and_together_alike() -> None:
    """Two sources, one of which misses a tail: each has its own random numbers, and no decision looks at the other."""
    target, own = Tailed(0.3), proposal(False)
    alone = []
    for seed, knows in ((4, False), (5, True)):
        generator = torch.Generator().manual_seed(seed)
        drawn = drawn_of(target, proposal(knows), generator)
        alone += look_for_tails(target, PROBITS, [drawn], [generator])
    generators = [torch.Generator().manual_seed(seed) for seed in (4, 5)]
    drawn_both = [drawn_of(target, proposal(knows), one) for knows, one in zip((False, True), generators, strict=True)]
    together = look_for_tails(target, PROBITS, drawn_both, generators)
    for one, other in zip(alone, together, strict=True):
        assert other.missing == pytest.approx(one.missing, rel=1e-6)
        assert other.evaluations == one.evaluations
    assert [one.alarm for one in together] == [True, False]
    assert own.mixture.mean.shape[1] == 1


def test_draws_without_weight_are_no_start() -> None:
    """Draws whose posterior is zero weigh nothing, and the search is the same as of a proposal that never made them."""
    generator = torch.Generator().manual_seed(6)
    target = Tailed(0.3)
    drawn = drawn_of(target, proposal(False), generator)
    dead = replace(drawn, log_target=torch.where(drawn.v[..., 0] < -0.3, -torch.inf, drawn.log_target))
    (found,) = look_for_tails(target, PROBITS, [dead], [generator])
    assert found.alarm


def test_places_where_the_coordinates_are_no_numbers_become_no_kernels() -> None:
    class Broken:
        """No numbers beyond u = 2."""

        def into(self, v: torch.Tensor) -> torch.Tensor:
            return torch.where(v[..., :1] > 2.0, torch.nan, v)

        def back(self, w: torch.Tensor) -> torch.Tensor:
            return w

        def log_slope(self, v: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(v[..., 0])

        def select(self, sources: torch.Tensor) -> Broken:
            return self

    generator = torch.Generator().manual_seed(1)
    target = Tailed(0.3)
    drawn = drawn_of(target, proposal(False), generator)
    (found,) = look_for_tails(target, Broken(), [drawn], [generator])
    assert found.kernels is not None
    assert float(found.kernels.mixture.mean[..., 0].max()) <= 2.0
