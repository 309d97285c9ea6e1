"""Rows that climb a posterior over what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from sheet_zoo import BEGIN, BEND, BULK, LENGTH, PROBITS, WIDTH, Tailed, proposal
from xrayflow.inference.checks.ascent import CLIMB, LONGEST, LOST, OUTERMOST, STEPS, Places, ascend
from xrayflow.statistics import Curvature

KNOWN = proposal(False).mixture


def climbed(mass: float, start: torch.Tensor) -> Places:
    return ascend(Tailed(mass), PROBITS, KNOWN, start)[0]


def at(*places: tuple[float, float, float]) -> torch.Tensor:
    return torch.tensor([places], dtype=torch.float64)


def test_a_row_in_the_tail_follows_it_to_its_end_however_it_bends() -> None:
    """The tail is 0.05 thin and bends by 1.6 over its length."""
    found = climbed(0.3, at((0.9, BEND * 0.81, 0.0)))
    u = found.v[:, 0]
    assert float(u.max()) > BEGIN + 0.7 * LENGTH
    assert float(u.diff().min()) > -0.2
    off = (found.v[:, 1] - BEND * u * u).abs()
    assert float(off.max()) < 4.0 * WIDTH


def test_rows_of_a_posterior_that_is_known_come_to_rest_at_once() -> None:
    found = climbed(0.0, at((0.0, 0.0, 0.0), (0.3, 0.02, 0.05), (-0.4, 0.0, -0.04)))
    counts = torch.bincount(found.source)
    assert float(found.v[:, 0].abs().max()) < 3.0 * BULK
    assert int(counts.sum()) < 3 * 6


def test_every_place_is_on_the_target_and_no_step_is_longer_than_the_longest() -> None:
    found = climbed(0.3, at((0.9, BEND * 0.81, 0.0), (0.0, 0.0, 0.0)))
    target = Tailed(0.3)
    torch.testing.assert_close(found.log_target, target.log_target(found.v))
    torch.testing.assert_close(found.information, target.target_curvature(found.v).information)
    assert float(found.step.max()) <= LONGEST + 1e-12
    assert found.v.shape[0] <= 2 * (STEPS + 1)


def test_a_row_that_starts_where_there_is_nothing_is_left_out() -> None:
    @dataclass(frozen=True)
    class Half(Tailed):
        def log_target(self, v: torch.Tensor) -> torch.Tensor:
            return torch.where(v[..., 0] < -1.0, -torch.inf, super().log_target(v))

    start = at((-2.0, 0.0, 0.0), (0.9, BEND * 0.81, 0.0))
    found = ascend(Half(0.3), PROBITS, KNOWN, start)[0]
    assert float(found.v[:, 0].min()) > 0.5


def test_no_row_leaves_what_a_prior_has() -> None:
    @dataclass(frozen=True)
    class Ramp(Tailed):
        """Rises without end."""

        def log_target(self, v: torch.Tensor) -> torch.Tensor:
            return 10.0 * v[..., 0]

    found = ascend(Ramp(0.0), PROBITS, KNOWN, at((4.0, 0.0, 0.0)))[0]
    assert 4.4 < float(found.v[:, 0].max()) < OUTERMOST


def test_what_lies_outside_is_not_asked_for() -> None:
    """A row that stands near the end of what a prior has tries to leave it, and no target is told what of."""

    @dataclass(frozen=True)
    class Ramp(Tailed):
        def log_target(self, v: torch.Tensor) -> torch.Tensor:
            assert float(v.detach().abs().max()) < OUTERMOST
            return 10.0 * v[..., 0]

    found = ascend(Ramp(0.0), PROBITS, KNOWN, at((4.9, 0.0, 0.0)))[0]
    assert float(found.v[0, 0]) == 4.9


def test_a_row_too_far_below_to_arrive_is_given_up() -> None:
    """On a bulk as narrow as a bright spectrum's; one that can arrive does."""

    @dataclass(frozen=True)
    class Bright(Tailed):
        def log_target(self, v: torch.Tensor) -> torch.Tensor:
            return 1e6 * super().log_target(v)

        def target_curvature(self, v: torch.Tensor) -> Curvature:
            found = super().target_curvature(v)
            return Curvature(found.gradient, 1e6 * found.information)

    start = at((0.0, 0.0, 0.0), (0.01, 0.001, 0.0), (0.0, 2.0, -2.0))
    target = Bright(0.0).log_target(start)[0]
    assert float(target[0] - target[2]) > LOST * CLIMB**STEPS
    assert float(target[0] - target[1]) < LOST * CLIMB**STEPS
    found, evaluations = ascend(Bright(0.0), PROBITS, KNOWN, start)
    far = (found.v[:, 1] > 1.0).nonzero()[:, 0]
    assert far.tolist() == [2]  # its start is a place
    near, _ = ascend(Bright(0.0), PROBITS, KNOWN, start[:, :2])
    assert found.v.shape[0] == near.v.shape[0] + 1
    assert int(evaluations) > 0


@pytest.mark.parametrize("sources", [1, 3])
def test_evaluations_are_counted_for_each_source(sources: int) -> None:
    """One for each place that was tried, and three (a gradient's parameters) for each that was taken."""
    asked = torch.zeros(2, dtype=torch.int64)

    @dataclass(frozen=True)
    class Counting(Tailed):
        def log_target(self, v: torch.Tensor) -> torch.Tensor:
            asked[0] += v.shape[0] * v.shape[1]
            return super().log_target(v)

        def target_curvature(self, v: torch.Tensor):  # type: ignore[no-untyped-def]
            asked[1] += v.shape[0] * v.shape[1]
            return Tailed.target_curvature(Tailed(self.mass), v)

    start = at((0.9, BEND * 0.81, 0.0), (0.0, 0.0, 0.0)).expand(sources, -1, -1)
    known = KNOWN.select(torch.zeros(sources, dtype=torch.int64))
    found, evaluations = ascend(Counting(0.3), PROBITS, known, start)
    assert int(evaluations.sum()) == int(asked[0] + 3 * asked[1])
    assert int(asked[1]) == found.v.shape[0]
    assert evaluations.unique().numel() == 1


def test_a_row_rests_where_the_curvature_is_no_number() -> None:
    """The place stays, and no coordinate is asked for what is no number."""

    class Strict:
        def into(self, v: torch.Tensor) -> torch.Tensor:
            assert torch.isfinite(v).all()
            return v

        def back(self, w: torch.Tensor) -> torch.Tensor:
            return w

        def log_slope(self, v: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(v[..., 0])

        def select(self, sources: torch.Tensor) -> Strict:
            return self

    @dataclass(frozen=True)
    class Ragged(Tailed):
        def target_curvature(self, v: torch.Tensor) -> Curvature:
            found = super().target_curvature(v)
            beyond = v[..., :1] > 1.5
            return Curvature(found.gradient, torch.where(beyond[..., None], torch.nan, found.information))

    found, _ = ascend(Ragged(0.3), Strict(), KNOWN, at((0.9, BEND * 0.81, 0.0), (0.0, 0.0, 0.0)))
    assert 1.5 < float(found.v[:, 0].max()) < 2.3
