"""Workers of a cluster, through a Dask scheduler that somebody started.

A Dask worker conveys batches to a child of its own (`children`), as this process does to its children. So what kills or
stalls a process is caught where it happens, and the rows are the same. A Dask worker that is lost itself is one that
somebody ended: Dask gives its batch to another, or to the one that its nanny starts.

Source: distributed's manual, "Resilience" and "Futures".
"""

from __future__ import annotations

import importlib
import pickle
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xrayflow.errors import DataError, MissingExtraError
from xrayflow.files import package_versions
from xrayflow.studies.running.children import AHEAD, LISTEN, Children, Done
from xrayflow.studies.running.outcome import Outcome, Task

Future = Any
"""Of distributed, which has no types."""

SECONDS = 30
"""That a scheduler has to answer."""

GOES_ON = "the same command goes on"

_LOCK = threading.Lock()
_CHILDREN: dict[tuple[float | None, str], Children] = {}
"""Of a Dask worker, kept from batch to batch."""


class Cluster:
    """Workers that a Dask scheduler has."""

    def __init__(self, address: str, limit: float | None = None, folder: Path | None = None) -> None:
        """Find the scheduler.

        Args:
            address: `tcp://host:8786`, or the JSON file that a scheduler writes.
            limit: As for `Children`.
            folder: That relative paths lead from, on the workers too; None: this process's.

        Raises:
            MissingExtraError: distributed is not installed.
            DataError: No scheduler answers there.
        """
        distributed = _distributed()
        is_file = address.endswith(".json")
        if is_file and not Path(address).is_file():  # distributed would wait for it
            raise DataError(f"--scheduler {address}: no such file; a Dask scheduler writes it when it starts")
        where = {"scheduler_file": address} if is_file else {"address": address}
        try:
            self.client = distributed.Client(**where, timeout=SECONDS, set_as_default=False)
        except (OSError, ValueError) as error:
            raise DataError(f"--scheduler {address}: no Dask scheduler answers ({error!s:.100}); start one") from None
        self.address, self.limit, self.folder = address, limit, folder or Path.cwd()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.client.close()

    def run(
        self, batches: Iterable[tuple[Task, Sequence[Any]]], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Done]:
        """Work on batches.

        Args:
            batches: Task and sources of each; taken when there is room.
            stopping: Whether to finish what was handed out and to hand out nothing more.

        Yields:
            The batches as they are done, in any order.

        Raises:
            DataError: The scheduler is lost, or its workers have another version of us.
        """
        fresh, flying, begun = iter(batches), dict[Future, tuple[Task, Sequence[Any]]](), False
        while True:
            room = 0 if stopping() else max(AHEAD * sum(self.client.nthreads().values()), 1) - len(flying)
            for _ in range(room):
                batch = next(fresh, None)
                if batch is None:
                    break
                if not begun:
                    begun = True
                    self._expect_our_version(stopping)
                flying[self._submitted(*batch)] = batch
            if not flying:
                return
            for future in self._done(list(flying)):
                task, items = flying.pop(future)
                yield self._result(future, task, items)

    def _submitted(self, task: Task, items: Sequence[Any]) -> Future:
        load = pickle.dumps((task, list(items)))  # the scheduler would read anything else, and load what it is made of
        return self.client.submit(work_on, load, self.limit, str(self.folder), pure=False)

    def _done(self, flying: list[Future]) -> list[Future]:
        """Those that have ended, within a second."""
        try:
            with self.client.as_current():
                return list(_distributed().wait(flying, timeout=LISTEN, return_when="FIRST_COMPLETED").done)
        except TimeoutError:
            if self.client.status != "running":
                raise DataError(f"--scheduler {self.address}: is lost; {GOES_ON}") from None
            return []

    def _result(self, future: Future, task: Task, items: Sequence[Any]) -> Done:
        """What became of a batch; where its workers died one after the other, of each of its sources alone."""
        if future.status == "finished":
            done: Done = future.result()
            return done
        if future.status != "error":
            raise DataError(f"--scheduler {self.address}: lost a batch ({future.status}); {GOES_ON}")
        if len(items) == 1:
            reason = " ".join(str(future.exception()).split())
            return Done(items, [Outcome(error=f"on the cluster: {reason:.500}")], 0.0)
        alone = [self._submitted(task, [item]) for item in items]
        found = [self._waited(one, task, [item]) for one, item in zip(alone, items, strict=True)]
        return Done(items, [one.outcomes[0] for one in found], sum(one.seconds for one in found))

    def _waited(self, future: Future, task: Task, items: Sequence[Any]) -> Done:
        while not self._done([future]):
            continue
        return self._result(future, task, items)

    def _expect_our_version(self, stopping: Callable[[], bool]) -> None:
        """Workers that could not read what they are sent would make a failure of every source."""
        probe = self.client.submit(package_versions, pure=False)
        while not self._done([probe]):
            if stopping():
                raise KeyboardInterrupt
        ours = package_versions()["xrayflow"]
        theirs = probe.result()["xrayflow"] if probe.status == "finished" else f"none ({probe.exception()!s:.100})"
        if theirs != ours:
            raise DataError(f"--scheduler {self.address}: its workers have xrayflow {theirs}, this is {ours}")


def _distributed() -> Any:
    """The package, which has hardly any types."""
    try:
        return importlib.import_module("distributed")
    except ImportError:
        raise MissingExtraError("distributed: not installed; pip install 'xrayflow[cluster]'") from None


def work_on(load: bytes, limit: float | None, folder: str) -> Done:
    """What a Dask worker does with a batch: it gives it to its child.

    Args:
        load: Task and sources.
        limit: Of time, as for `Children`.
        folder: That relative paths lead from.
    """
    task, items = pickle.loads(load)
    with _LOCK:
        children = _CHILDREN.setdefault((limit, folder), Children(1, limit, folder=Path(folder)))
        (done,) = children.run([(task, items)])
    return done
