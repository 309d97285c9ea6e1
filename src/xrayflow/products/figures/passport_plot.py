"""A network's passport as one picture: coverage, the part of the draws that counts, and widths beside exact ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xrayflow.products.figures.style import BACKGROUND, BEST, GREY, INK, MODEL, look, new_figure

BAND = "#E3E3E3"
COLOURS = {"none": MODEL, "modelled": BEST}
LABELS = {"none": "no background", "modelled": "modelled background"}

Numbers = NDArray[np.float64]


def passport_figure(
    levels: Numbers,
    curves: Mapping[str, Numbers],
    band: tuple[Numbers, Numbers],
    cells: Sequence[Mapping[str, Any]],
    title: str = "",
) -> Figure:
    """Three panels.

    Args:
        levels: (level,) 0 .. 1.
        curves: What they are of -> (level, parameter) share of truths inside.
        band: (level,) between which a right coverage lies 95 % of the time, at one level.
        cells: Of a passport: background, decade, final_efficiency_10_50_90, width_ratio_median; the last two may lack.
        title: Above all.
    """
    with look(font_size=10.5):
        figure = new_figure(13.0, 4.4)
        coverage, efficiency, width = figure.subplots(1, 3)
        _coverage(coverage, levels, curves, band)
        for number, background in enumerate(dict.fromkeys(str(cell["background"]) for cell in cells)):
            own = [cell for cell in cells if cell["background"] == background]
            colour, label = COLOURS.get(background, INK), LABELS.get(background, background)
            _efficiency(efficiency, own, colour, label, 0.12 * number)
            _width(width, own, colour, label)
        efficiency.set(
            ylim=(0, 1.19),
            yticks=np.arange(0.0, 1.01, 0.2),
            xlabel="log10 counts",
            ylabel="part of the final draws that counts",
        )
        efficiency.text(0.03, 0.03, "bars: 10 to 90 %", transform=efficiency.transAxes, color=GREY, fontsize=9)
        width.axhline(1.0, color=INK, lw=1.0, ls=(0, (4, 3)))
        width.set(yscale="log", xlabel="log10 counts", ylabel="network's width / exact width")
        for ax in (efficiency, width):
            if ax.get_legend_handles_labels()[0]:
                ax.legend(loc="best")
        figure.suptitle(title, fontsize=12, y=0.985)
        figure.subplots_adjust(0.065, 0.13, 0.985, 0.9, wspace=0.24)
    return figure


def _coverage(ax: Axes, levels: Numbers, curves: Mapping[str, Numbers], band: tuple[Numbers, Numbers]) -> None:
    ax.fill_between(levels, band[0] - levels, band[1] - levels, color=BAND, lw=0)
    ax.axhline(0.0, color=INK, lw=1.0, ls=(0, (4, 3)))
    for (name, share), colour in zip(curves.items(), (MODEL, BACKGROUND), strict=False):
        for number, column in enumerate(share.T):
            ax.plot(levels, column - levels, color=colour, lw=1.2, label=name if number == 0 else None)
    reach = 1.1 * max([0.06, *(float(np.abs(share - levels[:, None]).max()) for share in curves.values())])
    above = 1.5 * reach  # the legend stands there
    ax.set(xlim=(0, 1), ylim=(-reach, above), xlabel="credible level", ylabel="truths inside $-$ level")
    ax.legend(loc="upper left", title="a line for each parameter", alignment="left", title_fontsize=9)


def _efficiency(ax: Axes, cells: Sequence[Mapping[str, Any]], colour: str, label: str, shift: float) -> None:
    known = [cell for cell in cells if "final_efficiency_10_50_90" in cell]
    if not known:
        return
    at = np.array([cell["decade"] + 0.45 + shift for cell in known])
    low, middle, high = np.array([cell["final_efficiency_10_50_90"] for cell in known]).T
    ax.errorbar(at, middle, yerr=(middle - low, high - middle), color=colour, fmt="o", ms=4, lw=1.3, label=label)


def _width(ax: Axes, cells: Sequence[Mapping[str, Any]], colour: str, label: str) -> None:
    known = [cell for cell in cells if "width_ratio_median" in cell]
    if known:
        at = [cell["decade"] + 0.5 for cell in known]
        ax.plot(at, [cell["width_ratio_median"] for cell in known], color=colour, marker="o", ms=4, label=label)
