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

A background that is a cut normal (`background_cut`) has an integral of its own.

`background_polynomial` has the sums, `background_integral` the integral. Each gives the slopes with mu and with g too:
that with mu is the expected number of source counts in disguise.

Source: derived here; checked against mpmath in tests/statistics.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.background_cut import CutNormals
from xrayflow.statistics.background_integral import (
    BEST_KNOWN,
    BETTER_KNOWN,
    HERMITE,
    WELL_KNOWN,
    Bins,
    Density,
    near_normal,
    quadrature,
)
from xrayflow.statistics.background_polynomial import AWAY, BEHIND, FewBehind, Polynomial, most_behind
from xrayflow.statistics.count_density import log_counts, log_counts_slope

FEW = 64
"""Counts of a bin up to which the polynomial is evaluated; it takes S products."""

CLASSES = 8, 16, 32, FEW
"""Bins are evaluated together up to these counts."""

SUMMED = (BEST_KNOWN, 64.0), (BETTER_KNOWN, 128.0)
"""Shapes (`Bins.known`) from which sums of more terms than these give way to the integral: it takes few nodes then."""

TOGETHER = 32_768
"""Draws times bins of one evaluation: more leave the processor's cache."""

LEFT_OUT, REACH = 1e-6, 3.0
"""Of the third moment, in units of the variance, at the expected counts that meet a bin and so many standard deviations
above: with less it is a negative binomial to 2e-4 in ln p within 3 sd, to 1e-6 in the median."""


def pieces(draws: int, bins: int) -> Iterator[slice]:
    """Draws that are evaluated together.

    Args:
        draws, bins: How many there are.
    """
    size = max(TOGETHER // bins, 1)
    for first in range(0, draws, size):
        yield slice(first, min(first + size, draws))


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
        known: Others whose background is well known, the best known first.
        rest: The others.
        cut: Those on a background that is a cut normal.
    """

    size: int
    few: tuple[tuple[Tensor, Polynomial | FewBehind], ...]
    alike: tuple[Tensor, Bins]
    known: tuple[tuple[Tensor, Bins], ...]
    rest: tuple[Tensor, Bins]
    cut: tuple[Tensor, CutNormals | None]

    @classmethod
    def of(
        cls,
        bins: Bins,
        rate: Float[Tensor, " bin"],
        middle: Float[Tensor, " bin"] | None = None,
        error: Float[Tensor, " bin"] | None = None,
    ) -> BackgroundSum:
        """Sort bins.

        Args:
            bins: Of one source.
            rate: g where most evaluations will be.
            middle, error: Of the normal that is cut at zero, where the background is one; error 0 elsewhere.
        """
        counts, few = bins.counts, list[tuple[Tensor, Polynomial | FewBehind]]()
        is_cut = torch.zeros_like(counts, dtype=torch.bool) if error is None else error > 0
        alike = is_matched(bins, rate) & (counts > FEW) & ~is_cut
        # where there may be no source at all, the sum from its other end would not reach
        bright = counts - bins.alpha / rate > AWAY * torch.sqrt(counts + bins.alpha / rate**2)
        many = (counts > FEW) & ~alike & ~is_cut
        behind = torch.where(many & bright, most_behind(bins, rate), torch.inf)
        degree = torch.where(many & (bright | (counts > BEHIND[-1])), torch.inf, counts)
        degree = torch.where(alike | is_cut, torch.inf, degree)
        # a few nodes are quicker than a long sum
        for least, longest in SUMMED:
            behind = torch.where((bins.known >= least) & (behind > longest), torch.inf, behind)
            degree = torch.where((bins.known >= least) & (degree > longest), torch.inf, degree)
        for size, ends, kind in ((degree, (*CLASSES, *BEHIND[-2:]), Polynomial), (behind, BEHIND, FewBehind)):
            for least, most in itertools.pairwise((-1.0, *ends)):
                at = ((size > least) & (size <= most)).nonzero()[:, 0]
                if at.numel():
                    few.append((at, kind.of(bins.select(at), rate[at], int(most))))
        left = many & torch.isinf(behind) & torch.isinf(degree)
        well = torch.where(bins.alpha >= WELL_KNOWN, bins.known.clamp(min=WELL_KNOWN), 0.0)
        classes = [left & (well < most) & (well >= least) for most, least in itertools.pairwise((math.inf, *HERMITE))]
        first, *known, last = (
            (at, bins.select(at))
            for at in (where.nonzero()[:, 0] for where in (alike, *classes, left & (well < WELL_KNOWN)))
        )
        at = is_cut.nonzero()[:, 0]
        cut = None
        if middle is not None and error is not None and at.numel():
            cut = CutNormals(counts[at], middle[at], error[at], rate[at], bins.s2)
        some = tuple((place, one) for place, one in known if place.numel())
        return cls(counts.numel(), tuple(few), first, some, last, (at, cut))

    def value(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S) of each bin.

        Args:
            mu: Of the source.
            rate: g.
        """
        found = torch.empty_like(mu)
        for at, of in self._ways():
            for part in pieces(mu.shape[0], at.numel()):
                found[part, at] = of(mu[part, at], rate[part, at])
        return found

    def _ways(self) -> Iterator[tuple[Tensor, Callable[[Tensor, Tensor], Tensor]]]:
        """Places of bins, and what makes ln p of mu and g."""
        for at, polynomial in self.few:
            yield at, polynomial.value
        for (at, bins), of in (
            (self.alike, matched_value),
            *((one, _near_normal_value) for one in self.known),
            (self.rest, _quadrature_value),
        ):
            if at.numel():
                yield at, partial(of, bins)
        at, cut = self.cut
        if cut is not None:
            yield at, cut.value

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """That, and its slopes."""
        found = mu.new_empty((3, *mu.shape))
        parts = [(at, polynomial(mu[:, at], rate[:, at])) for at, polynomial in self.few]
        known = ((one, near_normal) for one in self.known)
        for (at, bins), of in ((self.alike, matched), *known, (self.rest, quadrature)):
            if at.numel():
                parts.append((at, of(bins, mu[:, at], rate[:, at])))
        at, cut = self.cut
        if cut is not None:
            parts.append((at, cut(mu[:, at], rate[:, at])))
        for at, one in parts:
            for row, values in zip(found, (one.value, one.by_mu, one.by_rate), strict=True):
                row[:, at] = values
        return Density(*found)


def _near_normal_value(bins: Bins, mu: Tensor, rate: Tensor) -> Tensor:
    return near_normal(bins, mu, rate, slopes=False).value


def _quadrature_value(bins: Bins, mu: Tensor, rate: Tensor) -> Tensor:
    return quadrature(bins, mu, rate).value
