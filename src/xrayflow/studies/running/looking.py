"""A look at the files of a source before anything is fitted: which they are, what they hold, what they share.

So what is broken is known in the first minutes of a long run, sources that share a matrix are found wherever they
stand in a list, and a file that changes later is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xrayflow.dataset import hashes_of
from xrayflow.errors import DataError, XrayflowError, XrayflowWarning
from xrayflow.files import sha256_of
from xrayflow.ogip import RMF, Observation
from xrayflow.studies.running.outcome import Outcome
from xrayflow.studies.running.sources import Reader, Source

TOGETHER = 50
"""Sources that are looked at together."""


@dataclass(frozen=True)
class Looked:
    """A source whose files have been looked at.

    Attributes:
        source: The source.
        hash: Of its files, then; "" before.
    """

    source: Source
    hash: str


@dataclass(frozen=True)
class Looking:
    """Reads sources and keeps what is to be known of them.

    Attributes:
        rmf: Of all of them, instead of what their headers name.
    """

    rmf: str | None = None

    def read(self, sources: Sequence[Looked]) -> Sequence[Looked]:
        """Nothing: reading is all the work."""
        return sources

    def work(self, read: Sequence[Looked]) -> list[Outcome]:
        """Files, hashes and warnings of each source.

        Args:
            read: The sources.
        """
        return [look_at(self.rmf, one.source) for one in read]


def look_at(rmf: str | None, source: Source) -> Outcome:
    """The files of one source.

    Args:
        rmf: Instead of what its header names; the source's own goes before.
        source: The spectrum.

    Returns:
        {given, files: {role: [path, sha256]}, hash, matrix, source, exposure, mjd, said}; where it cannot be read, the
        hash of what there is of the spectrum's own file.
    """
    given = given_for(rmf, source)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", XrayflowWarning)
        try:
            observation = Reader(rmf).read(source)
        except XrayflowError as error:
            sha256 = sha256_of(source.pha)
            files = {"pha": [str(source.pha), sha256]}
            return Outcome({"given": given, "files": files, "hash": _combined({"pha": sha256})}, str(error))
    pha = observation.pha
    hashes = hashes_of(observation)
    return Outcome(
        {
            "given": given,
            "files": {role: [str(path), hashes[role]] for role, path in paths_of(observation).items()},
            "hash": _combined(hashes),
            "matrix": observation.rmf.key,
            "source": source.name or pha.object,
            "exposure": pha.exposure,
            "mjd": pha.mjd,
            "said": list(dict.fromkeys(str(one.message) for one in told if issubclass(one.category, XrayflowWarning))),
        }
    )


def given_for(rmf: str | None, source: Source) -> list[str]:
    """The files that were given for a source instead of what its header names, as places that are the same from every
    folder.

    Args:
        rmf: As for `look_at`.
        source: The spectrum.
    """
    words = (source.rmf or rmf or "", source.arf or "", source.background or "")
    return [word if word.lower() in ("", "none") else os.path.abspath(word) for word in words]  # noqa: PTH100


def read_looked(rmf: str | None, sources: Sequence[Looked]) -> list[Observation | XrayflowError]:
    """Spectra of one matrix, which becomes one object; in the place of one that is gone or another one now, the error.

    Args:
        rmf: As for `look_at`.
        sources: With the hashes that their files had.
    """
    reader, found = Reader(rmf), list[Observation | XrayflowError]()
    matrix: RMF | None = None
    for one in sources:
        try:
            observation = reader.read(one.source)
        except XrayflowError as error:
            found.append(error)
            continue
        if hash_of(observation) != one.hash:
            what = f"{one.source.pha}: one of its files changed after it was looked at; run the same command again"
            found.append(DataError(what))
            continue
        matrix = observation.rmf if matrix is None else matrix
        found.append(replace(observation, rmf=matrix))
    return found


def paths_of(observation: Observation) -> dict[str, Path]:
    """The files of an observation by role.

    Args:
        observation: The spectrum.
    """
    arf, background = observation.arf, observation.background
    paths = {"pha": observation.pha.path, "rmf": observation.rmf.path}
    paths |= {} if arf is None else {"arf": arf.path}
    return paths | ({} if background is None else {"background": background.path})


def hash_of(observation: Observation) -> str:
    """One hash of all files of a spectrum, as a catalogue's row has it.

    Args:
        observation: The spectrum.
    """
    return _combined(hashes_of(observation))


def _combined(hashes: Mapping[str, str]) -> str:
    """One hash of several files by role."""
    return hashlib.sha256(json.dumps(dict(sorted(hashes.items()))).encode()).hexdigest()


def changed_file(record: Mapping[str, Any], known: dict[str, str]) -> str:
    """The first file of a source that holds something else now; "" where none does.

    Args:
        record: Of `look_at`.
        known: Hashes of files that were read before, by path; it grows with responses, which many sources share.
    """
    for role, (path, sha256) in record.get("files", {}).items():
        found = known.get(path) or sha256_of(path)
        if role == "rmf":
            known[path] = found
        if found != sha256:
            return str(path)
    return ""
