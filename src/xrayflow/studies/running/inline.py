"""Workers that are this process: nothing is started, and nothing is watched. For few spectra, and for tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from xrayflow.studies.running.load import Done
from xrayflow.studies.running.outcome import Task


class Inline:
    """One batch after the other."""

    def run(
        self, batches: Iterable[tuple[Task, Sequence[Any]]], stopping: Callable[[], bool] = lambda: False
    ) -> Iterator[Done]:
        """Work on batches.

        Args:
            batches: Task and sources of each.
            stopping: Whether to begin nothing more.

        Yields:
            The batches, in their order.
        """
        for task, items in batches:
            if stopping():
                return
            started = time.perf_counter()
            outcomes = task.work(task.read(items))
            yield Done(items, outcomes, time.perf_counter() - started)
