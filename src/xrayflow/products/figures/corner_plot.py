"""The corner plot: every free parameter against every other, weighted draws, in the parameters' own scales."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from xrayflow.inference import Posterior, weighted_quantile
from xrayflow.prior import Marginal
from xrayflow.products.figures.style import (
    BEST,
    GREY,
    INK,
    MODEL,
    TRUTH,
    VERDICT_COLOURS,
    Scale,
    look,
    new_figure,
    ticks,
)
from xrayflow.products.numbers import with_uncertainty

CONTOUR_ESS = 100.0
"""Fewer effective draws than this make contours of noise: the draws themselves are shown instead."""

LEVELS = (0.68, 0.90)
FILLS = ("#FFFFFF00", "#BBDDF2", "#6FB1DE")
"""Outside, between the contours, inside."""

LABEL_GAP = 0.62
"""Inches between a panel and its axis label: room for tick labels at 45 degrees."""

TAIL = 1.0
"""A panel goes this many 90 % intervals beyond the ends of one at most: a thin tail would make a dot of the rest."""

REACH = 2.0
"""The truth is shown where it lies within so many widths of the draws' range; else the plot would show nothing else."""


@dataclass(frozen=True)
class Column:
    """One parameter on its axis: log10 of it where its prior is logarithmic.

    Attributes:
        marginal: Its prior.
        values: (draw,) places of the draws.
        lo: Left end of the axis.
        hi: Right end.
        limits: Places of the 90 % interval's ends.
        best: Place of the best fit.
        truth: Place of the true value; None where it is unknown or far outside.
        title: The interval in words.
    """

    marginal: Marginal
    values: NDArray[np.float64]
    lo: float
    hi: float
    limits: tuple[float, float]
    best: float
    truth: float | None
    title: str

    @property
    def logarithmic(self) -> bool:
        """Whether places are log10 of the parameter."""
        return self.marginal.scale == "log"


def corner_figure(posterior: Posterior) -> Figure:
    """The corner plot of an answer; frozen parameters and nuisances are not in it.

    Args:
        posterior: The answer.
    """
    columns = [_column(posterior, i) for i in range(len(posterior.model.names))]
    with look(font_size=10, axes_labelsize=10.5):
        size = len(columns)
        side = 2.0 * size + 1.8 if size > 2 else 5.6
        figure = new_figure(side, side if size > 2 else side + 0.9)
        _draw(figure, posterior, columns)
        _place(figure, posterior, columns)
        axes = np.array(figure.axes).reshape(size, size)
        for i in range(size):
            for j in range(i + 1):
                _dress(axes[i, j], columns[i], columns[j], i, j, last=i == size - 1)
    return figure


def _column(posterior: Posterior, i: int) -> Column:
    marginal = posterior.prior.marginals[i]

    def place(value: float) -> float:
        return math.log10(value) if marginal.scale == "log" else float(value)

    draws = posterior.draws[:, i]
    values = np.log10(draws) if marginal.scale == "log" else draws
    best = place(float(posterior.best[i]))
    lo, lower, upper, hi = (
        float(q) for q in weighted_quantile(values, posterior.weights, np.array([0.002, 0.05, 0.95, 0.998]))
    )
    reach = TAIL * (upper - lower)
    lo, hi = min(max(lo, lower - reach), best), max(min(hi, upper + reach), best)
    if not hi - lo > 1e-9 * max(abs(lo), abs(hi)):
        half = 1e-6 * max(abs(best), 1.0)
        lo, hi = best - half, best + half
    truth = posterior.truth.get(marginal.name)
    known = None if truth is None or (marginal.scale == "log" and truth <= 0) else place(truth)
    if known is not None and abs(known - best) > REACH * (hi - lo):
        known = None
    if known is not None:
        lo, hi = min(lo, known), max(hi, known)
    pad = 0.08 * (hi - lo)
    edges = place(marginal.lo), place(marginal.hi)
    # a draw at the prior's edge stays visible, and nothing is drawn where the prior forbids it
    lo, hi = max(lo - pad, edges[0] - 0.1 * pad), min(hi + pad, edges[1] + 0.1 * pad)
    return Column(marginal, values, lo, hi, (lower, upper), best, known, _interval(posterior, i))


