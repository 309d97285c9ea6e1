"""The spectrum: counts/s/keV with the folded model and its 90 % band, and what is left of the data.

Residuals are (data - model) / sigma, sigma being the noise's own at the posterior median: Poisson, the systematic error
and the background included.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter
from numpy.typing import NDArray
from scipy.special import gammaincinv

from xrayflow.inference import Posterior
from xrayflow.networks import Reconstruction
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

MOST_BINS = 250
"""More bins than this are merged for display."""

SHOWN_BINS = 180
FEW_COUNTS, SHOWN_COUNTS, WIDEST = 5.0, 12.0, 0.25
"""Spectra with fewer counts in more than a fifth of their bins are merged for display, to this many counts, in groups
no wider than this fraction of the energy."""


@dataclass(frozen=True)
class Shown:
    """What is drawn, merged for display or not.

    Attributes:
        lo: (group,) keV.
        hi: (group,) keV.
        counts: (group,) data: counts, or counts less the background where the errors are Gaussian.
        below: (group,) 68 % error of the counts downwards.
        above: (group,) upwards.
        total: (3, group) 5, 50 and 95 % of the expected counts, background included.
        background: Line of the background (energies in keV, counts/s/keV), coarser than the groups; empty for none.
        residual: (group,) (data - model) / sigma.
        bins: Number of bins before merging.
        exposure: s.
    """

    lo: FloatArray
    hi: FloatArray
    counts: FloatArray
    below: FloatArray
    above: FloatArray
    total: FloatArray
    background: tuple[FloatArray, FloatArray]
    residual: FloatArray
    bins: int
    exposure: float

    def density(self, counts: FloatArray) -> FloatArray:
        """Counts -> counts/s/keV."""
        return np.asarray(counts / (self.exposure * (self.hi - self.lo)))

    @property
    def merged(self) -> bool:
        """Whether groups are shown instead of bins."""
        return self.lo.size < self.bins


def spectrum_figure(posterior: Posterior) -> Figure:
    """Data, model and residuals of an answer.

    Args:
        posterior: The answer.
    """
    shown = shown_bins(posterior)
    with look():
        figure = new_figure(8.6, 7.0)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.3, 1.0))
        figure.subplots_adjust(left=0.115, right=0.975, top=0.845, bottom=0.09, hspace=0.05)
        _data_panel(above, shown)
        if posterior.reconstruction is not None:
            _reconstruction(above, posterior.reconstruction)
        _residual_panel(below, posterior, shown)
        for ax in (above, below):
            for lo, hi in posterior.fit.worst_energies:
                ax.axvspan(lo, hi, color=WORST, alpha=0.22, lw=0, zorder=0)
        _energy_axis(below, float(max(shown.lo[0], 1e-3 * shown.hi[0])), float(shown.hi[-1]))
        figure.align_ylabels([above, below])
        _legend(above, posterior, shown)
        _words(figure, posterior, shown)
    return figure


def shown_bins(posterior: Posterior) -> Shown:
    """The bins as they are drawn."""
    predictive = posterior.predictive
    gaussian = posterior.likelihood.name == "Gaussian"
    data, total = predictive.counts, predictive.total
    order = np.argsort(predictive.energy_lo, kind="stable")
    lo, hi = predictive.energy_lo[order], predictive.energy_hi[order]
    starts = display_groups(lo, hi, np.abs(data[order]), few=not gaussian)

    def summed(values: FloatArray) -> FloatArray:
        return np.add.reduceat(values[..., order], starts, axis=-1)

    counts, middle, spread = summed(data), summed(total[1]), summed(predictive.variance)
    if gaussian:
        below = above = np.sqrt(summed(predictive.data_variance))
    else:
        below, above = poisson_errors(counts)
    residual = np.divide(counts - middle, np.sqrt(spread), out=np.zeros_like(counts), where=spread > 0)
    return Shown(
        lo=lo[starts],
        hi=hi[np.append(starts[1:], lo.size) - 1],
        counts=counts,
        below=below,
        above=above,
        total=summed(total),
        background=_background(posterior),
        residual=residual,
        bins=lo.size,
        exposure=posterior.data[0].exposure,
    )


def _background(posterior: Posterior) -> tuple[FloatArray, FloatArray]:
    """Steps of the background scaled to the source, in groups that hold enough of it to be a line."""
    data = posterior.data[0]
    if data.background_counts is None or posterior.likelihood.name == "Gaussian":
        return np.empty(0), np.empty(0)
    order = np.argsort(data.energy_lo, kind="stable")
    lo, hi = data.energy_lo[order], data.energy_hi[order]
    starts = display_groups(lo, hi, data.background_counts[order])
    scaled = np.add.reduceat(data.background_in_source[order], starts)
    ends = hi[np.append(starts[1:], lo.size) - 1]
    density = scaled / (data.exposure * (ends - lo[starts]))
    return _steps(lo[starts], ends, np.where(density > 0, density, np.nan))


def display_groups(lo: FloatArray, hi: FloatArray, counts: FloatArray, few: bool = True) -> NDArray[np.int64]:
    """First bins of the groups that are drawn; every bin its own group where that can be read.

    Args:
        lo: (bin,) increasing, keV.
        hi: (bin,) keV.
        counts: (bin,).
        few: Whether few counts are a reason to merge.
    """
    sparse = few and float(np.mean(counts < FEW_COUNTS)) > 0.2
    if lo.size <= MOST_BINS and not sparse:
        return np.arange(lo.size)
    least = np.log(hi[-1] / max(lo[0], 1e-3 * hi[-1])) / SHOWN_BINS
    starts, collected = [0], 0.0
    for i in range(1, lo.size):
        collected += counts[i - 1]
        begin = max(lo[starts[-1]], 1e-6)
        width = np.log(max(hi[i - 1] / begin, 1.0))
        gap = lo[i] - hi[i - 1] > 0.5 * (hi[i - 1] - lo[i - 1])
        enough = width >= least and (not sparse or collected >= SHOWN_COUNTS or width >= WIDEST)
        if enough or gap:
            starts.append(i)
            collected = 0.0
    return np.array(starts)


def poisson_errors(counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """68 % errors of Poisson counts, downwards and upwards.

    Source: Gehrels 1986, ApJ 303, 336, the exact limits.

    >>> [round(float(x[0]), 2) for x in poisson_errors(np.array([4.0]))]
    [1.91, 3.16]
    """
    safe = np.maximum(counts, 0.0)
    lower = np.asarray(gammaincinv(np.maximum(safe, 1e-9), 0.158655), dtype=np.float64)
    below: FloatArray = safe - np.where(safe > 0, lower, 0.0)
    upper = np.asarray(gammaincinv(safe + 1.0, 0.841345), dtype=np.float64)
    above: FloatArray = upper - safe
    return below, above


def _steps(lo: FloatArray, hi: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A line of steps that breaks where bins do not touch."""
    x = np.stack([lo, hi], axis=1).ravel()
    y = np.repeat(values, 2)
    gap = np.flatnonzero(lo[1:] - hi[:-1] > 0.1 * (hi[:-1] - lo[:-1])) + 1
    return np.insert(x, 2 * gap, np.nan), np.insert(y, 2 * gap, np.nan)


