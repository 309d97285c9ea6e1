"""A catalogue at a glance: parameters along time, hardness against intensity, and how good its answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from xrayflow.products.figures.style import GREY, INK, MODEL, VERDICT_COLOURS, WORST, look, new_figure, ticks
from xrayflow.products.numbers import significant

Numbers = NDArray[np.float64]

MARKERS = {"certified": "o", "approximate": "s", "do-not-trust": "x"}
"""A shape for each verdict, beside its colour."""

VERDICTS = (*MARKERS, "failed")
PANEL = 1.35
"""Inches of a parameter's panel."""

COLOURS = "viridis"
MANY = 1500
"""Points of more are smaller and lie on each other."""


@dataclass(frozen=True, eq=False)
class Series:
    """One quantity over the sources.

    Attributes:
        name, unit: XSPEC's.
        is_log: Whether it is drawn on a logarithmic axis.
        low, middle, high: (source,) 5, 50, 95 %; NaN where there is no answer. Without ends, low and high are middle.
    """

    name: str
    unit: str
    is_log: bool
    low: Numbers
    middle: Numbers
    high: Numbers


def time_figure(
    time: Numbers,
    label: str,
    series: Sequence[Series],
    verdict: Sequence[str],
    title: str,
    marks: Sequence[tuple[float, str]] = (),
) -> Figure:
    """Panels of one quantity each, along time.

    Args:
        time: (source,).
        label: Of the time axis.
        series: The quantities.
        verdict: Of each source.
        title: Above all.
        marks: Times at which a quantity changed, by its name.
    """
    height = PANEL * len(series) + 1.35
    with look(font_size=10, axes_labelsize=9.5):
        figure = new_figure(8.6, height)
        axes = figure.subplots(len(series), 1, sharex=True, squeeze=False)[:, 0]
        figure.subplots_adjust(0.125, 0.55 / height, 0.98, 1.0 - 0.7 / height, hspace=0.06)
        for ax, one in zip(axes, series, strict=True):
            _points(ax, time, one, verdict)
            for at in (at for at, name in marks if name == one.name and np.isfinite(at)):
                ax.axvline(at, color=WORST, lw=1.6, zorder=0)
                ax.plot([at], [1.0], "v", color=WORST, ms=8, mec=INK, mew=0.6, transform=ax.get_xaxis_transform())
        axes[-1].set_xlabel(label)
        axes[-1].ticklabel_format(axis="x", useOffset=False, style="plain")
        figure.align_ylabels(list(axes))
        figure.text(0.125, 1.0 - 0.12 / height, title, va="top", fontsize=12, parse_math=False)
        _verdict_legend(figure, verdict, 1.0 - 0.3 / height)
    return figure


def hardness_figure(
    hardness: Numbers,
    intensity: Numbers,
    time: Numbers,
    labels: tuple[str, str, str],
    verdict: Sequence[str],
    title: str,
) -> Figure:
    """Intensity against hardness, in the colours of time.

    Args:
        hardness, intensity, time: (source,).
        labels: Of the three.
        verdict: Of each source.
        title: Above all.
    """
    good = np.isfinite(hardness) & np.isfinite(intensity) & (hardness > 0) & (intensity > 0)
    known = good & np.isfinite(time)
    with look():
        figure = new_figure(7.6, 6.4)
        ax = figure.subplots()
        figure.subplots_adjust(0.115, 0.105, 0.995, 0.885)
        colour = Normalize(*(np.nanmin(time[known]), np.nanmax(time[known])) if known.any() else (0.0, 1.0))
        order = np.argsort(np.where(known, time, np.inf))[: int(known.sum())]
        if 1 < order.size <= MANY:
            ax.plot(hardness[order], intensity[order], color="#CCCCCC", lw=0.6, zorder=1)
        for word, marker in MARKERS.items():
            own = np.array([one == word for one in verdict]) & good
            if own.any():
                edge = {} if marker == "x" else {"edgecolors": INK, "linewidths": 0.4}
                ax.scatter(
                    hardness[own], intensity[own], s=30 if good.sum() <= MANY else 8, c=time[own], norm=colour,
                    cmap=COLOURS, marker=marker, zorder=3, plotnonfinite=True, rasterized=good.sum() > MANY,
                    label=word, **edge,  # type: ignore[arg-type]
                )  # fmt: skip
        _log_axis(ax, hardness[good], intensity[good])
        ax.set(xlabel=labels[0], ylabel=labels[1])
        bar = figure.colorbar(ScalarMappable(colour, COLOURS), ax=ax, pad=0.02)
        bar.set_label(labels[2])
        bar.ax.ticklabel_format(useOffset=False, style="plain")
        figure.text(0.115, 0.975, title, va="top", fontsize=12, parse_math=False)
        _verdict_legend(figure, [one for one, kept in zip(verdict, good, strict=True) if kept], 0.935, INK)
    return figure


