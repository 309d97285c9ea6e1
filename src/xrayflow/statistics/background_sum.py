r"""ln p(S | mu) where a background is known by a gamma distribution: the sum of two negative binomials.

    S ~ Poisson(F mu + beta),     F ~ Gamma(shape 1 / s^2, mean 1),     beta ~ Gamma(shape alpha, rate g)

has the counts of the source and those of the background negative binomial and independent, so that

    p(S) = sum_{i = 0}^{S} Psource(i | mu) Pbackground(S - i).

Every limit is a case of it: s = 0 is a Poisson source, alpha -> infinity at alpha / g a known background.

* *Few counts* (`Polynomial`, S <= `FEW`). With X = (1 + g) mu / (1 + s^2 mu),

      p(S) = g^alpha (1 + g)^-(alpha + S) (1 + s^2 mu)^(-1 / s^2) sum_i source_i background_{S-i} X^i,

  whose coefficients neither mu nor g change.
* *Many* (`Table`). ln of that sum is one smooth function of X in every bin: a short series, made from the integral.
* *Few behind* (`FewBehind`), where a background of which hardly anything is known leaves no short series, and gives
  few of many counts. The same sum from its other end is a polynomial in 1 / X, broken off where a background count is
  out of the question.
* *The rest* (`Integral`). Both gamma factors integrated, what is left is an integral over ln beta of a function with
  one peak: trapezoids about it, in a variable that makes its sides alike. Where the background is well known the
  function is nearly a normal, and Gauss and Hermite's nodes do (`near_normal`).

A background that is a cut normal has an integral of its own (`background_cut`), and a series (`background_cut_table`).

`background_polynomial` has the sums, `background_table` the series, `background_integral` the integral. Each gives the
slopes with mu and with g too: that with mu is the expected number of source counts in disguise.

Source: derived here; checked against mpmath in tests/statistics.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.background_cut import CutNormals
from xrayflow.statistics.background_cut_table import CutTable
from xrayflow.statistics.background_integral import WELL_KNOWN, Bins, Density
from xrayflow.statistics.background_polynomial import AWAY, BEHIND, FewBehind, Polynomial, most_behind
from xrayflow.statistics.background_table import Table
from xrayflow.statistics.background_way import Integral, Way

FEW = 64
"""Counts of a bin up to which the polynomial is evaluated; it takes S products."""

CLASSES = 8, 16, 32, FEW
"""Bins are evaluated together up to these counts."""

TOGETHER = 131_072
"""Draws times bins of one evaluation: more leave a processor's cache; of fewer the calls cost as much as the work."""


