"""Spectra on disk, many of them: named or listed, read with what they share, and in batches of one matrix."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xrayflow.errors import DataError, FileError
from xrayflow.files import sha256_of
from xrayflow.ogip import Observation, read_observation, read_rmf


@dataclass(frozen=True)
class Source:
    """A spectrum and what its header does not say.

    Attributes:
        pha: The file.
        arf, background: Instead of those that its header names; a background may be "none".
        rmf: Likewise.
        name: Instead of OBJECT; "" for that.
    """

    pha: Path
    arf: str | None = None
    background: str | None = None
    rmf: str | None = None
    name: str = ""


class Reader:
    """Reads spectra; a matrix for all is read once."""

    def __init__(self, rmf: str | None) -> None:
        """A matrix for all.

        Args:
            rmf: Instead of what the headers name; None: what they name.

        Raises:
            XrayflowError: It cannot be read.
        """
        self._matrix = None if rmf is None else read_rmf(rmf)

    def read(self, source: Source) -> Observation:
        """A spectrum with its response and background.

        Args:
            source: The spectrum.

        Raises:
            XrayflowError: A file of it cannot be read.
        """
        matrix = self._matrix if source.rmf is None else source.rmf
        return read_observation(source.pha, rmf=matrix, arf=source.arf, background=source.background)


def listed_sources(
    paths: Sequence[Path], listed: Path | None, arf: str | None = None, background: str | None = None
) -> list[Source]:
    """The spectra that were named, and those of a list.

    Args:
        paths: Spectra.
        listed: What `read_list` reads.
        arf, background: For all that do not say.

    Raises:
        FileError: What `read_list` raises.
    """
    found = [Source(path, arf, background) for path in paths]
    return found if listed is None else found + read_list(listed, arf, background)


def read_list(path: Path, arf: str | None = None, background: str | None = None) -> list[Source]:
    """The spectra that a text file lists: a line is `PHA [ARF [BACKGROUND]]`, relative to it.

    Words are parted by spaces, quotes keep them together, and what follows a # is left out.

    Args:
        path: The text file.
        arf, background: For lines that do not say.

    Raises:
        FileError: It cannot be read, or a line has more than three words.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text file"
        raise FileError(f"{path}: {why}; give --list a text file with a spectrum on each line") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise FileError(f"{path}: line {number}: {error}; write PHA [ARF [BACKGROUND]]") from None
        if len(words) > 3:
            raise FileError(f"{path}: line {number} has {len(words)} words; quote paths that hold spaces")
        if words:
            pha, *others = (word if word == "none" else str(path.parent / word) for word in words)
            own_arf, own_background = (*others, None, None)[:2]
            found.append(Source(Path(pha), own_arf or arf, own_background or background))
    return found


def matched(library: Path, listed: Sequence[Any], sources: Sequence[Source]) -> list[tuple[Source, str]]:
    """The sources that a library's header lists, with the hash of each.

    Args:
        library: For the error line.
        listed: [name, sha256] of each spectrum wanted, from the header.
        sources: Where they are.

    Raises:
        DataError: A spectrum is not among the sources, or the header is another's.
    """
    by_name: dict[str, list[Source]] = {}
    for source in sources:
        by_name.setdefault(source.pha.name, []).append(source)
    found = []
    for one in listed:
        if not (isinstance(one, list) and len(one) == 2 and all(isinstance(word, str) for word in one)):
            raise DataError(f"{library}: its list of spectra cannot be read; run xrayflow targets again")
        name, sha256 = one
        places = by_name.get(name, [])
        if len(places) > 1:
            places = [place for place in places if sha256_of(place.pha) == sha256]
        if not places:
            raise DataError(f"{library}: {name} is not among the spectra; give the list that the targets were made of")
        place = places[0]
        by_name[name].remove(place)  # of two copies each is one of the targets
        found.append((place, sha256))
    return found
