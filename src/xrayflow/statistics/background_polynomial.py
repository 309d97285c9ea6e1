"""ln p(S) as a sum over whole counts, of `background_sum`: a polynomial whose coefficients no draw changes.

From below, in X = (1 + g) mu / (1 + s^2 mu), where a bin has few counts (`Polynomial`); from its other end, in 1 / X,
where many counts have few of the background behind them (`FewBehind`).

Source: derived here; checked against mpmath in tests/statistics/test_background_polynomial.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.background_integral import Bins, Density, log_rising
from xrayflow.statistics.background_way import Way

BEHIND = 8, 16, 32, 64, 128, 256
"""Bins of many counts are evaluated together up to these counts of the background."""

AWAY, NOTHING = 6.0, -32.0
"""Standard deviations by which a source may miss a bin, and in natural log what a number of background counts is worth
then, relative to the likeliest, from which it is left out."""


@dataclass(frozen=True)
class Polynomial(Way):
    """Bins of few counts.

    Attributes:
        coefficients: (power, bin) of r = X / unit, over the largest.
        largest: Natural log of that.
        unit: What X is measured in, so that powers of r stay within reach.
    """

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
        return cls(bins, rate, torch.exp(log - largest), largest, unit)

    def bare(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S) - alpha ln(g / g0)."""
        return self._whole(mu, rate, horner(self.coefficients, self._power(mu, rate)))

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """ln p(S), and its slopes."""
        bins, spread, r = self.bins, 1.0 + self.bins.s2 * mu, self._power(mu, rate)
        value, slope = horner_and_slope(self.coefficients, r)
        ratio = slope / value
        by_mu = ratio * (1.0 + rate) / (self.unit * spread**2) - 1.0 / spread
        behind = bins.counts - r * ratio
        by_rate = bins.alpha / rate - (bins.alpha + behind) / (1.0 + rate)
        return Density(self._whole(mu, rate, value) + self._level(mu, rate), by_mu, by_rate)

    def _power(self, mu: Tensor, rate: Tensor) -> Tensor:
        """r, of which no power overflows."""
        r = (1.0 + rate) * mu / (self.unit * (1.0 + self.bins.s2 * mu))
        return torch.minimum(r, 10.0 ** (300.0 / self.bins.counts.clamp(min=1.0)))

    def _whole(self, mu: Tensor, rate: Tensor, polynomial: Tensor) -> Tensor:
        """The polynomial with what stands before it."""
        return self.largest + _before(self.bins, mu, rate, self.rate) + torch.log(polynomial)


@dataclass(frozen=True)
class FewBehind(Way):
    """Bins of many counts, few of which are the background's.

    Attributes:
        coefficients: (background counts, bin) of r = unit / X, over the largest.
        largest: Natural log of that.
        unit: What X is measured in.
        reach: The largest r for which no more terms are needed; the quadrature serves beyond.
    """

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
        return cls(bins, rate, torch.exp(log - largest), largest, unit, torch.exp(_tilt(bins)))

    def bare(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S) - alpha ln(g / g0)."""
        x, r = self._power(mu, rate)
        found = self._whole(mu, rate, x, horner(self.coefficients, r))
        return self._bare_beyond(found, x * self.reach < 1.0, mu, rate)

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """ln p(S), and its slopes."""
        bins, spread = self.bins, 1.0 + self.bins.s2 * mu
        x, r = self._power(mu, rate)
        value, slope = horner_and_slope(self.coefficients, r)
        behind = r * slope / value
        by_mu = ((bins.counts - behind) / mu.clamp(min=1e-300) - 1.0) / spread
        by_rate = bins.alpha / rate - (bins.alpha + behind) / (1.0 + rate)
        found = Density(self._whole(mu, rate, x, value) + self._level(mu, rate), by_mu, by_rate)
        # where the background must give more counts than are summed up to
        return self._beyond(found, x * self.reach < 1.0, mu, rate)

    def _power(self, mu: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        """X / unit, and its inverse, of which no power overflows."""
        x = (1.0 + rate) * mu / (self.unit * (1.0 + self.bins.s2 * mu))
        x = x.clamp(min=1e-300)
        return x, 1.0 / x.clamp(min=10.0 ** (-300.0 / max(self.coefficients.shape[0] - 1, 1)))

    def _whole(self, mu: Tensor, rate: Tensor, x: Tensor, polynomial: Tensor) -> Tensor:
        """The polynomial with what stands before it."""
        power = self.bins.counts * torch.log(x * self.unit)
        return self.largest + _before(self.bins, mu, rate, self.rate) + power + torch.log(polynomial)


def horner(coefficients: Float[Tensor, "power bin"], r: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
    """The polynomial at r."""
    if coefficients.shape[0] == 1:
        return coefficients[0].expand(r.shape).clone()
    *lower, last, highest = coefficients.unbind()
    value = torch.addcmul(last, highest, r)
    for coefficient in reversed(lower):
        torch.addcmul(coefficient, value, r, out=value)
    return value


def horner_and_slope(coefficients: Tensor, r: Tensor) -> tuple[Tensor, Tensor]:
    """That, and its slope with r."""
    value, slope = coefficients[-1].expand(r.shape), torch.zeros_like(r)
    for coefficient in coefficients[:-1].flip(0):
        slope = torch.addcmul(value, slope, r)
        value = torch.addcmul(coefficient, value, r)
    return value, slope


def _before(bins: Bins, mu: Tensor, rate: Tensor, nominal: Tensor) -> Float[Tensor, "draw bin"]:
    """ln of g0^alpha (1 + g)^-(alpha + S) (1 + s^2 mu)^(-1 / s^2), which stands before the sum."""
    alone = -torch.log1p(bins.s2 * mu) / bins.s2 if bins.s2 > 0 else -mu
    at_nominal = bins.alpha * torch.log1p(1.0 / nominal) + bins.counts * torch.log1p(nominal)
    lift = (rate - nominal) / (1.0 + nominal)
    return alone - at_nominal - (bins.alpha + bins.counts) * torch.log1p(lift)


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
    return plain if s2 == 0.0 else plain + log_rising(s, s2)


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
