"""What a catalogue would do: a look at all files, and nothing written."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xrayflow.studies.catalogue.catalogue import Running
from xrayflow.studies.catalogue.question import Question
from xrayflow.studies.catalogue.table import check_place
from xrayflow.studies.running import SUFFIX, TOGETHER, Ledger, Listing, Looked, Looking, Standing, Told, key_of


@dataclass(frozen=True)
class Prospect:
    """What would be done.

    Attributes:
        sources: All of them.
        done: Those that an earlier run has done.
        matrices: How many of the others share each matrix, the most first.
        batches: That they make.
        failed: Path and reason of each that cannot be read.
    """

    sources: int
    done: int
    matrices: tuple[int, ...]
    batches: int
    failed: tuple[tuple[str, str], ...]

    @property
    def left(self) -> int:
        """To be fitted."""
        return sum(self.matrices)

    def document(self) -> dict[str, Any]:
        """For machines."""
        return {
            "sources": self.sources,
            "done": self.done,
            "left": self.left,
            "matrices": list(self.matrices),
            "batches": self.batches,
            "failed": dict(self.failed),
        }


def prospect_of(
    listing: Listing, question: Question, out: Path, running: Running, told: Told = lambda standing: None
) -> Prospect:
    """Look at all files, as a run would.

    Args:
        listing, question, out, running: As for `run_catalogue`.
        told: Called as it goes on.

    Raises:
        XrayflowError: What a run would raise before it fits anything.
    """
    check_place(out)
    done: set[str] = set()
    if out.with_name(out.name + SUFFIX).exists() and not running.restart:
        with Ledger(out) as ledger:
            ledger.settle(running.asked(question, out))
            ledger.ask_for(listing.keys)
            done = {kept.key for kept in ledger.rows() if kept.record and not (kept.error and running.retry)}
    sources = [Looked(source, "") for source in listing.sources if key_of(source) not in done]
    matrices, failed, seen = Counter[str](), list[tuple[str, str]](), 0
    with running.crew(question.budget.seconds) as workers:
        parts = (sources[at : at + TOGETHER] for at in range(0, len(sources), TOGETHER))
        for one in workers.run((Looking(question.rmf), part) for part in parts):
            for looked, outcome in zip(one.items, one.outcomes, strict=True):
                if outcome.error:
                    failed.append((str(looked.source.pha), outcome.error))
                else:
                    matrices[outcome.record["matrix"]] += 1
            seen += len(one.items)
            told(Standing("looking at files", seen, len(sources), len(failed)))
    sizes = tuple(number for _, number in matrices.most_common())
    batches = sum(math.ceil(size / running.batch) for size in sizes)
    return Prospect(len(listing.sources), len(done), sizes, batches, tuple(failed))
