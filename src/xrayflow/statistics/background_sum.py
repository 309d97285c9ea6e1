r"""ln p(S | mu) where a background is known by a gamma distribution: the sum of two negative binomials.

    S ~ Poisson(F mu + beta),     F ~ Gamma(shape 1 / s^2, mean 1),     beta ~ Gamma(shape alpha, rate g)

has the counts of the source and those of the background negative binomial and independent, so that

    p(S) = sum_{i = 0}^{S} Psource(i | mu) Pbackground(S - i).

Every limit is a case of it: s = 0 is a Poisson source, alpha -> infinity at alpha / g a known background.

* *Few counts* (`Polynomial`, S <= `FEW`). With X = (1 + g) mu / (1 + s^2 mu),

      p(S) = g^alpha (1 + g)^-(alpha + S) (1 + s^2 mu)^(-1 / s^2) sum_i source_i background_{S-i} X^i,

  whose coefficients neither mu nor g change.
* *Few behind* (`FewBehind`): many counts, of which the background gives few. The same sum from its other end is a
  polynomial in 1 / X, broken off where a background count is out of the question.
* *Many* (`quadrature`). Both gamma factors integrated, what is left is an integral over ln beta of a function with one
  peak: trapezoids about it, in a variable that makes its sides alike. Where the background is well known the function
  is nearly a normal, and Gauss and Hermite's nodes do (`near_normal`). A background that leaves a bin nearly a negative
  binomial of the sum's mean and variance (`is_matched`) is that (`matched`).

Each gives the slopes with mu and with g too: that with mu is the expected number of source counts in disguise.

Source: derived here; checked against mpmath in tests/statistics/test_background_sum.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.count_density import log_counts, log_counts_slope, log_saturated_poisson, stirling_remainder

FEW = 64
"""Counts of a bin up to which the polynomial is evaluated; it takes S products."""

CLASSES, BEHIND = (8, 16, 32, FEW), (8, 16, 32, 64, 128, 256)
"""Bins are evaluated together up to these counts, and up to these of the background where there are more."""

TOGETHER = 16_384
"""Draws times bins of one evaluation: more leave the processor's cache."""

AWAY, NOTHING = 6.0, -32.0
"""Standard deviations by which a source may miss a bin, and in natural log what a number of background counts is worth
then, relative to the likeliest, from which it is left out."""

NODES, DROP, UPDATES = 28, 22.0, 8
"""Of the quadrature: how many, how far in natural log below the peak it goes, and steps to find where that is."""

WELL_KNOWN, HERMITE = 30.0, 12
"""alpha from which so many of Gauss and Hermite's nodes are exact to 2e-8."""

LEFT_OUT, REACH = 1e-6, 3.0
"""Of the third moment, in units of the variance, at the expected counts that meet a bin and so many standard deviations
above: with less it is a negative binomial to 2e-4 in ln p within 3 sd, to 1e-6 in the median."""


@dataclass(frozen=True)
class Density:
    """Of each bin, at some expected counts.

    Attributes:
        value: ln p(S).
        by_mu: Its slope with the expected source counts.
        by_rate: Its slope with g.
    """

    value: Float[Tensor, "draw bin"]
    by_mu: Float[Tensor, "draw bin"]
    by_rate: Float[Tensor, "draw bin"]


@dataclass(frozen=True)
class Bins:
    """Bins of one source.

    Attributes:
        counts: S.
        alpha: Shape of the background's gamma distribution.
        s2: Square of the fractional systematic error of the source.
    """

    counts: Float[Tensor, " bin"]
    alpha: Float[Tensor, " bin"]
    s2: float

    @cached_property
    def saturated(self) -> Float[Tensor, " bin"]:
        """ln Poisson(S | S)."""
        return log_saturated_poisson(self.counts)

    def select(self, chosen: Tensor) -> Bins:
        """Some of them."""
        return Bins(self.counts[chosen], self.alpha[chosen], self.s2)


