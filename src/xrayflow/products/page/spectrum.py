"""The spectrum of an answer for plotly: what the figure shows, to be zoomed, with axis and residuals to choose from."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xrayflow.inference import Posterior
from xrayflow.products.display import KEV_ANGSTROM, Display, PlotAxis, Residuals, Shown, shown_bins, steps
from xrayflow.products.figures import BACKGROUND, COMPONENT_STYLES, INK, MODEL, WORST

FloatArray = NDArray[np.float64]

DASHES = ("dash", "dot", "dashdot", "longdash", "longdashdot")
"""Of components, told apart as in the figure by colour and dashes both."""

DIGITS = 6
FEWEST_DECADES = 1e-4
"""Of the highest point: as far down as the axis goes at first."""


BUTTONS = {PlotAxis.keV: "keV", PlotAxis.angstrom: "Å", PlotAxis.channel: "channels"}
"""What the buttons of the axes say."""


def spectrum_plots(posterior: Posterior) -> list[dict[str, Any]]:
    """The plot on each axis, energies first, with what its button says.

    Args:
        posterior: The answer.
    """
    return [{"label": BUTTONS[axis], **spectrum_plot(posterior, axis)} for axis in PlotAxis]


def spectrum_plot(posterior: Posterior, axis: PlotAxis = PlotAxis.keV) -> dict[str, Any]:
    """Data and layout of the plot, as plotly's JSON.

    Args:
        posterior: The answer.
        axis: Of energy, wavelength or bins.
    """
    shown = shown_bins(posterior, Display(axis))
    above = [*_bands(shown), *_lines(shown), _points(shown)]
    left = [_residuals(shown, kind) for kind in Residuals]
    return {"data": [*above, *left], "layout": _layout(posterior, shown, len(above))}


def _bands(shown: Shown) -> list[dict[str, Any]]:
    """The model's bands, as areas; each group is a rectangle's worth of a closed outline."""
    found = []
    for title, low, high, shade in (
        ("90 % band", shown.total[0], shown.total[2], 0.2),
        *([("68 % band", *shown.total68, 0.35)] if shown.total68.size else []),
    ):
        x, bottom = steps(shown.lo, shown.hi, shown.density(low))
        top = steps(shown.lo, shown.hi, shown.density(high))[1]
        across: list[float | None] = []
        up: list[float | None] = []
        for run in np.split(np.arange(x.size), np.flatnonzero(np.isnan(x))):
            own = run[~np.isnan(x[run])]
            across += [*_plain(x[own]), *_plain(x[own][::-1]), None]
            up += [*_plain(top[own]), *_plain(bottom[own][::-1]), None]
        found.append(
            {
                "x": across, "y": up, "name": title, "fill": "toself", "mode": "none", "hoverinfo": "skip",
                "fillcolor": f"rgba(0,114,178,{shade})", "legendgroup": title,
            }
        )  # fmt: skip
    return found


def _lines(shown: Shown) -> list[dict[str, Any]]:
    """The model, its components and the background."""
    found = [_line(shown, "model, median", shown.total[1], MODEL, "solid", 1.8)]
    for place, (name, counts) in enumerate(shown.components.items()):
        colour, dash = COMPONENT_STYLES[place % len(COMPONENT_STYLES)][0], DASHES[place % len(DASHES)]
        found.append(_line(shown, name, counts, colour, dash, 1.5))
    if shown.background[0].size:
        x, y = shown.background
        line = {"color": BACKGROUND, "dash": "dash", "width": 1.5}
        found.append(_trace("background", x, y, mode="lines", line=line))
    return found


def _line(shown: Shown, name: str, counts: FloatArray, colour: str, dash: str, width: float) -> dict[str, Any]:
    x, y = steps(shown.lo, shown.hi, shown.density(counts))
    return _trace(name, x, y, mode="lines", line={"color": colour, "dash": dash, "width": width})


def _points(shown: Shown) -> dict[str, Any]:
    """The data with their errors; what was counted stands in the box that opens at a point."""
    text = [
        f"{_short(lo)}–{_short(hi)} {shown.display.axis.unit}: {_short(counts)} counts, {_short(model)} expected"
        for lo, hi, counts, model in zip(shown.lo, shown.hi, shown.counts, shown.total[1], strict=True)
    ]
    return _trace(
        "data",
        shown.middle,
        shown.density(shown.counts),
        mode="markers",
        text=text,
        hoverinfo="text",
        error_y=_errors(shown.density(shown.below), shown.density(shown.above)),
        error_x=_errors(shown.middle - shown.lo, shown.hi - shown.middle),
        marker={"color": INK, "size": 4},
    )


def _residuals(shown: Shown, kind: Residuals) -> dict[str, Any]:
    """One kind of residuals; the first is shown until another is asked for."""
    residual, below, above = shown.left(kind)
    return _trace(
        str(kind),
        shown.middle,
        residual,
        mode="markers",
        yaxis="y2",
        showlegend=False,
        visible=kind is Residuals.delchi,
        error_y=_errors(below, above),
        error_x=_errors(shown.middle - shown.lo, shown.hi - shown.middle),
        marker={"color": INK, "size": 4},
    )


def _layout(posterior: Posterior, shown: Shown, above: int) -> dict[str, Any]:
    """Axes, the choice of residuals, and where the data leave the model."""
    axis = shown.display.axis
    density = shown.density(np.maximum(shown.counts, shown.total[2]))
    seen = density[density > 0]
    top = float(seen.max(initial=1e-300))
    bottom = max(float(seen.min(initial=top)) / 3.0, FEWEST_DECADES * top)
    buttons = [
        {
            "label": kind.label(axis),
            "method": "update",
            "args": [
                {"visible": [True] * above + [one is kind for one in Residuals]},
                {
                    "yaxis2.title.text": kind.label(axis),
                    "shapes": _shapes(posterior, kind, axis),
                    "yaxis2.autorange": True,
                },
            ],
        }
        for kind in Residuals
    ]
    return {
        "height": 700,
        "margin": {"l": 80, "r": 20, "t": 84, "b": 120},
        "hovermode": "closest",
        "plot_bgcolor": "white",
        "legend": {"orientation": "h", "y": 1.01, "yanchor": "bottom", "x": 0},
        "xaxis": _axis(title={"text": axis.label}, **_across(shown))
        | {"anchor": "y2", "tickformat": "~g", "mirror": "all"},  # around both panels
        "yaxis": _axis(title={"text": f"counts / s / {axis.unit}"}, type="log", domain=[0.34, 1.0])
        | {"range": [math.log10(bottom), math.log10(2.0 * top)], "exponentformat": "power"},
        "yaxis2": _axis(title={"text": Residuals.delchi.label(axis)}, domain=[0.0, 0.3], zeroline=False),
        "shapes": _shapes(posterior, Residuals.delchi, axis),
        "updatemenus": [
            {"type": "buttons", "buttons": buttons} | _below(0.0, "left"),
            {"type": "buttons", "buttons": [_scale("log"), _scale("linear")]} | _below(1.0, "right"),
        ],
    }


def _across(shown: Shown) -> dict[str, Any]:
    """Scale and range of the axis that is asked for."""
    lo, hi = float(shown.lo[0]), float(shown.hi[-1])
    if shown.display.axis is PlotAxis.channel:
        pad = 0.02 * (hi - lo)
        return {"type": "linear", "range": [lo - pad, hi + pad]}
    lo = max(lo, 1e-3 * float(shown.hi[0]))
    return {"type": "log", "range": [math.log10(lo) - 0.02, math.log10(hi) + 0.02]}


def _below(x: float, anchor: str) -> dict[str, Any]:
    """A row of buttons under the plot."""
    return {"direction": "right", "showactive": True, "x": x, "xanchor": anchor, "y": -0.15, "yanchor": "top"}


def _scale(kind: str) -> dict[str, Any]:
    return {"label": f"{kind} y", "method": "relayout", "args": [{"yaxis.type": kind, "yaxis.autorange": True}]}


def _axis(**more: Any) -> dict[str, Any]:
    plain = {"showline": True, "mirror": True, "linecolor": INK, "ticks": "inside", "gridcolor": "#eeeeee"}
    return plain | more


def _shapes(posterior: Posterior, kind: Residuals, axis: PlotAxis) -> list[dict[str, Any]]:
    """The level of a perfect model, and the energies where the data leave it, which are no range of bins."""
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y2", "y0": kind.level, "y1": kind.level}
    worst = [] if axis is PlotAxis.channel else list(posterior.fit.worst_energies)
    if axis is PlotAxis.angstrom:
        worst = [(KEV_ANGSTROM / hi, KEV_ANGSTROM / lo) for lo, hi in worst]
    spans = [
        {
            "type": "rect", "xref": "x", "x0": lo, "x1": hi, "yref": "paper", "y0": 0, "y1": 1, "layer": "below",
            "fillcolor": WORST, "opacity": 0.2, "line": {"width": 0},
        }
        for lo, hi in worst
    ]  # fmt: skip
    return [line | {"line": {"color": MODEL, "width": 1.5}}, *spans]


def _trace(name: str, x: FloatArray, y: FloatArray, **more: Any) -> dict[str, Any]:
    return {"type": "scatter", "name": name, "x": _plain(x), "y": _plain(y), **more}


def _errors(below: FloatArray, above: FloatArray) -> dict[str, Any]:
    look = {"type": "data", "symmetric": False, "thickness": 1, "width": 0, "color": "#777777"}
    return look | {"array": _plain(above), "arrayminus": _plain(below)}


def _plain(values: Iterable[float]) -> list[float | None]:
    """Numbers as JSON has them, to so many digits; none where there is none."""
    return [float(_short(value)) if math.isfinite(value) else None for value in values]


def _short(value: float) -> str:
    return f"{value:.{DIGITS}g}"
