r"""ln p(S | mu) of many counts by a short series, which neither the draw nor the background's level changes.

The sum of two negative binomials (`background_sum`) depends on mu and on the background's rate g, but for factors in
front only by X = (1 + g) mu / (1 + s^2 mu) (`background_polynomial`). So what is known along one line of mu and g is
known at all. With

    l = (g - g0) / (1 + g0),      D = s^2 mu (h - (1 - h) l),      Z = (1 + l) mu / (1 + D),

Z is a function of X alone, 1 / Z = (1 + g0) / X - (1 - h) s^2, and so is U in

    ln p(mu, g) = U(Z) + alpha ln(g / g0) - (alpha + S) ln(1 + l) - ln(1 + D) / s^2,

the last term l mu without a systematic error. h from 0 to 1 is each bin's own. At h = 0, Z is the source that makes
the same X at g0, and U is ln p there, which has one peak: the best of all where s^2 mu is small. Where it is large, X
hardly changes with mu, and a little of l would make Z infinite; h moves that to 1 + g0 times the X at which source and
bin meet, or to `FARTHEST` times.

On a background of b = alpha / g0, ln p is nearly S ln(Z + b), whose branch point a ratio moves out of the way: about
the source m that meets the bin,

    t = (Z - m) / (Z + m + 2 b)

is half of ln((Z + b) / (m + b)) to first order. A Chebyshev series in t on each bin's own interval, stored as powers so
that Horner's rule takes it, is the whole evaluation: no logarithm but those of 1 + l and 1 + D.

How wide an interval `DEGREE` affords follows from the branch point. Each series is held against the integral at its
ends, where a series that is broken off errs most, and between them; an interval that fails is made narrower, and a bin
that then does not reach `FALL` below its peak has no table. Beyond its interval the integral takes over.

Source: derived here; Trefethen 2013 (Approximation Theory and Approximation Practice), chapters 3 and 8.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.polynomial import chebyshev
from torch import Tensor

from xrayflow.statistics.background_integral import Bins, Density, finest
from xrayflow.statistics.background_polynomial import horner, horner_and_slope
from xrayflow.statistics.background_way import Way

DEGREE = 14
"""Of the series."""

ERROR = 2e-9
"""In ln p that a bin may have, beside what many counts lose to rounding."""

ROUNDING = 20.0 * float(np.finfo(np.float64).eps)
"""Of every count, in ln p."""

FALL = 3.0
"""In ln p below the peak, 2.5 standard deviations, that an interval reaches: few draws are beyond."""

FARTHEST = 8.0
"""Factor of X up to which Z stays finite."""

TRIES, SAFE, SHRINK = 6, 0.95, 0.3
"""How often an interval that fails is made narrower: by as much as its error asks, a little more, and no less."""

CHECKS = -1.0, -0.51, 0.03, 0.51, 1.0
"""Places where series and integral are compared, in units of the interval."""

NOWHERE = 1e-9
"""Of the scale of an interval, up to which a source is none."""

LEAST_PRODUCT = 1e-6
"""s^2 from which the rounding of 1 + D, over s^2, is nothing beside `ERROR`."""

OUTSIDE = 1.0 + 1e-9
"""Of the interval, from where the integral serves: no source at all is its edge, to rounding."""


class _OfBins(NamedTuple):
    """Numbers of each bin, in every evaluation.

    Attributes:
        inverse: 1 / (1 + g0).
        nominal: l where g is nothing.
        share, share_by_lift: D = (share + share_by_lift l) mu.
        before: alpha + S.
    """

    inverse: Tensor
    nominal: Tensor
    share: Tensor
    share_by_lift: Tensor
    before: Tensor


@dataclass(frozen=True)
class Table(Way):
    """Bins of many counts. The place on an interval, from -1 to 1, is start - bend / (Z + far).

    Attributes:
        held: (bin,) h.
        met: (bin,) m.
        far: (bin,) m + 2 b; where Z is not mu at g0, as Z there.
        start, bend: (bin,) of the interval; bend is 0 where a bin has no table.
        coefficients: (power, bin) of the place; 0 where a bin has no table.
    """

    held: Float[Tensor, " bin"]
    met: Float[Tensor, " bin"]
    far: Float[Tensor, " bin"]
    start: Float[Tensor, " bin"]
    bend: Float[Tensor, " bin"]
    coefficients: Float[Tensor, "power bin"]

    @classmethod
    def of(cls, bins: Bins, rate: Float[Tensor, " bin"], wanted: Bool[Tensor, " bin"]) -> tuple[Table, Tensor]:
        """The tables of all bins that have one.

        Args:
            bins: The bins.
            rate: g where most evaluations will be.
            wanted: Which should have one if they can; they have counts.

        Returns:
            The table, and (bin,) which bins have one.
        """
        behind, s2 = bins.alpha / rate, bins.s2
        sd = torch.sqrt(bins.counts + behind / rate + s2 * bins.counts**2)
        met = torch.maximum(bins.counts - behind, sd)
        above = (1.0 + s2 * met) / (1.0 + rate.clamp(max=FARTHEST - 1.0))
        held = (1.0 - above / (s2 * met)).clamp(min=0.0) if s2 > 0.0 else torch.zeros_like(met)
        squeezed = 1.0 + held * s2 * met
        width = _affordable(torch.where(held > 0, bins.counts, 1.0 / (1.0 / bins.counts + s2)))
        far, nothing = (met + 2.0 * behind) / squeezed, torch.zeros_like(met)
        none = met.new_zeros((DEGREE + 1, met.numel()))
        empty = cls(bins, rate, held, met, far, nothing, nothing, none)
        return empty._filled(wanted, met / squeezed, width, ERROR + ROUNDING * bins.counts)

    def _filled(self, wanted: Tensor, middle: Tensor, width: Tensor, allowed: Tensor) -> tuple[Table, Tensor]:
        """This one with coefficients, and (bin,) which bins have some.

        Args:
            wanted: (bin,)
            middle: (bin,) Z at m.
            width: (bin,) half of the interval of t to begin with.
            allowed: (bin,) error in ln p.
        """
        coefficients, start, bend = self.coefficients.clone(), self.start.clone(), self.bend.clone()
        has, left = torch.zeros_like(wanted), wanted.nonzero()[:, 0]
        for _ in range(TRIES):
            one = self._interval(left, middle[left], width[left])
            series, error, reaches = one._series()
            good = error < allowed[left]
            kept = good & reaches
            at = left[kept]
            coefficients[:, at], start[at], bend[at], has[at] = series[:, kept], one.start[kept], one.bend[kept], True
            # an exact one that is too short would not gain from being shorter
            left, error = left[~good], error[~good]
            # an error falls as the power of the width that is left out first
            width[left] *= (SAFE * (allowed[left] / error) ** (1.0 / (DEGREE + 1))).clamp(min=SHRINK)
            if not left.numel():
                break
        # the others are at 0 of no interval, whatever source and level
        held, far = torch.where(has, self.held, 1.0), torch.where(has, self.far, 1.0)
        return replace(self, held=held, far=far, start=start, bend=bend, coefficients=coefficients), has

    def bare(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S) - alpha ln(g / g0)."""
        lift, front, z = self._of_x(mu, rate)
        # in place: memory that a processor does not hold costs more than the arithmetic
        place = z.add_(self.far).reciprocal_()
        torch.addcmul(self.start, place, self.bend, value=-1.0, out=place)
        found = horner(self.coefficients, place).add_(front)
        found.addcmul_(lift.log1p_(), self._of_bins.before, value=-1.0)
        return found if bool(_is_inside(place)) else self._bare_beyond(found, ~(place.abs() <= OUTSIDE), mu, rate)

    def total(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, " draw"]:
        """`bare` of all bins, every one of which has a table; not a number where one is beyond its interval.

        As few looks at every number as there may be; and no logarithm of each 1 + D, but of their product: before it
        all bins have the same factor.

        Args:
            mu: Of the source.
            rate: g.
        """
        s2, of = self.bins.s2, self._of_bins
        lift = torch.addcmul(of.nominal, rate, of.inverse)
        if s2 > 0.0:
            spread = torch.addcmul(of.share, lift, of.share_by_lift).mul_(mu)
            front = torch.log1p(spread).sum(-1) if s2 < LEAST_PRODUCT else None
            spread.add_(1.0)
            # 1 / (Z + far)
            place = torch.addcmul(mu, mu, lift).addcmul_(spread, self.far)
            torch.div(spread, place, out=place)
            front = (log_product(spread) if front is None else front) / -s2
        else:
            more = mu * lift
            place, front = (mu + more).add_(self.far).reciprocal_(), more.sum(-1)
        torch.addcmul(self.start, place, self.bend, value=-1.0, out=place)
        found = horner(self.coefficients, place).sum(-1) + front - lift.log1p_() @ of.before
        return found.masked_fill_(~_is_inside(place, (-1,)), torch.nan)

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """ln p(S), and its slopes: those of the polynomial."""
        bins, s2, inverse = self.bins, self.bins.s2, 1.0 / (1.0 + self.rate)
        lift, front, z = self._of_x(mu, rate)
        place = self.start - self.bend / (z + self.far)
        value, slope = horner_and_slope(self.coefficients, place)
        slope = slope * self.bend / (z + self.far) ** 2
        before = bins.alpha + bins.counts
        value = value + front - before * torch.log1p(lift) + self._level(mu, rate)
        share = self.held - (1.0 - self.held) * lift
        spread = 1.0 + s2 * mu * share
        by_mu = slope * (1.0 + lift) / spread**2 - share / spread
        by_lift = (slope * (1.0 + s2 * mu) / spread + (1.0 - self.held)) * mu / spread
        by_rate = inverse * (by_lift - before / (1.0 + lift)) + bins.alpha / rate
        return self._beyond(Density(value, by_mu, by_rate), ~(place.abs() <= OUTSIDE), mu, rate)

    def _of_x(self, mu: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """l, -ln(1 + D) / s^2, and Z."""
        s2, of = self.bins.s2, self._of_bins
        lift = torch.addcmul(of.nominal, rate, of.inverse)
        front = mu * lift
        z = mu + front
        if s2 > 0.0:
            d = torch.addcmul(of.share, lift, of.share_by_lift).mul_(mu)
            z.div_(1.0 + d)
            front = d.log1p_().mul_(-1.0 / s2)
        return lift, front, z

    @cached_property
    def _of_bins(self) -> _OfBins:
        """What no draw changes."""
        inverse, s2 = 1.0 / (1.0 + self.rate), self.bins.s2
        before = self.bins.alpha + self.bins.counts
        return _OfBins(inverse, -self.rate * inverse, s2 * self.held, s2 * (self.held - 1.0), before)

    def _interval(self, at: Tensor, middle: Tensor, half: Tensor) -> Table:
        """Some of the bins, without coefficients, on an interval of t about 0.

        Args:
            at: (some,) places of bins.
            middle: (some,) Z at m.
            half: (some,) how far it goes on either side, if mu does not end before.
        """
        far = self.far[at]
        low = torch.maximum(-half, -middle / far)
        # t = 1 - (middle + far) / (Z + far), and the place is (2 t - low - half) / (half - low)
        start, bend = (2.0 - low - half) / (half - low), 2.0 * (middle + far) / (half - low)
        none = self.coefficients[:, at]
        return Table(self.bins.select(at), self.rate[at], self.held[at], self.met[at], far, start, bend, none)

    def _series(self) -> tuple[Tensor, Tensor, Tensor]:
        """(power, bin) coefficients, (bin,) the largest error of `CHECKS`, and whether it reaches far enough."""
        nodes, transform, powers = _chebyshev()
        places = torch.cat([nodes, torch.tensor(CHECKS, dtype=torch.float64)])[:, None]
        z = (self.bend / (self.start - places) - self.far).clamp(min=0.0)
        exact, at_nominal = self._exact(z)
        count = nodes.numel()
        # one after the other: their product has large elements, which would cost digits
        series = powers @ (transform @ exact[:count])
        error = (horner(series, places[count:].expand(z[count:].shape)) - exact[count:]).abs().amax(0)
        low, high, top = at_nominal[count], at_nominal[-1], at_nominal.amax(0)
        return series, error, ((low < top - FALL) | (z[count] <= NOWHERE * self.far)) & (high < top - FALL)

    def _exact(self, z: Float[Tensor, "place bin"]) -> tuple[Float[Tensor, "place bin"], Float[Tensor, "place bin"]]:
        """U, and ln p where the rate is g0; that is nothing where no source makes Z."""
        bins, s2 = self.bins, self.bins.s2
        reached = 1.0 - self.held * s2 * z
        mu = torch.where(reached > 0, z / reached, torch.inf)
        # at g0 up to m where Z has an end, beyond it at a rate that rises
        further = (self.held > 0) & (mu > self.met)
        x0, x = (
            1.0 / (1.0 / one + (1.0 - self.held) * s2) for one in (self.met / (1.0 + self.held * s2 * self.met), z)
        )
        lift = torch.where(further, x / x0 - 1.0, 0.0)
        there = torch.where(further, self.met, mu)
        rate = self.rate + (1.0 + self.rate) * lift
        d = s2 * there * (self.held - (1.0 - self.held) * lift)
        front = torch.log1p(d) / s2 if s2 > 0.0 else torch.zeros_like(z)
        value = finest(bins, there, rate) - bins.alpha * torch.log(rate / self.rate)
        value = value + front + (bins.alpha + bins.counts) * torch.log1p(lift)
        ends = torch.log1p(self.held * s2 * mu) / s2 if s2 > 0.0 else torch.zeros_like(z)
        return value, value - ends


def log_product(each: Float[Tensor, "draw bin"]) -> Float[Tensor, " draw"]:
    """ln of the product of all bins: a logarithm for eight of them.

    Args:
        each: Above 0, and none far from 1.
    """
    for _ in range(3):
        half = each.shape[1] // 2
        if half == 0:
            break
        rest, each = each[:, 2 * half :], each[:, :half] * each[:, half : 2 * half]
        each[:, : rest.shape[1]] *= rest
    return each.log().sum(-1)


def _is_inside(place: Tensor, axes: tuple[int, ...] = ()) -> Tensor:
    """Whether all are on their intervals, or all along some axes; what is not a number is not."""
    return (place.amin(axes) >= -OUTSIDE) & (place.amax(axes) <= OUTSIDE)


def _affordable(sharpness: Float[Tensor, " bin"]) -> Float[Tensor, " bin"]:
    """Half of the interval of t on which `DEGREE` powers of sharpness ln((1 + t) / (1 - t)) are exact.

    Its coefficients fall as 2 sharpness rho^-n / n, where the branch points at t = -1 and 1 lie (rho + 1 / rho) / 2
    half-intervals away (Trefethen 2013, theorem 8.1).
    """
    rho = (20.0 * sharpness / (DEGREE * ERROR)) ** (1.0 / (DEGREE + 1))
    return 2.0 / (rho + 1.0 / rho)


@cache
def _chebyshev() -> tuple[Tensor, Tensor, Tensor]:
    """Chebyshev's nodes, what makes coefficients of the values there, and what makes powers of these."""
    n = np.arange(DEGREE + 1)
    angle = np.pi * (n + 0.5) / (DEGREE + 1)
    transform = 2.0 / (DEGREE + 1) * np.cos(n[:, None] * angle)
    transform[0] /= 2.0
    powers = [np.pad(chebyshev.cheb2poly(row[: k + 1]), (0, DEGREE - k)) for k, row in enumerate(np.eye(DEGREE + 1))]
    return torch.from_numpy(np.cos(angle)), torch.from_numpy(transform), torch.from_numpy(np.stack(powers, axis=1))
