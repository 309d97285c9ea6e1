"""Workers of a cluster that are lost while they hold a batch: what is sent to them, and who ends them."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xrayflow.studies.running.cluster import Cluster
from xrayflow.studies.running.sources import Source


@dataclass(frozen=True)
class Held:
    """A task whose batch says that it was begun, and is then held until its process ends.

    Attributes:
        task: The task.
        folder: Where it says so; once that is gone nothing is held.
    """

    task: Any
    folder: Path

    def read(self, items: Sequence[Any]) -> Any:
        return self.task.read(items)

    def work(self, read: Any) -> list[Any]:
        if self.folder.exists():
            said = self.folder / "said"
            said.write_text(str(os.getppid()))  # the Dask worker
            said.rename(self.folder / "begun")
            signal.pause()
        found: list[Any] = self.task.work(read)
        return found


class HeldCluster(Cluster):
    """A cluster whose batches of one kind are held, until the worker that has the first of them is killed.

    Attributes:
        killed: The process that was.
        ready: Called before that.
    """

    def __init__(self, address: str, folder: Path, of: str, ready: Callable[[], None]) -> None:
        super().__init__(address)
        self.held, self.of, self.ready, self.killed = folder, of, ready, 0
        folder.mkdir()

    def run(
        self, batches: Iterable[tuple[Any, Sequence[Any]]], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Any]:
        held = ((Held(task, self.held) if type(task).__name__ == self.of else task, items) for task, items in batches)
        yield from super().run(held, stopping)

    def _done(self, flying: list[Any]) -> list[Any]:
        """As ever; asked again and again while batches are out, and so the place to look whether one is held."""
        begun = self.held / "begun"
        if begun.exists():
            worker = int(begun.read_text())
            shutil.rmtree(self.held)
            self.ready()
            os.kill(worker, signal.SIGKILL)
            self.killed = worker
        return super()._done(flying)


@dataclass(frozen=True)
class Deadly(Source):
    """A source that ends, at once, whatever process it is sent to."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return end_this_process, ()


def end_this_process() -> None:
    """As where the machine has no memory left."""
    os.kill(os.getpid(), signal.SIGKILL)
