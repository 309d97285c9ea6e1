"""A spectrum as it is shown: bins merged for the eye, on an axis of energy, wavelength or channels, with its residuals.

What is drawn is told apart from how: the figures and the report show the same numbers, and so does the table of them.

Source: XSPEC manual, "setplot rebin" (bins are joined until they are significant, so many at most), "setplot energy",
"setplot wave", "setplot channel", "plot delchi", "plot ratio", "plot residuals".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from xrayflow.errors import DataError
from xrayflow.inference import Posterior

FloatArray = NDArray[np.float64]

MOST_BINS = 250
"""More bins than this are merged for display."""

SHOWN_BINS = 180
FEW_COUNTS, SHOWN_COUNTS, WIDEST = 5.0, 12.0, 0.25
"""Spectra with fewer counts in more than a fifth of their bins are merged for display, to this many counts, in groups
no wider than this fraction of the energy."""

KEV_ANGSTROM = 12.398419843320026
"""h c."""

HALF_GAP = 0.5
"""Of a bin's width: bins farther apart are not merged."""


class PlotAxis(StrEnum):
    """What bins are shown on."""

    keV = "keV"
    angstrom = "angstrom"
    channel = "channel"

    @property
    def label(self) -> str:
        """The axis label."""
        return {"keV": "Energy [keV]", "angstrom": "Wavelength [Å]", "channel": "Bin, as XSPEC counts them"}[self]

    @property
    def unit(self) -> str:
        """Of its numbers."""
        return {"keV": "keV", "angstrom": "Å", "channel": "bin"}[self]


class Residuals(StrEnum):
    """What is left of the data."""

    delchi = "delchi"
    ratio = "ratio"
    difference = "difference"

    def label(self, axis: PlotAxis) -> str:
        """The axis label, in plain characters."""
        said = {"delchi": "(data − model) / σ", "ratio": "data / model"}
        return said.get(self, f"data − model [counts/s/{axis.unit}]")

    @property
    def level(self) -> float:
        """Of data that meet the model."""
        return 1.0 if self is Residuals.ratio else 0.0


@dataclass(frozen=True)
class Display:
    """How a spectrum is shown.

    Attributes:
        axis: Of energy, wavelength or channels.
        residuals: What is shown below the spectrum.
        significance, most: XSPEC's `setplot rebin`: bins are joined until the source is so many standard deviations
            above 0, and so many of them at most; None joins only what could not be read otherwise.
    """

    axis: PlotAxis = PlotAxis.keV
    residuals: Residuals = Residuals.delchi
    significance: float | None = None
    most: int = 1

    def __post_init__(self) -> None:
        if self.significance is not None and not (self.significance > 0 and self.most >= 1):
            raise DataError(
                f"rebin {self.significance:g},{self.most}: give a significance above 0 and a number of bins, as 5,20"
            )

    @property
    def word(self) -> str:
        """What is not as usual, for the name of a file; "" for nothing."""
        rebin = [] if self.significance is None else [f"rebin{self.significance:g}_{self.most}"]
        usual = Display()
        said = [one for one, plain in ((self.residuals, usual.residuals), (self.axis, usual.axis)) if one != plain]
        return "-".join([*map(str, said), *rebin])


