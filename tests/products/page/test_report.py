"""The report: one file, nothing from elsewhere, and what files say of themselves stays words."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread, imsave

from answer_zoo import altered, toy_posterior
from xrayflow.inference import Posterior
from xrayflow.products import write_report
from xrayflow.products.figures import corner_figure, png, smaller
from xrayflow.products.page import MOST_BYTES, report_page

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


class Page(HTMLParser):
    """Tags with their attributes, scripts by their place, and all words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words = ""
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.words += data


@pytest.fixture(scope="module")
def corner() -> bytes:
    return png(corner_figure(toy_posterior()))


def hostile() -> Posterior:
    """An answer whose file says of itself what a browser would obey."""
    posterior = toy_posterior()
    data = replace(posterior.data[0], source=HOSTILE, pha=Path(f"a{HOSTILE.replace('/', '')}.pha"), instrument=HOSTILE)
    return altered(replace(posterior, data=(data,)), notes=(HOSTILE,), versions={"xrayflow": HOSTILE})


def test_it_is_one_file_that_loads_nothing(corner: bytes) -> None:
    content = report_page(toy_posterior(), corner)
    assert len(content) <= MOST_BYTES == 6_000_000
    page = Page(content.decode())
    for tag, attributes in page.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form"), tag
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:"), (tag, attributes)
    assert content.decode().count("plotly.js v") == 1


def test_the_browser_may_run_these_scripts_alone(corner: bytes) -> None:
    page = Page(report_page(toy_posterior(), corner).decode())
    (policy,) = [str(own["content"]) for tag, own in page.tags if "http-equiv" in own]
    assert policy.startswith("default-src 'none'; ")
    allowed = re.search(r"script-src ([^;]+)", policy)
    assert allowed is not None
    data, *scripts = page.scripts
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    assert allowed[1].split() == [f"'sha256-{one}'" for one in hashes]
    assert "newPlot" in scripts[1]
    # plotly offers to send the data to a server unless its buttons are named one by one
    assert "modeBarButtons:" in scripts[1]
    assert {trace["name"] for trace in json.loads(data)[0]["data"]} >= {"data", "model, median", "delchi", "ratio"}


def test_what_a_file_says_of_itself_stays_words(corner: bytes) -> None:
    plain, bent = (Page(report_page(one, corner).decode()) for one in (toy_posterior(), hostile()))
    assert [tag for tag, _ in plain.tags if tag in ("script", "img")] == ["img", "script", "script", "script"]
    more = [tag for tag, _ in bent.tags if tag not in ("li", "dt", "dd")]
    assert more == [tag for tag, _ in plain.tags if tag not in ("li", "dt", "dd")]
    assert all(not name.startswith("on") for _, own in bent.tags for name in own)
    assert HOSTILE in bent.words
    assert bent.scripts[1:] == plain.scripts[1:]


def test_it_says_what_the_answer_says(corner: bytes) -> None:
    posterior = altered(toy_posterior(), flags=("upper_limit:TBabs.nH", "several_modes"))
    words = Page(report_page(posterior, corner).decode()).words
    for one in (
        "TBabs*powerlaw",
        posterior.verdict,
        *posterior.reasons,
        "TBabs.nH: an upper limit",
        "the posterior has several modes",
        *posterior.data[0].sha256.values(),
        "erg/cm^2/s",
        "xrayflow fit",
        "--seed 0",
        "@unpublished{redmen_vae",
        *posterior.provenance.versions.values(),
    ):
        assert one in words, one


def test_the_same_answer_gives_the_same_bytes(corner: bytes) -> None:
    assert report_page(toy_posterior(), corner) == report_page(toy_posterior(), corner)


def test_a_large_picture_is_made_smaller(corner: bytes) -> None:
    """As many panels as of 15 parameters."""
    panels, content = np.tile(imread(BytesIO(corner)), (5, 5, 1)), BytesIO()
    imsave(content, panels, format="png")
    assert len(content.getvalue()) > 1_200_000
    small = smaller(content.getvalue(), 1200)
    assert max(imread(BytesIO(small)).shape) == 1200
    assert len(report_page(toy_posterior(), content.getvalue())) < MOST_BYTES


def test_a_report_is_written_alone_and_over_no_other_product(tmp_path: Path) -> None:
    written = write_report(toy_posterior(), tmp_path / "a.html")
    assert written.read_bytes().startswith(b"<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]
