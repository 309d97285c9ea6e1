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
        known = top - torch.log(scale * self.error) - torch.special.log_ndtr(self.middle / self.error)
        value = known - 0.5 * math.log(2.0 * math.pi) + torch.log(half * total)
        return value, by_mu / total, by_level / total

    def _ends(self, mu: Tensor, m: Tensor, var: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where the integrand over y has fallen by `DROP` on either side, or ends, and its logarithm at its peak."""
        source = Scattered(self.counts, mu, 1.0 / self.s2, ROUGH)

        def log(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """Integrand, its slope, and minus the slope's slope."""
            value, pull, _, bend = source.at(y)
            return value - 0.5 * (y - m) ** 2 / var, pull - (y - m) / var, bend + 1.0 / var

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
        s, z = self.counts, self.middle / self.error
        m, var = scale * self.middle, (scale * self.error) ** 2
        p, q = mu + var - m, s * var + (m - var) * mu
        root = torch.sqrt((mu + m - var) ** 2 + 4.0 * s * var)
        y = torch.where(p > 0, 2.0 * q / (p + root).clamp(min=LEAST), 0.5 * (root - p)).clamp(min=0.0)
        top = (mu + y).clamp(min=LEAST)
        c = torch.where(y > 0, 0.0, (s / top - 1.0 + m / var).clamp(max=0.0))

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
        known = -0.5 * (y - m) ** 2 / var - torch.log(scale * self.error) - torch.special.log_ndtr(z)
        met = log_saturated_poisson(s) + s * torch.log(top / s.clamp(min=1.0)) - (mu + y - s)
        value = met + known - 0.5 * math.log(2.0 * math.pi) + torch.log(half * total)
        return value, by_mu / total, by_level / total


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
        arrived |= ((following - y).abs() * torch.sqrt(bend) < CLOSE) | (y * torch.sqrt(bend) < CLOSE)
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
