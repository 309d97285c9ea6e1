"""Workers of a cluster that are lost while they hold a batch: what is sent to them, and who ends them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xrayflow.studies.running.cluster import Cluster
from xrayflow.studies.running.sources import Source


@dataclass(frozen=True)
class Held:
    """A task whose first batch says that it was begun, and is then held until its process ends.

    Attributes:
        task: The task.
        pipe: A named pipe: the batch that opens it is the one that is held. Once it is gone nothing is held.
    """

    task: Any
    pipe: Path

    def read(self, items: Sequence[Any]) -> Any:
        return self.task.read(items)

    def work(self, read: Any) -> list[Any]:
        if self.pipe.exists():
            self.pipe.write_text(str(os.getppid()))  # the Dask worker; this returns when somebody has read it
            signal.pause()
        found: list[Any] = self.task.work(read)
        return found


class HeldCluster(Cluster):
    """A cluster whose first batch of one kind is held, until the worker that has it is killed.

    Attributes:
        killed: The process that was.
        ready: Called before that.
    """

    def __init__(self, address: str, pipe: Path, of: str, ready: Callable[[], None]) -> None:
        super().__init__(address)
        self.pipe, self.of, self.ready, self.killed = pipe, of, ready, 0
        os.mkfifo(pipe)
        self._killer = threading.Thread(target=self._kill, daemon=True)
        self._killer.start()

    def run(
        self, batches: Iterator[tuple[Any, Sequence[Any]]], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Any]:
        held = ((Held(task, self.pipe) if type(task).__name__ == self.of else task, items) for task, items in batches)
        yield from super().run(held, stopping)

    def _kill(self) -> None:
        while not (told := self.pipe.read_text()):
            pass  # it opened the pipe and was lost before it wrote
        worker = int(told)
        self.pipe.unlink()
        self.ready()
        os.kill(worker, signal.SIGKILL)
        self.killed = worker


@dataclass(frozen=True)
class Deadly(Source):
    """A source that ends, at once, whatever process it is sent to."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return end_this_process, ()


def end_this_process() -> None:
    """As where the machine has no memory left."""
    os.kill(os.getpid(), signal.SIGKILL)
