"""What a ledger remembers of its sources, for those that only read: it is not locked, and need not be there."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from xrayflow.studies.running.ledger import SUFFIX

Given = tuple[str, str, str]


def given_files(out: Path) -> dict[str, Given]:
    """Matrix, area and background that were given for each source instead of what its header names, by its key.

    Args:
        out: What was made of the ledger.

    Returns:
        "" where none was given; no source where there is no ledger that can be read.
    """
    place = out.with_name(out.name + SUFFIX)
    try:
        with closing(sqlite3.connect(f"{place.absolute().as_uri()}?mode=ro", uri=True)) as base:
            looks = [
                (key, json.loads(record)["given"]) for key, record in base.execute("SELECT key, record FROM looks")
            ]
        return {key: (str(rmf), str(arf), str(background)) for key, (rmf, arf, background) in looks}
    except (sqlite3.Error, ValueError, KeyError, TypeError):
        return {}
