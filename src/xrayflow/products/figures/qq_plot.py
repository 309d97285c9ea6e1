"""Counts below each energy, observed against expected: what a model lacks bends the curve there, and moves the rest.

The band is what counting alone does to the observed counts below each energy, given all of them. Where nothing but
counting scatters (no systematic error, no calibration modes, no background that is integrated over), the largest
distance comes with the share of simulated spectra that go as far. The parameters were fitted to the observed counts and
not to the simulated ones, so that share is rather too large than too small.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from xrayflow.errors import DataError
from xrayflow.inference import Posterior
from xrayflow.products.figures.style import GREY, INK, MODEL, energy_ticks, look, new_figure

FloatArray = NDArray[np.float64]

SIMULATED = 1000

PLAIN = 1.001
"""Variance over counts up to which nothing but counting scatters."""

APART = 0.05
"""Of the axis: energies nearer to each other than this are not written side by side."""


@dataclass(frozen=True)
class Cumulated:
    """What is drawn.

    Attributes:
        energy: (bin,) keV, upper end of each bin.
        observed, expected: (bin,) counts up to there; expected are those of the model's median, scaled to all observed.
        low, high: (bin,) 5 and 95 % of simulated observations, by counting alone.
        distance: Largest |observed - expected|, as a share of all counts.
        p_value: Share of simulated spectra with as large a one; nan where more than counting scatters.
    """

    energy: FloatArray
    observed: FloatArray
    expected: FloatArray
    low: FloatArray
    high: FloatArray
    distance: float
    p_value: float

    def numbers(self) -> bytes:
        """As an ECSV table."""
        from astropy.table import Table

        columns = {"energy": self.energy, "observed": self.observed, "expected": self.expected}
        table = Table({**columns, "low": self.low, "high": self.high})
        for name in table.colnames:
            table[name].unit = "keV" if name == "energy" else "ct"
            table[name].info.format = ".7g"
        table.meta = {"distance": self.distance, "p_value": self.p_value}
        text = StringIO()
        table.write(text, format="ascii.ecsv")
        return text.getvalue().encode()


def cumulated(posterior: Posterior) -> Cumulated:
    """Counts below each energy.

    Args:
        posterior: The answer.

    Raises:
        DataError: The data are no counts.
    """
    predictive = posterior.predictive
    if posterior.likelihood.name == "Gaussian" or not predictive.counts.sum() > 0:
        raise DataError("a QQ plot is one of counts; these data are differences, or have none")
    order = np.argsort(predictive.energy_hi, kind="stable")
    counts, total = predictive.counts[order], predictive.total[1][order]
    observed, everything = np.cumsum(counts), float(counts.sum())
    expected = np.cumsum(total) * (everything / float(total.sum()))
    drawn = np.random.default_rng(posterior.seed).poisson(total, (SIMULATED, counts.size)) - total
    walks = np.cumsum(drawn, axis=1)
    bridges = walks - expected / everything * walks[:, -1:]
    low, high = np.quantile(bridges, [0.05, 0.95], axis=0)
    farthest = float(np.abs(observed - expected).max())
    exceed = int((np.abs(bridges).max(axis=1) >= farthest).sum())
    counting = bool((predictive.variance[order] <= PLAIN * total).all())
    return Cumulated(
        energy=predictive.energy_hi[order],
        observed=observed,
        expected=expected,
        low=expected + low,
        high=expected + high,
        distance=farthest / everything,
        p_value=(exceed + 1) / (SIMULATED + 1) if counting else float("nan"),
    )


def qq_figure(posterior: Posterior, made: Cumulated | None = None) -> Figure:
    """Counts below each energy, observed against expected, and their difference.

    Args:
        posterior: The answer.
        made: Of `cumulated`, where it is known already.
    """
    made = cumulated(posterior) if made is None else made
    x, observed, low, high = (
        values / made.observed[-1] for values in (made.expected, made.observed, made.low, made.high)
    )
    with look():
        figure = new_figure(6.6, 7.4)
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2.2, 1.0))
        figure.subplots_adjust(left=0.15, right=0.96, top=0.83, bottom=0.09, hspace=0.06)
        above.plot([0, 1], [0, 1], color=MODEL, lw=1.2, zorder=2)
        for ax, base in ((above, np.zeros_like(x)), (below, x)):
            ax.fill_between(x, low - base, high - base, color=MODEL, alpha=0.25, lw=0)
            ax.plot(x, observed - base, color=INK, lw=1.3, zorder=3)
        below.axhline(0.0, color=MODEL, lw=1.2, zorder=2)
        above.set_xlim(0, 1)
        above.set_ylim(0, 1)
        above.set_ylabel("share of the observed counts")
        below.set_ylabel("observed $-$ expected")
        below.set_xlabel("share of the expected counts")
        _energies(above, made, x)
        data = posterior.data[0]
        figure.text(0.15, 0.98, data.source or data.pha.name, fontsize=14, weight="bold", va="top", parse_math=False)
        figure.text(0.15, 0.945, caption(made), fontsize=9.5, va="top", color=GREY)
    return figure


def caption(made: Cumulated) -> str:
    """The distance, its chance where that is known, and what the band is of.

    Args:
        made: Of `cumulated`.
    """
    plain = np.isfinite(made.p_value)
    chance = f", p = {made.p_value:.2g}" if plain else ""
    wider = "" if plain else "; the likelihood allows more"
    return f"largest distance {100 * made.distance:.2g} % of the counts{chance}\nband: 90 % by counting alone{wider}"


def _energies(ax: Axes, made: Cumulated, x: FloatArray) -> None:
    """Energies along the upper edge."""
    scale = energy_ticks(float(made.energy[0]), float(made.energy[-1]))
    kept: list[tuple[float, str]] = []
    for place, label in zip(np.interp(scale.places, made.energy, x).tolist(), scale.labels, strict=True):
        if 0.0 < place < 1.0 and (not kept or place - kept[-1][0] > APART):
            kept.append((place, label))
    ax.tick_params(top=False, labelbottom=False)
    upper = ax.secondary_xaxis("top")
    upper.set_xticks([place for place, _ in kept], [label for _, label in kept])
    upper.set_xlabel("Energy [keV]")
