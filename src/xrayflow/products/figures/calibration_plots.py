"""Are posteriors as wide as they should be? Coverage, ranks and TARP of many sources with known truths."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xrayflow.products.figures.style import BACKGROUND, BEST, GREY, INK, MODEL, TRUTH, WORST, look, new_figure

LINES = (MODEL, BEST, BACKGROUND, TRUTH, WORST, "#56B4E9", "#8A6100", GREY)
BAND = "#E3E3E3"
COLUMNS = 3

Numbers = NDArray[np.float64]


def coverage_figure(
    levels: Numbers,
    share: Numbers,
    names: Sequence[str],
    band: tuple[Numbers, Numbers],
    sources: int,
    title: str = "",
) -> Figure:
    """Coverage against credible level, the paper's Figure 3, and below it the difference of the two.

    Args:
        levels: (level,) 0 .. 1.
        share: (level, line) of truths inside.
        names: Of the lines.
        band: (level,) between which a right coverage lies 95 % of the time, at one level.
        sources: How many.
        title: Above all.
    """
    with look(font_size=10.5):
        figure = new_figure(6.2, 7.4)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1.0))
        for ax, shift in ((above, 0.0), (below, 1.0)):
            ax.fill_between(levels, band[0] - shift * levels, band[1] - shift * levels, color=BAND, lw=0)
            ax.plot(levels, levels - shift * levels, color=INK, lw=1.0, ls=(0, (4, 3)))
            for number, name in enumerate(names):
                colour = LINES[number % len(LINES)]
                ax.plot(levels, share[:, number] - shift * levels, color=colour, lw=1.7, label=name)
        above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of truths inside")
        reach = 1.1 * max(float(np.abs(share - levels[:, None]).max()), 0.06)
        below.set(xlabel="credible level of the central interval", ylabel="inside $-$ level", ylim=(-reach, reach))
        above.legend(
            loc="upper left", title=f"{sources} spectra; band: 95 % of the time", alignment="left", title_fontsize=10
        )
        below.text(0.015, 0.93, "too wide", va="top", transform=below.transAxes, color=GREY, fontsize=9)
        below.text(0.015, 0.07, "too narrow", transform=below.transAxes, color=GREY, fontsize=9)
        figure.suptitle(title, fontsize=12, y=0.975)
        figure.subplots_adjust(0.125, 0.08, 0.97, 0.935, hspace=0.07)
    return figure


def rank_figure(
    rank: Numbers, names: Sequence[str], p_value: Numbers, band: tuple[float, float], bins: int, title: str = ""
) -> Figure:
    """Histograms of the truths' ranks, one for each parameter; flat where posteriors are right.

    Args:
        rank: (source, parameter) 0 .. 1.
        names: Of the parameters.
        p_value: (parameter,) of the ranks being uniform.
        band: Share of the sources between which a bin lies 95 % of the time.
        bins: How many.
        title: Above all.
    """
    rows = -(-len(names) // COLUMNS)
    edges = np.linspace(0.0, 1.0, bins + 1)
    counts = np.stack([np.histogram(column, edges)[0] for column in rank.T])
    top = 1.12 * max(float(counts.max()), band[1] * rank.shape[0])
    with look(font_size=10.5):
        figure = new_figure(3.5 * COLUMNS, 2.7 * rows + 0.5)
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for ax, name, count, p in zip(axes, names, counts, p_value, strict=False):
            ax.axhspan(band[0] * rank.shape[0], band[1] * rank.shape[0], color=BAND, lw=0)
            ax.axhline(rank.shape[0] / bins, color=INK, lw=1.0, ls=(0, (4, 3)))
            ax.stairs(count, edges, color=MODEL, lw=1.6)
            ax.set(xlim=(0, 1), ylim=(0, top), xlabel="rank of the truth", ylabel="spectra")
            ax.set_title(f"{name}    {_p_text(p)}")
        for ax in axes[len(names) :]:
            ax.set_axis_off()
        if len(axes) > len(names):
            _explain_ranks(axes[len(names)])
        figure.suptitle(title, fontsize=12, y=0.985)
        figure.subplots_adjust(0.06, 0.58 / (2.7 * rows), 0.98, 1.0 - 0.75 / (2.7 * rows), wspace=0.27, hspace=0.52)
    return figure


def tarp_figure(
    levels: Numbers,
    curves: Sequence[tuple[str, Numbers, float]],
    band: tuple[Numbers, Numbers],
    sources: int,
    title: str = "",
) -> Figure:
    """Expected coverage against level of regions around random points, over all parameters at once.

    Args:
        levels: (level,) 0 .. 1.
        curves: (name, (level,) expected coverage, p-value of being right).
        band: (level,) between which a right one lies 95 % of the time, at one level.
        sources: How many.
        title: Above all.
    """
    with look(font_size=10.5):
        figure = new_figure(5.4, 5.6)
        ax = figure.subplots()
        ax.fill_between(levels, *band, color=BAND, lw=0)
        ax.plot(levels, levels, color=INK, lw=1.0, ls=(0, (4, 3)))
        for number, (name, share, p) in enumerate(curves):
            ax.plot(levels, share, color=LINES[number % len(LINES)], lw=1.8, label=f"{name}, {_p_text(p)}")
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="credible level", ylabel="expected coverage (TARP)")
        ax.legend(
            loc="upper left", title=f"{sources} spectra; band: 95 % of the time", alignment="left", title_fontsize=10
        )
        figure.suptitle(title, fontsize=12, y=0.975)
        figure.subplots_adjust(0.135, 0.105, 0.965, 0.92)
    return figure


def _explain_ranks(ax: Axes) -> None:
    lines = (
        "flat: posteriors are right",
        "bowl: too narrow",
        "hump: too wide",
        "slope: shifted",
        "",
        "band: 95 % of bins",
    )
    ax.text(0.12, 0.9, "\n".join(lines), va="top", transform=ax.transAxes, linespacing=1.55)


def _p_text(p: float) -> str:
    """A p-value in few digits."""
    return f"p = {p:.2g}" if p >= 1e-4 else r"p < $10^{-4}$"
