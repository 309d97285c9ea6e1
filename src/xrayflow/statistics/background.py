r"""What is believed of a background before the source region is seen: a gamma distribution in nearly every bin.

beta, the background counts in the source region of a bin, is gamma distributed with shape alpha and rate g, where the
level lnA and, of a counted background, the tilt are common to all bins:

    g(A) = fixed + scaled / A,      ln A = lnA + tilt x,      x from -1 to 1 over the band, in ln E.

* *Counted* (B Poisson counts in t_b, a region beside the source): the rates b are gamma distributed about a smooth
  background, with shape a and mean A bhat, so that p(b | B) has shape B + a and rate t_b + a / (A bhat), and
  p(B | A) is negative binomial. bhat is the mean of the neighbouring bins, a bin itself left out; how many neighbours,
  and a, are those under which B is likeliest. The mean is made of the counts that each bin has again, so level and tilt
  are left free: else a smooth background would seem known better than its counts know it. A vague prior of its own in
  every bin would act hundreds of times and pull the source by many standard deviations.
* *Modelled* (B +- sigma from a background model): the truth scatters about the model, a normal cut at zero whose mean
  and variance the gamma distribution has; A is what the model's level is off by. Where sigma is more than
  `WIDEST_GAMMA` of B, so that the two differ, it is the cut normal itself.

Source: derived here; Casella 1985 (Am. Stat. 39, 83) on empirical Bayes; Loredo 1992 on source and background regions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaln, log_ndtr
from torch import Tensor

from xrayflow.ogip import Spectrum
from xrayflow.prior import Marginal

Array = NDArray[np.float64]

SCALE, TILT = NUISANCES = ("background.lnA", "background.tilt")
"""Names of the nuisances."""

COUNTED_SCALE, WIDEST_SCALE = 1.0, 2.0
"""Standard deviation of level and tilt before B is seen, for a counted background, and the edge of their box."""

MODELLED_SCALE = 0.1
"""The same of a modelled background: levels of NICER's models are off by ten per cent."""

NEIGHBOURS = 2, 5, 15, 40
"""Bins on either side that a smooth background is the mean of."""

SHAPES = 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0
"""a: a background that follows the mean of its neighbours to 1 / sqrt(a)."""

UNSEEN = 0.5
"""Counts added to those of the neighbours: none seen does not mean that there are none."""

SMALLEST_ERROR = 1e-3
"""Of a modelled background: an error below this part of it changes nothing."""

WIDEST_GAMMA = 0.3
"""Of a modelled background: error / value up to which the gamma distribution stands for the cut normal."""

DEEP = -30.0
"""Standard deviations below zero from which the moments of a cut normal are taken from their series."""


@dataclass(frozen=True)
class BackgroundPrior:
    """Of one spectrum; all (bin,) but `shape` and `sd`.

    Attributes:
        alpha: Shape of the gamma distribution of beta, after B was seen.
        fixed, scaled: Its rate is fixed + scaled / A.
        counts: B; zeros where the background is modelled.
        mean: Of B at A = 1 before it was seen; zeros where the background is modelled.
        shape: a; 0 where the background is modelled.
        sd: Standard deviation of the nuisances; 0 holds A at 1.
        basis: (nuisance, bin) what each adds to ln A: ones for the level, x for the tilt.
        middle, error: Of the cut normal in the source's counts, where it takes the gamma distribution's place; 0 and 0
            elsewhere.
    """

    alpha: Array
    fixed: Array
    scaled: Array
    counts: Array
    mean: Array
    shape: float
    sd: float
    basis: Array
    middle: Array
    error: Array

    @property
    def scale(self) -> tuple[Marginal, ...]:
        """The priors of the nuisances; none where A is held."""
        if self.sd == 0.0:
            return ()
        edge = min(WIDEST_SCALE, 10.0 * self.sd)
        return tuple(
            Marginal(name, "", -edge, edge, "linear", 0.0, self.sd) for name in (SCALE, TILT)[: len(self.basis)]
        )


def counted(spectrum: Spectrum) -> BackgroundPrior:
    """The prior of a background of Poisson counts.

    Args:
        spectrum: With a background.
    """
    source_time, time = spectrum.source_exposure, _background_time(spectrum)
    used = spectrum.bin_of_channel[spectrum.bin_of_channel >= 0]
    channels = np.bincount(used, minlength=spectrum.counts.size).astype(np.float64)
    counts = _background(spectrum)
    best: tuple[float, float, Array] | None = None
    for number in NEIGHBOURS:
        mean = _neighbours(counts, channels * time, number)
        for shape in SHAPES:
            likely = float(_log_predictive(counts, shape, mean).sum())
            if best is None or likely > best[0]:
                best = likely, shape, mean
    assert best is not None
    _, shape, mean = best
    fixed = time / source_time
    energy = np.log(np.maximum(spectrum.energy_hi, 1e-300) * np.maximum(spectrum.energy_lo, spectrum.energy_hi * 1e-3))
    reach = np.ptp(energy)
    x = 2.0 * (energy - energy.min()) / reach - 1.0 if reach > 0 else np.zeros_like(energy)
    basis = np.stack([np.ones_like(x), x])
    nothing = np.zeros_like(x)
    return BackgroundPrior(
        alpha=counts + shape,
        fixed=fixed,
        scaled=shape * fixed / mean,
        counts=counts,
        mean=mean,
        shape=shape,
        sd=COUNTED_SCALE,
        basis=basis,
        middle=nothing,
        error=nothing,
    )