def quality_figure(verdict: Sequence[str], quantities: Mapping[str, Numbers], title: str) -> Figure:
    """How many sources have which verdict, and histograms of what says how good answers are.

    Args:
        verdict: Of each source.
        quantities: (source,) by what is written at the axis; NaN where there is none.
        title: Above all.
    """
    with look(font_size=10.5):
        figure = new_figure(3.5 * (1 + len(quantities)), 3.9)
        first, *others = figure.subplots(1, 1 + len(quantities))
        figure.subplots_adjust(0.075, 0.145, 0.985, 0.87, wspace=0.28)
        counts = [sum(one == word for one in verdict) for word in VERDICTS]
        colours = [*(VERDICT_COLOURS[word] for word in MARKERS), GREY]
        bars = first.bar(range(len(VERDICTS)), counts, color=colours, width=0.7)
        first.bar_label(bars, [str(count) for count in counts], fontsize=10)
        first.set_xticks(range(len(VERDICTS)), [word.replace("do-not-trust", "do not\ntrust") for word in VERDICTS])
        first.tick_params(axis="x", length=0, labelsize=8)
        first.set(ylabel="sources", ylim=(0, 1.12 * max(counts) + 1))
        first.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        for ax, (name, values) in zip(others, quantities.items(), strict=True):
            _histogram(ax, values, name)
        figure.suptitle(title, fontsize=12, y=0.975, parse_math=False)
    return figure


def _points(ax: Axes, time: Numbers, one: Series, verdict: Sequence[str]) -> None:
    many = len(verdict) > MANY
    for word, marker in MARKERS.items():
        own = np.array([each == word for each in verdict]) & np.isfinite(one.middle) & np.isfinite(time)
        if not own.any():
            continue
        colour = VERDICT_COLOURS[word]
        if not many:
            ax.vlines(time[own], one.low[own], one.high[own], color=colour, lw=0.9, alpha=0.6)
        ax.plot(
            time[own], one.middle[own], marker, color=colour, ms=2.0 if many else 3.6, mfc=colour,
            mew=1.0 if marker == "x" else 0, alpha=0.6 if many else 1.0, rasterized=many,
        )  # fmt: skip
    shown = one.middle[np.isfinite(one.middle) & (one.middle > (0 if one.is_log else -np.inf))]
    if shown.size == 0:
        ax.set_ylabel(one.name)
        return
    # the medians decide what is seen: an interval that reaches the edge of its prior would hide the rest
    ends = np.log10([shown.min(), shown.max()]) if one.is_log else np.array([shown.min(), shown.max()])
    pad = 0.15 * (ends[1] - ends[0]) or 0.1 * max(abs(ends[0]), 1e-3)
    lo, hi = float(ends[0] - pad), float(ends[1] + pad)
    scale = ticks(lo, hi, one.is_log)
    if one.is_log:
        ax.set_yscale("log")
    places = [10.0**place for place in scale.places] if one.is_log else scale.places
    ax.set_yticks(places, scale.labels)
    ax.minorticks_off()
    ax.set_ylim((10.0**lo, 10.0**hi) if one.is_log else (lo, hi))
    ax.set_ylabel(scale.title(one.name, one.unit).rstrip("\n"))


def _verdict_legend(figure: Figure, verdict: Sequence[str], top: float, colour: str | None = None) -> None:
    handles = [
        Line2D([], [], color=colour or VERDICT_COLOURS[word], marker=marker, ls="", ms=5, label=f"{word} ({number})")
        for word, marker in MARKERS.items()
        if (number := sum(one == word for one in verdict))
    ]
    figure.legend(handles=handles, loc="upper left", bbox_to_anchor=(0.11, top), ncols=3, handletextpad=0.2)


def _log_axis(ax: Axes, across: Numbers, up: Numbers) -> None:
    """Logarithmic axes with ticks that can be read."""
    for values, scale_of, places_of, limits in (
        (across, ax.set_xscale, ax.set_xticks, ax.set_xlim),
        (up, ax.set_yscale, ax.set_yticks, ax.set_ylim),
    ):
        scale_of("log")
        if values.size == 0:
            continue
        ends = np.log10([values.min(), values.max()])
        pad = 0.06 * (ends[1] - ends[0]) or 0.1
        made = ticks(float(ends[0] - pad), float(ends[1] + pad), True)
        factor = 10.0**made.power
        labels = [significant(10.0**place) for place in made.places] if factor != 1.0 else made.labels
        places_of([10.0**place for place in made.places], labels)
        limits(10.0 ** (ends[0] - pad), 10.0 ** (ends[1] + pad))
    ax.minorticks_off()


def _histogram(ax: Axes, values: Numbers, name: str) -> None:
    shown = np.log10(values[np.isfinite(values) & (values > 0)])
    if shown.size:
        lo, hi = float(shown.min()), float(shown.max())
        edges = np.linspace(lo, hi, 25) if hi > lo else np.array([lo - 0.5, lo + 0.5])
        ax.hist(shown, edges.tolist(), color=MODEL, alpha=0.85)
        ax.axvline(float(np.median(shown)), color=INK, lw=1.2, ls=(0, (4, 3)))
        made = ticks(float(edges[0]), float(edges[-1]), True)
        ax.set_xticks(made.places, [significant(10.0**place) for place in made.places])
        median = 10.0 ** float(np.median(shown))
        ax.set_title(f"median {significant(median)}", fontsize=9.5)
    ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    ax.set_xlabel(name)
