"""How long each source of a batch has taken, and which were stopped at a limit.

Sources are worked on together, so each gets an equal part of the time that a step took. A limit ends what is optional:
further rungs, further blocks of draws, searches for tails. An answer that was stopped says so and is not certified.
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
        seconds: (source,) that each has taken.
        stopped: Sources that were kept from something by the limit.
    """

    def __init__(self, sources: int, limit: float | None = None, now: Callable[[], float] = time.perf_counter) -> None:
        self.limit, self.now = limit, now
        self.seconds = torch.zeros(sources, dtype=torch.float64)
        self.stopped: set[int] = set()

    @contextmanager
    def charged(self, sources: Int[Tensor, " charged"] | Sequence[int]) -> Iterator[None]:
        """Share the time of a block between sources."""
        started = self.now()
        yield
        rows = torch.as_tensor(sources, dtype=torch.int64)
        if rows.numel():
            self.seconds[rows] += (self.now() - started) / rows.numel()

    def left(self, sources: Int[Tensor, " asked"]) -> Int[Tensor, " left"]:
        """Those of some sources that have time left; the others are stopped."""
        late = self.seconds[sources] >= (math.inf if self.limit is None else self.limit)
        self.stopped.update(sources[late].tolist())
        return sources[~late]

    def reason(self, source: int) -> str:
        """What is said of a source that was stopped; "" of another.

        Args:
            source: Its number in the batch.
        """
        return f"stopped at the time limit of {self.limit:g} s" if source in self.stopped else ""
