"""One way to run many spectra: a look at each, batches of one matrix, a ledger of what is done.

A catalogue of posteriors and targets for networks differ in the task alone.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from xrayflow.errors import DataError
from xrayflow.setup import APART
from xrayflow.studies.running.ledger import Ledger
from xrayflow.studies.running.listing import Listing, key_of
from xrayflow.studies.running.load import Done
from xrayflow.studies.running.looking import TOGETHER as LOOKED_TOGETHER
from xrayflow.studies.running.looking import Looked, Looking, changed_file, given_for
from xrayflow.studies.running.outcome import Outcome, Task

BATCH = APART
"""Sources of a batch: so many at most are worked on again after a run has died, and more gain about a tenth."""

SHOWN = 3
"""Files that an error line names at most."""


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Attributes:
        step: What is done now.
        done: Sources that are done with it, those of earlier runs included.
        total: All sources.
        failed: Of those that are done.
        per_second: Sources of this run, on the average; 0 before the first.
        matrices, batches, batch: Of what is left, where work on it begins: matrices, batches, and sources of one at
            most; 0 elsewhere.
    """

    step: str
    done: int
    total: int
    failed: int = 0
    per_second: float = 0.0
    matrices: int = 0
    batches: int = 0
    batch: int = 0

    @property
    def seconds_left(self) -> float | None:
        """At this rate; None where that is not known yet."""
        return (self.total - self.done) / self.per_second if self.per_second > 0 else None


Told = Callable[[Standing], None]

STOPPING = "stopping"
"""Step of a run that was asked to stop and finishes what it began."""


class Workers(Protocol):
    """What works on batches: processes here, or a cluster."""

    def run(
        self, batches: Iterator[tuple[Task, Sequence[Looked]]], stopping: Callable[[], bool] = ...
    ) -> Iterator[Done]:
        """Work on batches; they come back as they are done, in any order."""
        ...


@dataclass(frozen=True)
class Run:
    """Sources, where their outcomes are kept, and who works on them.

    Attributes:
        listing: The sources.
        ledger: Open.
        workers: Ready.
        rmf: Of all spectra, instead of what their headers name.
        batch: Sources of a batch.
        retry: Try those again that failed, or whose files changed.
        stopping: Whether to finish what was begun and to begin nothing more.
        told: Called as it goes on.
        looks: Of `look_at`, by key, of sources that the caller has looked at just now.
    """

    listing: Listing
    ledger: Ledger
    workers: Workers
    rmf: str | None
    batch: int
    retry: bool
    stopping: Callable[[], bool]
    told: Told
    looks: Mapping[str, Outcome] = field(default_factory=dict)

    def look(self) -> None:
        """Look at the files of sources that are new, and see that those of others are what they were.

        Raises:
            DataError: Files changed.
        """
        sources, keys = self.listing.sources, self.listing.keys
        self.ledger.ask_for(keys)
        self._refuse_changes()
        places = self.ledger.not_looked_at()
        known = {keys[place] for place in places} & self.looks.keys()
        self.ledger.keep_looks((key, self.looks[key].record, self.looks[key].error) for key in known)
        places = [place for place in places if keys[place] not in known]
        chunks = (places[at : at + LOOKED_TOGETHER] for at in range(0, len(places), LOOKED_TOGETHER))
        batches = ((Looking(self.rmf), [Looked(sources[place], "") for place in chunk]) for chunk in chunks)
        seen, total = len(sources) - len(places), len(sources)
        for done in self.workers.run(batches, self.stopping):
            self.ledger.keep_looks(
                (key_of(one.source), outcome.record, outcome.error)
                for one, outcome in zip(done.items, done.outcomes, strict=True)
            )
            seen += len(done.items)
            self.told(Standing("looking at files", seen, total))

    def work(self, task: Task, keep: Callable[[Ledger, Done], None], step: str = "fitting") -> None:
        """Work on what is not done yet.

        Args:
            task: What is done with each batch.
            keep: Writes a finished batch into the ledger.
            step: What that is called.
        """
        left = self.ledger.left(self.retry)
        total, before, failed = self.ledger.count()
        again = before + sum(map(len, left.values())) - total  # failures that are tried again
        before, failed = before - again, failed - again
        batches = len(self._chunks(left))
        self.told(Standing(step, before, total, failed, matrices=len(left), batches=batches, batch=self.batch))
        started, fitted = time.monotonic(), 0
        for done in self.workers.run(self._batches(task, left), self.stopping):
            keep(self.ledger, done)
            fitted += len(done.items)
            failed += sum(bool(outcome.error) for outcome in done.outcomes)
            rate = fitted / max(time.monotonic() - started, 1e-9)
            self.told(Standing(step, before + fitted, total, failed, rate))

    def _batches(self, task: Task, left: Mapping[str, array[int]]) -> Iterator[tuple[Task, list[Looked]]]:
        """What is left, sources of one matrix together, in the order of their first ones."""
        for chunk in sorted(self._chunks(left), key=lambda places: places[0]):
            sources = [self.listing.sources[place] for place in chunk]
            yield task, [Looked(source, self.ledger.look(key_of(source))["hash"]) for source in sources]

    def _chunks(self, left: Mapping[str, array[int]]) -> list[array[int]]:
        """Places of each batch."""
        every = left.values()
        return [places[at : at + self.batch] for places in every for at in range(0, len(places), self.batch)]

    def _refuse_changes(self) -> None:
        """Files of earlier runs, read again."""
        known: dict[str, str] = {}
        changed: list[tuple[str, str]] = []
        total = len(self.listing.sources)
        for kept in self.ledger.rows():
            self.told(Standing("checking files", kept.place, total))
            source = self.listing.sources[kept.place]
            path = changed_file(kept.look, known)
            if kept.look.get("given", given_for(self.rmf, source)) != given_for(self.rmf, source):
                path = f"{source.pha} (with other files given for it)"
            if path:
                changed.append((kept.key, path))
                if not kept.error and not self.retry and len(changed) > SHOWN:
                    break
        mended = [key for key, _ in changed]
        wrong = [] if self.retry else self.ledger.answered(mended)
        if wrong:
            paths = [path for key, path in changed if key in wrong]
            more = " and others" if len(paths) > SHOWN else ""
            raise DataError(
                f"{', '.join(paths[:SHOWN])}{more}: changed, or gone, since this run was begun; --retry fits what "
                "changed anew, --restart all"
            )
        self.ledger.forget(mended)


def keep_rows(ledger: Ledger, done: Done) -> None:
    """Keep a batch whose outcomes have bytes, or nothing, beside their records.

    Args:
        ledger: The ledger.
        done: The batch.
    """
    rows = [
        (key_of(one.source), outcome.record, outcome.error, outcome.extra)
        for one, outcome in zip(done.items, done.outcomes, strict=True)
    ]
    ledger.keep_batch(rows, done.seconds)
