"""The spectrum: counts/s/keV with the folded model, its bands and components, and what is left of the data.

Residuals are (data - model) / sigma, sigma being the noise's own at the posterior median: Poisson, the systematic error
and the background included. Or they are data / model, or data - model, with the errors of the data.
"""

from __future__ import annotations

from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter
from numpy.typing import NDArray

from xrayflow.inference import Posterior
from xrayflow.networks import Reconstruction
from xrayflow.products.display import KEV_ANGSTROM, PlotAxis, Residuals, Shown, shown_bins, steps
from xrayflow.products.figures.style import (
    BACKGROUND,
    GREY,
    INK,
    MODEL,
    RECONSTRUCTION,
    VERDICT_COLOURS,
    WORST,
    energy_ticks,
    look,
    new_figure,
)
from xrayflow.products.numbers import significant

FloatArray = NDArray[np.float64]

COMPONENT_STYLES = (
    ("#D55E00", (0, (5, 1.5))),
    ("#CC3399", (0, (1, 1))),
    ("#7A3E9D", (0, (6, 2, 1, 2))),
    ("#8A6100", (0, (3, 1, 1, 1, 1, 1))),
    ("#555555", (0, (8, 3))),
)
"""Colour and dashes of each component: told apart by both."""


def spectrum_figure(posterior: Posterior, shown: Shown | None = None) -> Figure:
    """Data, model and residuals of an answer.

    Args:
        posterior: The answer.
        shown: Of `shown_bins`, where it is not to be shown as usual.
    """
    shown = shown_bins(posterior) if shown is None else shown
    axis = shown.display.axis
    with look():
        figure = new_figure(8.6, 7.0)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.3, 1.0))
        figure.subplots_adjust(left=0.115, right=0.975, top=0.845, bottom=0.09, hspace=0.05)
        _data_panel(above, shown)
        if posterior.reconstruction is not None and axis is PlotAxis.keV:
            _reconstruction(above, posterior.reconstruction)
        _residual_panel(below, shown)
        for lo, hi in () if axis is PlotAxis.channel else posterior.fit.worst_energies:
            ends = (lo, hi) if axis is PlotAxis.keV else (KEV_ANGSTROM / hi, KEV_ANGSTROM / lo)
            for ax in (above, below):
                ax.axvspan(*ends, color=WORST, alpha=0.22, lw=0, zorder=0)
        _shared_axis(below, shown)
        figure.align_ylabels([above, below])
        _legend(above, posterior, shown)
        _words(figure, posterior, shown)
    return figure


def _shared_axis(ax: Axes, shown: Shown) -> None:
    """The axis below both panels."""
    axis = shown.display.axis
    ax.set_xlabel(axis.label)
    if axis is PlotAxis.channel:
        pad = 0.015 * float(shown.hi[-1] - shown.lo[0])
        ax.set_xlim(float(shown.lo[0]) - pad, float(shown.hi[-1]) + pad)
    else:
        _energy_axis(ax, float(max(shown.lo[0], 1e-3 * shown.hi[0])), float(shown.hi[-1]))


def _data_panel(ax: Axes, shown: Shown) -> None:
    energy = shown.middle
    density = shown.density(shown.counts)
    low, high = shown.density(shown.below), shown.density(shown.above)
    model = shown.density(shown.total)
    positive = shown.counts > 0
    floor = _floor(density[positive], model[1], shown.background[1])
    ax.set_yscale("log")
    for band, alpha in ((model[[0, 2]], 0.2), (shown.density(shown.total68), 0.35)):
        if band.size:
            x, lower = steps(shown.lo, shown.hi, np.maximum(band[0], floor))
            upper = steps(shown.lo, shown.hi, np.maximum(band[1], floor))[1]
            ax.fill_between(x, lower, upper, color=MODEL, alpha=alpha, lw=0, zorder=4)
    ax.plot(*steps(shown.lo, shown.hi, model[1]), color=MODEL, lw=1.3, zorder=5)
    for (colour, dashes), counts in zip(cycle(COMPONENT_STYLES), shown.components.values(), strict=False):
        ax.plot(*steps(shown.lo, shown.hi, shown.density(counts)), color=colour, ls=dashes, lw=1.3, zorder=4)
    ax.plot(*shown.background, color=BACKGROUND, lw=1.3, ls=(0, (5, 1.5)), zorder=4)
    small = shown.lo.size > 120
    ax.errorbar(
        energy[positive],
        density[positive],
        yerr=(np.minimum(low[positive], density[positive] * (1 - 1e-6)), high[positive]),
        xerr=(energy[positive] - shown.lo[positive], shown.hi[positive] - energy[positive]),
        fmt="o",
        color=INK,
        zorder=3,
        ms=2.2 if small else 3.4,
        elinewidth=0.7 if small else 0.9,
    )
    limit = (density + high)[~positive]
    shown_limit = limit > 0
    ax.plot(energy[~positive][shown_limit], limit[shown_limit], ls="", marker="v", ms=4, color=GREY, zorder=3)
    top = max(float(np.max((density + high)[positive], initial=0.0)), float(model[2].max()))
    ax.set_ylim(floor, top * 1.9)
    ax.set_ylabel(f"Counts s$^{{-1}}$ {shown.display.axis.unit}$^{{-1}}$")
    ax.tick_params(labelbottom=False, which="both")


def _reconstruction(ax: Axes, made: Reconstruction) -> None:
    """The decoder's spectrum: its median as a line, the band of the draws as thin ones."""
    for values, width in zip(made.density, (0.6, 1.2, 0.6), strict=True):
        ax.plot(*steps(made.energy_lo, made.energy_hi, values), color=RECONSTRUCTION, lw=width, ls="-", zorder=6)