def _interval(posterior: Posterior, i: int) -> str:
    """Median and 90 % interval, or the limit, as the panel's title."""
    name = posterior.names[i]
    lower, median, upper = (float(row[i]) for row in posterior.quantile([0.05, 0.5, 0.95]))
    middle, low, high = with_uncertainty((median, lower, upper), lower, upper)
    if f"upper_limit:{name}" in posterior.flags and f"lower_limit:{name}" not in posterior.flags:
        return f"< {high}"
    if f"lower_limit:{name}" in posterior.flags and f"upper_limit:{name}" not in posterior.flags:
        return f"> {low}"
    return f"{middle}  [{low}, {high}]"


def _draw(figure: Figure, posterior: Posterior, columns: list[Column]) -> None:
    """The panels themselves, by the corner package."""
    with warnings.catch_warnings():
        # corner imports arviz where that is installed, and arviz warns about itself
        warnings.simplefilter("ignore")
        import corner

    places, weights = np.stack([column.values for column in columns], axis=1), posterior.weights
    contours = posterior.ess >= CONTOUR_ESS
    repeat = len(columns) // places.shape[0] + 1  # corner wants more draws than parameters
    bins = int(np.clip(math.sqrt(max(posterior.ess, 1.0)), 14, 40))
    with warnings.catch_warnings():
        # a posterior on the edge of its box leaves panels whose contours corner cannot draw
        warnings.simplefilter("ignore")
        corner.corner(
            np.tile(places, (repeat, 1)),
            weights=np.tile(weights, repeat),
            range=[(column.lo, column.hi) for column in columns],
            bins=bins,
            smooth=1.2 if contours else None,
            hist_bin_factor=0.75,
            levels=LEVELS,
            color=MODEL,
            fig=figure,
            plot_contours=contours,
            plot_density=False,
            fill_contours=contours,
            plot_datapoints=False,
            quiet=True,
            labels=[""] * len(columns),
            hist_kwargs={"linewidth": 1.3, "histtype": "stepfilled", "facecolor": FILLS[1], "edgecolor": MODEL},
            contour_kwargs={"linewidths": 1.0, "colors": MODEL},
            contourf_kwargs={"colors": FILLS, "antialiased": True},
        )
    if not contours:
        axes = np.array(figure.axes).reshape(len(columns), len(columns))
        share = np.sqrt(weights / weights.max())
        for i in range(1, len(columns)):
            for j in range(i):
                axes[i, j].scatter(places[:, j], places[:, i], s=2 + 22 * share, color=MODEL, alpha=0.5, linewidths=0)


def _dress(ax: Axes, row: Column, column: Column, i: int, j: int, last: bool) -> None:
    """Marks, ticks in physical units and labels of one panel."""
    across = _ticks(column)
    ax.xaxis.set_major_locator(FixedLocator(across.places))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FixedFormatter(across.labels) if last else NullFormatter())
    ax.tick_params(labelsize=9, length=3)
    ax.set_xlim(column.lo, column.hi)
    if last:
        ax.set_xlabel(across.title(column.marginal.name, column.marginal.unit))
        ax.xaxis.set_label_coords(0.5, -LABEL_GAP / _height(ax))
        for label in ax.get_xticklabels():
            label.set_rotation(45)
    if i == j:
        _mark_diagonal(ax, column)
        return
    up = _ticks(row)
    ax.yaxis.set_major_locator(FixedLocator(up.places))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FixedFormatter(up.labels) if j == 0 else NullFormatter())
    ax.set_ylim(row.lo, row.hi)
    if j == 0:
        ax.set_ylabel(up.title(row.marginal.name, row.marginal.unit))
        ax.yaxis.set_label_coords(-LABEL_GAP / _height(ax), 0.5)
        for label in ax.get_yticklabels():
            label.set_rotation(45)
    if column.truth is not None:
        ax.axvline(column.truth, color=TRUTH, lw=1.1, ls=(0, (4, 2)))
    if row.truth is not None:
        ax.axhline(row.truth, color=TRUTH, lw=1.1, ls=(0, (4, 2)))
    ax.plot(column.best, row.best, marker="P", ms=8, color=BEST, mec="white", mew=0.9, zorder=10, clip_on=False)


