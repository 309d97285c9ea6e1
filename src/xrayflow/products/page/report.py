"""The report of an answer: one HTML file that needs no network, no server and no other file.

`answer.html` holds what is said of an answer and can stand in any page; `report.html` is the file around it, with the
styles, the scripts and plotly's bundle inside. Words from files (names of sources, paths) are untrusted: the templates
escape all of them, data for the scripts are JSON in which no tag can end, and the page's policy lets the browser run
just the scripts whose hashes it names, and load nothing.

Source: W3C, "Content Security Policy Level 3" (script hashes); WHATWG HTML, "restrictions for contents of script
elements".
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from xrayflow.inference import Posterior
from xrayflow.products.figures import smaller
from xrayflow.products.page.content import content
from xrayflow.products.page.spectrum import spectrum_plots

if TYPE_CHECKING:
    from jinja2 import Environment

MOST_BYTES = 6_000_000
"""Of a report: plotly's bundle is 4.8 MB, a picture of many parameters half of one."""

LARGE, MOST_PIXELS = 500_000, 1800
"""Bytes of a corner plot from which it is made smaller, and the pixels of its side that are left then."""

TEMPLATES = "templates"


def report_page(posterior: Posterior, corner: bytes) -> bytes:
    """The report of an answer, as the bytes of a file.

    Args:
        posterior: The answer.
        corner: Its corner plot, a PNG.
    """
    from plotly.offline import get_plotlyjs

    script, plotly = _text("report.js"), get_plotlyjs()
    page = _templates().get_template("report.html")
    return page.render(
        **content(posterior),
        style=_text("report.css"),
        plotly=plotly,
        script=script,
        hashes=[_hash(one) for one in (plotly, script)],
        spectrum=_json(spectrum_plots(posterior)),
        corner=base64.b64encode(corner if len(corner) < LARGE else smaller(corner, MOST_PIXELS)).decode(),
    ).encode()


def _templates() -> Environment:
    """All templates, which escape what they are given."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    return Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def _text(name: str) -> str:
    """One of the files that the page is made of."""
    return files(__package__).joinpath(TEMPLATES, name).read_text(encoding="utf-8")


def _json(document: Any) -> str:
    """JSON inside a script element: no `<` is in it that could end that."""
    text = json.dumps(document, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(script: str) -> str:
    """Of a script, in the words of a policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
