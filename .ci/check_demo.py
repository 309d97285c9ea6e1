"""Checks what `xrayflow demo --json` printed and wrote: `python check_demo.py demo.json FOLDER_WHERE_IT_RAN`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

FIT_KEYS = {"source", "model", "statistic", "likelihood", "deviance", "parameters", "ess", "verdict", "reasons"}


def problems(text: str, folder: Path) -> list[str]:
    """Everything that is wrong with the demo's output; an empty list when nothing is."""
    answer = json.loads(text)
    if answer.get("schema_version") != 1:
        return [f"schema_version is {answer.get('schema_version')!r}, not 1"]
    fits = answer.get("fits", [])
    found = [] if len(fits) == 2 else [f"{len(fits)} fits, not 2"]
    for fit in fits:
        source = fit.get("source", "a fit without source")
        found += [f"{source}: no {key}" for key in sorted(FIT_KEYS - set(fit))]
        if not fit.get("products"):
            found.append(f"{source}: no products")
        for name, path in fit.get("products", {}).items():
            if not (folder / path).is_file() or (folder / path).stat().st_size == 0:
                found.append(f"{source}: product {name} is not at {path}")
    if fits and not any(fit.get("truth") for fit in fits):
        found.append("no fit knows its truth")
    return found


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2]))
    print("\n".join(wrong) or "the demo's answer is whole", file=sys.stderr if wrong else sys.stdout)
    sys.exit(bool(wrong))
