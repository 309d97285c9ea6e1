"""The spectrum of the source, E^2 N(E), without the detector: the model with its bands and components, and the data.

The model needs no detector. Data points do: each is the model's median in its bin times observed / expected source
counts, so they follow the model that they are drawn with, and a line that the model lacks is smeared by the detector
all the same. Judge a fit by the folded figure; this one shows what the source would look like.

Source: XSPEC manual, "plot eeufspec" (and its caveat).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter
from numpy.typing import NDArray

from xrayflow.inference import Posterior, weighted_quantile
from xrayflow.models import additive_components
from xrayflow.products.display import Shown, shown_bins
from xrayflow.products.figures.spectrum_plot import COMPONENT_STYLES
from xrayflow.products.figures.style import GREY, INK, MODEL, energy_ticks, look, new_figure

FloatArray = NDArray[np.float64]

DRAWS = 1000
PER_DECADE = 150
"""Bins of the model's line."""

QUANTILES = (0.05, 0.16, 0.5, 0.84, 0.95)
DECADES = 3.0
"""That the axis reaches below the highest point at most."""


@dataclass(frozen=True)
class Unfolded:
    """What is drawn, all as E^2 N(E) [keV^2 ph / cm^2 / s / keV].

    Attributes:
        band: keV, of the fit.
        energy: (bin,) keV, of the model's line.
        bands: (5, bin) quantiles `QUANTILES` over draws.
        components: (bin,) median of each additive component, by name; none where there is one alone.
        data_lo, data_hi: (group,) keV.
        data, below, above: (group,) unfolded data with 68 % errors; nan where there is no source to unfold with.
    """

    band: tuple[float, float]
    energy: FloatArray
    bands: FloatArray
    components: dict[str, FloatArray]
    data_lo: FloatArray
    data_hi: FloatArray
    data: FloatArray
    below: FloatArray
    above: FloatArray

    def numbers(self) -> bytes:
        """The lines as an ECSV table; `points` has the data."""
        columns = {f"q{100 * q:g}": row for q, row in zip(QUANTILES, self.bands, strict=True)}
        return _ecsv({"energy": self.energy, **columns, **self.components})

    def points(self) -> bytes:
        """The data as an ECSV table."""
        columns = {"energy_lo": self.data_lo, "energy_hi": self.data_hi, "data": self.data}
        return _ecsv({**columns, "error_below": self.below, "error_above": self.above})


def unfolded(posterior: Posterior) -> Unfolded:
    """The source's spectrum of an answer.

    Args:
        posterior: The answer.
    """
    draws, (lo, hi) = posterior.model_draws(DRAWS, 1), posterior.band
    edges = np.geomspace(lo, hi, int(PER_DECADE * np.log10(hi / lo)) + 2)
    edges[0], edges[-1] = lo, hi
    energy = np.sqrt(edges[1:] * edges[:-1])

    def quantiles(values: FloatArray, levels: Sequence[float]) -> FloatArray:
        each = [weighted_quantile(column, draws.weights, np.array(levels)) for column in values.T]
        return np.stack(each, axis=-1)

    names = additive_components(posterior.model)
    shown = shown_bins(posterior)
    starts = np.maximum(shown.lo, 1e-3 * shown.hi)
    return Unfolded(
        band=(lo, hi),
        energy=energy,
        bands=quantiles(draws.densities(edges), QUANTILES) * energy**2,
        components={
            name: quantiles(draws.densities(edges, name), [0.5])[0] * energy**2 for name in names if len(names) > 1
        },
        data_lo=starts,
        data_hi=shown.hi,
        **_points(posterior, shown, starts, energy, quantiles(draws.densities(edges), [0.5])[0]),
    )


def _points(
    posterior: Posterior, shown: Shown, starts: FloatArray, energy: FloatArray, density: FloatArray
) -> dict[str, FloatArray]:
    """Data through the model: its median in each group times observed / expected source counts."""
    predictive = posterior.predictive
    order = np.argsort(predictive.energy_lo, kind="stable")
    number = np.searchsorted(shown.lo, predictive.energy_lo[order], side="right") - 1
    source = np.bincount(number, weights=predictive.expected[1][order], minlength=shown.lo.size)
    behind = shown.total[1] - source
    middle = np.sqrt(starts * shown.hi)
    model = np.exp(np.interp(np.log(middle), np.log(energy), np.log(np.maximum(density, 1e-300)))) * middle**2
    with np.errstate(divide="ignore", invalid="ignore"):
        per_count = np.where(source > 0, model / source, np.nan)
    return {
        "data": (shown.counts - behind) * per_count,
        "below": shown.below * per_count,
        "above": shown.above * per_count,
    }


