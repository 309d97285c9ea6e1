"""Random numbers: a generator of its own for every source and every purpose, the same on any machine."""

from __future__ import annotations

import torch

from xrayflow.seeds import generator_for


def numbers(seed: int, purpose: str) -> list[float]:
    return torch.rand(3, generator=generator_for(seed, purpose), dtype=torch.float64).tolist()


def test_a_seed_and_a_purpose_give_the_same_numbers_again() -> None:
    assert numbers(3, "a source") == numbers(3, "a source")


def test_seeds_and_purposes_are_independent_of_each_other() -> None:
    streams = [numbers(seed, purpose) for seed in (0, 1, 10, 11) for purpose in ("", "0", "a source", "another")]
    assert len({tuple(stream) for stream in streams}) == len(streams)


def test_the_numbers_stay_what_they_were() -> None:
    """Published answers are repeated from their seed: the first 63 bits of SHA-256 of "seed:purpose"."""
    assert generator_for(7, "toy").initial_seed() == 0x157DE783B6D5D62C


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    numbers(1, "a source")
    assert torch.equal(before, torch.random.get_rng_state())
