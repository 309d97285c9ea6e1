"""Workers of a cluster, through a Dask scheduler that somebody started.

A Dask worker conveys batches to a child of its own (`children`), as this process does to its children. So what kills or
stalls a process is caught where it happens, and the rows are the same. A Dask worker that is lost itself is one that
somebody ended: Dask gives its batches to others, or to the one that its nanny starts, and so with answers that it had
and that nobody had fetched.

Where several workers were lost with a batch, Dask gives it up; whether it was that batch, or another one that waited
for the same worker, Dask does not know. So such a batch is tried again while nothing else is on the cluster, and where
that loses workers too, each of its sources: the one that loses them then has failed.

Source: distributed's manual, "Resilience" and "Futures".
"""

from __future__ import annotations

import importlib
import pickle
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from xrayflow.errors import DataError, MissingExtraError
from xrayflow.files import package_versions
from xrayflow.studies.running.children import AHEAD, LISTEN, Children
from xrayflow.studies.running.load import Done, Load
from xrayflow.studies.running.outcome import Task

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
        fresh, begun = iter(batches), False
        flying, careful = dict[Future, Load](), deque[Load]()
        while True:
            if careful and not flying:
                flying |= self._submitted(careful.popleft())
            for batch in islice(fresh, 0 if careful or stopping() else self._room(len(flying))):
                if not begun:
                    begun = True
                    self._expect_our_version(stopping)
                flying |= self._submitted(Load(*batch))
            if not flying:
                return
            for future in self._done(list(flying)):
                load, said = flying.pop(future), self._said(future)
                if isinstance(said, Done):
                    yield from load.finish(said.outcomes, said.seconds)
                elif not load.careful:
                    load.careful = True
                    careful.append(load)
                elif len(load.items) > 1:
                    careful.extend(load.part())
                else:
                    yield from load.fail(f"on the cluster: {said:.500}", 0.0)

    def _room(self, flying: int) -> int:
        """Batches that the workers can take beside those that they have."""
        with self._talking():
            threads: int = sum(self.client.nthreads().values())
        return max(max(AHEAD * threads, 1) - flying, 0)

    def _submitted(self, load: Load) -> dict[Future, Load]:
        sent = pickle.dumps((load.task, list(load.items)))  # the scheduler would load anything else
        with self._talking():
            return {self.client.submit(work_on, sent, self.limit, str(self.folder), pure=False): load}

    def _done(self, flying: list[Future]) -> list[Future]:
        """Those that have ended, within a second."""
        with self._talking():
            try:
                with self.client.as_current():
                    done = _distributed().wait(flying, timeout=LISTEN, return_when="FIRST_COMPLETED").done
            except TimeoutError:
                if self.client.status == "running":
                    return []
                raise
        return [future for future in done if future.status not in ("lost", "pending")]  # with a worker: made again

    def _said(self, future: Future) -> Done | str:
        """What became of a batch; where its workers died one after the other, or cannot read it, why nothing did."""
        killed = _distributed().KilledWorker
        with self._talking():
            try:
                if future.status == "finished":
                    done: Done = future.result()
                    return done
                error = future.exception()
            except killed as now:  # the workers that had the answer, and made it again
                error = now
        return f"its workers died, {error.allowed_failures + 1} in turn" if isinstance(error, killed) else str(error)

    @contextmanager
    def _talking(self) -> Iterator[None]:
        """A scheduler that is no more, in one line."""
        try:
            yield
        except (OSError, CancelledError):
            raise DataError(f"--scheduler {self.address}: is lost; {GOES_ON}") from None

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
