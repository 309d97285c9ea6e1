"""A page of small spectra and corner plots: one HTML file, which opens with ten thousand sources too.

The numbers of the table stand at its top; spectra and draws stand behind, in pieces of `TOGETHER` sources that are text
to the browser until one of their sources comes into view. Only what is in view is drawn. Numbers of a picture have two
bytes, as parts of its axes. Nothing is fetched, and nothing that a file says is taken for HTML.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrayflow.data import bundled_page
from xrayflow.prior import Marginal
from xrayflow.studies.catalogue.pictures import time_of
from xrayflow.studies.catalogue.reading import CatalogueTable
from xrayflow.studies.catalogue.small_spectra import LEVEL, packed
from xrayflow.studies.running import FAILED

Numbers = NDArray[np.float64]

TOGETHER = 50
"""Sources of a piece."""

DRAWS = 120
"""Of a small corner plot."""

DATA = "<!--DATA-->"
"""Where the page wants its numbers."""

DIGITS = 5
"""Significant ones, of the table's numbers."""


def catalogue_page(
    table: CatalogueTable,
    priors: Mapping[str, Marginal],
    spectra_of: Callable[[Sequence[int]], Sequence[dict[str, Any]]],
    draws: Mapping[str, tuple[Numbers, Numbers]],
    progress: Callable[[str, float], None] | None = None,
) -> bytes:
    """The page.

    Args:
        table: The catalogue's.
        priors: Of the parameters, which say scale and unit; may lack some.
        spectra_of: Small spectra of some rows (`SpectrumReader`), a piece at a time, without those that failed.
        draws: By path: draws (draw, parameter) of the table's parameters, and log weights.
        progress: Is told the step and the part that is done.
    """
    units = {name: table.units.get(f"{name}_median", "") for name in table.parameters}
    units |= {name: marginal.unit for name, marginal in priors.items() if name in units}
    scales = [name in priors and priors[name].scale == "log" for name in table.parameters]
    paths, verdicts = table.text("path"), table.text("verdict")
    parts = [_script("head", _head(table, units) | {"draws": any(path in draws for path in paths)})]
    for first in range(0, table.rows, TOGETHER):
        rows = range(first, min(first + TOGETHER, table.rows))
        shown = [row for row in rows if verdicts[row] != FAILED]
        small = dict(zip(shown, spectra_of(shown), strict=True))
        piece = []
        for row in rows:
            one = dict(small.get(row, {}))
            if paths[row] in draws:
                one |= small_corner(*draws[paths[row]], scales)
            piece.append(one)
        parts.append(_script(f"piece{first // TOGETHER}", piece))
        if progress is not None:
            progress("page", min(1.0, (first + TOGETHER) / table.rows))
    before, after = bundled_page().read_text(encoding="utf-8").split(DATA)
    return "".join([before, *parts, after]).encode()


def small_corner(theta: Numbers, log_weight: Numbers, scales: Sequence[bool]) -> dict[str, Any]:
    """A few draws, evenly picked by weight, as the page reads them.

    Args:
        theta: (draw, parameter).
        log_weight: (draw,).
        scales: Of each parameter: whether it is logarithmic.
    """
    weight = np.exp(log_weight - log_weight.max())
    order = np.argsort(theta[:, 0])
    cumulative = np.cumsum(weight[order])
    picked = np.searchsorted(cumulative / cumulative[-1], (np.arange(DRAWS) + 0.5) / DRAWS)
    rows = order[picked.clip(max=order.size - 1)]
    columns, ranges = [], []
    for column, is_log in zip(theta[rows].T, scales, strict=True):
        places = np.log10(column) if is_log else column
        lo, hi = float(places.min()), float(places.max())
        columns.append(packed((places - lo) / (hi - lo if hi > lo else 1.0) * LEVEL))
        ranges.append([lo, hi, int(is_log)])
    return {"draws": columns, "ranges": ranges}


def _head(table: CatalogueTable, units: Mapping[str, str]) -> dict[str, Any]:
    """The table's numbers, column by column."""
    when, label = time_of(table)
    if not label.startswith("MJD"):
        label = "row"
    named = {"medians": "median", "lower": "lower90", "upper": "upper90"}
    return {
        "title": f"{table.path.name}: {table.rows} spectra",
        "number": table.rows,
        "together": TOGETHER,
        "time_label": label,
        "parameters": [{"name": name, "unit": unit} for name, unit in units.items()],
        "rows": {
            "source": table.text("source"),
            "path": table.text("path"),
            "verdict": table.text("verdict"),
            "reasons": table.text("reasons"),
            "time": _rounded(when, 10),
            "counts": _rounded(table.number("counts")),
            "efficiency": _rounded(table.number("efficiency")),
            **{key: [_rounded(table.number(f"{name}_{end}")) for name in units] for key, end in named.items()},
        },
    }


def _rounded(values: Numbers, digits: int = DIGITS) -> list[float | None]:
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values.tolist()]


def _script(name: str, content: Any) -> str:
    """Numbers that the browser keeps as text until they are asked for; "<" would end it."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'
