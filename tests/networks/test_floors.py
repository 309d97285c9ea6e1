"""The order inside rooms: what has weights knows nothing of trainings, what runs spectra nothing of what is asked."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import xrayflow

SOURCE = Path(xrayflow.__file__).resolve().parent

FLOORS = {
    "networks": (
        ("inputs", "sections"),
        ("recipe",),
        ("nn", "level"),
        ("densities", "response"),
        ("network",),
        ("store", "posterior"),
        ("listing",),
        ("training",),
    ),
    "studies": (("running",), ("catalogue",), ("targets", "population"), ("validation",)),
}
"""From those that all others may import to those that none may, but for the face of the room."""


def inner_imports(path: Path, room: str) -> set[str]:
    """The inner modules of a room that a file imports; the room itself where it asks its face."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            parts = name.split(".")
            if parts[:2] == ["xrayflow", room]:
                found.add(parts[2] if len(parts) > 2 else room)
    return found


@pytest.mark.parametrize("room", FLOORS)
def test_inner_modules_import_only_from_floors_below(room: str) -> None:
    floor = {name: number for number, names in enumerate(FLOORS[room]) for name in names}
    folder = SOURCE / room
    seen, wrong = set(), []
    for path in sorted(folder.rglob("*.py")):
        own = path.relative_to(folder).with_suffix("").parts[0]
        if own == "__init__":
            continue
        seen.add(own)
        for target in inner_imports(path, room):
            if target == room or (target != own and floor[target] >= floor[own]):
                wrong.append(f"{path.relative_to(folder)} imports {target}")
    assert seen == set(floor)
    assert wrong == []
