"""Processes that die or stall take nothing with them; the batches of this page are of numbers that are doubled."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moody_zoo import Moody
from xrayflow.studies.running import child, children
from xrayflow.studies.running.children import Children
from xrayflow.studies.running.outcome import Outcome

LIGHT = (
    "from importlib.util import module_from_spec as m, spec_from_file_location as s; o = s('child', {path!r}); "
    "c = m(o); o.loader.exec_module(c); c.serve({{0}}, {{1}})"
)
"""The same child without the room around it, which would load torch."""


@pytest.fixture(autouse=True)
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "SERVE", LIGHT.format(path=str(Path(child.__file__))))


def results(workers: Children, *batches: list[Any]) -> list[tuple[list[Any], list[Any]]]:
    """Items and outcomes, in the order of the batches."""
    found = [(list(one.items), one.outcomes) for one in workers.run((Moody(), batch) for batch in batches)]
    return sorted(found, key=lambda pair: batches.index(pair[0]))


def test_batches_come_back_with_what_became_of_each() -> None:
    with Children(2) as workers:
        assert results(workers, [1, 2], [3], [4, 5, 6]) == [
            ([1, 2], [2, 4]),
            ([3], [6]),
            ([4, 5, 6], [8, 10, 12]),
        ]
        assert len(workers.children) == 2
        ((_, (pid, threads)),) = results(workers, ["pid", "threads"])
    assert threads == "1"
    assert pid != os.getpid()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(("word", "said"), [("die", "was killed (SIGKILL; too little memory?)"), ("leave", "code 7")])
def test_what_kills_its_process_fails_alone(word: str, said: str) -> None:
    with Children(1) as workers:
        found = results(workers, [1], [2, word, 3], [4])
    assert [pair for pair in found if word not in pair[0]] == [([1], [2]), ([4], [8])]
    ((_, (first, middle, last)),) = [pair for pair in found if word in pair[0]]
    assert (first, last) == (4, 6)
    assert isinstance(middle, Outcome)
    assert said in middle.error


def test_what_stalls_is_ended_and_fails_alone() -> None:
    with Children(1, limit=0.05, starting=1.0) as workers:
        ((_, (first, second)),) = results(workers, ["stall", 5])
    assert second == 10
    assert isinstance(first, Outcome)
    assert "took longer than 1 s, and was stopped" in first.error


def test_what_raises_fails_alone_and_its_process_goes_on() -> None:
    with Children(1) as workers:
        ((_, (first, second)),) = results(workers, ["unreadable", 5])
        ((_, (third,)),) = results(workers, [None])
        assert len(workers.children) == 1
    assert second == 10
    assert (first, third) == (
        Outcome(error="ValueError: cannot be read"),
        Outcome(error="TypeError: unsupported operand type(s) for *: 'int' and 'NoneType'"),
    )


def test_a_child_that_somebody_kills_is_replaced_and_its_batch_is_done() -> None:
    with Children(1) as workers:
        given: Iterator[list[Any]] = iter([[1], [2], [3]])

        def batches() -> Iterator[tuple[Moody, list[Any]]]:
            for batch in given:
                if batch == [3]:  # by now the first is done, and the second is on its way
                    workers.children[0].process.send_signal(signal.SIGKILL)
                yield Moody(), batch

        assert sorted(one.outcomes[0] for one in workers.run(batches())) == [2, 4, 6]


def test_a_stop_finishes_what_was_begun_and_nothing_else() -> None:
    with Children(1) as workers:
        found = []
        for one in workers.run(((Moody(), [number]) for number in range(50)), lambda: bool(found)):
            found.append(one.outcomes[0])
        assert 1 <= len(found) <= 2
        assert results(workers, [7]) == [([7], [14])]  # nothing of the other batches is heard later


def test_children_end_with_the_block_whatever_they_do() -> None:
    with Children(1, limit=0.01, starting=60.0) as workers:
        run = workers.run(iter([(Moody(), [1]), (Moody(), ["stall"])]))
        assert next(run).outcomes == [2]
        process = workers.children[0].process
    assert process.poll() is not None
    run.close()  # type: ignore[attr-defined]
