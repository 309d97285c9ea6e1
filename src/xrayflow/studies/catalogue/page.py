"""A page of small spectra and corner plots: one HTML file, which opens with ten thousand sources too.

The numbers of the table stand at its top; spectra and draws stand behind, in pieces of `TOGETHER` sources that are text
to the browser until one of their sources comes into view. Only what is in view is drawn. Numbers of a picture have two
bytes, as parts of its axes. Nothing is fetched, and nothing that a file says is taken for HTML.
"""

from __future__ import annotations

import base64
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrayflow.data import bundled_page
from xrayflow.errors import FileError, XrayflowError, XrayflowWarning
from xrayflow.ogip import DEFAULT_BAND, read_observation, read_rmf
from xrayflow.prior import Marginal
from xrayflow.studies.catalogue.manifest import manifest_path, read_manifest
from xrayflow.studies.catalogue.pictures import time_of
from xrayflow.studies.catalogue.reading import CatalogueTable

Numbers = NDArray[np.float64]

TOGETHER = 50
"""Sources of a piece."""

BINS, DRAWS = 64, 120
"""Of a small spectrum, and of a small corner plot."""

DATA = "<!--DATA-->"
"""Where the page wants its numbers."""

LEVEL = 65535
DIGITS = 5
"""Significant ones, of the table's numbers."""


def catalogue_page(
    table: CatalogueTable,
    priors: Mapping[str, Marginal],
    spectrum_of: Callable[[str], dict[str, Any]],
    draws: Mapping[str, tuple[Numbers, Numbers]],
    progress: Callable[[str, float], None] | None = None,
) -> bytes:
    """The page.

    Args:
        table: The catalogue's.
        priors: Of the parameters, which say scale and unit; may lack some.
        spectrum_of: A small spectrum of a path (`small_spectrum`), or {"why": reason}.
        draws: By path: draws (draw, parameter) of the table's parameters, and log weights.
        progress: Is told the step and the part that is done.
    """
    units = {name: table.units.get(f"{name}_median", "") for name in table.parameters}
    units |= {name: marginal.unit for name, marginal in priors.items() if name in units}
    scales = [name in priors and priors[name].scale == "log" for name in table.parameters]
    parts = [_script("head", _head(table, units))]
    paths, verdicts = table.text("path"), table.text("verdict")
    for first in range(0, table.rows, TOGETHER):
        piece = []
        for path, verdict in zip(paths[first : first + TOGETHER], verdicts[first : first + TOGETHER], strict=True):
            one = {} if verdict == "failed" else spectrum_of(path)
            if path in draws:
                one |= small_corner(*draws[path], scales)
            piece.append(one)
        parts.append(_script(f"piece{first // TOGETHER}", piece))
        if progress is not None:
            progress("page", min(1.0, (first + TOGETHER) / table.rows))
    before, after = bundled_page().read_text(encoding="utf-8").split(DATA)
    return "".join([before, *parts, after]).encode()


def small_spectrum(
    channel_edges: Numbers, counts: Numbers, exposure: float, band: tuple[float, float]
) -> dict[str, Any]:
    """A spectrum in few bins, as the page reads it.

    Args:
        channel_edges: (channel, 2) of each channel [keV].
        counts: (channel,).
        exposure: s.
        band: What is shown [keV].
    """
    lo, hi = channel_edges[:, 0], channel_edges[:, 1]
    shown = (hi > band[0]) & (lo < band[1]) & (lo > 0)
    if not shown.any() or counts[shown].sum() <= 0:
        return {"why": "no counts in the band"}
    ends = math.log10(lo[shown].min()), math.log10(hi[shown].max())
    edges = np.linspace(*ends, BINS + 1)
    middle = np.log10(0.5 * (lo[shown] + hi[shown]))
    place = np.clip(np.searchsorted(edges, middle, side="right") - 1, 0, BINS - 1)
    number = np.bincount(place, weights=counts[shown], minlength=BINS)
    width = np.bincount(place, weights=hi[shown] - lo[shown], minlength=BINS)
    good = (number > 0) & (width > 0)
    rate = np.log10(number[good] / width[good] / exposure)
    r0, r1 = float(rate.min()), float(rate.max())
    level = np.zeros(BINS)
    level[good] = 1 + (rate - r0) / (r1 - r0 if r1 > r0 else 1.0) * (LEVEL - 1)
    error = np.zeros(BINS)
    error[good] = np.minimum(number[good] ** -0.5, 1.0) * LEVEL
    spectrum = {"e0": ends[0], "e1": ends[1], "r0": r0, "r1": r1, "rate": _packed(level), "error": _packed(error)}
    return {"spectrum": spectrum | {"edges": _packed(np.linspace(0, LEVEL, BINS + 1))}}


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
    packed, ranges = [], []
    for column, is_log in zip(theta[rows].T, scales, strict=True):
        places = np.log10(column) if is_log else column
        lo, hi = float(places.min()), float(places.max())
        packed.append(_packed((places - lo) / (hi - lo if hi > lo else 1.0) * LEVEL))
        ranges.append([lo, hi, int(is_log)])
    return {"draws": packed, "ranges": ranges}


class SpectrumReader:
    """Small spectra from the files of a catalogue."""

    def __init__(self, table: Path, rmf: str | None = None) -> None:
        """A reader.

        Args:
            table: The catalogue's; relative paths go from here, or from its folder.
            rmf: Matrix of all spectra; None: what their headers name.

        Raises:
            XrayflowError: The matrix, or the manifest, cannot be read.
        """
        self._folder = table.parent
        self._matrix = None if rmf is None else read_rmf(rmf)
        bands: Any = DEFAULT_BAND
        with suppress(FileError, KeyError):
            bands = read_manifest(table)["settings"]["energies"] or DEFAULT_BAND
        try:
            self._band = float(min(lo for lo, _ in bands)), float(max(hi for _, hi in bands))
        except (TypeError, ValueError):
            raise FileError(f"{manifest_path(table)}: its energies are no bands; run the catalogue again") from None

    def __call__(self, path: str) -> dict[str, Any]:
        """A small spectrum, or why there is none.

        Args:
            path: As the table says it.
        """
        place = Path(path) if Path(path).exists() else self._folder / path
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", XrayflowWarning)  # the run that made the table has said them
                found = read_observation(place, rmf=self._matrix, background="none")
        except XrayflowError as error:
            return {"why": str(error).replace(str(place.parent), "")[:60]}
        good = found.pha.quality == 0
        row = found.channel_row[good]
        edges = np.stack([found.rmf.e_min[row], found.rmf.e_max[row]], axis=-1)
        return small_spectrum(edges, found.pha.counts[good], found.pha.exposure, self._band)


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


def _packed(levels: Numbers) -> str:
    return base64.b64encode(np.rint(levels).clip(0, LEVEL).astype("<u2").tobytes()).decode("ascii")


def _script(name: str, content: Any) -> str:
    """Numbers that the browser keeps as text until they are asked for; "<" would end it."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>\n'
