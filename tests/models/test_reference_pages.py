"""The committed reference pages are what the code and the committed measurements make."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from xrayflow.models.components import COMPONENTS

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def maker() -> dict[str, Any]:
    """The functions of the maker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)  # as a script has it
        return runpy.run_path(str(DOCS / "make_reference.py"))


def test_the_committed_pages_are_those_that_the_code_makes(maker: dict[str, Any]) -> None:
    made = maker["make"]()
    stale = [path.name for path, text in made.items() if path.read_text(encoding="utf-8") != text]
    assert stale == [], "run: python docs/make_reference.py"


def test_every_component_has_a_page_and_no_page_is_left_over(maker: dict[str, Any]) -> None:
    pages = {path.stem for path in (DOCS / "reference" / "components").glob("*.md")}
    assert pages == {component.name for component in COMPONENTS} | {"README"}


def test_a_page_holds_the_whole_table_of_its_component(maker: dict[str, Any]) -> None:
    text = (DOCS / "reference" / "components" / "simplcutx.md").read_text(encoding="utf-8")
    for word in (
        "| 4 | `kT_e` |",
        "100, frozen",
        "-1000 .. 1000",
        "Steiner et al. 2017",
        "## Against the compiled XSPEC",
    ):
        assert word in text