def _ticks(column: Column) -> Scale:
    """Ticks of a panel, away from its ends: labels of neighbours would touch there."""
    margin = 0.04 * (column.hi - column.lo)
    return ticks(column.lo + margin, column.hi - margin, column.logarithmic)


def _mark_diagonal(ax: Axes, column: Column) -> None:
    ax.yaxis.set_major_locator(NullLocator())
    ax.set_title(column.title, fontsize=10 if len(column.title) < 30 else 8, pad=6)
    for limit in column.limits:
        ax.axvline(limit, color=INK, lw=1.0, ls=":")
    ax.axvline(column.best, color=BEST, lw=1.4)
    if column.truth is not None:
        ax.axvline(column.truth, color=TRUTH, lw=1.3, ls=(0, (4, 2)))


def _height(ax: Axes) -> float:
    """Inches of a panel."""
    figure = ax.get_figure(root=True)
    return 1.0 if figure is None else float(ax.get_position().height * figure.get_size_inches()[1])


def _place(figure: Figure, posterior: Posterior, columns: list[Column]) -> None:
    """Margins, the words and the legend: right of the diagonal, or above where there are too few panels for that."""
    beside = len(columns) > 2
    width, height = (float(inches) for inches in figure.get_size_inches())
    left = (0.5 if len(columns) == 1 else 1.35) / width
    top = 1.0 - (0.45 if beside else 1.75) / height
    figure.subplots_adjust(left=left, bottom=1.25 / height, right=1.0 - 0.25 / width, top=top, wspace=0.06, hspace=0.06)
    x, side = (1.0 - 0.3 / width, "right") if beside else (left, "left")
    data = posterior.data[0]
    lines = [
        (0.0, data.source or data.pha.name, {"fontsize": 14, "weight": "bold"}),
        (0.32, posterior.model.text, {"fontsize": 11}),
        (0.58, posterior.verdict, {"fontsize": 11, "weight": "bold", "color": VERDICT_COLOURS[posterior.verdict]}),
        (0.86, f"{posterior.ess:.0f} effective draws", {"fontsize": 10, "color": GREY}),
    ]
    if beside:
        lines.append((1.06, "above each column: median [90 % interval]", {"fontsize": 10, "color": GREY}))
        outside = _share_outside(posterior, columns)
        if outside > 0.005:
            lines.append(
                (1.24, f"{100 * outside:.1f} % of the weight lies outside the panels", {"fontsize": 10, "color": GREY})
            )
    start = height - (0.5 if beside else 0.25)
    for down, text, font in lines:
        figure.text(x, (start - down) / height, text, ha=side, va="top", parse_math=False, **font)  # type: ignore[arg-type]
    down, right = (lines[-1][0] + 0.22, x + 0.05 / width) if beside else (-0.08, 1.0 - 0.15 / width)
    figure.legend(
        handles=_handles(posterior, columns), loc="upper right", bbox_to_anchor=(right, (start - down) / height)
    )


def _share_outside(posterior: Posterior, columns: list[Column]) -> float:
    """Share of the weight that some panel does not show."""
    outside = np.any([(column.values < column.lo) | (column.values > column.hi) for column in columns], axis=0)
    return float(posterior.weights[outside].sum())


def _handles(posterior: Posterior, columns: list[Column]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=BEST, marker="P", ms=8, mec="white", lw=1.4, label="best fit")
    ]
    if any(column.truth is not None for column in columns):
        handles.append(Line2D([], [], color=TRUTH, ls=(0, (4, 2)), lw=1.3, label="truth"))
    handles.append(Line2D([], [], color=INK, ls=":", lw=1.0, label="90 % interval"))
    if len(columns) > 1 and posterior.ess >= CONTOUR_ESS:
        handles.append(Patch(facecolor=FILLS[2], edgecolor=MODEL, label="68 % of the draws"))
        handles.append(Patch(facecolor=FILLS[1], edgecolor=MODEL, label="90 % of the draws"))
    elif len(columns) > 1:
        handles.append(Line2D([], [], color=MODEL, marker="o", ls="", ms=5, alpha=0.6, label="draws (size: weight)"))
    return handles
