"""What a child of `children` runs: it reads batches, works on them, and says what became of them."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import threading
import time
import warnings
from multiprocessing.connection import Connection
from typing import Any

from xrayflow.errors import XrayflowWarning
from xrayflow.memory import keep_freed_memory


def serve(receiving: int, sending: int) -> None:
    """Work until the pipe ends, and this process with it.

    Args:
        receiving, sending: File descriptors.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop
    warnings.simplefilter("ignore", XrayflowWarning)  # said of the files when they were looked at
    keep_freed_memory()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    inbox, outbox = Connection(receiving, writable=False), Connection(sending, readable=False)
    batches: queue.Queue[Any] = queue.Queue(maxsize=1)
    threading.Thread(target=_read, args=(inbox, batches), daemon=True).start()
    while True:
        started = time.perf_counter()
        task, read = batches.get()
        try:
            if isinstance(read, Exception):
                raise read
            said = task.work(read)
        except Exception as error:  # noqa: BLE001  it is the reason of a row, and this process goes on
            said = f"{type(error).__name__}: {error}"
        outbox.send_bytes(pickle.dumps((said, time.perf_counter() - started)))


def _read(inbox: Connection, batches: queue.Queue[Any]) -> None:
    """Read batches, one ahead of the work."""
    while True:
        try:
            task, items = pickle.loads(inbox.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)
        try:
            read = task.read(items)
        except Exception as error:  # noqa: BLE001  it is raised where the work is done
            read = error
        batches.put((task, read))


def _end_with_parent() -> None:
    """End when the parent has ended, in whatever way: its end of our stdin closes."""
    while os.read(0, 1):
        continue
    os._exit(1)
