"""Ctrl-C finishes what was begun; once more ends it at once. SIGTERM, as a batch system sends it, is the same."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Stop:
    """Whether somebody asked for an end.

    Attributes:
        asked: They did.
    """

    asked: bool = False

    def __call__(self) -> bool:
        return self.asked


@contextmanager
def stopping_at_signals(told: Callable[[], None]) -> Iterator[Stop]:
    """Catch the first signal inside the block; the next one is a KeyboardInterrupt.

    Args:
        told: Called at the first.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
        yield stop
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.asked:
            raise KeyboardInterrupt
        stop.asked = True
        told()

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
