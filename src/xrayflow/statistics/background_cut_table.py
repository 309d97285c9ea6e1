r"""ln p(S | mu) on a cut normal by a short series in the source's counts and the background's level.

The integral of `background_cut` costs up to a thousand exponentials. For each bin it is a smooth function of two
numbers alone, mu and a = ln A. In

    x = ln(mu + c),      c = the mean of the background at A = 1,

ln p on a background that is known is S x - mu, which is no polynomial but has its singularities far away; a wide
background rounds it off. So a Chebyshev series in x, each of whose coefficients is one in a, on each bin's own
interval, is the whole evaluation. A is one number for all bins of a draw, as a modelled background has it, so that the
sums over a are one product of matrices.

Each series is held against the integral between its nodes. An interval that fails is made narrower, then the series
longer; beyond it, and where none is long enough, the integral takes over, or its peak alone where that is far down, and
everywhere on the first way of a search. The error of a series grows from a bright source, where few terms do, to one
that is lost in its background, where ln p bends sharply as mu leaves nothing to that.

Source: derived here; Trefethen 2013 (Approximation Theory and Approximation Practice), chapter 3; Clenshaw 1955, Math.
Tables Aids Comput. 9, 118 (the recurrence).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.polynomial import chebyshev
from torch import Tensor

from xrayflow.statistics.background_cut import CutNormals
from xrayflow.statistics.background_integral import Density

DEGREES = (16, 8), (32, 10), (64, 12)
"""Of the series in x and in a: the first that does."""

FARTHEST_LEVEL, HELD = 5.0, 1e-9
"""In standard deviations of a, which a series reaches; a itself, where A is held at 1."""

ERROR = 2e-7
"""In ln p that a bin may have."""

REACHES = (50.0, 25.0, 12.0, 8.0, 5.0), (12.0, 8.0, 5.0, 3.5), (8.0, 5.0, 3.5, 2.5)
"""Of the interval on either side, in standard deviations of the counts, for each of `DEGREES`: the first that does."""

CHECKS, LEVEL_CHECKS = (-1.0, -0.97, -0.8, -0.45, -0.1, 0.25, 0.6, 0.9, 1.0), (-0.97, -0.4, 0.3, 0.97)
"""Places where series and integral are compared, in units of the interval."""

OUTSIDE = 1.0 + 1e-9
"""Of the interval, from where the integral serves."""

FAR = 30.0
"""In ln p below the most that a bin has: from there the integral's peak does. A search sets out there."""

TOGETHER = 262_144
"""Coefficients of one evaluation: more leave the processor's cache."""

By = Float[Tensor, "draw bin"]


