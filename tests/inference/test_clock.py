"""Who took how long, and who was stopped at a limit; the time is told by hand here."""

from __future__ import annotations

import torch

from xrayflow.inference.clock import Clock


class Hand:
    """A clock's hand that moves when it is told."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def test_the_time_of_a_step_is_shared_by_the_sources_that_took_it() -> None:
    hand = Hand()
    clock = Clock(3, now=hand)
    with clock.charged("propose", range(3)):
        hand.at += 6.0
    with clock.charged("certify", torch.tensor([0, 2])):
        hand.at += 1.0
    with clock.charged("propose", [1]):
        hand.at += 0.5
    assert [clock.taken(source) for source in range(3)] == [
        {"propose": 2.0, "certify": 0.5},
        {"propose": 2.5, "certify": 0.0},
        {"propose": 2.0, "certify": 0.5},
    ]


def test_a_step_of_nobody_is_charged_to_nobody() -> None:
    hand = Hand()
    clock = Clock(2, 1.0, hand)
    with clock.charged("propose", torch.zeros(0, dtype=torch.int64)):
        hand.at += 9.0
    assert clock.left(torch.tensor([0, 1])).tolist() == [0, 1]


def test_sources_that_reached_the_limit_are_stopped_and_say_so() -> None:
    hand = Hand()
    clock = Clock(3, 2.5, hand)
    with clock.charged("propose", [1]):
        hand.at += 2.0
    with clock.charged("certify", [0, 1]):
        hand.at += 1.0
    assert clock.left(torch.tensor([2, 1])).tolist() == [2]
    assert clock.stopped == {1}, "the first was not asked after"
    assert [clock.reason(source) for source in range(3)] == ["", "stopped at the time limit of 2.5 s", ""]


def test_without_a_limit_nobody_is_stopped() -> None:
    hand = Hand()
    clock = Clock(1, now=hand)
    with clock.charged("propose", [0]):
        hand.at += 1e9
    assert clock.left(torch.tensor([0])).tolist() == [0]
    assert clock.reason(0) == ""


def test_a_batch_is_late_when_all_of_its_sources_time_is_taken() -> None:
    hand = Hand()
    hand.at = 5.0
    clock, free = Clock(3, 2.0, hand), Clock(3, None, hand)
    hand.at = 10.9
    assert not clock.is_late()
    hand.at = 11.0
    assert clock.is_late()
    assert not free.is_late()
