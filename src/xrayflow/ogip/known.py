"""Responses that were read before: a file that comes again, byte for byte, is not parsed again."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from xrayflow.errors import XrayflowWarning
from xrayflow.ogip.fits import FitsFile, read_bytes, read_fits

MOST_KEPT = 256 << 20
"""Bytes of responses of each kind that a process keeps."""


class HasPath(Protocol):
    """What was read from a file."""

    @property
    def path(self) -> Path:
        """The file."""
        ...

    @property
    def size(self) -> int:
        """Bytes in memory, roughly."""
        ...


T = TypeVar("T", bound=HasPath)


@dataclass(frozen=True, eq=False)
class Known(Generic[T]):
    """What was read from some bytes.

    Attributes:
        packed, choice: The file's bytes, and which of its parts was asked for.
        found: What they hold.
        said: The warnings that reading them gave.
    """

    packed: bytes
    choice: Any
    found: T
    said: tuple[warnings.WarningMessage, ...]


class KnownFiles(Generic[T]):
    """What a process has read of one kind; the least recently used go first."""

    def __init__(self, most_bytes: int = MOST_KEPT) -> None:
        self.most_bytes = most_bytes
        self.kept: list[Known[T]] = []

    def read(self, path: Path, parse: Callable[[FitsFile], T], choice: Any = None) -> T:
        """Read a file, or take what the same bytes held before, with the same warnings.

        Args:
            path: The file.
            parse: What makes something of it.
            choice: Which part of it, where `parse` takes one.

        Raises:
            FileError: As `read_fits`; and what `parse` raises.
        """
        packed = read_bytes(path)
        known = next((one for one in self.kept if one.choice == choice and one.packed == packed), None)
        if known is None:
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always", XrayflowWarning)
                known = Known(packed, choice, parse(read_fits(path, packed)), tuple(said))
        else:
            self.kept.remove(known)
        self.kept.append(known)
        while self.kept and sum(len(one.packed) + one.found.size for one in self.kept) > self.most_bytes:
            self.kept.pop(0)
        for warning in known.said:
            text = str(warning.message).replace(str(known.found.path), str(path))
            warnings.warn(text, warning.category, stacklevel=3)
        return replace(known.found, path=path)  # type: ignore[type-var]
