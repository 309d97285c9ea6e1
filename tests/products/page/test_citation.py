"""What the report says of citing is what CITATION.cff says."""

from __future__ import annotations

from pathlib import Path

from xrayflow.products.page.citation import CITATION

CFF = Path(__file__).resolve().parents[3] / "CITATION.cff"


def test_the_report_cites_what_the_package_cites() -> None:
    text = CFF.read_text(encoding="utf-8")
    assert "The xrayflow developers" in text
    assert "The xrayflow developers" in CITATION
    paper = text[text.index("type: unpublished") : text.index("type: software\n    title: ndspec")]
    title = paper.split("title: ")[1].splitlines()[0]
    assert title in CITATION
    for line in paper.splitlines():
        if "family-names: " in line:
            assert line.split("family-names: ")[1] in CITATION
