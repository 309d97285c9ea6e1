"""What a catalogue was made of and by, beside its table: `table.manifest.json`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xrayflow.errors import FileError
from xrayflow.files import SCHEMA_VERSION, package_versions, to_json, write_file
from xrayflow.studies.catalogue.question import COMPUTE, Question

SUFFIX = ".manifest.json"


def manifest_path(table: Path) -> Path:
    """Beside a table, under its name: tables of one folder have one each.

    Args:
        table: The table.
    """
    return table.with_name(table.stem + SUFFIX)


def write_manifest(
    table: Path, question: Question, draws_dir: Path | None, verdicts: Counter[str], sources: int, sha256: str
) -> Path:
    """Write it.

    Args:
        table: The table.
        question: What was asked.
        draws_dir: Where the draws are; None where they are not kept.
        verdicts: How many rows have which.
        sources: How many there are in all.
        sha256: Of the table; "" while there is none.
    """
    asked = dict(question.words)
    document = {
        "schema_version": SCHEMA_VERSION,
        "table": table.name,
        "table_sha256": sha256,
        "sources": sources,
        "complete": verdicts.total() == sources,
        "outcomes": dict(sorted(verdicts.items())),
        "model": {
            "expression": question.model.text,
            "abund": question.model.abund,
            "xsect": question.model.xsect,
            "sha256": question.model_sha256,
            "held": asked.pop("held"),
        },
        "prior": question.prior_words,
        "network": asked.pop("network"),
        "settings": {name.replace(" ", "_"): value for name, value in asked.items() if name not in ("model", "prior")},
        "rmf": question.rmf,
        "draws_folder": None if draws_dir is None else str(draws_dir),
        "versions": package_versions(*COMPUTE, "astropy"),
    }
    place = manifest_path(table)
    write_file(place, to_json(document).encode() + b"\n")
    return place


def read_manifest(table: Path) -> Mapping[str, Any]:
    """The manifest of a table.

    Args:
        table: The table.

    Raises:
        FileError: There is none, or it cannot be read.
    """
    place = manifest_path(table)
    try:
        document = json.loads(place.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise FileError(
            f"{place}: no manifest that can be read; xrayflow catalogue writes it beside its table"
        ) from None
    if not isinstance(document, dict) or document.get("schema_version") != SCHEMA_VERSION:
        raise FileError(f"{place}: not a manifest of this version; xrayflow catalogue writes it beside its table")
    return document