@dataclass(frozen=True)
class Shown:
    """What is drawn, merged for display or not, in the order of the axis.

    Attributes:
        display: How.
        lo, hi: (group,) on the axis.
        counts: (group,) data: counts, or counts less the background where the errors are Gaussian.
        below, above: (group,) 68 % errors of the counts.
        total: (3, group) 5, 50 and 95 % of the expected counts, background included.
        total68: (2, group) 16 and 84 %; no groups in answers of older versions.
        components: (group,) expected counts of each additive component by name; none where there is one alone.
        background: Line of the background (places on the axis, counts/s/unit), coarser than the groups; empty for none.
        behind: (group,) counts that the background file gives.
        spread: (group,) variance of the counts about the model.
        bins: Number of bins before merging.
        exposure: s.
    """

    display: Display
    lo: FloatArray
    hi: FloatArray
    counts: FloatArray
    below: FloatArray
    above: FloatArray
    total: FloatArray
    total68: FloatArray
    components: Mapping[str, FloatArray]
    background: tuple[FloatArray, FloatArray]
    behind: FloatArray
    spread: FloatArray
    bins: int
    exposure: float

    @cached_property
    def middle(self) -> FloatArray:
        """(group,) where its point stands."""
        if self.display.axis is PlotAxis.channel:
            return 0.5 * (self.lo + self.hi)
        found: FloatArray = np.sqrt(np.maximum(self.lo, 1e-3 * self.hi) * self.hi)
        return found

    @property
    def residual(self) -> FloatArray:
        """(group,) what is shown below the spectrum."""
        return self.left(self.display.residuals)[0]

    def density(self, counts: FloatArray) -> FloatArray:
        """Counts -> counts/s/unit of the axis; none stay none."""
        return np.asarray(counts / (self.exposure * (self.hi - self.lo)) if counts.size else counts)

    @property
    def merged(self) -> bool:
        """Whether groups are shown instead of bins."""
        return self.lo.size < self.bins

    def left(self, kind: Residuals) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Residuals of a kind, with their errors downwards and upwards; nan where the model gives nothing.

        Args:
            kind: Which.
        """
        model = self.total[1]
        if kind is Residuals.difference:
            return self.density(self.counts - model), self.density(self.below), self.density(self.above)
        if kind is Residuals.ratio:
            known = np.where(model > 0, model, np.nan)
            return self.counts / known, self.below / known, self.above / known
        one = np.ones_like(model)
        sigma = np.sqrt(self.spread)
        return np.divide(self.counts - model, sigma, out=np.zeros_like(model), where=sigma > 0), one, one


def shown_bins(posterior: Posterior, display: Display | None = None) -> Shown:
    """The bins as they are drawn.

    Args:
        posterior: The answer.
        display: How; default energies, merged only where they could not be read.
    """
    display = display or Display()
    predictive, gaussian = posterior.predictive, posterior.likelihood.name == "Gaussian"
    order = np.argsort(predictive.energy_lo, kind="stable")
    lo, hi = predictive.energy_lo[order], predictive.energy_hi[order]
    behind = np.concatenate([one.background_in_source for one in posterior.data])
    starts = _starts(posterior, display, order)
    exposure = posterior.data[0].exposure

    def summed(values: FloatArray) -> FloatArray:
        return np.add.reduceat(values[..., order], starts, axis=-1)

    counts = summed(predictive.counts)
    errors = (np.sqrt(summed(predictive.data_variance)),) * 2 if gaussian else poisson_errors(counts)
    number = np.concatenate([one.number for one in posterior.data]).astype(np.float64)[order]
    ends = np.append(starts[1:], lo.size) - 1
    low, high = on_axis(display.axis, lo[starts], hi[ends], number[starts], number[ends])
    # wavelengths fall with energy, and bins of a grating do too
    way = np.argsort(low, kind="stable")
    return Shown(
        display=display,
        lo=low[way],
        hi=high[way],
        counts=counts[way],
        below=errors[0][way],
        above=errors[1][way],
        total=summed(predictive.total)[:, way],
        total68=summed(predictive.total68)[:, way] if predictive.total68.shape[1] else predictive.total68,
        components={name: summed(values)[way] for name, values in predictive.components.items()},
        background=_background(posterior, display.axis),
        behind=np.zeros_like(counts) if gaussian else summed(behind)[way],
        spread=summed(predictive.variance)[way],
        bins=lo.size,
        exposure=exposure,
    )


def on_axis(
    axis: PlotAxis, lo: FloatArray, hi: FloatArray, first: FloatArray, last: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Ends of groups on an axis.

    Args:
        axis: Which.
        lo, hi: (group,) keV.
        first, last: (group,) XSPEC's numbers of their end bins.
    """
    if axis is PlotAxis.angstrom:
        return KEV_ANGSTROM / hi, KEV_ANGSTROM / np.maximum(lo, 1e-3 * hi)
    if axis is PlotAxis.channel:
        return np.minimum(first, last) - 0.5, np.maximum(first, last) + 0.5
    return lo, hi


