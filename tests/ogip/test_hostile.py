"""A few hundred damaged files: each ends in an answer or in one clear line, in time and memory.

`benchmarks/hostile.py` has ten thousand, of real observations too.
"""

from __future__ import annotations

import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import hostile_zoo
from hostile_zoo import DAMAGES, GOOD, Fixture, fixtures, handle, in_child, mutant, use
from xrayflow.errors import DataError

EACH, WITH_LIKELIHOOD = 17, 2
"""Mutants of each file, and those of them that go as far as a likelihood."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[Fixture]:
    return fixtures(tmp_path_factory.mktemp("whole"))


def test_damaged_files_end_in_an_answer_or_in_one_line(whole: list[Fixture], tmp_path: Path) -> None:
    found, outcomes, damages = [], Counter(), set()
    for fixture in whole:
        place = tmp_path / fixture.name
        shutil.copytree(fixture.pha.parent, place)
        for number in range(EACH):
            damage, outcome = handle(fixture, number, place, likelihood=number < WITH_LIKELIHOOD)
            outcomes[outcome.kind] += 1
            damages.add(damage)
            if outcome.kind not in GOOD:
                found.append((fixture.name, number, damage, outcome))
    assert found == []
    assert sum(outcomes.values()) == EACH * len(whole)
    assert min(outcomes[kind] for kind in GOOD) > 20  # neither is everything harmless, nor is everything refused
    assert len(damages) >= len(DAMAGES) - 1


def test_whole_files_are_answered(whole: list[Fixture]) -> None:
    for fixture in whole:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            use(fixture, fixture.victim)


def test_a_mutant_can_be_made_again(whole: list[Fixture]) -> None:
    assert mutant(whole[0], 7) == mutant(whole[0], 7)
    assert mutant(whole[0], 7) != mutant(whole[1], 7)


def test_the_hostile_files_of_others_end_in_one_line(cases_folder: Path) -> None:
    ends = {}
    for path in sorted((cases_folder / "hostile").glob("*[!l]")):
        fixture = Fixture(path.name, path, path)
        outcome = in_child(lambda fixture=fixture: use(fixture, fixture.victim, likelihood=False), str(path))
        ends[path.name] = outcome
        assert outcome.kind == "one line", outcome
        assert outcome.seconds < 2.0
        assert outcome.megabytes < 500
    assert len(ends) >= 10


def _busy() -> None:
    while True:
        pass


def _greedy() -> None:
    np.ones(80_000_000).sum()


def _library() -> None:
    np.log(np.zeros(3))


def _two_lines() -> None:
    raise DataError("one\ntwo")


def _bug() -> None:
    raise KeyError("COUNTS")


@pytest.mark.parametrize(
    ("work", "kind"),
    [(_busy, "time"), (_greedy, "memory"), (_library, "warning"), (_two_lines, "bad line"), (_bug, "exception")],
)
def test_what_is_neither_is_found(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None], kind: str) -> None:
    monkeypatch.setattr(hostile_zoo, "SECONDS", 0.3 if kind == "time" else 5.0)
    monkeypatch.setattr(hostile_zoo, "MEGABYTES", 500)
    assert in_child(work).kind == kind
