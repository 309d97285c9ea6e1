"""How long each source of a batch has taken, and which were stopped at a limit.

Sources are worked on together, so each gets an equal part of the time that a step took. A limit ends the optimiser
where its starts are, and what is optional: further rungs, further blocks of draws, searches for tails. An answer that
was stopped says so and is not certified.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Int
from torch import Tensor


class Clock:
    """Of a batch.

    Attributes:
        limit: Seconds that a source may take; None: as long as it needs.
        steps: By step, (source,) seconds that each has taken.
        stopped: Sources that were kept from something by the limit.
    """

    def __init__(self, sources: int, limit: float | None = None, now: Callable[[], float] = time.perf_counter) -> None:
        self.limit, self.now = limit, now
        self.started = now()
        self.sources = sources
        self.steps: dict[str, Tensor] = {}
        self.stopped: set[int] = set()

    def is_late(self) -> bool:
        """Whether the batch has taken all its sources' time: what works on them together ends then."""
        return self.limit is not None and self.now() - self.started >= self.limit * self.sources

    @contextmanager
    def charged(self, step: str, sources: Int[Tensor, " charged"] | Sequence[int]) -> Iterator[None]:
        """Share the time of a block between sources.

        Args:
            step: What it belongs to.
            sources: Their numbers in the batch.
        """
        started = self.now()
        yield
        rows = torch.as_tensor(sources, dtype=torch.int64)
        taken = self.steps.setdefault(step, torch.zeros(self.sources, dtype=torch.float64))
        taken[rows] += (self.now() - started) / max(rows.numel(), 1)

    def taken(self, source: int) -> dict[str, float]:
        """Seconds of one source by step.

        Args:
            source: Its number in the batch.
        """
        return {step: float(seconds[source]) for step, seconds in self.steps.items()}

    def left(self, sources: Int[Tensor, " asked"]) -> Int[Tensor, " left"]:
        """Those of some sources that have time left; the others are stopped."""
        taken = sum(self.steps.values(), torch.zeros(self.sources, dtype=torch.float64))
        late = taken[sources] >= (math.inf if self.limit is None else self.limit)
        self.stopped.update(sources[late].tolist())
        return sources[~late]

    def reason(self, source: int) -> str:
        """What is said of a source that was stopped; "" of another.

        Args:
            source: Its number in the batch.
        """
        return f"stopped at the time limit of {self.limit:g} s" if source in self.stopped else ""