def _floor(density: FloatArray, model: FloatArray, background: FloatArray) -> float:
    """Lower end of the count axis: below the data, and below model and background unless they go far beneath them."""
    low, least = float(np.min(density, initial=np.inf)), float(np.min(model[model > 0], initial=np.inf))
    if not np.isfinite(low):
        return 0.1 * least if np.isfinite(least) else 1e-6
    faint = float(np.nanmedian(background)) if np.any(background > 0) else np.inf
    return min(low / 2.5, max(least / 2.5, low / 30.0), max(faint / 3.0, low / 300.0))


def _residual_panel(ax: Axes, shown: Shown) -> None:
    kind = shown.display.residuals
    residual, below, above = shown.left(kind)
    small = shown.lo.size > 120
    ax.errorbar(
        shown.middle,
        residual,
        yerr=(below, above),
        xerr=(shown.middle - shown.lo, shown.hi - shown.middle),
        fmt="o",
        ms=2.2 if small else 3.4,
        elinewidth=0.6,
        color=INK,
        ecolor="#999999" if small else INK,
        zorder=3,
    )
    ax.axhline(kind.level, color=MODEL, lw=1.2, zorder=4)
    away = np.abs(residual - kind.level)
    if kind is Residuals.delchi:
        reach = max(3.6, 1.15 * float(np.max(away, initial=0.0) + 1.0))
    else:
        # a point whose error is far larger than all else would hide the rest
        errors = np.maximum(below, above)
        trusted = errors <= 10.0 * np.nanmedian(errors)
        reach = 1.15 * float(np.nanmax((away + errors)[trusted], initial=0.0)) or 1.0
    ax.set_ylim(kind.level - reach, kind.level + reach)
    label = {Residuals.delchi: r"(data $-$ model) / $\sigma$", Residuals.ratio: "data / model"}
    ax.set_ylabel(label.get(kind, "data $-$ model"))


def _energy_axis(ax: Axes, lo: float, hi: float) -> None:
    """A logarithmic axis with plain numbers."""
    edge = (hi / lo) ** 0.015
    lo, hi = lo / edge, hi * edge
    scale = energy_ticks(lo, hi)
    ax.set_xscale("log")
    ax.set_xlim(lo, hi)
    ax.xaxis.set_major_locator(FixedLocator(scale.places))
    ax.xaxis.set_major_formatter(FixedFormatter(scale.labels))
    ax.xaxis.set_minor_locator(
        FixedLocator([m * 10.0**p for p in range(-5, 6) for m in range(1, 10) if lo < m * 10.0**p < hi])
    )
    ax.xaxis.set_minor_formatter(NullFormatter())


def _legend(ax: Axes, posterior: Posterior, shown: Shown) -> None:
    net = posterior.likelihood.name == "Gaussian" and posterior.data[0].background_counts is not None
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=INK, marker="o", ms=4, lw=0.9, label="data less background" if net else "data"),
        *([Patch(facecolor=MODEL, alpha=0.5, label="68 % band of the model")] if shown.total68.size else []),
        Patch(facecolor=MODEL, alpha=0.2, label="90 % band of the model"),
        Line2D([], [], color=MODEL, lw=1.5, label="model, posterior median"),
    ]
    for (colour, dashes), name in zip(cycle(COMPONENT_STYLES), shown.components, strict=False):
        handles.append(Line2D([], [], color=colour, ls=dashes, lw=1.3, label=name))
    if np.any(shown.counts <= 0):
        handles.append(Line2D([], [], color=GREY, marker="v", ms=5, ls="", label=r"data $\leq$ 0: 68 % upper limit"))
    if shown.background[0].size:
        handles.append(Line2D([], [], color=BACKGROUND, lw=1.3, ls=(0, (5, 1.5)), label="background"))
    if posterior.reconstruction is not None and shown.display.axis is PlotAxis.keV:
        label = f"reconstruction of {posterior.network}, median and 90 %"
        handles.append(Line2D([], [], color=RECONSTRUCTION, lw=1.2, label=label))
    if posterior.fit.worst_energies:
        handles.append(Patch(facecolor=WORST, alpha=0.3, label="the data leave the model"))
    ax.legend(handles=handles, loc="best", handlelength=1.8)


def _words(figure: Figure, posterior: Posterior, shown: Shown) -> None:
    """Title: source, verdict, model, numbers."""
    data = posterior.data[0]
    reduced = f"{posterior.statistic.name} / dof = {posterior.statistic.value:.1f} / {posterior.statistic.dof}"
    deviance = f"deviance / dof = {posterior.deviance.value:.1f} / {posterior.deviance.dof}"
    instrument = " ".join(word for word in (data.telescope, data.instrument) if word)
    name = data.source or data.pha.name
    figure.text(0.115, 0.975, name, fontsize=15 if len(name) < 36 else 11, weight="bold", va="top", parse_math=False)
    figure.text(
        0.115,
        0.93,
        f"{posterior.model.text}    {instrument}, {significant(data.exposure, 4)} s",
        fontsize=11,
        va="top",
        parse_math=False,
    )
    parts = [reduced, deviance, f"p = {posterior.fit.p_value:.2g}"]
    if posterior.likelihood.systematic:
        parts.append(f"systematic {100 * posterior.likelihood.systematic:g} %")
    if posterior.likelihood.calibration is not None:
        parts.append(f"modes {posterior.likelihood.calibration.name}")
    if shown.merged:
        parts.append(f"{shown.bins} bins merged to {shown.lo.size} for display")
    figure.text(0.115, 0.89, "    ".join(parts), fontsize=9.5, va="top", color=GREY)
    figure.text(
        0.975, 0.972, posterior.verdict, fontsize=12.5, weight="bold", va="top", ha="right",
        color=VERDICT_COLOURS[posterior.verdict],
    )  # fmt: skip