def _starts(posterior: Posterior, display: Display, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """First bins of the groups, in the order of energy."""
    predictive, gaussian = posterior.predictive, posterior.likelihood.name == "Gaussian"
    lo, hi, counts = (of[order] for of in (predictive.energy_lo, predictive.energy_hi, predictive.counts))
    if display.significance is None:
        return display_groups(lo, hi, np.abs(counts), few=not gaussian)
    if gaussian:
        return significant_groups(lo, hi, counts, predictive.data_variance[order], display)
    behind = np.concatenate([one.background_in_source for one in posterior.data])[order]
    own = [one.background_counts for one in posterior.data]
    seen = np.concatenate(
        [np.zeros(d.counts.size) if b is None else b for d, b in zip(posterior.data, own, strict=True)]
    )
    # of a scaled background b' = s b with b counts the variance is s^2 b
    scatter = np.divide(behind**2, seen[order], out=np.zeros_like(behind), where=seen[order] > 0)
    return significant_groups(lo, hi, counts - behind, counts + scatter, display)


def significant_groups(
    lo: FloatArray, hi: FloatArray, net: FloatArray, variance: FloatArray, display: Display
) -> NDArray[np.int64]:
    """First bins of groups that are significant, or as large as they may be.

    Args:
        lo, hi: (bin,) keV, increasing.
        net: (bin,) counts above the background.
        variance: (bin,) of them.
        display: Says how significant, and how large.
    """
    starts, signal, noise = [0], 0.0, 0.0
    for i in range(1, lo.size):
        signal, noise = signal + float(net[i - 1]), noise + float(variance[i - 1])
        enough = signal >= float(display.significance or 0.0) * np.sqrt(noise) and signal > 0
        if enough or i - starts[-1] >= display.most or _is_gap(lo, hi, i):
            starts.append(i)
            signal = noise = 0.0
    return np.array(starts)


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
        enough = width >= least and (not sparse or collected >= SHOWN_COUNTS or width >= WIDEST)
        if enough or _is_gap(lo, hi, i):
            starts.append(i)
            collected = 0.0
    return np.array(starts)


def _is_gap(lo: FloatArray, hi: FloatArray, i: int) -> bool:
    """Whether bin i does not touch the one before it."""
    return bool(lo[i] - hi[i - 1] > HALF_GAP * (hi[i - 1] - lo[i - 1]))


def _background(posterior: Posterior, axis: PlotAxis) -> tuple[FloatArray, FloatArray]:
    """Steps of the background scaled to the source, in groups that hold enough of it to be a line."""
    data = posterior.data[0]
    if data.background_counts is None or posterior.likelihood.name == "Gaussian":
        return np.empty(0), np.empty(0)
    order = np.argsort(data.energy_lo, kind="stable")
    lo, hi, number = data.energy_lo[order], data.energy_hi[order], data.number[order].astype(np.float64)
    starts = display_groups(lo, hi, data.background_counts[order])
    scaled = np.add.reduceat(data.background_in_source[order], starts)
    ends = np.append(starts[1:], lo.size) - 1
    low, high = on_axis(axis, lo[starts], hi[ends], number[starts], number[ends])
    density = scaled / (data.exposure * (high - low))
    way = np.argsort(low, kind="stable")
    return steps(low[way], high[way], np.where(density > 0, density, np.nan)[way])


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


def steps(lo: FloatArray, hi: FloatArray, values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A line of steps that breaks where bins do not touch.

    Args:
        lo, hi: (group,) on an axis, increasing.
        values: (group,).
    """
    x = np.stack([lo, hi], axis=1).ravel()
    y = np.repeat(values, 2)
    gap = np.flatnonzero(lo[1:] - hi[:-1] > 0.1 * (hi[:-1] - lo[:-1])) + 1
    return np.insert(x, 2 * gap, np.nan), np.insert(y, 2 * gap, np.nan)
