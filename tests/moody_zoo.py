"""A task for other processes that does what its items say; it loads nothing, so that they start quickly."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Moody:
    """A number is doubled; words make the process die, stall, fail or tell of itself."""

    def read(self, items: Sequence[Any]) -> Sequence[Any]:
        if "unreadable" in items:
            raise ValueError("cannot be read")
        return items

    def work(self, items: Sequence[Any]) -> list[Any]:
        return [self.one(item) for item in items]

    def one(self, item: Any) -> Any:
        if item == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if item == "leave":
            os._exit(7)
        if item == "stall":
            time.sleep(600)
        if item == "pid":
            return os.getpid()
        if item == "threads":
            return os.environ["OMP_NUM_THREADS"]
        return 2 * item
