r"""Why a likelihood is not exact, in words, and how much of the answer that costs.

The grades are first-order estimates for a parameter that scales the source, mu = A m with m the source's share of the
counts, from the data alone: no fit is needed. With M the expected counts of a bin, b its background and V the variance
that the likelihood has, the information on A is the sum of m^2 / V.

* *Known background*: beta is set to b, whose own variance v is left out. The estimate of A then scatters by more than
  its interval says: its variance is 1 + rho times that, rho the mean of v / V with weights m^2 / V. And since
  E[1 / (m + b)] is more than its value at the mean of b, A comes out too high by the sum of m v / M^2 over the
  information, in a bin at most by what would follow from no background at all (the sum with b in place of m v / M^2).
* *chi^2 of counts*: weights 1 / V that are drawn with the data follow them, so that a bin is pulled by
  -dV/dS Var(S) / V counts: about one count per bin for V = S. The background that is subtracted pulls the other way.

m, M, b and v are means over neighbouring bins that hold `BLOCK` counts together, so that empty bins say something.

Source: Taylor expansion, derived here and compared with simulated fits in tests/statistics/test_shortfall.py; on chi^2,
Wheaton et al. 1995 (ApJ 438, 322) and Humphrey, Liu & Buote 2009 (ApJ 693, 822).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xrayflow.ogip import Spectrum
from xrayflow.statistics.auto import (
    StatisticChoice,
    background_in_source,
    background_is_counts,
    error_formula,
    gaussian_variance,
    is_whole,
    source_variance,
)

Array = NDArray[np.float64]

BLOCK = 25.0
"""Counts: their mean is known to a fifth."""

NARROW, BIASED = 0.01, 0.1
"""Intervals narrower by less than a hundredth, and shifted by less than a tenth of their sd, are as good as exact."""

NARROW_SOMEWHERE = 0.05
"""The same for what only a tenth of the bins decides."""

SMALL_SHARE = 0.01
"""Of the variance: a Gaussian in place of so little of it changes nothing that is seen."""

KNOWN = "the background's own error is not in the likelihood"


@dataclass(frozen=True)
class Shortfall:
    """What a likelihood lacks.

    Attributes:
        why: In one phrase with its grade; "" where it is exact.
        negligible: Whether nobody would see the difference.
    """

    why: str = ""
    negligible: bool = True


EXACT = Shortfall()


def find_shortfall(spectrum: Spectrum, choice: StatisticChoice, systematic: float = 0.0) -> Shortfall:
    """What the likelihood of a spectrum lacks.

    Args:
        spectrum: The noticed bins.
        choice: From `auto.choose`.
        systematic: s, the fractional systematic error of the source model.

    Returns:
        `EXACT` for Poisson counts without a background file, and for data with errors of their own of which no
        background is subtracted.
    """
    if choice.gaussian:
        return _of_gaussian(spectrum, systematic)
    return EXACT if spectrum.background is None else _of_known_background(spectrum, systematic)


def _of_known_background(spectrum: Spectrum, systematic: float) -> Shortfall:
    variance = _background_variance(spectrum)
    behind = background_in_source(spectrum)
    share = f"background is {_percent(behind.sum() / max(spectrum.counts.sum(), 1.0))} of the counts"
    if variance is None:
        return Shortfall(f"{KNOWN} (its file gives none; {share})", negligible=False)
    narrow, somewhere, shift = grade_known_background(spectrum.counts, behind, variance, systematic)
    if narrow < NARROW and somewhere < NARROW_SOMEWHERE and shift < BIASED:
        grade = f"{share}: intervals too narrow by less than {_percent(NARROW)}"
        return Shortfall(f"{KNOWN}, which is negligible here ({grade})", negligible=True)
    grade = f"{share}: intervals too narrow by about {_percent(narrow)}"
    if somewhere > max(2.0 * narrow, NARROW_SOMEWHERE):
        grade += f", by {_percent(somewhere)} for what is seen only where the background is strongest"
    if shift > BIASED:
        grade += f", norms too high by {_deviations(shift)}"
    return Shortfall(f"{KNOWN} ({grade})", negligible=False)


def grade_known_background(
    counts: Array, behind: Array, variance: Array, systematic: float = 0.0
) -> tuple[float, float, float]:
    """What it costs to take a background as known.

    Args:
        counts: (bin,) S.
        behind: (bin,) b, the background in the source's exposure.
        variance: (bin,) v, of b.
        systematic: s, the fractional systematic error of the source model.

    Returns:
        The share of its width that an interval of the norm lacks; the same of what only the tenth of the bins decides
        where the background is strongest; and by how many standard deviations the norm comes out too high.
    """
    size, total, background, v = _blocks(counts, behind, variance)
    source, total = np.maximum(total - background, 0.0), np.maximum(total, background)
    if (size * source).sum() ** 2 < (size * (total + v)).sum():
        source = total  # no source is seen: any shape will do, for its level cancels
    if not (total > 0).any():
        return 0.0, 0.0, 0.0
    seen = total > 0
    size, total, background, v, source = (values[seen] for values in (size, total, background, v, source))
    var = total + (systematic * source) ** 2
    weight = size * source**2 / var
    information = float(weight.sum())
    shift = float((size * np.minimum(source * v / total**2, background)).sum()) / np.sqrt(information)
    somewhere = np.quantile(np.repeat(v / var, size.astype(np.int64)), 0.9)
    return _too_narrow(float((weight * v / var).sum()) / information), _too_narrow(float(somewhere)), shift


def _of_gaussian(spectrum: Spectrum, systematic: float) -> Shortfall:
    pha, used = spectrum.observation.pha, spectrum.bin_of_channel >= 0
    formula = error_formula(pha, used)
    subtracted = spectrum.background is not None
    if is_whole(spectrum.counts) and (spectrum.stat_err is None or formula):
        return _of_chi2_of_counts(spectrum, systematic, gehrels="0.75" in formula)
    if spectrum.stat_err is None:
        return Shortfall("the file gives no errors: the root of what it holds stands for them", negligible=False)
    return _of_subtraction(spectrum) if subtracted else EXACT


def _of_chi2_of_counts(spectrum: Spectrum, systematic: float, *, gehrels: bool) -> Shortfall:
    counts, behind = spectrum.counts, background_in_source(spectrum)
    source = np.maximum(counts - behind, 0.0)
    var = gaussian_variance(spectrum) + (systematic * source) ** 2
    slope = 1.0 + 1.0 / np.sqrt(counts + 0.75) if gehrels else np.ones_like(counts)
    if spectrum.sys_err is not None:
        slope = slope + 2.0 * spectrum.sys_err**2 * counts
    pull = counts * slope / var
    if background_is_counts(spectrum) and spectrum.background_exposure is not None:
        pull = pull - (spectrum.source_exposure / spectrum.background_exposure) ** 2 * behind / var
    held = f"{counts.min():.0f} per bin at the least, {np.median(counts):.0f} in the median"
    words = f"chi2 takes Poisson counts as Gaussian ({held}"
    low, shift = grade_pull(source, var, pull)
    if abs(shift) < BIASED:
        return Shortfall(f"{words}: negligible here, norms off by {_percent(abs(low))})", negligible=True)
    side = "low" if low > 0 else "high"
    grade = f"norms too {side} by about {_percent(abs(low))}, {_deviations(abs(shift))}"
    return Shortfall(f"{words}: {grade})", negligible=False)


def grade_pull(source: Array, variance: Array, pull: Array) -> tuple[float, float]:
    """By how much a norm comes out too low where every bin is pulled down.

    Args:
        source: (bin,) m, the source's counts.
        variance: (bin,) V.
        pull: (bin,) counts.

    Returns:
        As a fraction of the norm, and in its standard deviations.
    """
    information = float((source**2 / variance).sum())
    if information <= 0.0:
        return 0.0, 0.0
    low = float((source * pull / variance).sum()) / information
    return low, low * float(np.sqrt(information))


def _of_subtraction(spectrum: Spectrum) -> Shortfall:
    """Data with errors of their own, less a background."""
    whole = gaussian_variance(spectrum)
    alone = source_variance(spectrum)
    share = float((whole - alone).sum() / whole.sum())
    words = "the error of the subtracted background is taken as Gaussian"
    if share < SMALL_SHARE:
        return Shortfall(f"{words}, which is negligible here ({_percent(share)} of the variance)", negligible=True)
    held = ""
    if background_is_counts(spectrum) and spectrum.background is not None:
        held = f", from {np.median(spectrum.background):.0f} counts per bin in the median"
    return Shortfall(f"{words} ({_percent(share)} of the variance{held})", negligible=False)


def _background_variance(spectrum: Spectrum) -> Array | None:
    """(bin,) v: of the background in the source's exposure; None where nothing says it.

    Of counts: as if one more had been seen in the band, since none does not mean that there is no background.
    """
    if spectrum.background is None or spectrum.background_exposure is None:
        return None
    ratio = spectrum.source_exposure / spectrum.background_exposure
    if background_is_counts(spectrum):
        return np.asarray(ratio**2 * (spectrum.background + 1.0 / spectrum.background.size))
    if spectrum.background_err is None or not (spectrum.background_err > 0).any():
        return None
    return np.asarray((ratio * spectrum.background_err) ** 2)


def _blocks(counts: Array, behind: Array, variance: Array) -> tuple[Array, Array, Array, Array]:
    """Number of bins of each block, and means over it."""
    running = np.cumsum(counts + np.maximum(behind, 0.0))
    # the last block takes what does not fill one
    block = np.minimum(running // BLOCK, max(running[-1] // BLOCK - 1.0, 0.0)).astype(np.int64)
    _, block = np.unique(block, return_inverse=True)
    size = np.bincount(block).astype(np.float64)
    total, background, v = (np.bincount(block, weights=values) / size for values in (counts, behind, variance))
    return size, total, background, v


def _too_narrow(rho: float) -> float:
    """Share of its width that an interval lacks whose variance is 1 + rho times what it should be."""
    return 1.0 - 1.0 / float(np.sqrt(1.0 + rho))


def _percent(share: float) -> str:
    """Two digits, fewer of a small number.

    >>> _percent(0.031), _percent(0.0101), _percent(0.00036), _percent(1e-7), _percent(4.0)
    ('3.1 %', '1 %', '0.04 %', 'less than 0.01 %', '400 %')
    """
    value = 100.0 * share
    if value < 0.01:
        return "less than 0.01 %"
    return f"{value:.0f} %" if value >= 10.0 else f"{value:.2g} %" if value >= 1.0 else f"{value:.1g} %"


def _deviations(shift: float) -> str:
    """Beyond 5 the estimate is a number no longer."""
    return f"about {shift:.1f} standard deviations" if shift < 5.0 else "more than 5 standard deviations"
