"""Processes that work on batches, and are watched: one that dies or stalls takes nothing with it.

A child reads the next batch while it works on one. It computes with one thread, and ends when this process does,
however that ends. Where a child dies or is silent for too long, it is replaced, and the sources of its batch are tried
alone: the one that does it again has failed, with the reason; the others have their answers.

The children are plain processes of this interpreter that talk through a pair of pipes; `multiprocessing` would import
the user's script in each of them again.
"""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xrayflow.studies.running.load import Done, Load
from xrayflow.studies.running.outcome import Task

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""A process for each worker, and one thread for each process: docs/decisions/0003."""

AHEAD = 2
"""Batches that a child has: the one it works on, and the one it reads."""

STARTING, EACH = 60.0, 120.0
"""Seconds that a child may need to start, and for a source where no limit is given, before it is taken to stall."""

LISTEN = 1.0
"""Seconds after which somebody who asked for a stop is heard."""

SERVE = "from xrayflow.studies.running.child import serve; serve({0}, {1})"


@dataclass(eq=False)
class Child:
    """A process.

    Attributes:
        process: The process.
        sending, receiving: The pipes.
        loads: What it has, in order.
        since: When the first of them became its first; None where it has none.
        spent: It was given a batch that nobody wants any more, and ends with what it is at.
    """

    process: subprocess.Popen[bytes]
    sending: Connection
    receiving: Connection
    loads: deque[Load] = field(default_factory=deque)
    since: float | None = None
    spent: bool = False

    @classmethod
    def start(cls, folder: Path | None = None) -> Child:
        """A new one.

        Args:
            folder: That relative paths lead from; None: this process's.
        """
        inner, sending = os.pipe()
        receiving, outer = os.pipe()
        environment = {
            **os.environ,
            **dict.fromkeys(THREADS, "1"),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        }
        try:
            process = subprocess.Popen(
                [sys.executable, "-c", SERVE.format(inner, outer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(inner, outer),
                env=environment,
                cwd=folder,
                start_new_session=True,  # the terminal's Ctrl-C is for us
            )
        finally:
            os.close(inner)
            os.close(outer)
        return cls(process, Connection(sending, readable=False), Connection(receiving, writable=False))

    def give(self, load: Load) -> None:
        """Send it a batch; a child that has died says so when it is heard."""
        if not self.loads:
            self.since = time.monotonic()
        self.loads.append(load)
        try:
            self.sending.send_bytes(pickle.dumps((load.task, list(load.items))))
        except OSError:
            return

    def end(self) -> None:
        """Make an end of it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.sending.close()
        self.receiving.close()
        if self.process.stdin is not None:
            self.process.stdin.close()