def unfolded_figure(posterior: Posterior, made: Unfolded | None = None) -> Figure:
    """E^2 N(E) of an answer.

    Args:
        posterior: The answer.
        made: Of `unfolded`, where it is known already.
    """
    made = unfolded(posterior) if made is None else made
    with look():
        figure = new_figure(8.6, 6.0)
        ax = figure.subplots()
        figure.subplots_adjust(left=0.12, right=0.975, top=0.87, bottom=0.1)
        handles = _lines(ax, made)
        _data(ax, made)
        top = 2.0 * float(np.nanmax(np.concatenate([made.bands[-1], (made.data + made.above)[np.isfinite(made.data)]])))
        least = float(np.min(made.bands[2][made.bands[2] > 0], initial=top))
        ax.set_yscale("log")
        ax.set_ylim(max(least / 3.0, top * 10.0**-DECADES), top)
        _axis(ax, *made.band)
        ax.set_ylabel(r"E$^2$ N(E)  [keV$^2$ ph cm$^{-2}$ s$^{-1}$ keV$^{-1}$]")
        ax.legend(handles=handles, loc="best", handlelength=2.6)
        data = posterior.data[0]
        figure.text(0.12, 0.97, data.source or data.pha.name, fontsize=14, weight="bold", va="top", parse_math=False)
        words = f"{posterior.model.text}    data unfolded with this very model; judge the fit by the folded spectrum"
        figure.text(0.12, 0.915, words, fontsize=9.5, va="top", color=GREY, parse_math=False)
    return figure


def _lines(ax: Axes, made: Unfolded) -> list[Line2D | Patch]:
    """Bands, median and components."""
    outer, inner = (0, 4), (1, 3)
    for (low, high), alpha in ((outer, 0.18), (inner, 0.32)):
        ax.fill_between(made.energy, made.bands[low], made.bands[high], color=MODEL, alpha=alpha, lw=0, zorder=3)
    ax.plot(made.energy, made.bands[2], color=MODEL, lw=1.6, zorder=5)
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=INK, marker="o", ms=4, lw=0.9, label="data, unfolded"),
        Line2D([], [], color=MODEL, lw=1.6, label="model, posterior median"),
        Patch(facecolor=MODEL, alpha=0.5, label="68 % band"),
        Patch(facecolor=MODEL, alpha=0.18, label="90 % band"),
    ]
    for number, (name, values) in enumerate(made.components.items()):
        colour, dashes = COMPONENT_STYLES[number % len(COMPONENT_STYLES)]
        ax.plot(made.energy, values, color=colour, ls=dashes, lw=1.4, zorder=4)
        handles.append(Line2D([], [], color=colour, ls=dashes, lw=1.4, label=name))
    return handles


def _data(ax: Axes, made: Unfolded) -> None:
    middle = np.sqrt(made.data_lo * made.data_hi)
    good = np.isfinite(made.data) & (made.data > 0)
    small = good.sum() > 120
    ax.errorbar(
        middle[good],
        made.data[good],
        yerr=(np.minimum(made.below[good], made.data[good] * (1 - 1e-6)), made.above[good]),
        xerr=(middle[good] - made.data_lo[good], made.data_hi[good] - middle[good]),
        fmt="o",
        color=INK,
        ms=2.0 if small else 3.2,
        elinewidth=0.6,
        zorder=6,
    )


def _axis(ax: Axes, lo: float, hi: float) -> None:
    scale = energy_ticks(lo, hi)
    ax.set_xscale("log")
    ax.set_xlim(lo, hi)
    ax.xaxis.set_major_locator(FixedLocator(scale.places))
    ax.xaxis.set_major_formatter(FixedFormatter(scale.labels))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("Energy [keV]")


def _ecsv(columns: dict[str, FloatArray]) -> bytes:
    from astropy.table import Table

    table = Table(columns)
    for name in columns:
        table[name].unit = "keV" if name.startswith("energy") else "keV ph / (cm2 s)"
        table[name].info.format = ".6g"
    text = StringIO()
    table.write(text, format="ascii.ecsv")
    return text.getvalue().encode()
