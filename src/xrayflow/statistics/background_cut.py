r"""ln p(S | mu) on a background that is believed to be a normal cut at zero, too wide for a gamma distribution.

    S ~ Poisson(F mu + A beta),     F ~ Gamma(shape 1 / s^2, mean 1),     beta ~ N(b, sigma), beta >= 0

Without a systematic error the integrand over y = A beta,

    S ln(mu + y) - y - (y - A b)^2 / (2 A^2 sigma^2),

is concave, so its peak is the root of a quadratic, and Newton's steps from the limits of a parabola end where it has
fallen by `DROP`, outside if anywhere. Gauss and Legendre's nodes lie between, the end at zero included. With d the way
from the peak, at which T = mu + y and the slope is c (0, but at y = 0), it is without cancellation

    S (ln(1 + d / T) - d / T) + c d - d^2 / (2 A^2 sigma^2),

to 1e-8 in ln p. With a systematic error the integrand over y is

    ln K(S | mu, y) - (y - A b)^2 / (2 A^2 sigma^2),

where K is the sum of the source's negative binomial and of Poisson counts about y (`background_known`), an integral of
its own over F mu. Both factors of that one fall off faster than an exponential, F mu being a gamma distribution whose
shape is above 1, so K is concave in y too (Prekopa 1973, Acta Sci. Math. 34, 335), and peak, ends and nodes are found
in the same way: to 1e-7, however little the counts tell source and background apart.

Source: derived here; checked against mpmath in tests/statistics/test_background_cut.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.background_integral import Bins, Density, Integrand, hermite_nodes, hermite_sum
from xrayflow.statistics.count_density import log_saturated_poisson

NODES, DROP, UPDATES = 32, 24.0, 6
"""Of the integral: how many, how far in natural log below the peak it goes, and steps to find where that is."""

CLIMB, CLOSE = 12, 0.03
"""Steps to the peak with a systematic error, and how short the last, in standard deviations."""

ROUGH = 4
"""Nodes of ln F that say where the integrand is."""

FACTORS = (100.0, 7), (30.0, 12), (10.0, 16), (0.0, 32)
"""Shapes 1 / s^2 from which so many of Gauss and Hermite's nodes of ln F are exact to 1e-7."""

FAR_OUT = 1e4
"""Standard deviations from which what is left of a normal is an exponential."""

LEAST = 1e-30
"""Expected counts that are none."""

FEW = 2048
"""Draws times bins up to which all nodes are evaluated at once: one after the other they would wait for the calls."""