class Children:
    """Workers on this machine."""

    def __init__(
        self, workers: int = 1, limit: float | None = None, starting: float = STARTING, folder: Path | None = None
    ) -> None:
        """None is started yet.

        Args:
            workers: How many at once.
            limit: Seconds that the answer of a source may take. What is begun then is finished, so a batch has twice
                that for each of its sources before its process is ended.
            starting: Seconds that a process may need beside.
            folder: That relative paths lead from; None: this process's.
        """
        self.workers = workers
        self.starting = starting
        self.folder = folder
        self.each = EACH if limit is None else 2.0 * limit
        self.children: list[Child] = []
        self.careful: deque[Load] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for child in self.children:
            child.end()
        self.children.clear()

    def run(
        self, batches: Iterable[tuple[Task, Sequence[Any]]], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Done]:
        """Work on batches.

        Args:
            batches: Task and sources of each; taken when there is room.
            stopping: Whether to finish what was begun and to begin nothing more.

        Yields:
            The batches as they are done, in any order.
        """
        fresh, more = iter(batches), True
        try:
            while True:
                if stopping():
                    self._drop_what_is_not_begun()
                    more = False
                more = self._hand_out(fresh if more else iter(())) and more
                busy = [child for child in self.children if child.loads]
                if not busy:
                    return
                for child in self._heard(busy):
                    yield from self._hear(child)
                for child in [one for one in self.children if self._is_late(one)]:
                    yield from self._replace(child, "took longer than {0:.0f} s, and was stopped", late=True)
        finally:
            self.careful.clear()
            for child in [one for one in self.children if one.loads]:
                self._dismiss(child)

    def _hand_out(self, fresh: Iterator[tuple[Task, Sequence[Any]]]) -> bool:
        """Give every child what it can take; whether there may be more."""
        while True:
            if self.careful:
                child = self._idle()
                if child is None:
                    return True
                child.give(self.careful.popleft())
                continue
            if len(self.children) == self.workers and not any(map(_has_room, self.children)):
                return True
            batch = next(fresh, None)
            if batch is None:
                return False
            child = self._idle() or min(filter(_has_room, self.children), key=lambda one: len(one.loads))
            child.give(Load(*batch))

    def _idle(self) -> Child | None:
        """A child without work, a new one where there is room; None where all are busy."""
        child = next((one for one in self.children if not one.loads), None)
        if child is None and len(self.children) < self.workers:
            child = Child.start(self.folder)
            self.children.append(child)
        return child

    def _drop_what_is_not_begun(self) -> None:
        """Leave each child the batch that it is at, and what is left of batches whose sources are tried alone."""
        self.careful = deque(load for load in self.careful if load.whole is not None)
        for child in self.children:
            while len(child.loads) > 1:
                child.loads.pop()
                child.spent = True

    def _heard(self, busy: Sequence[Child]) -> list[Child]:
        """Children that have said something, or ended; none where one is late before."""
        seconds = max(min(map(self._deadline, busy)) - time.monotonic(), 0.0)
        said = wait([child.receiving for child in busy], min(seconds, LISTEN))
        return [child for child in busy if child.receiving in said]

    def _hear(self, child: Child) -> Iterator[Done]:
        """What a child says."""
        try:
            message = pickle.loads(child.receiving.recv_bytes())
        except (EOFError, OSError):
            yield from self._replace(child, f"the process that worked on it {_end_of(child)}")
            return
        outcomes, seconds = message
        load = child.loads.popleft()
        child.since = time.monotonic() if child.loads else None
        if child.spent:
            self._dismiss(child)
        if isinstance(outcomes, str):
            yield from self._give_up(load, outcomes, seconds)
        else:
            yield from load.finish(outcomes, seconds)

    def _is_late(self, child: Child) -> bool:
        return time.monotonic() >= self._deadline(child)

    def _deadline(self, child: Child) -> float:
        if child.since is None or not child.loads:
            return math.inf
        return child.since + self.starting + self.each * len(child.loads[0].items)

    def _dismiss(self, child: Child) -> None:
        child.end()
        self.children.remove(child)

    def _replace(self, child: Child, why: str, late: bool = False) -> Iterator[Done]:
        """A child has died, or is late: try again what it had, with care."""
        took = 0.0 if child.since is None else time.monotonic() - child.since
        self._dismiss(child)
        loads = list(child.loads)
        (first, *others) = loads
        if not others and (first.careful or late or len(first.items) > 1):
            yield from self._give_up(first, why.format(took), took)
            return
        for load in loads:  # either may be the one, as the second was being read; or somebody else killed the process
            load.careful = True
        self.careful.extend(loads)

    def _give_up(self, load: Load, reason: str, seconds: float) -> Iterator[Done]:
        """A batch that went wrong: each of its sources is tried alone; one that was alone has failed."""
        if len(load.items) == 1:
            yield from load.fail(reason, seconds)
        else:
            self.careful.extend(load.part(seconds))


def _has_room(child: Child) -> bool:
    if any(load.careful for load in child.loads):
        return False
    return len(child.loads) < AHEAD


def _end_of(child: Child) -> str:
    """How a process ended, in words."""
    try:
        code = child.process.wait(timeout=5.0)
    except subprocess.TimeoutExpired:
        return "fell silent"
    if code >= 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name if -code in [one.value for one in signal.Signals] else str(-code)
    return f"was killed ({name}{'; too little memory?' if name == 'SIGKILL' else ''})"
