"""Every loss of a training, epoch by epoch, with the borders of its stages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from xrayflow.products.figures.style import GREY, INK, MODEL, look, new_figure
from xrayflow.products.learning import Curve

COLUMNS = 2
RANGE = 20.0
"""A positive loss that falls by more than this factor is shown on a logarithmic axis."""

TITLES = {
    "flow": "flow: $-$ln q(true parameters)",
    "latent": "latent: mean square error of a draw",
    "reconstruction": "reconstruction from a draw",
    "decoder": "decoder: reconstruction from the truth",
}


def learning_figure(curves: Sequence[Curve], title: str = "") -> Figure:
    """A panel for each loss.

    Args:
        curves: Of `read_curves`, at least one.
        title: Above all.
    """
    losses = list(dict.fromkeys(one.loss for one in curves))
    columns = min(COLUMNS, len(losses))
    rows = -(-len(losses) // columns)
    with look(font_size=10.5):
        figure = new_figure(5.0 * columns, 2.9 * rows + 0.6)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax, loss in zip(axes, losses, strict=False):
            own = [one for one in curves if one.loss == loss]
            _draw_loss(ax, own)
            _draw_stages(ax, own)
            ax.set_title(TITLES.get(loss, loss))
        for ax in axes[len(losses) :]:
            ax.set_axis_off()
        handles = [
            Line2D([], [], color=GREY, lw=1.4, label="training (mean over the epoch)"),
            Line2D([], [], color=MODEL, lw=1.8, label="validation (after it)"),
        ]
        height = 2.9 * rows + 0.6
        figure.legend(handles=handles, loc="upper center", ncols=2, bbox_to_anchor=(0.5, 1.0 - 0.32 / height))
        figure.suptitle(title, fontsize=12, y=1.0 - 0.12 / height)
        left = 0.6 / (5.0 * columns) + 0.02
        figure.subplots_adjust(left, 0.5 / height, 0.985, 1.0 - 0.98 / height, wspace=0.2, hspace=0.48)
    return figure


def _draw_loss(ax: Axes, curves: list[Curve]) -> None:
    values = np.concatenate([[*one.training, *one.validation] for one in curves])
    for one in curves:
        marker = "o" if len(one.epoch) == 1 else None
        ax.plot(one.epoch, one.training, color=GREY, lw=1.4, marker=marker, ms=3)
        ax.plot(one.epoch, one.validation, color=MODEL, lw=1.8, marker=marker, ms=3)
    if values.min() > 0 and values.max() / values.min() > RANGE:
        ax.set_yscale("log")
    ax.margins(y=0.14)  # room for the stages' names
    ax.set_xlabel("epoch")


def _draw_stages(ax: Axes, curves: list[Curve]) -> None:
    """The stages' borders, and their names where they are wide enough for them."""
    begin, last = curves[0].epoch[0], curves[-1].epoch[-1]
    ax.set_xlim(begin - 0.5, last + 0.5)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    for one in curves:
        first, end = one.epoch[0], one.epoch[-1]
        if first > begin:
            ax.axvline(first - 0.5, color=INK, lw=0.8, ls=":")
        if len(one.stage) <= 60 * (end - first + 1) / (last - begin + 1):
            place = 0.5 * (first + end), 0.97
            ax.text(*place, one.stage, ha="center", va="top", transform=ax.get_xaxis_transform(), color=GREY)
