"""A run from its first look to its last row, for what is made of a ledger as a whole: targets, an evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xrayflow.studies.running.batching import BATCH, STOPPING, Run, Standing, Told, Workers, keep_rows
from xrayflow.studies.running.inline import Inline
from xrayflow.studies.running.ledger import Ledger
from xrayflow.studies.running.listing import Listing
from xrayflow.studies.running.outcome import Task
from xrayflow.studies.running.stopping import stopping_at_signals


@contextmanager
def finished(
    task: Task,
    asked: Mapping[str, Any],
    listing: Listing,
    rmf: str | None,
    out: Path | None = None,
    workers: Workers | None = None,
    restart: bool = False,
    retry: bool = False,
    told: Told = lambda standing: None,
    step: str = "fitting",
) -> Iterator[Ledger]:
    """The ledger of a run whose sources are all done; the same call goes on where an earlier one was stopped.

    Args:
        task: What is done with each batch.
        asked: All that decides its outcome, of JSON's kinds.
        listing: The sources.
        rmf: Of all of them, instead of what their headers name.
        out: The ledger stands beside it; None: what is done is lost with the call.
        workers: Who works on batches; None: this process.
        restart: Begin the ledger anew.
        retry: Try those again that failed, or whose files changed.
        told: Called as it goes on.
        step: What is done, in a word or two.

    Raises:
        XrayflowError: A place that takes no ledger, or settings or files that changed.
        KeyboardInterrupt: It was stopped; what is done is in the ledger.
    """
    with ExitStack() as stack:
        place = out or Path(stack.enter_context(TemporaryDirectory())) / "run"
        ledger = stack.enter_context(Ledger(place, restart))
        ledger.settle(asked)
        stop = stack.enter_context(stopping_at_signals(lambda: told(Standing(STOPPING, 0, 0))))
        run = Run(listing, ledger, workers or Inline(), rmf, BATCH, retry, stop, told)
        run.look()
        run.work(task, keep_rows, step)
        if stop.asked:
            raise KeyboardInterrupt
        yield ledger
