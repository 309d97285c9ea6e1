r"""ln p(S | mu) on a background that is believed to be a normal cut at zero, too wide for a gamma distribution.

    S ~ Poisson(F mu + A beta),     F ~ Gamma(shape 1 / s^2, mean 1),     beta ~ N(b, sigma), beta >= 0

Without a systematic error the integrand over y = A beta,

    S ln(mu + y) - y - (y - A b)^2 / (2 A^2 sigma^2),

is concave, so its peak is the root of a quadratic, and Newton's steps from the limits of a parabola end where it has
fallen by `DROP`, outside if anywhere. Gauss and Legendre's nodes lie between, the end at zero included. With d the way
from the peak, at which T = mu + y and the slope is c (0, but at y = 0), it is without cancellation

    S (ln(1 + d / T) - d / T) + c d - d^2 / (2 A^2 sigma^2),

to 1e-8 in ln p. A systematic error is integrated over outside that, by Gauss and Hermite's nodes of ln F about its
peak: to 1e-5 while s^2 S <= 1, to 4e-3 where many counts leave source and background to each other.

Source: derived here; checked against mpmath in tests/statistics/test_background_cut.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.background_integral import HERMITE, WELL_KNOWN, Density, hermite_nodes
from xrayflow.statistics.count_density import log_saturated_poisson, stirling_remainder

NODES, DROP, UPDATES = 32, 24.0, 6
"""Of the integral: how many, how far in natural log below the peak it goes, and steps to find where that is."""

CLIMB, LONGEST, CLOSE = 6, 0.7, 0.03
"""Steps to the likeliest ln F, how long one may be, and how short the last, in its standard deviations."""

LEAST = 1e-30
"""Expected counts that are none."""


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

    def value(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S).

        Args:
            mu: Of the source.
            rate: g.
        """
        return self(mu, rate).value

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """That, and its slopes."""
        scale = self.rate / rate
        if self.s2 == 0.0:
            value, by_mu, by_level, _ = self._of(mu, scale)
        else:
            value, by_mu, by_level = self._scattered(mu, scale)
        return Density(value, by_mu, -by_level / rate)

    def _scattered(self, mu: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The same as `_of` with a systematic error."""
        k = 1.0 / self.s2
        u = torch.zeros_like(mu)
        for _ in range(CLIMB):
            own = torch.exp(u)
            _, by_mu, _, bend = self._of(own * mu, scale)
            up = k * (1.0 - own) + own * mu * by_mu
            # of minus the logarithm, with ln F
            bend = (k * own + (own * mu) ** 2 * bend - own * mu * by_mu).clamp(min=k * own)
            step = (up / bend).clamp(-LONGEST, LONGEST)
            u = u + step
            if bool((step.abs() * torch.sqrt(bend) < CLOSE).all()):
                break
        width = torch.rsqrt(bend)
        # ln of k^k exp(-k) / Gamma(k), without loss where k is large
        constant = 0.5 * math.log(k / (2.0 * math.pi)) - float(stirling_remainder(torch.tensor(self.s2).double()))
        logs, by_mus, by_levels = [], [], []
        for x, log_weight in zip(*hermite_nodes(self._factors()), strict=True):
            at = u + width * x
            factor = torch.exp(at)
            value, by_mu, by_level, _ = self._of(factor * mu, scale)
            logs.append(value + log_weight + torch.log(width) + constant + k * (at - torch.expm1(at)))
            by_mus.append(factor * by_mu)
            by_levels.append(by_level)
        log = torch.stack(logs)
        share = torch.softmax(log, 0)
        return torch.logsumexp(log, 0), (share * torch.stack(by_mus)).sum(0), (share * torch.stack(by_levels)).sum(0)

    def _factors(self) -> int:
        """How many nodes of ln F: few where it is nearly normal, and the counts do not say what it is."""
        if bool((self.s2 * self.counts > 1.0).any()):
            return HERMITE[WELL_KNOWN]
        return next((nodes for least, nodes in HERMITE.items() if self.s2 * least <= 1.0), HERMITE[WELL_KNOWN])

    def _of(self, mu: Tensor, scale: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """ln p(S) without a systematic error, its slope with mu, with ln A, and minus the slope's slope with mu."""
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
        total, by_mu, by_level, square, falls = (torch.zeros_like(mu) for _ in range(5))
        for place, share in zip(x, weight, strict=True):
            d = half * (1.0 + place) - left
            here, inverse = share * torch.exp(below(d)), 1.0 / (top + d).clamp(min=LEAST)
            pull = s * inverse - 1.0
            total = total + here
            by_mu = by_mu + here * pull
            by_level = by_level + here * pull * (y + d)
            square = square + here * pull * pull
            falls = falls + here * s * inverse * inverse
        by_mu = by_mu / total
        bend = (falls - square) / total + by_mu**2
        known = -0.5 * (y - m) ** 2 / var - torch.log(scale * self.error) - torch.special.log_ndtr(z)
        met = log_saturated_poisson(s) + s * torch.log(top / s.clamp(min=1.0)) - (mu + y - s)
        value = met + known - 0.5 * math.log(2.0 * math.pi) + torch.log(half * total)
        return value, by_mu, by_level / total, bend


@cache
def _legendre() -> tuple[list[float], list[float]]:
    """Places from -1 to 1, and weights."""
    x, weight = np.polynomial.legendre.leggauss(NODES)
    return x.tolist(), weight.tolist()
