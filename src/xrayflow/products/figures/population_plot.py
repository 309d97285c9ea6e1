"""The distribution of one parameter over sources, or of two together, with the sources that it was found from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Ellipse, Patch
from numpy.typing import NDArray

from xrayflow.products.figures.style import BEST, GREY, INK, MODEL, look, new_figure, ticks, typeset

Numbers = NDArray[np.float64]

FILLS = ("#D6E8F5", "#9CC8E8")
"""Of the 90 and the 68 % band."""

MOST_BARS = 400
"""Sources whose intervals are drawn one by one; of more, medians alone."""

LEVELS = (0.68, 0.90)


@dataclass(frozen=True, eq=False)
class Along:
    """One parameter; places are log10 of it where its prior is logarithmic.

    Attributes:
        name, unit: XSPEC's.
        is_log: Whether places are log10.
        place: (place,).
        density: (5, place) 5, 16, 50, 84, 95 % of the density over sources, per unit of place; unused for two.
        low, middle, high: (source,) 16, 50, 84 % of each source's own posterior.
    """

    name: str
    unit: str
    is_log: bool
    place: Numbers
    density: Numbers
    low: Numbers
    middle: Numbers
    high: Numbers


def population_figure(along: Along, words: Sequence[str]) -> Figure:
    """The density of one parameter over sources, above the sources themselves in order of their medians.

    Args:
        along: The parameter.
        words: Lines beside the curve.
    """
    with look():
        figure = new_figure(7.6, 6.2)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.5, 1.0))
        figure.subplots_adjust(left=0.11, right=0.975, top=0.965, bottom=0.115, hspace=0.05)
        _density(above, along)
        handles = [
            Line2D([], [], color=MODEL, lw=1.8, label="median"),
            Patch(color=FILLS[1], label="68 %"),
            Patch(color=FILLS[0], label="90 %"),
        ]
        above.legend(handles=handles, loc="upper right", title="density over sources", alignment="left")
        above.text(0.02, 0.96, "\n".join(words), transform=above.transAxes, va="top", fontsize=10, linespacing=1.5)
        above.set_ylim(0, 1.45 * float(along.density[4].max()))
        span = np.concatenate([along.low, along.high])
        reach = 0.12 * float(np.ptp(span))
        above.set_xlim(max(along.place[0], span.min() - reach), min(along.place[-1], span.max() + reach))
        above.set_ylabel(f"density per {'dex' if along.is_log else typeset(along.unit) or 'unit'}")
        _sources(below, along)
        _axis(below, along)
    return figure


def correlation_figure(first: Along, second: Along, draws: Numbers, words: Sequence[str]) -> Figure:
    """Two parameters over sources: each source, and the normal that holds them together.

    Args:
        first, second: The parameters; the second upwards.
        draws: (draw, 5) of the two means, the two standard deviations behind each, and rho: mean sd mean sd rho.
        words: Lines above.
    """
    with look():
        figure = new_figure(7.2, 6.6)
        ax = figure.subplots()
        figure.subplots_adjust(left=0.125, right=0.97, top=0.86, bottom=0.11)
        bars = {"fmt": "o", "ms": 3.2, "color": GREY, "ecolor": "#BBBBBB", "elinewidth": 0.7, "zorder": 2}
        if first.middle.size <= MOST_BARS:
            errors = [(one.middle - one.low, one.high - one.middle) for one in (first, second)]
            ax.errorbar(first.middle, second.middle, xerr=errors[0], yerr=errors[1], **bars)  # type: ignore[arg-type]
        else:
            ax.scatter(first.middle, second.middle, s=3, color=GREY, alpha=0.4, linewidths=0, rasterized=True)
        for row in draws[:60]:
            _ellipse(ax, row, LEVELS[1], color=MODEL, lw=0.5, alpha=0.18)
        for level, dashes in zip(LEVELS, ("-", (0, (5, 3))), strict=True):
            _ellipse(ax, np.median(draws, axis=0), level, color=MODEL, lw=1.9, ls=dashes, zorder=4)
        for one, limits in ((first, ax.set_xlim), (second, ax.set_ylim)):
            lo, hi = np.quantile(one.middle, [0.002, 0.998])
            limits(lo - 0.1 * (hi - lo), hi + 0.1 * (hi - lo))
        _axis(ax, first)
        _axis(ax, second, upwards=True)
        handles = [
            Line2D([], [], color=GREY, marker="o", ls="", ms=4, label="a source: median, 68 %"),
            Line2D([], [], color=MODEL, lw=1.9, label="68 % of sources"),
            Line2D([], [], color=MODEL, lw=1.9, ls=(0, (5, 3)), label="90 % of sources (thin: draws)"),
        ]
        figure.legend(handles=handles, loc="upper right", bbox_to_anchor=(0.975, 0.985))
        figure.text(0.125, 0.97, "\n".join(words), va="top", fontsize=10, linespacing=1.5)
    return figure


def _density(ax: Axes, along: Along) -> None:
    low, lower, middle, upper, high = along.density
    ax.fill_between(along.place, low, high, color=FILLS[0], lw=0)
    ax.fill_between(along.place, lower, upper, color=FILLS[1], lw=0)
    ax.plot(along.place, middle, color=MODEL, lw=1.8)
    # where the sources' medians lie, without their errors: wider than the population by these
    edges = np.linspace(along.place[0], along.place[-1], 41)
    ax.hist(along.middle, edges.tolist(), density=True, histtype="step", color=BEST, lw=1.1, ls=(0, (4, 2)))
    ax.text(0.98, 0.58, "dashed: medians of the sources", transform=ax.transAxes, ha="right", color=BEST, fontsize=9)


def _sources(ax: Axes, along: Along) -> None:
    order = np.argsort(along.middle)
    rank = np.arange(order.size)
    if order.size <= MOST_BARS:
        ax.hlines(rank, along.low[order], along.high[order], color="#B5B5B5", lw=0.8)
    ax.scatter(along.middle[order], rank, s=4, color=INK, linewidths=0, zorder=3, rasterized=order.size > MOST_BARS)
    ax.set_ylim(-0.02 * order.size - 1, 1.02 * order.size)
    ax.set_yticks([])
    ax.set_ylabel(f"{order.size} sources")


def _axis(ax: Axes, along: Along, upwards: bool = False) -> None:
    lo, hi = ax.get_ylim() if upwards else ax.get_xlim()
    scale = ticks(lo, hi, along.is_log)
    label = scale.title(along.name, along.unit).replace("\n", " ").strip()
    if upwards:
        ax.set_yticks(scale.places, scale.labels)
        ax.set_ylabel(label)
    else:
        ax.set_xticks(scale.places, scale.labels)
        ax.set_xlabel(label)
    ax.minorticks_off()


def _ellipse(ax: Axes, row: Numbers, level: float, **line: Any) -> None:
    """The ellipse that holds a part of a normal of two parameters."""
    covariance = np.array([[row[1] ** 2, row[4] * row[1] * row[3]], [row[4] * row[1] * row[3], row[3] ** 2]])
    value, vector = np.linalg.eigh(covariance)
    size = 2.0 * np.sqrt(np.maximum(value, 0.0) * -2.0 * np.log1p(-level))
    angle = float(np.degrees(np.arctan2(vector[1, 1], vector[0, 1])))
    centre = (float(row[0]), float(row[2]))
    ax.add_patch(Ellipse(centre, float(size[1]), float(size[0]), angle=angle, fill=False, **line))