@dataclass(frozen=True)
class CutNormals:
    """Bins of one source.

    Attributes:
        counts: S.
        middle, error: b and sigma, in the source's counts at A = 1.
        rate: g at A = 1 of the gamma distribution that stands for this one elsewhere: A is that over g.
        s2: s^2.
    """

    counts: Float[Tensor, " bin"]
    middle: Float[Tensor, " bin"]
    error: Float[Tensor, " bin"]
    rate: Float[Tensor, " bin"]
    s2: float

    def select(self, bins: Tensor) -> CutNormals:
        """Some of them."""
        own = self.counts[bins], self.middle[bins], self.error[bins], self.rate[bins]
        return CutNormals(*own, self.s2)

    @classmethod
    def joined(cls, parts: Sequence[CutNormals]) -> CutNormals:
        """Bins of several, beside each other."""
        names = "counts", "middle", "error", "rate"
        counts, middle, error, rate = (torch.cat([getattr(one, name) for one in parts]) for name in names)
        return cls(counts, middle, error, rate, parts[0].s2)

    def value(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S).

        Args:
            mu: Of the source.
            rate: g.
        """
        scale = self.rate / rate
        return (self._of(mu, scale) if self.s2 == 0.0 else self._scattered(mu, scale, slopes=False))[0]

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """That, and its slopes."""
        scale = self.rate / rate
        value, by_mu, by_level = self._of(mu, scale) if self.s2 == 0.0 else self._scattered(mu, scale)
        return Density(value, by_mu, -by_level / rate)

    def _scattered(self, mu: Tensor, scale: Tensor, slopes: bool = True) -> tuple[Tensor, Tensor, Tensor]:
        """The same as `_of` with a systematic error; slopes are 0 where they are not wanted."""
        m, var, mu = scale * self.middle, (scale * self.error) ** 2, mu.clamp(min=LEAST)
        left, right, top = self._ends(mu, m, var)
        source, half = Scattered(self.counts, mu, 1.0 / self.s2), 0.5 * (right - left)
        total, by_mu, by_level = (torch.zeros_like(half) for _ in range(3))
        for x, weight in _together(mu.numel() <= FEW):
            y = left + half * (1.0 + x)
            if slopes:
                value, pull, own, _ = source.at(y)
            else:
                value, pull, own = source.value(y), y, y
            here = weight * torch.exp(value - 0.5 * (y - m) ** 2 / var - top)
            total = total + here.sum(0)
            if slopes:
                by_mu, by_level = by_mu + (here * own).sum(0), by_level + (here * pull * y).sum(0)
        value = top + self._prior(m, scale) + torch.log(half * total)
        return value, by_mu / total, by_level / total

    def _ends(self, mu: Tensor, m: Tensor, var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the integrand over y has fallen by `DROP` on either side, or ends, and its logarithm at its peak."""
        source = Scattered(self.counts, mu, 1.0 / self.s2, ROUGH)

        log = _posterior(source.at, m, var)
        y, top, bend = _climbed(log, self._start(mu, m, var))
        reach = torch.sqrt(2.0 * DROP / bend)
        left, right = (y - reach).clamp(min=0.0), y + reach
        for _ in range(UPDATES):
            value, slope, _ = log(right)
            right = torch.maximum(right - (value - top + DROP) / slope.clamp(max=-LEAST), y)
            value, slope, _ = log(left)
            left = torch.minimum(left - (value - top + DROP) / slope.clamp(min=LEAST), y).clamp(min=0.0)
        return left, right, top

    def _start(self, mu: Tensor, m: Tensor, var: Tensor) -> Tensor:
        """Where source and background share what the counts have more or less than expected, or a little of it."""
        spread = self.counts + self.s2 * mu**2 + 1.0
        shared = (m * spread + (self.counts - mu) * var) / (spread + var)
        return torch.maximum(shared, 1e-3 * torch.sqrt(var * spread / (var + spread)))

    def _of(self, mu: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ln p(S) without a systematic error, its slope with mu, and with ln A."""
        s, m, var = self.counts, scale * self.middle, (scale * self.error) ** 2
        y, top, c = self._peak(mu, m, var)

        def below(d: Tensor) -> Tensor:
            x = d / top
            return s * (torch.log1p(x) - x) + c * d - d * d / (2.0 * var)

        def slope(d: Tensor) -> Tensor:
            return -s * d / (top * (top + d)) + c - d / var

        curved = s / top**2 + 1.0 / var
        right = 2.0 * DROP / (torch.sqrt(c * c + 2.0 * DROP * curved) - c)
        inside = 0.999 * y
        left = torch.minimum(torch.sqrt(2.0 * DROP / curved), inside)
        for _ in range(UPDATES):
            right = right - (below(right) + DROP) / slope(right)
            left = (left + (below(-left) + DROP) / slope(-left).clamp(min=LEAST)).clamp(min=0.0)
            left = torch.minimum(left, inside)
        left = torch.where(below(-inside) > -DROP, y, left)
        x, weight = _legendre()
        half = 0.5 * (right + left)
        total, by_mu, by_level = (torch.zeros_like(mu) for _ in range(3))
        for place, share in zip(x, weight, strict=True):
            d = half * (1.0 + place) - left
            here, inverse = share * torch.exp(below(d)), 1.0 / (top + d).clamp(min=LEAST)
            pull = s * inverse - 1.0
            total = total + here
            by_mu = by_mu + here * pull
            by_level = by_level + here * pull * (y + d)
        value = self._at_peak(mu, y, top) + self._prior(y, scale) + torch.log(half * total)
        return value, by_mu / total, by_level / total

    def _peak(self, mu: Tensor, m: Tensor, var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the integrand without a systematic error: y, T, and the slope c."""
        s = self.counts
        p, q = mu + var - m, s * var + (m - var) * mu
        root = torch.sqrt((mu + m - var) ** 2 + 4.0 * s * var)
        y = torch.where(p > 0, 2.0 * q / (p + root).clamp(min=LEAST), 0.5 * (root - p)).clamp(min=0.0)
        top = (mu + y).clamp(min=LEAST)
        return y, top, torch.where(y > 0, 0.0, (s / top - 1.0 + m / var).clamp(max=0.0))

    def _at_peak(self, mu: Tensor, y: Tensor, top: Tensor) -> Tensor:
        """ln of the Poisson counts there."""
        s = self.counts
        return log_saturated_poisson(s) + s * torch.log(top / s.clamp(min=1.0)) - (mu + y - s)

    def _prior(self, y: Tensor, scale: Tensor) -> Tensor:
        """ln of the cut normal."""
        m, sd = scale * self.middle, scale * self.error
        known: Tensor = torch.log(sd) + torch.special.log_ndtr(self.middle / self.error) + 0.5 * math.log(2.0 * math.pi)
        return -0.5 * ((y - m) / sd) ** 2 - known

    def rough(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """About the same where counts stand far from what is expected of them, by the peak alone.

        The integrand is taken as a normal about its peak, or from its end at zero: where `background_cut_table` asks,
        to 5e-3 in ln p, with a systematic error of 20 % to 0.07.
        """
        scale, mu = self.rate / rate, mu.clamp(min=LEAST)
        m, var = scale * self.middle, (scale * self.error) ** 2
        if self.s2 == 0.0:
            y, top, slope = self._peak(mu, m, var)
            value, bend, of_mu = self._at_peak(mu, y, top), self.counts / top**2, None
        else:
            source = Scattered(self.counts, mu, 1.0 / self.s2)
            y, _, _ = _climbed(_posterior(source.at_peak, m, var), self._start(mu, m, var))
            value, slope, of_mu, bend = source.at_peak(y)
            slope = slope - (y - m) / var
        width = torch.rsqrt(bend + 1.0 / var)
        tilt, left = slope * width, y / width
        log_share, hazard, above = _normal_above(-(left + tilt))
        # exp(tilt^2 / 2) times the share of a normal, of which nothing is left where the tilt is long
        value = value + self._prior(y, scale) + torch.log(width) + 0.5 * math.log(2.0 * math.pi) + log_share
        value = torch.where(left + tilt > 0, value + 0.5 * tilt**2, value - left * (0.5 * left + tilt))
        mean, spread = width * above, (width**2 * (1.0 - hazard * above)).clamp(min=0.0)
        by_mu = self.counts / (mu + mean) - 1.0 if of_mu is None else of_mu
        return Density(value, by_mu, -(((mean - m) * mean + spread) / var - 1.0) / rate)


class Scattered:
    """ln K(S | mu, y), a source with a systematic error on a background y that is known, by nodes of ln F."""

    def __init__(
        self, counts: Float[Tensor, " bin"], mu: Float[Tensor, "draw bin"], shape: float, nodes: int | None = None
    ) -> None:
        """What all y have in common.

        Args:
            counts: S.
            mu: Of the source, > 0.
            shape: 1 / s^2.
            nodes: Of ln F; None: as many as are exact.
        """
        self.bins, self.mu, self.rate = Bins(counts, torch.full_like(counts, shape), 0.0), mu, shape / mu
        self.nodes = next(number for least, number in FACTORS if shape >= least) if nodes is None else nodes

    def value(self, y: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """The logarithm."""
        one = Integrand(self.bins, y, self.rate)
        return one.value(hermite_sum(one, torch.rsqrt(one.bend), self.nodes))

    def at_peak(self, y: Float[Tensor, "draw bin"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The same as `at` by the integrand's peak alone."""
        one, s = Integrand(self.bins, y, self.rate), self.bins.counts
        inverse = 1.0 / (one.peak + y).clamp(min=LEAST)
        pull, bend = s * inverse - 1.0, s * inverse * inverse
        # where y goes, the peak gives way
        bend = (bend - (one.peak * bend) ** 2 / one.bend).clamp(min=0.0)
        return one.value(math.sqrt(2.0 * math.pi) * torch.rsqrt(one.bend)), pull, one.peak * pull / self.mu, bend

    def at(self, y: Float[Tensor, "draw bin"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The logarithm, its slope with y, with mu, and minus the slope's slope with y."""
        one, s = Integrand(self.bins, y, self.rate), self.bins.counts
        width = torch.rsqrt(one.bend)
        total, pulls, owns, square, falls = (torch.zeros_like(width) for _ in range(5))
        for x, log_weight in zip(*(each.tolist() for each in hermite_nodes(self.nodes)), strict=True):
            d = x * width
            here, source = torch.exp(one.below(d) + log_weight), one.peak * torch.exp(d)
            inverse = 1.0 / (source + y)
            pull = s * inverse - 1.0
            total, pulls, owns = total + here, pulls + here * pull, owns + here * source * pull
            square, falls = square + here * pull * pull, falls + here * s * inverse * inverse
        by_y = pulls / total
        bend = ((falls - square) / total + by_y**2).clamp(min=0.0)
        return one.value(total * width), by_y, owns / (total * self.mu), bend


def _posterior(
    source: Callable[[Tensor], tuple[Tensor, Tensor, Tensor, Tensor]], m: Tensor, var: Tensor
) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """The integrand over y with a systematic error, its slope, and minus the slope's slope."""

    def log(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value, pull, _, bend = source(y)
        return value - 0.5 * (y - m) ** 2 / var, pull - (y - m) / var, bend + 1.0 / var

    return log


def _normal_above(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the part of a normal above z.

    Returns:
        The logarithm of its share, for z > 0 without exp(-z^2 / 2); its density at z; and its mean, from z.
    """
    share = 0.5 * torch.special.erfcx(z.clamp(min=0.0) / math.sqrt(2.0))
    below = torch.special.log_ndtr(-z.clamp(max=0.0))
    density = torch.where(z > 0, 1.0 / share, torch.exp(-0.5 * z.clamp(max=0.0) ** 2 - below)) / math.sqrt(
        2.0 * math.pi
    )
    # z from its density is nothing but rounding errors far out
    mean = torch.where(z > FAR_OUT, 1.0 / z.clamp(min=FAR_OUT), density - z)
    return torch.where(z > 0, torch.log(share), below), density, mean


def _climbed(log: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]], start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Near the peak of a concave function of y >= 0: there, its value, and minus its second derivative.

    Args:
        log: Value, slope, and minus the slope's slope.
        start: > 0.
    """
    y, low, high = start, torch.zeros_like(start), torch.full_like(start, torch.inf)
    arrived = torch.zeros_like(start, dtype=torch.bool)
    for _ in range(CLIMB):
        value, slope, bend = log(y)
        low, high = torch.where(slope > 0, y, low), torch.where(slope > 0, high, y)
        step = y + slope / bend
        # Newton's, unless that leaves where the peak must be
        inside = torch.where(torch.isinf(high), 4.0 * y, 0.5 * (low + high))
        following = torch.where((step > low) & (step < high), step, inside)
        # what has arrived stays: at a slope of rounding errors the middle of what is left would lead away again
        width = CLOSE * torch.rsqrt(bend)
        arrived |= ((following - y).abs() < width) | ((y < width) & (slope <= 0))
        if bool(arrived.all()):
            return y, value, bend
        y = torch.where(arrived, y, following)
    value, _, bend = log(y)
    return y, value, bend


@cache
def _legendre() -> tuple[list[float], list[float]]:
    """Places from -1 to 1, and weights."""
    x, weight = np.polynomial.legendre.leggauss(NODES)
    return x.tolist(), weight.tolist()


@cache
def _together(at_once: bool) -> list[tuple[Tensor, Tensor]]:
    """Those places and weights, (node, 1, 1), in one part or each by itself."""
    x, weight = (torch.tensor(values, dtype=torch.float64)[:, None, None] for values in _legendre())
    size = NODES if at_once else 1
    return list(zip(torch.split(x, size), torch.split(weight, size), strict=True))