def modelled(spectrum: Spectrum, scale: float = MODELLED_SCALE) -> BackgroundPrior:
    """The prior of a background with errors of its own.

    Args:
        spectrum: With a background and its errors.
        scale: Standard deviation of ln A; 0 holds the model's level.
    """
    ratio = spectrum.source_exposure / _background_time(spectrum)
    error = np.zeros_like(ratio) if spectrum.background_err is None else spectrum.background_err
    middle = _background(spectrum) * ratio
    sd = np.maximum(error * ratio, SMALLEST_ERROR * np.maximum(np.abs(middle), SMALLEST_ERROR))
    mean, variance = cut_normal(middle, sd)
    nothing, is_wide = np.zeros_like(mean), _is_wide(middle, sd)
    return BackgroundPrior(
        alpha=mean**2 / variance,
        fixed=nothing,
        scaled=mean / variance,
        counts=nothing,
        mean=nothing,
        shape=0.0,
        sd=scale,
        basis=np.ones((1, mean.size)),
        middle=np.where(is_wide, middle, 0.0),
        error=np.where(is_wide, sd, 0.0),
    )


def sample_modelled(middle: Tensor, sd: Tensor, generator: torch.Generator) -> Tensor:
    """Backgrounds that a model says to be middle +- sd, as `modelled` believes them, at A = 1.

    Args:
        middle: >= 0, of any shape; where it is 0 there is none.
        sd: Of the same shape, > 0 where middle is.
        generator: Source of randomness.
    """
    b, error = (one.numpy() for one in (middle.clamp(min=1e-300), sd.clamp(min=1e-300)))
    mean, variance = (torch.from_numpy(one) for one in cut_normal(b, error))
    gamma = torch._standard_gamma(mean**2 / variance, generator=generator) * variance / mean
    wide = torch.from_numpy(_is_wide(b, error))
    if bool(wide.any()):
        gamma = torch.where(wide, sample_cut_normal(middle, sd.clamp(min=1e-300), generator), gamma)
    return torch.where(middle > 0, gamma, 0.0)


def sample_cut_normal(middle: Tensor, sd: Tensor, generator: torch.Generator) -> Tensor:
    """Draws of a normal cut at zero, by its upper tail.

    Args:
        middle, sd: Of the normal before it was cut; middle > `DEEP` sd.
        generator: Source of randomness.
    """
    share = torch.rand(middle.shape, generator=generator, dtype=middle.dtype)
    tail = torch.special.ndtri((share * torch.special.ndtr(middle / sd)).clamp(min=1e-300))
    drawn: Tensor = (middle - sd * tail).clamp(min=0.0)
    return drawn


def _is_wide(middle: Array, sd: Array) -> NDArray[np.bool_]:
    """Where the cut normal is no gamma distribution; far below zero it is exponential, which is one."""
    return np.asarray((sd > WIDEST_GAMMA * middle) & (middle > DEEP * sd))


def cut_normal(middle: Array, sd: Array) -> tuple[Array, Array]:
    """Mean and variance of a normal cut at zero.

    Args:
        middle, sd: Of the normal before it was cut.
    """
    z = middle / sd
    ratio = np.exp(-0.5 * z**2 - 0.5 * math.log(2.0 * math.pi) - log_ndtr(z))
    mean, variance = middle + sd * ratio, sd**2 * (1.0 - z * ratio - ratio**2)
    far = 1.0 / np.minimum(z, DEEP) ** 2
    deep = z < DEEP
    mean = np.where(deep, sd * np.sqrt(far) * (1.0 - 2.0 * far + 10.0 * far**2), mean)
    return mean, np.where(deep, sd**2 * far * (1.0 - 6.0 * far + 50.0 * far**2), variance)


def _background(spectrum: Spectrum) -> Array:
    assert spectrum.background is not None
    return spectrum.background


def _background_time(spectrum: Spectrum) -> Array:
    assert spectrum.background_exposure is not None
    return spectrum.background_exposure


def _neighbours(counts: Array, size: Array, number: int) -> Array:
    """Counts that the mean rate of the bins on either side gives, each bin itself left out.

    Args:
        counts: (bin,)
        size: (bin,) what counts are proportional to in a flat background.
        number: Of bins on either side.
    """
    bins = np.arange(counts.size)
    lo, hi = np.maximum(bins - number, 0), np.minimum(bins + number + 1, counts.size)

    def around(values: Array) -> Array:
        sums = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(sums[hi] - sums[lo] - values)

    beside = around(size)
    alone = beside <= 0.0  # a spectrum of one bin knows no neighbour
    seen = np.where(alone, counts, np.maximum(around(counts), 0.0))
    return np.asarray((seen + UNSEEN) / np.where(alone, size, beside) * size)


def _log_predictive(counts: Array, shape: float, mean: Array) -> Array:
    """ln p(B | A = 1), negative binomial."""
    part = mean / (shape + mean)
    return np.asarray(
        gammaln(counts + shape)
        - gammaln(shape)
        - gammaln(counts + 1.0)
        + shape * np.log1p(-part)
        + counts * np.log(part)
    )
