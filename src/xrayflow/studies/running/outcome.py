"""What becomes of one source: a record, or the reason why there is none. It travels between processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

FAILED = "failed"
"""Verdict of a source without an answer."""


@dataclass(frozen=True)
class Outcome:
    """What became of one source.

    Attributes:
        record: Plain values by name, which JSON can hold (NaN and infinities too).
        error: Why there is no answer, in one line; "" where there is one.
        extra: What else was made of it.
    """

    record: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    extra: Any = None


class Task(Protocol):
    """Work on sources in another process; it is pickled."""

    def read(self, sources: Sequence[Any]) -> Any:
        """All that comes from disk, while another batch is worked on."""
        ...

    def work(self, read: Any) -> list[Outcome]:
        """What becomes of each source, in order. It may use the state of the process."""
        ...