@dataclass(frozen=True)
class Series:
    """Some bins, each with a series.

    Attributes:
        normals: The bins, and their integral.
        far: (bin,) c.
        middle, half: (bin,) of the interval of x.
        level: Half of the interval of a.
        coefficients: (number in a, number in x, bin).
    """

    normals: CutNormals
    far: Float[Tensor, " bin"]
    middle: Float[Tensor, " bin"]
    half: Float[Tensor, " bin"]
    level: float
    coefficients: Float[Tensor, "number number bin"]

    @classmethod
    def of(
        cls,
        normals: CutNormals,
        far: Float[Tensor, " bin"],
        low: Tensor,
        high: Tensor,
        level: float,
        degree: int,
        most: int,
    ) -> tuple[Series, Float[Tensor, " bin"]]:
        """Interpolate the integral.

        Args:
            normals: The bins.
            far: c.
            low, high: (bin,) mu at the ends of the interval.
            level: Half of the interval of a; 0 where A is held.
            degree, most: Of the series in x, and in a.

        Returns:
            The series, and (bin,) the largest error of `CHECKS`.
        """
        start, stop = torch.log(low + far), torch.log(high + far)
        most = most if level > 0 else 0
        middle, half = 0.5 * (start + stop), 0.5 * (stop - start)
        none = far.new_zeros((most + 1, degree + 1, far.numel()))
        empty = cls(normals, far, middle, half, level or HELD, none)
        (x, by_x), (a, by_a) = _nodes(degree), _nodes(most)
        known = empty._integral(x, a).flatten(1)
        sums = (by_a @ known).reshape(most + 1, degree + 1, -1)
        coefficients = by_x @ sums
        made = replace(empty, coefficients=coefficients)
        x = torch.tensor(CHECKS, dtype=torch.float64)
        a = torch.tensor(LEVEL_CHECKS if level > 0 else (0.0,), dtype=torch.float64)
        exact = made._integral(x, a).flatten(0, 1)
        place, levels = x.repeat(a.numel())[:, None].expand(exact.shape), a.repeat_interleave(x.numel())
        error = (made._sum(made.coefficients, _polynomials(levels, most), place) - exact).abs().amax(0)
        return made, torch.where(torch.isfinite(error), error, torch.inf)

    def value(self, mu: By, rate: By) -> tuple[By, Bool[Tensor, "draw bin"]]:
        """ln p(S), and where that does not hold.

        Args:
            mu: Of the source.
            rate: g.
        """
        place, a = self._places(mu, rate)
        return self._sum(self.coefficients, _polynomials(a, self.coefficients.shape[0] - 1), place), _beyond(place, a)

    def __call__(self, mu: By, rate: By) -> tuple[Density, Bool[Tensor, "draw bin"]]:
        """ln p(S) and its slopes, those of the series, and where that does not hold."""
        place, a = self._places(mu, rate)
        most = self.coefficients.shape[0] - 1
        levels = _polynomials(a, most)
        by_mu = self._sum(self._slopes, levels, place) / (self.half * (mu + self.far))
        by_level = self._sum(self.coefficients, levels @ torch.from_numpy(_differentiated(most)), place) / self.level
        return Density(self._sum(self.coefficients, levels, place), by_mu, -by_level / rate), _beyond(place, a)

    def select(self, bins: Tensor) -> Series:
        """Some of the bins."""
        own = self.far[bins], self.middle[bins], self.half[bins]
        return Series(self.normals.select(bins), *own, self.level, self.coefficients[..., bins].contiguous())

    @classmethod
    def joined(cls, parts: Sequence[Series]) -> Series:
        """Bins of several, of one length, beside each other."""
        far, middle, half = (torch.cat([getattr(one, name) for one in parts]) for name in ("far", "middle", "half"))
        normals = CutNormals.joined([one.normals for one in parts])
        coefficients = torch.cat([one.coefficients for one in parts], dim=-1)
        return cls(normals, far, middle, half, parts[0].level, coefficients)

    @cached_property
    def _slopes(self) -> Float[Tensor, "number number bin"]:
        """Coefficients of the slope with x, in units of the interval."""
        of = torch.from_numpy(_differentiated(self.coefficients.shape[1] - 1))
        return (of @ self.coefficients).contiguous()

    def _integral(self, x: Tensor, a: Tensor) -> Float[Tensor, "level place bin"]:
        """ln p at every pair of places, in units of the intervals."""
        mu = (torch.exp(self.middle + self.half * x[:, None]) - self.far).clamp(min=0.0)
        scale = torch.exp(self.level * a)[:, None, None].expand(-1, *mu.shape).flatten(0, 1)
        found = self.normals.value(mu.repeat(a.numel(), 1), self.normals.rate / scale)
        return found.reshape(a.numel(), x.numel(), -1)

    def _places(self, mu: By, rate: By) -> tuple[By, Float[Tensor, " draw"]]:
        """Where draws are, in units of the intervals."""
        x = (torch.log(mu + self.far) - self.middle) / self.half
        return x, torch.log(self.normals.rate[0] / rate[:, 0]) / self.level

    def _sum(self, coefficients: Tensor, levels: Float[Tensor, "draw number"], place: By) -> By:
        """The series at some places, by Clenshaw's recurrence."""
        found = torch.empty_like(place)
        size = max(TOGETHER // coefficients[0].numel(), 1)
        for first in range(0, place.shape[0], size):
            some = slice(first, first + size)
            own = (levels[some] @ coefficients.flatten(1)).reshape(-1, *coefficients.shape[1:]).transpose(0, 1)
            x, after, before = place[some], torch.zeros_like(place[some]), torch.zeros_like(place[some])
            twice = 2.0 * x
            for coefficient in reversed(own[1:].unbind(0)):
                after, before = coefficient.sub_(before).addcmul_(twice, after), after
            found[some] = own[0].sub_(before).addcmul_(x, after)
        return found


@dataclass(frozen=True)
class CutTable:
    """Bins of one source.

    Attributes:
        normals: The bins, and their integral.
        series: Places of bins, and their series.
        rest: Places of those that have none.
        rough: Whether the integral's peak does wherever no series is.
    """

    normals: CutNormals
    series: tuple[tuple[Tensor, Series], ...]
    rest: Tensor
    rough: bool = False

    @classmethod
    def of(cls, normals: CutNormals, mean: Float[Tensor, " bin"], spread: float) -> CutTable:
        """Make the series of all bins that have one.

        Args:
            normals: The bins.
            mean: Of the background, at A = 1.
            spread: Standard deviation of a; 0 where A is held.
        """
        counts = normals.counts
        own = counts + normals.s2 * counts**2 + 1.0
        sd, met = torch.sqrt(own + normals.error**2), (counts - normals.middle.clamp(min=0.0)).clamp(min=0.0)
        found, left = list[tuple[Tensor, Series]](), torch.arange(counts.numel())
        for (degree, most), reaches in zip(DEGREES, REACHES, strict=True):
            parts = list[tuple[Tensor, Series]]()
            for reach in reaches:
                if not left.numel():
                    break
                # a source above all counts has no background to give way: only what counts scatter by is left
                high = torch.minimum(met + reach * sd, counts + reach * torch.sqrt(own))
                low, level = (met - reach * sd).clamp(min=0.0), FARTHEST_LEVEL * spread
                good = torch.arange(left.numel())
                for wide in (0.0, level) if level > 0 else (0.0,):  # an interval that fails is told at one level
                    tried = left[good]
                    ends = mean[tried], low[tried], high[tried]
                    one, error = Series.of(normals.select(tried), *ends, wide, degree, most)
                    fits = (error < ERROR).nonzero()[:, 0]
                    good = good[fits]
                    if not good.numel():
                        break
                else:
                    parts.append((left[good], one.select(fits)))
                    left = left[~torch.isin(torch.arange(left.numel()), good)]
            if parts:
                found.append((torch.cat([at for at, _ in parts]), Series.joined([one for _, one in parts])))
        return cls(normals, tuple(found), left)

    def value(self, mu: By, rate: By) -> By:
        """ln p(S).

        Args:
            mu: Of the source.
            rate: g, of one A in all bins of a draw.
        """
        found, beyond = torch.empty_like(mu), self._without(mu)
        for at, one in self.series:
            found[:, at], beyond[:, at] = one.value(mu[:, at], rate[:, at])
        if bool(beyond.any()):
            there = tuple(at[None] for at in beyond.nonzero(as_tuple=True))
            found[there] = self._without_series(there[1][0], mu[there], rate[there], slopes=False).value
        return found

    def __call__(self, mu: By, rate: By) -> Density:
        """That, and its slopes."""
        found, beyond = mu.new_empty((3, *mu.shape)), self._without(mu)
        for at, series in self.series:
            one, beyond[:, at] = series(mu[:, at], rate[:, at])
            _put(found, (slice(None), at), one)
        if bool(beyond.any()):
            there = tuple(at[None] for at in beyond.nonzero(as_tuple=True))
            _put(found, there, self._without_series(there[1][0], mu[there], rate[there], slopes=True))
        return Density(*found)

    def _without_series(self, bins: Tensor, mu: Tensor, rate: Tensor, slopes: bool) -> Density:
        """Of single bins of draws, in one row: by the integral's peak where that is far down, else by the integral.

        Args:
            bins: Which.
            mu, rate: (1, bin) of each.
            slopes: Whether those are wanted.
        """
        normals = self.normals.select(bins)
        found = normals.rough(mu, rate)
        if self.rough:
            return found
        near = (~(found.value[0] < self.highest[bins] - FAR)).nonzero()[:, 0]
        if near.numel():
            own, mu, rate = normals.select(near), mu[:, near], rate[:, near]
            if slopes:
                _put((found.value, found.by_mu, found.by_rate), (slice(None), near), own(mu, rate))
            else:
                found.value[:, near] = own.value(mu, rate)
        return found

    @cached_property
    def highest(self) -> Float[Tensor, " bin"]:
        """About the largest ln p of each bin."""
        normals = self.normals
        met = (normals.counts - normals.middle.clamp(min=0.0)).clamp(min=0.0)
        return normals.rough(met[None], normals.rate[None]).value[0]

    def _without(self, mu: By) -> Bool[Tensor, "draw bin"]:
        """Where the integral serves whatever mu."""
        beyond = torch.zeros_like(mu, dtype=torch.bool)
        beyond[:, self.rest] = True
        return beyond


def _put(rows: Iterable[Tensor], where: tuple[slice | Tensor, ...], one: Density) -> None:
    """Value and slopes into some places of three rows."""
    for row, values in zip(rows, (one.value, one.by_mu, one.by_rate), strict=True):
        row[where] = values


def _beyond(place: By, a: Float[Tensor, " draw"]) -> Bool[Tensor, "draw bin"]:
    """Outside the intervals; what is not a number is that too."""
    return ~((place.abs() <= OUTSIDE) & (a.abs() <= OUTSIDE)[:, None])


def _polynomials(a: Float[Tensor, " draw"], most: int) -> Float[Tensor, "draw number"]:
    """Chebyshev's polynomials; beyond -1 .. 1 those of its ends, where nobody asks."""
    number = torch.arange(most + 1, dtype=torch.float64)
    return torch.cos(number * torch.arccos(a.clamp(-1.0, 1.0))[:, None])


@cache
def _nodes(degree: int) -> tuple[Tensor, Tensor]:
    """Chebyshev's nodes, and what makes coefficients of the values there."""
    n = np.arange(degree + 1)
    angle = np.pi * (n + 0.5) / (degree + 1)
    transform = 2.0 / (degree + 1) * np.cos(n[:, None] * angle)
    transform[0] /= 2.0
    return torch.from_numpy(np.cos(angle)), torch.from_numpy(transform)


@cache
def _differentiated(degree: int) -> np.ndarray:
    """What makes coefficients of the slope of those of a series, as many."""
    columns = [np.pad(chebyshev.chebder(row), (0, 1))[: degree + 1] for row in np.eye(degree + 1)]
    return np.stack(columns, axis=1)
