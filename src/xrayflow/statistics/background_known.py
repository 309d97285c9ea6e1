r"""ln p(S | mu) of a source with a systematic error on a background that is known: a sum of two independent counts.

    S ~ Poisson(F mu + beta),     F ~ Gamma(shape 1 / s^2, mean 1),     beta known

* *Few counts* (`KnownPolynomial`, S <= `FEW`). With Y = mu / (1 + s^2 mu) and source_i = Gamma(i + 1 / s^2) s^(2 i) /
  (Gamma(1 / s^2) i!),

      p(S) = (1 + s^2 mu)^(-1 / s^2) sum_i source_i Poisson(S - i | beta) Y^i.

* *Many*. Source and background change places: F mu is gamma distributed with shape 1 / s^2 and rate 1 / (s^2 mu), and
  beta a source without a systematic error, so the integral over the gamma factor is `background_integral`'s.

Source: derived here; checked against mpmath in tests/statistics/test_background_known.py.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.background_integral import (
    WELL_KNOWN,
    Bins,
    Integrand,
    hermite,
    near_normal,
    quadrature,
    trapezoids,
)
from xrayflow.statistics.background_polynomial import horner, horner_and_slope
from xrayflow.statistics.background_sum import CLASSES, FEW, pieces

LEAST = 1e-30
"""Expected counts below which a source is none: its rate stays a number."""


@dataclass(frozen=True)
class KnownPolynomial:
    """Bins of few counts.

    Attributes:
        counts: S.
        s2: s^2.
        coefficients: (power, bin) of r = Y / unit, over the largest.
        largest: Natural log of that.
        unit: What Y is measured in, so that powers of r stay within reach.
    """

    counts: Float[Tensor, " bin"]
    s2: float
    coefficients: Float[Tensor, "power bin"]
    largest: Float[Tensor, " bin"]
    unit: Float[Tensor, " bin"]

    @classmethod
    def of(cls, counts: Float[Tensor, " bin"], behind: Float[Tensor, " bin"], s2: float) -> KnownPolynomial:
        """The coefficients.

        Args:
            counts: S.
            behind: beta.
            s2: s^2.
        """
        j = torch.arange(int(counts.max()) + 1, dtype=torch.float64)[:, None]
        start = torch.zeros((1, counts.numel()), dtype=torch.float64)
        steps = torch.log((1.0 + s2 * j[:-1]) / j[1:])
        source = torch.cat([start, steps.expand(-1, counts.numel()).cumsum(0)])
        background = torch.xlogy(j, behind) - behind - torch.lgamma(j + 1.0)
        other = counts - j
        unit = counts + 1.0
        log = source + background.gather(0, other.clamp(min=0).to(torch.int64)) + j * torch.log(unit)
        log = torch.where(other >= 0, log, -torch.inf)
        largest = log.amax(0)
        return cls(counts, s2, torch.exp(log - largest), largest, unit)

    def value(self, mu: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S).

        Args:
            mu: Of the source.
        """
        return self._whole(mu, horner(self.coefficients, self._power(mu)))

    def slope(self, mu: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """Its slope with mu."""
        value, slope = horner_and_slope(self.coefficients, self._power(mu))
        spread = 1.0 + self.s2 * mu
        return slope / (value * self.unit * spread**2) - 1.0 / spread

    def _power(self, mu: Tensor) -> Tensor:
        """r, of which no power overflows."""
        r = mu / (self.unit * (1.0 + self.s2 * mu))
        return torch.minimum(r, 10.0 ** (300.0 / self.counts.clamp(min=1.0)))

    def _whole(self, mu: Tensor, polynomial: Tensor) -> Tensor:
        """The polynomial with what stands before it."""
        alone = -torch.log1p(self.s2 * mu) / self.s2 if self.s2 > 0 else -mu
        return self.largest + alone + torch.log(polynomial)


@dataclass(frozen=True)
class KnownIntegral:
    """Bins of many counts, by the integral over the source's gamma factor.

    Attributes:
        bins: Counts, and the gamma distribution of the source in the place of the background's.
        behind: beta, in the place of the source.
    """

    bins: Bins
    behind: Float[Tensor, " bin"]

    def value(self, mu: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S).

        Args:
            mu: Of the source.
        """
        rate, behind = self.bins.alpha / mu.clamp(min=LEAST), self.behind.expand(mu.shape)
        if bool((self.bins.alpha >= WELL_KNOWN).all()):
            return near_normal(self.bins, behind, rate, slopes=False).value
        return quadrature(self.bins, behind, rate).value

    def slope(self, mu: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """Its slope with mu, the mean of F (S / (F mu + beta) - 1)."""
        one, d, weight = self._places(mu)
        source = one.peak[..., None] * torch.exp(d)
        pull = source * (self.bins.counts[:, None] / (source + self.behind[:, None]) - 1.0)
        return (weight * pull).sum(-1) / (weight.sum(-1) * mu.clamp(min=LEAST))

    def _places(self, mu: Tensor) -> tuple[Integrand, Tensor, Tensor]:
        """Integrand, places and weights; one systematic error holds for all bins."""
        rate, behind = self.bins.alpha / mu.clamp(min=LEAST), self.behind.expand(mu.shape)
        if bool((self.bins.alpha >= WELL_KNOWN).all()):
            return hermite(self.bins, behind, rate)
        return trapezoids(self.bins, behind, rate)


@dataclass(frozen=True)
class KnownSum:
    """All bins of one source, each evaluated as its counts ask.

    Attributes:
        size: How many bins.
        parts: Places of bins, and how they are evaluated.
    """

    size: int
    parts: tuple[tuple[Tensor, KnownPolynomial | KnownIntegral], ...]

    @classmethod
    def of(cls, counts: Float[Tensor, " bin"], behind: Float[Tensor, " bin"], systematic: float) -> KnownSum:
        """Sort bins.

        Args:
            counts: S.
            behind: beta >= 0.
            systematic: s > 0.
        """
        s2 = systematic**2
        parts = list[tuple[Tensor, KnownPolynomial | KnownIntegral]]()
        for least, most in itertools.pairwise((-1, *CLASSES)):
            at = ((counts > least) & (counts <= most)).nonzero()[:, 0]
            if at.numel():
                parts.append((at, KnownPolynomial.of(counts[at], behind[at], s2)))
        at = (counts > FEW).nonzero()[:, 0]
        if at.numel():
            bins = Bins(counts[at], torch.full_like(counts[at], 1.0 / s2), 0.0)
            parts.append((at, KnownIntegral(bins, behind[at])))
        return cls(counts.numel(), tuple(parts))

    def value(self, mu: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S) of each bin.

        Args:
            mu: Of the source.
        """
        found = torch.empty_like(mu)
        for at, of in self.parts:
            for part in pieces(mu.shape[0], at.numel()):
                found[part, at] = of.value(mu[part, at])
        return found

    def slope(self, mu: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """Its slope with mu."""
        found = torch.empty_like(mu)
        for at, of in self.parts:
            found[:, at] = of.slope(mu[:, at])
        return found