def _data_panel(ax: Axes, shown: Shown) -> None:
    energy = np.sqrt(np.maximum(shown.lo, 1e-3 * shown.hi) * shown.hi)
    density = shown.density(shown.counts)
    low, high = shown.density(shown.below), shown.density(shown.above)
    model = shown.density(shown.total)
    positive = shown.counts > 0
    floor = _floor(density[positive], model[1], shown.background[1])
    ax.set_yscale("log")
    x, lower = _steps(shown.lo, shown.hi, np.maximum(model[0], floor))
    upper = _steps(shown.lo, shown.hi, np.maximum(model[2], floor))[1]
    ax.fill_between(x, lower, upper, color=MODEL, alpha=0.3, lw=0, zorder=4)
    ax.plot(*_steps(shown.lo, shown.hi, model[1]), color=MODEL, lw=1.3, zorder=5)
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
    ax.set_ylabel("Counts s$^{-1}$ keV$^{-1}$")
    ax.tick_params(labelbottom=False, which="both")


def _reconstruction(ax: Axes, made: Reconstruction) -> None:
    """The decoder's spectrum: its median as a line, the band of the draws as thin ones."""
    for values, width in zip(made.density, (0.6, 1.2, 0.6), strict=True):
        ax.plot(*_steps(made.energy_lo, made.energy_hi, values), color=RECONSTRUCTION, lw=width, ls="-", zorder=6)


def _floor(density: FloatArray, model: FloatArray, background: FloatArray) -> float:
    """Lower end of the count axis: below the data, and below model and background unless they go far beneath them."""
    low, least = float(np.min(density, initial=np.inf)), float(np.min(model[model > 0], initial=np.inf))
    if not np.isfinite(low):
        return 0.1 * least if np.isfinite(least) else 1e-6
    faint = float(np.nanmedian(background)) if np.any(background > 0) else np.inf
    return min(low / 2.5, max(least / 2.5, low / 30.0), max(faint / 3.0, low / 300.0))


def _residual_panel(ax: Axes, posterior: Posterior, shown: Shown) -> None:
    energy = np.sqrt(np.maximum(shown.lo, 1e-3 * shown.hi) * shown.hi)
    small = shown.lo.size > 120
    ax.errorbar(
        energy,
        shown.residual,
        yerr=1.0,
        xerr=(energy - shown.lo, shown.hi - energy),
        fmt="o",
        ms=2.2 if small else 3.4,
        elinewidth=0.6,
        color=INK,
        ecolor="#999999" if small else INK,
        zorder=3,
    )
    ax.axhline(0.0, color=MODEL, lw=1.2, zorder=4)
    reach = max(3.6, 1.15 * float(np.max(np.abs(shown.residual), initial=0.0) + 1.0))
    ax.set_ylim(-reach, reach)
    ax.set_ylabel(r"(data $-$ model) / $\sigma$")


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
    ax.set_xlabel("Energy [keV]")


def _legend(ax: Axes, posterior: Posterior, shown: Shown) -> None:
    net = posterior.likelihood.name == "Gaussian" and posterior.data[0].background_counts is not None
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=INK, marker="o", ms=4, lw=0.9, label="data less background" if net else "data"),
        Patch(facecolor=MODEL, alpha=0.3, label="90 % band of the model"),
        Line2D([], [], color=MODEL, lw=1.5, label="model, posterior median"),
    ]
    if np.any(shown.counts <= 0):
        handles.append(Line2D([], [], color=GREY, marker="v", ms=5, ls="", label=r"data $\leq$ 0: 68 % upper limit"))
    if shown.background[0].size:
        handles.append(Line2D([], [], color=BACKGROUND, lw=1.3, ls=(0, (5, 1.5)), label="background"))
    if posterior.reconstruction is not None:
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