@dataclass(frozen=True)
class Polynomial:
    """Bins of few counts.

    Attributes:
        bins: The bins.
        coefficients: (power, bin) of r = X / unit, over the largest.
        largest: Natural log of that.
        unit: What X is measured in, so that powers of r stay within reach.
    """

    bins: Bins
    coefficients: Float[Tensor, "power bin"]
    largest: Float[Tensor, " bin"]
    unit: Float[Tensor, " bin"]

    @classmethod
    def of(cls, bins: Bins, rate: Float[Tensor, " bin"], most: int | None = None) -> Polynomial:
        """The coefficients.

        Args:
            bins: The bins.
            rate: g where most evaluations will be.
            most: Counts that none has more of.
        """
        most = int(bins.counts.max()) if most is None else min(most, int(bins.counts.max()))
        j = torch.arange(most, dtype=torch.float64)[:, None]
        start = torch.zeros((1, bins.counts.numel()), dtype=torch.float64)
        source = torch.cat([start, torch.log((1.0 + bins.s2 * j) / (j + 1.0)).expand(-1, start.shape[1]).cumsum(0)])
        background = torch.cat([start, torch.log((bins.alpha + j) / (j + 1.0)).cumsum(0)])
        i = torch.arange(most + 1)[:, None]
        other = bins.counts.to(torch.int64) - i
        unit = (1.0 + rate) * (bins.counts + 1.0)
        log = source + background.gather(0, other.clamp(min=0)) + i * torch.log(unit)
        log = torch.where(other >= 0, log, -torch.inf)
        largest = log.amax(0)
        return cls(bins, torch.exp(log - largest), largest, unit)

    def value(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S).

        Args:
            mu: Of the source.
            rate: g.
        """
        r = self._power(mu, rate)
        value = self.coefficients[-1].expand(r.shape)
        for coefficient in self.coefficients[:-1].flip(0):
            value = torch.addcmul(coefficient, value, r)
        return self._whole(mu, rate, value)

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """That, and its slopes."""
        bins, spread, r = self.bins, 1.0 + self.bins.s2 * mu, self._power(mu, rate)
        value, slope = self.coefficients[-1].expand(r.shape), torch.zeros_like(r)
        for coefficient in self.coefficients[:-1].flip(0):
            slope = torch.addcmul(value, slope, r)
            value = torch.addcmul(coefficient, value, r)
        ratio = slope / value
        by_mu = ratio * (1.0 + rate) / (self.unit * spread**2) - 1.0 / spread
        behind = bins.counts - r * ratio
        by_rate = bins.alpha / rate - (bins.alpha + behind) / (1.0 + rate)
        return Density(self._whole(mu, rate, value), by_mu, by_rate)

    def _power(self, mu: Tensor, rate: Tensor) -> Tensor:
        """r, of which no power overflows."""
        r = (1.0 + rate) * mu / (self.unit * (1.0 + self.bins.s2 * mu))
        return torch.minimum(r, 10.0 ** (300.0 / self.bins.counts.clamp(min=1.0)))

    def _whole(self, mu: Tensor, rate: Tensor, polynomial: Tensor) -> Tensor:
        """The polynomial with what stands before it."""
        bins, s2 = self.bins, self.bins.s2
        alone = -torch.log1p(s2 * mu) / s2 if s2 > 0 else -mu
        known = self.largest - bins.alpha * torch.log1p(1.0 / rate) - bins.counts * torch.log1p(rate)
        return known + alone + torch.log(polynomial)


@dataclass(frozen=True)
class FewBehind:
    """Bins of many counts, few of which are the background's.

    Attributes:
        bins: The bins.
        coefficients: (background counts, bin) of r = unit / X, over the largest.
        largest: Natural log of that.
        unit: What X is measured in.
        reach: The largest r for which no more terms are needed; the quadrature serves beyond.
    """

    bins: Bins
    coefficients: Float[Tensor, "behind bin"]
    largest: Float[Tensor, " bin"]
    unit: Float[Tensor, " bin"]
    reach: Float[Tensor, " bin"]

    @classmethod
    def of(cls, bins: Bins, rate: Float[Tensor, " bin"], most: int) -> FewBehind:
        """The coefficients.

        Args:
            bins: The bins.
            rate: g where most evaluations will be.
            most: Counts of the background that are summed up to.
        """
        log, unit = _behind(bins, rate, most)
        largest = log.amax(0)
        return cls(bins, torch.exp(log - largest), largest, unit, torch.exp(_tilt(bins)))

    def value(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S).

        Args:
            mu: Of the source.
            rate: g.
        """
        x, r = self._power(mu, rate)
        value = self.coefficients[-1].expand(r.shape)
        for coefficient in self.coefficients[:-1].flip(0):
            value = torch.addcmul(coefficient, value, r)
        found = self._whole(mu, rate, x, value)
        far = x * self.reach < 1.0
        if bool(far.any()):
            found[far] = self._beyond(mu, rate, far, slopes=False).value[0]
        return found

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """That, and its slopes."""
        bins, spread = self.bins, 1.0 + self.bins.s2 * mu
        x, r = self._power(mu, rate)
        value, slope = self.coefficients[-1].expand(r.shape), torch.zeros_like(r)
        for coefficient in self.coefficients[:-1].flip(0):
            slope = torch.addcmul(value, slope, r)
            value = torch.addcmul(coefficient, value, r)
        behind = r * slope / value
        by_mu = ((bins.counts - behind) / mu.clamp(min=1e-300) - 1.0) / spread
        by_rate = bins.alpha / rate - (bins.alpha + behind) / (1.0 + rate)
        found = Density(self._whole(mu, rate, x, value), by_mu, by_rate)
        far = x * self.reach < 1.0
        if bool(far.any()):
            exact = self._beyond(mu, rate, far)
            found.value[far], found.by_mu[far], found.by_rate[far] = exact.value[0], exact.by_mu[0], exact.by_rate[0]
        return found

    def _beyond(self, mu: Tensor, rate: Tensor, far: Tensor, slopes: bool = True) -> Density:
        """Where the background must give more counts than are summed up to."""
        bins = self.bins.select(far.nonzero()[:, 1])
        if bool((bins.alpha >= WELL_KNOWN).all()):
            return near_normal(bins, mu[far][None], rate[far][None], slopes)
        return quadrature(bins, mu[far][None], rate[far][None])

    def _power(self, mu: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """X / unit, and its inverse, of which no power overflows."""
        x = (1.0 + rate) * mu / (self.unit * (1.0 + self.bins.s2 * mu))
        x = x.clamp(min=1e-300)
        return x, 1.0 / x.clamp(min=10.0 ** (-300.0 / max(self.coefficients.shape[0] - 1, 1)))

    def _whole(self, mu: Tensor, rate: Tensor, x: Tensor, polynomial: Tensor) -> Tensor:
        """The polynomial with what stands before it."""
        bins, s2 = self.bins, self.bins.s2
        alone = -torch.log1p(s2 * mu) / s2 if s2 > 0 else -mu
        known = self.largest - bins.alpha * torch.log1p(1.0 / rate) - bins.counts * torch.log1p(rate)
        return known + alone + bins.counts * torch.log(x * self.unit) + torch.log(polynomial)


def _behind(bins: Bins, rate: Float[Tensor, " bin"], most: int) -> tuple[Tensor, Float[Tensor, " bin"]]:
    """(background counts, bin) ln of the coefficients of 1 / X in units of it where source and bin meet, and that."""
    j = torch.arange(most, dtype=torch.float64)[:, None]
    start = torch.zeros((1, bins.counts.numel()), dtype=torch.float64)
    background = torch.cat([start, torch.log((bins.alpha + j) / (j + 1.0)).cumsum(0)])
    # source_{S - j}, from source_S down
    left = (bins.counts - j).clamp(min=1.0)
    down = torch.log(left / (1.0 + bins.s2 * (left - 1.0))).cumsum(0)
    whole = log_source(bins)
    met = (bins.counts - bins.alpha / rate).clamp(min=0.5 * bins.counts)
    unit = (1.0 + rate) * met / (1.0 + bins.s2 * met)
    behind = torch.arange(most + 1, dtype=torch.float64)[:, None]
    log = whole + background + torch.cat([start, down]) - behind * torch.log(unit)
    return torch.where(behind > bins.counts, -torch.inf, log), unit


def log_source(bins: Bins) -> Float[Tensor, " bin"]:
    """ln of the source's coefficient of X^S: Gamma(S + 1 / s^2) s^(2 S) / (Gamma(1 / s^2) S!).

    Args:
        bins: The bins.
    """
    s, s2 = bins.counts, bins.s2
    plain = bins.saturated - torch.xlogy(s, s) + s
    if s2 == 0.0:
        return plain
    ratio = s * s2
    more = stirling_remainder(1.0 / (s + 1.0 / s2)) - stirling_remainder(torch.tensor(s2, dtype=torch.float64))
    return plain + (s - 0.5) * torch.log1p(ratio) - (ratio - torch.log1p(ratio)) / s2 + more


def _tilt(bins: Bins) -> Float[Tensor, " bin"]:
    """How much rather each count is the background's where a source misses a bin, in natural log."""
    counts = bins.counts.clamp(min=1.0)
    return (AWAY * torch.sqrt(1.0 / counts + bins.s2)).clamp(max=1.0)


def most_behind(bins: Bins, rate: Float[Tensor, " bin"]) -> Float[Tensor, " bin"]:
    """Counts of the background beyond which none matters, even where a source misses a bin; inf where there are more
    than the last of `BEHIND`.

    Args:
        bins: The bins.
        rate: g.
    """
    log, _ = _behind(bins, rate, BEHIND[-1])
    j = torch.arange(BEHIND[-1] + 1, dtype=torch.float64)[:, None]
    tilted = log + j * _tilt(bins)
    matters = tilted > tilted.amax(0) + NOTHING
    last = torch.where(matters, j, 0.0).amax(0)
    return torch.where(matters[-1], torch.inf, last + 1.0)


class Integrand:
    """What is integrated over ln beta for every bin, about its peak."""

    def __init__(self, bins: Bins, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> None:
        self.bins, self.mu, self.rate = bins, mu, rate
        s, alpha, s2 = bins.counts, bins.alpha, bins.s2
        a = (1.0 + rate) / (1.0 + s2 * mu)
        b = alpha + s - (1.0 + s2 * s) * a * mu
        root = torch.sqrt(b * b + 4.0 * a * alpha * mu)
        self.peak = torch.where(b > 0, (b + root) / (2.0 * a), 2.0 * alpha * mu / (root - b).clamp(min=1e-300))
        self.f = self.peak / (mu + self.peak)
        # the last term of h is N ln(1 + e x), and (1 + g) beta x without a systematic error
        self.n = s + alpha + 1.0 / s2 if s2 > 0 else torch.zeros_like(s)
        self.e = s2 * a * self.peak / (1.0 + s2 * a * self.peak) if s2 > 0 else (1.0 + rate) * self.peak
        last = self.n * self.e * (1.0 - self.e) if s2 > 0 else self.e
        self.bend = (last - s * self.f * (1.0 - self.f)).clamp(min=1e-300)

    def below(self, d: Float[Tensor, "draw bin *node"]) -> Float[Tensor, "draw bin *node"]:
        """Natural log relative to the peak, d away from it in ln beta."""
        terms = self.bins.alpha, self.bins.counts, self.n, self.f, self.e
        alpha, s, n, f, e = (one[..., None] for one in terms) if d.ndim > self.mu.ndim else terms
        x = torch.expm1(d)
        return alpha * d + s * torch.log1p(f * x) - (n * torch.log1p(e * x) if self.bins.s2 > 0 else e * x)

    def value(self, weight: Float[Tensor, "draw bin node"]) -> Float[Tensor, "draw bin"]:
        """ln p(S), from the integrand at places relative to the peak times their distance.

        Args:
            weight: Of each place.
        """
        bins, top = self.bins, self.mu + (1.0 + self.rate) * self.peak
        last = self.n * torch.log1p(bins.s2 * top) if bins.s2 > 0 else top
        # alpha ln beta + S ln(mu + beta) relative to where gamma function and factorial are known without loss
        return (
            _log_constant(bins)
            + bins.alpha * torch.log(self.rate * self.peak / bins.alpha)
            + bins.counts * torch.log((self.mu + self.peak) / bins.counts.clamp(min=1.0))
            + (bins.alpha + bins.counts - last)
            + torch.log(weight.sum(-1))
        )

    def density(self, d: Float[Tensor, "draw bin node"], weight: Float[Tensor, "draw bin node"]) -> Density:
        """That, and its slopes.

        Args:
            d: The places.
            weight: Of each.
        """
        bins, mu, rate = self.bins, self.mu[..., None], self.rate[..., None]
        beta = self.peak[..., None] * torch.exp(d)
        mean = mu + (1.0 + rate) * beta
        spread = self.n[:, None] * bins.s2 / (1.0 + bins.s2 * mean) if bins.s2 > 0 else torch.ones_like(beta)
        share = weight / weight.sum(-1, keepdim=True)
        by_mu = (share * (bins.counts[:, None] / (mu + beta) - spread)).sum(-1)
        by_rate = bins.alpha / self.rate - (share * beta * spread).sum(-1)
        return Density(self.value(weight), by_mu, by_rate)


def quadrature(
    bins: Bins,
    mu: Float[Tensor, "draw bin"],
    rate: Float[Tensor, "draw bin"],
    nodes: int = NODES,
    drop: float = DROP,
) -> Density:
    """Bins of any counts.

    Args:
        bins: The bins.
        mu: Of the source.
        rate: g.
        nodes, drop: How fine, and how far in natural log below the peak.
    """
    one = Integrand(bins, mu, rate)
    left = torch.sqrt(2.0 * drop / one.bend)
    right = left.clamp(max=3.5)
    for _ in range(UPDATES):
        right = right * (drop / -one.below(right)).clamp(1e-6, 1e6) ** (1.0 / (2.0 + right))
        left = left * torch.sqrt((drop / -one.below(-left)).clamp(1e-6, 1e6))
    c = torch.log(left / right)
    c = torch.where(c.abs() < 1e-3, 1e-3, c)[..., None]
    size = right[..., None] / -torch.expm1(-c)
    x = torch.linspace(-1.0, 1.0, nodes, dtype=torch.float64)
    d = size * -torch.expm1(-c * x)
    return one.density(d, size * c * torch.exp(one.below(d) - c * x) * (2.0 / (nodes - 1)))


def near_normal(
    bins: Bins, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"], slopes: bool = True
) -> Density:
    """Bins whose background is known so well that the integrand is nearly a normal: Gauss and Hermite's nodes.

    Args:
        bins: The bins, alpha >= `WELL_KNOWN`.
        mu: Of the source.
        rate: g.
        slopes: Whether they are wanted; else they are empty.
    """
    one, (x, log_weight) = Integrand(bins, mu, rate), _hermite(HERMITE)
    width = torch.rsqrt(one.bend)[..., None]
    d = x * width
    weight = torch.exp(one.below(d) + log_weight) * width
    if slopes:
        return one.density(d, weight)
    return Density(one.value(weight), mu[:0], mu[:0])


def _near_normal_value(bins: Bins, mu: Tensor, rate: Tensor) -> Tensor:
    return near_normal(bins, mu, rate, slopes=False).value


def _quadrature_value(bins: Bins, mu: Tensor, rate: Tensor) -> Tensor:
    return quadrature(bins, mu, rate).value


@cache
def _hermite(nodes: int) -> tuple[Tensor, Tensor]:
    """Places and ln(weights exp(x^2 / 2)) for integrals over x."""
    x, weight = np.polynomial.hermite_e.hermegauss(nodes)
    return torch.from_numpy(x), torch.from_numpy(np.log(weight) + 0.5 * x * x)


def _log_constant(bins: Bins) -> Float[Tensor, " bin"]:
    """ln of the integral's constant times alpha^alpha S^S exp(-alpha - S)."""
    s, alpha, s2 = bins.counts, bins.alpha, bins.s2
    found = bins.saturated - (torch.lgamma(alpha) - torch.xlogy(alpha, alpha) + alpha)
    large = alpha > 30.0
    stirling = -0.5 * torch.log(2.0 * math.pi / alpha) - stirling_remainder(1.0 / alpha.clamp(min=30.0))
    found = torch.where(large, bins.saturated + stirling, found)
    if s2 == 0.0:
        return found
    z = s + alpha
    ratio = z * s2
    excess = ratio - torch.log1p(ratio)
    more = stirling_remainder(1.0 / (z + 1.0 / s2)) - float(stirling_remainder(torch.tensor(s2, dtype=torch.float64)))
    return found + (z - 0.5) * torch.log1p(ratio) - excess / s2 + more


def is_matched(bins: Bins, rate: Float[Tensor, " bin"]) -> Tensor:
    """(bin,) whether the sum is a negative binomial nearly enough, by the third moment that this leaves out.

    Args:
        bins: The bins.
        rate: g.
    """
    behind, v = bins.alpha / rate, bins.alpha / rate**2
    met = (bins.counts - behind).clamp(min=0.0)
    found = bins.alpha >= 1.0
    # a background without a source is one: what a source changes is asked where one may be
    for mu in (met, met + REACH * torch.sqrt(bins.counts + v + bins.s2 * met**2)):
        total, spread = mu + behind, v + bins.s2 * mu**2
        left = 2.0 * v**2 / behind + 2.0 * bins.s2**2 * mu**3 - 2.0 * spread**2 / total
        found = found & (left.abs() / (6.0 * (total + spread) ** 1.5) < LEFT_OUT)
    return found


def matched_value(
    bins: Bins, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]
) -> Float[Tensor, "draw bin"]:
    """ln p(S) of the negative binomial of the sum's mean and variance.

    Args:
        bins: The bins.
        mu: Of the source.
        rate: g.
    """
    behind = bins.alpha / rate
    total = mu + behind
    phi = (behind / rate + bins.s2 * mu**2) / total**2
    return log_counts(bins.counts, total, phi, bins.saturated)


def matched(bins: Bins, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
    """That, and its slopes."""
    behind = bins.alpha / rate
    total = mu + behind
    spread = behind / rate + bins.s2 * mu**2
    phi = spread / total**2
    value = matched_value(bins, mu, rate)
    by_total, by_phi = log_counts_slope(bins.counts, total, phi)
    by_mu = by_total + by_phi * 2.0 * (bins.s2 * mu - spread / total) / total**2
    slope = behind / rate
    by_rate = -slope * by_total + by_phi * 2.0 * slope * (spread / total - 1.0 / rate) / total**2
    return Density(value, by_mu, by_rate)


@dataclass(frozen=True)
class BackgroundSum:
    """All bins of one source, each evaluated as its counts ask.

    Attributes:
        size: How many bins.
        few: Places of bins and their polynomials, few counts first.
        alike: Bins that are matched.
        known: Others whose background is well known.
        rest: The others.
    """

    size: int
    few: tuple[tuple[Tensor, Polynomial | FewBehind], ...]
    alike: tuple[Tensor, Bins]
    known: tuple[Tensor, Bins]
    rest: tuple[Tensor, Bins]

    @classmethod
    def of(cls, bins: Bins, rate: Float[Tensor, " bin"]) -> BackgroundSum:
        """Sort bins.

        Args:
            bins: Of one source.
            rate: g where most evaluations will be.
        """
        counts, few = bins.counts, list[tuple[Tensor, Polynomial | FewBehind]]()
        alike = is_matched(bins, rate) & (counts > FEW)
        # where there may be no source at all, the sum from its other end would not reach
        bright = counts - bins.alpha / rate > AWAY * torch.sqrt(counts + bins.alpha / rate**2)
        many = (counts > FEW) & ~alike
        behind = torch.where(many & bright, most_behind(bins, rate), torch.inf)
        degree = torch.where(many & (bright | (counts > BEHIND[-1])), torch.inf, counts)
        degree = torch.where(alike, torch.inf, degree)
        for size, ends, kind in ((degree, (*CLASSES, *BEHIND[-2:]), Polynomial), (behind, BEHIND, FewBehind)):
            for least, most in itertools.pairwise((-1.0, *ends)):
                at = ((size > least) & (size <= most)).nonzero()[:, 0]
                if at.numel():
                    few.append((at, kind.of(bins.select(at), rate[at], int(most))))
        left = many & torch.isinf(behind) & torch.isinf(degree)
        well = bins.alpha >= WELL_KNOWN
        groups = [where.nonzero()[:, 0] for where in (alike, left & well, left & ~well)]
        first, second, third = ((at, bins.select(at)) for at in groups)
        return cls(counts.numel(), tuple(few), first, second, third)

    def value(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S) of each bin.

        Args:
            mu: Of the source.
            rate: g.
        """
        found = torch.empty_like(mu)
        for at, of in self._ways():
            pieces = max(TOGETHER // at.numel(), 1)
            for rows in torch.split(torch.arange(mu.shape[0]), pieces):
                part = slice(int(rows[0]), int(rows[-1]) + 1)
                found[part, at] = of(mu[part, at], rate[part, at])
        return found

    def _ways(self) -> Iterator[tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]]:
        """Places of bins, and what makes ln p of mu and g."""
        for at, polynomial in self.few:
            yield at, polynomial.value
        for (at, bins), of in (
            (self.alike, matched_value),
            (self.known, _near_normal_value),
            (self.rest, _quadrature_value),
        ):
            if at.numel():
                yield at, partial(of, bins)

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """That, and its slopes."""
        found = mu.new_empty((3, *mu.shape))
        parts = [(at, polynomial(mu[:, at], rate[:, at])) for at, polynomial in self.few]
        for (at, bins), of in ((self.alike, matched), (self.known, near_normal), (self.rest, quadrature)):
            if at.numel():
                parts.append((at, of(bins, mu[:, at], rate[:, at])))
        for at, one in parts:
            for row, values in zip(found, (one.value, one.by_mu, one.by_rate), strict=True):
                row[:, at] = values
        return Density(*found)
