"""Planted tails: the benchmark's first cases, looked at again.

`benchmarks/planted_tails.py` has hundreds; what is said of them in the guide stands in its results.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def planted() -> Iterator[Any]:
    """The benchmark's module."""
    sys.path.insert(0, str(BENCHMARKS))
    import planted_tails

    yield planted_tails
    sys.path.pop(0)


def test_tails_that_no_draw_reached_are_found_and_whole_answers_keep_their_certificate(planted: Any) -> None:
    """40 targets: a search that finds 97 % of the tails loses more than one of seven blind answers in one run of fifty,
    one that finds 80 % in two of five."""
    generator = torch.Generator().manual_seed(79)
    shapes = (*planted.SEEN, *planted.UNSEEN)
    found = planted.counted([planted.case(number, shapes, generator) for number in range(40)])
    assert found["blind"] >= 5
    assert found["blind_certified_and_still_missing"] <= 1
    assert found["whole"] >= 4
    assert found["whole_not_certified"] == 0


def test_what_the_guide_says_of_them_is_what_was_measured() -> None:
    """At least 95 % of the tails found or not certified, fewer than 2 % false alarms; of the unseen shapes nine tenths,
    because one of the three is a mode of its own beyond a neck, which no path leads to."""
    measured = json.loads((BENCHMARKS / "results" / "planted-tails.json").read_text(encoding="utf-8"))["summary"]
    for which, lost in (("all", 0.05), ("unseen_shapes", 0.1)):
        one = measured[which]
        assert one["blind"] >= 30
        assert one["blind_certified_and_still_missing"] <= lost * one["blind"]
        assert one["whole_not_certified"] < 0.02 * one["whole"]
