"""Draws against truths of many sources, a panel for each parameter: the paper's Figure 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from xrayflow.prior import Marginal
from xrayflow.products.figures.style import BEST, INK, look, new_figure, ticks

COLUMNS = 3
COLOURS = "viridis"
MARGIN = 0.03


@dataclass(frozen=True, eq=False)
class Recovered:
    """One parameter's panel; places are log10 of the parameter where its prior is logarithmic.

    Attributes:
        marginal: Name, unit, box and scale.
        truth: (source,).
        draws: (set, source) one draw of each source in a set.
        pearson_r: Between draws and truths.
        slope: Mean and standard deviation over lines, one through each set.
        intercept: Mean.
    """

    marginal: Marginal
    truth: NDArray[np.float64]
    draws: NDArray[np.float64]
    pearson_r: float
    slope: tuple[float, float]
    intercept: float


def recovery_figure(
    panels: Sequence[Recovered], rate: NDArray[np.float64], title: str = "", known: str = "true"
) -> Figure:
    """Every draw of every source, coloured by the source's count rate, with the mean line and the identity.

    Args:
        panels: A parameter each.
        rate: (source,) counts/s, above 0.
        title: Above all.
        known: What the draws are held against, in a word before a parameter's name.
    """
    rows = -(-(len(panels) + 1) // COLUMNS)
    colour = LogNorm(float(rate.min()), max(float(rate.max()), float(rate.min()) * 1.01))
    with look(font_size=10, axes_labelsize=11):
        figure = new_figure(3.55 * COLUMNS, 3.45 * rows + 0.3)
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for ax, panel in zip(axes, panels, strict=False):
            _draw_panel(ax, panel, rate, colour, known)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        _explain(figure, axes[len(panels)], colour, panels[0].draws.shape, known)
        figure.suptitle(title, fontsize=12, y=0.985)
        figure.subplots_adjust(0.075, 0.09, 0.985, 1.0 - 0.65 / (3.45 * rows), wspace=0.32, hspace=0.36)
    return figure


def _draw_panel(ax: Axes, panel: Recovered, rate: NDArray[np.float64], colour: LogNorm, known: str) -> None:
    marginal = panel.marginal
    logarithmic = marginal.scale == "log"
    lo, hi = (float(np.log10(end)) if logarithmic else float(end) for end in (marginal.lo, marginal.hi))
    lo, hi = lo - MARGIN * (hi - lo), hi + MARGIN * (hi - lo)
    # dim sources over bright ones would hide the tight ones: bright on top
    order = np.argsort(rate)
    x = np.broadcast_to(panel.truth[order], panel.draws.shape)
    shown = np.broadcast_to(rate[order], panel.draws.shape)
    ax.scatter(
        x.T.ravel(), panel.draws[:, order].T.ravel(), s=2.2, c=shown.T.ravel(), norm=colour, cmap=COLOURS,
        alpha=0.45, linewidths=0, rasterized=True,
    )  # fmt: skip
    ends = np.array([lo, hi])
    ax.plot(ends, ends, color=INK, lw=1.1, ls=(0, (4, 3)))
    ax.plot(ends, panel.slope[0] * ends + panel.intercept, color=BEST, lw=1.6)
    ax.set(xlim=(lo, hi), ylim=(lo, hi))
    scale = ticks(lo, hi, logarithmic)
    ax.set_xticks(scale.places, scale.labels)
    ax.set_yticks(scale.places, scale.labels)
    ax.minorticks_off()
    label = scale.title(marginal.name, marginal.unit).replace("\n", " ").strip()
    ax.set_xlabel(f"{known} {label}")
    ax.set_ylabel("drawn")
    ax.set_title(f"r = {panel.pearson_r:.3f}    slope {panel.slope[0]:.3f} ± {panel.slope[1]:.3f}", fontsize=10)


def _explain(figure: Figure, ax: Axes, colour: LogNorm, shape: tuple[int, ...], known: str) -> None:
    """Colours and lines, in the place of a panel."""
    inside = ax.inset_axes((0.06, 0.78, 0.88, 0.07))
    bar = figure.colorbar(ScalarMappable(colour, COLOURS), cax=inside, orientation="horizontal")
    bar.set_label("count rate [counts/s]", fontsize=10)
    lines = [
        Line2D([], [], color=INK, lw=1.1, ls=(0, (4, 3)), label=f"drawn = {known}"),
        Line2D([], [], color=BEST, lw=1.6, label=f"mean of {shape[0]} fitted lines"),
    ]
    ax.legend(handles=lines, loc="upper left", bbox_to_anchor=(0.02, 0.5), fontsize=10)
    ax.text(0.06, 0.16, f"{shape[0]} draws of {shape[1]} spectra", transform=ax.transAxes, fontsize=10)