def pieces(draws: int, bins: int) -> Iterator[slice]:
    """Draws that are evaluated together.

    Args:
        draws, bins: How many there are.
    """
    size = max(TOGETHER // bins, 1)
    for first in range(0, draws, size):
        yield slice(first, min(first + size, draws))


@dataclass(frozen=True)
class BackgroundSum:
    """All bins of one source, each evaluated as its counts ask.

    Attributes:
        size: How many bins.
        rate: (bin,) g0.
        level: (bin,) what stands before ln(g / g0) in ln p: alpha, and 0 on a cut normal.
        tabled: Bins from the first to the last of many counts; None where none has a table.
        table: Theirs.
        others: Places of other bins, and how they are evaluated; few counts first.
        cut: Those on a background that is a cut normal.
    """

    size: int
    rate: Float[Tensor, " bin"]
    level: Float[Tensor, " bin"]
    tabled: slice | None
    table: Table | None
    others: tuple[tuple[Tensor, Way], ...]
    cut: tuple[Tensor, CutTable | None]

    @classmethod
    def of(
        cls,
        bins: Bins,
        rate: Float[Tensor, " bin"],
        middle: Float[Tensor, " bin"] | None = None,
        error: Float[Tensor, " bin"] | None = None,
        spread: float = 0.0,
    ) -> BackgroundSum:
        """Sort bins.

        Args:
            bins: Of one source.
            rate: g where most evaluations will be.
            middle, error: Of the normal that is cut at zero, where the background is one; error 0 elsewhere.
            spread: Standard deviation of ln A, which such bins have in common; 0 where A is held.
        """
        counts = bins.counts
        is_cut = torch.zeros_like(counts, dtype=torch.bool) if error is None else error > 0
        many = (counts > FEW) & ~is_cut
        tabled, table, has = _table(bins, rate, many)
        others = _sums(bins, rate, many & ~has, is_cut | has)
        at = is_cut.nonzero()[:, 0]
        cut = None
        if middle is not None and error is not None and at.numel():
            normals = CutNormals(counts[at], middle[at], error[at], rate[at], bins.s2)
            cut = CutTable.of(normals, bins.alpha[at] / rate[at], spread)
        level = torch.where(is_cut, 0.0, bins.alpha)
        return cls(counts.numel(), rate, level, tabled, table, others, (at, cut))

    def roughly(self, rough: bool) -> BackgroundSum:
        """The same, cut normals beyond their series by the peak of the integral.

        Args:
            rough: Whether that does; else by the integral.
        """
        at, cut = self.cut
        return self if cut is None or cut.rough == rough else replace(self, cut=(at, replace(cut, rough=rough)))

    def total(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, " draw"]:
        """`bare` of all bins together; not a number where a bin is beyond its series: ask `bare` of such draws.

        Args:
            mu: Of the source.
            rate: g.
        """
        if self.table is None or self.tabled != slice(0, self.size) or self.others or self.cut[1] is not None:
            return self.bare(mu, rate).sum(-1)
        return self.table.total(mu, rate)

    def bare(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S) of each bin less `level` ln(g / g0), which a likelihood knows without a logarithm of every g.

        Args:
            mu: Of the source.
            rate: g.
        """
        if self.table is not None and self.tabled == slice(0, self.size) and not self.others and self.cut[1] is None:
            return self.table.bare(mu, rate)
        found = torch.empty_like(mu)
        if self.table is not None and self.tabled is not None:
            found[:, self.tabled] = self.table.bare(mu[:, self.tabled], rate[:, self.tabled])
        for at, way in self.others:
            found[:, at] = way.bare(mu[:, at], rate[:, at])
        at, cut = self.cut
        if cut is not None:
            found[:, at] = cut.value(mu[:, at], rate[:, at])
        return found

    def value(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S) of each bin.

        Args:
            mu: Of the source.
            rate: g.
        """
        found = torch.empty_like(mu)
        for part in pieces(*mu.shape):
            found[part] = self.bare(mu[part], rate[part]) + self.level * torch.log(rate[part] / self.rate)
        return found

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """That, and its slopes."""
        found = mu.new_empty((3, *mu.shape))
        parts = list[tuple[slice | Tensor, Density]]()
        if self.table is not None and self.tabled is not None:
            parts.append((self.tabled, self.table(mu[:, self.tabled], rate[:, self.tabled])))
        parts += [(at, way(mu[:, at], rate[:, at])) for at, way in self.others]
        at, cut = self.cut
        if cut is not None:
            parts.append((at, cut(mu[:, at], rate[:, at])))
        for place, one in parts:
            for row, values in zip(found, (one.value, one.by_mu, one.by_rate), strict=True):
                row[:, place] = values
        return Density(*found)


def _table(bins: Bins, rate: Tensor, many: Tensor) -> tuple[slice | None, Table | None, Tensor]:
    """Bins from the first to the last of many counts, their table, and (bin,) which have one."""
    has, at = torch.zeros_like(many), many.nonzero()[:, 0]
    if not at.numel():
        return None, None, has
    # bins between them are evaluated too: cheaper than to gather those that need it
    span = slice(int(at[0]), int(at[-1]) + 1)
    table, found = Table.of(bins.select(torch.arange(bins.counts.numel())[span]), rate[span], many[span])
    has[span] = found
    return (span, table, has) if bool(found.any()) else (None, None, has)


def _sums(bins: Bins, rate: Tensor, many: Tensor, done: Tensor) -> tuple[tuple[Tensor, Way], ...]:
    """Places of bins that have no table, and how they are evaluated.

    Args:
        bins: Of one source.
        rate: g0.
        many: (bin,) those of many counts.
        done: (bin,) those that something else evaluates.
    """
    counts, found = bins.counts, list[tuple[Tensor, Way]]()
    # where there may be no source at all, the sum from its other end would not reach
    bright = counts - bins.alpha / rate > AWAY * torch.sqrt(counts + bins.alpha / rate**2)
    behind = torch.where(many & bright, most_behind(bins, rate), torch.inf)
    degree = torch.where(done | (many & (bright | (counts > BEHIND[-1]))), torch.inf, counts)
    for size, ends, kind in ((degree, (*CLASSES, *BEHIND[-2:]), Polynomial), (behind, BEHIND, FewBehind)):
        for least, most in itertools.pairwise((-1.0, *ends)):
            at = ((size > least) & (size <= most)).nonzero()[:, 0]
            if at.numel():
                found.append((at, kind.of(bins.select(at), rate[at], int(most))))
    left = many & torch.isinf(behind) & torch.isinf(degree)
    for rest in (left & (bins.known >= WELL_KNOWN), left & (bins.known < WELL_KNOWN)):
        at = rest.nonzero()[:, 0]
        if at.numel():
            found.append((at, Integral(bins.select(at), rate[at])))
    return tuple(found)
