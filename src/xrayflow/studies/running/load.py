"""A batch on its way: to whoever works on it, and back; where it went wrong, each of its sources alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from xrayflow.studies.running.outcome import Outcome, Task


@dataclass(frozen=True)
class Done:
    """A finished batch.

    Attributes:
        items: Its sources.
        outcomes: What became of each.
        seconds: That it took.
    """

    items: Sequence[Any]
    outcomes: list[Outcome]
    seconds: float


@dataclass(eq=False)
class Load:
    """A batch on its way.

    Attributes:
        task: What is done.
        items: Sources.
        careful: It is alone with who works on it, as something went wrong near it.
        whole, place: The batch of which this is one source, and which.
        found: Of a batch whose sources are tried alone, what became of each.
        seconds: That it took so far.
    """

    task: Task
    items: Sequence[Any]
    careful: bool = False
    whole: Load | None = None
    place: int = 0
    found: dict[int, Outcome] = field(default_factory=dict)
    seconds: float = 0.0

    def finish(self, outcomes: list[Outcome], seconds: float) -> Iterator[Done]:
        """The batch, which is done; or that of which this was the last source.

        Args:
            outcomes: What became of each source.
            seconds: That it took.
        """
        if self.whole is None:
            yield Done(self.items, outcomes, self.seconds + seconds)
            return
        whole = self.whole
        whole.found[self.place] = outcomes[0]
        whole.seconds += seconds
        if len(whole.found) == len(whole.items):
            yield Done(whole.items, [whole.found[place] for place in range(len(whole.items))], whole.seconds)

    def fail(self, reason: str, seconds: float) -> Iterator[Done]:
        """As `finish`, of a source that has no answer.

        Args:
            reason: Why.
            seconds: That it took.
        """
        yield from self.finish([Outcome(error=" ".join(reason.split()))], seconds)

    def part(self, seconds: float = 0.0) -> list[Load]:
        """Each source alone, as the batch went wrong.

        Args:
            seconds: That it took.
        """
        self.seconds += seconds
        return [Load(self.task, [item], True, self, place) for place, item in enumerate(self.items)]
