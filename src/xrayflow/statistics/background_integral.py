"""ln p(S) by an integral over the background, both gamma factors of `background_sum` integrated.

What is left is a function of ln beta with one peak. `quadrature` lays trapezoids about it, in a variable that makes its
sides alike; where the background is well known the function is nearly a normal, and `near_normal` takes Gauss and
Hermite's nodes.

Source: derived here; checked against mpmath in tests/statistics/test_background_integral.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.count_density import log_saturated_poisson, stirling_remainder

NODES, DROP, UPDATES = 40, 30.0, 8
"""Of the quadrature: how many, how far in natural log below the peak it goes, and steps to find where that is."""

WELL_KNOWN, BETTER_KNOWN, BEST_KNOWN = 30.0, 100.0, 1000.0
HERMITE = {BEST_KNOWN: 4, BETTER_KNOWN: 7, WELL_KNOWN: 12}
"""Shapes from which so many of Gauss and Hermite's nodes are exact, to 2e-7, 7e-7 and 1e-7; slopes take the most."""

FINEST, FINEST_HERMITE = (48, 34.0), 20
"""Nodes and drop of the quadrature, and Gauss and Hermite's nodes of a well known background, that err by 1e-9."""


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

    @cached_property
    def known(self) -> Float[Tensor, " bin"]:
        """How near a normal the integrand is: the smaller shape of the two gamma distributions."""
        return self.alpha if self.s2 == 0.0 else self.alpha.clamp(max=1.0 / self.s2)

    def select(self, chosen: Tensor) -> Bins:
        """Some of them."""
        return Bins(self.counts[chosen], self.alpha[chosen], self.s2)


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
        x, found = torch.expm1(d), alpha * d
        if self.bins.s2 > 0:
            found.addcmul_(n, (e * x).log1p_(), value=-1.0)
        else:
            found.addcmul_(e, x, value=-1.0)
        return found.addcmul_(s, x.mul_(f).log1p_())

    def value(self, integral: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S).

        Args:
            integral: Over ln beta, relative to the peak.
        """
        bins, top = self.bins, self.mu + (1.0 + self.rate) * self.peak
        last = self.n * torch.log1p(bins.s2 * top) if bins.s2 > 0 else top
        # alpha ln beta + S ln(mu + beta) relative to where gamma function and factorial are known without loss
        return (
            _log_constant(bins)
            + bins.alpha * torch.log(self.rate * self.peak / bins.alpha)
            + bins.counts * torch.log((self.mu + self.peak) / bins.counts.clamp(min=1.0))
            + (bins.alpha + bins.counts - last)
            + torch.log(integral)
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
        return Density(self.value(weight.sum(-1)), by_mu, by_rate)


def integral(
    bins: Bins, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"], slopes: bool = True
) -> Density:
    """Few nodes where they do for all bins, else the quadrature.

    Args:
        bins: The bins.
        mu: Of the source.
        rate: g.
        slopes: Whether they are wanted; else they may be empty.
    """
    if bool((bins.known >= WELL_KNOWN).all()):
        return near_normal(bins, mu, rate, slopes)
    return quadrature(bins, mu, rate)


def finest(bins: Bins, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
    """ln p(S) to 1e-9, for what is made of it.

    Args:
        bins: The bins.
        mu: Of the source.
        rate: g.
    """
    found = torch.empty_like(mu)
    well = bins.known >= WELL_KNOWN
    for chosen, few in ((well, True), (~well, False)):
        at = chosen.nonzero()[:, 0]
        if not at.numel():
            continue
        some, m, g = bins.select(at), mu[:, at], rate[:, at]
        if few:
            one = Integrand(some, m, g)
            found[:, at] = one.value(hermite_sum(one, torch.rsqrt(one.bend), FINEST_HERMITE))
        else:
            one, _, weight = trapezoids(some, m, g, *FINEST)
            found[:, at] = one.value(weight.sum(-1))
    return found


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
    one, d, weight = trapezoids(bins, mu, rate, nodes, drop)
    return one.density(d, weight)


def trapezoids(
    bins: Bins, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"], nodes: int = NODES, drop: float = DROP
) -> tuple[Integrand, Float[Tensor, "draw bin node"], Float[Tensor, "draw bin node"]]:
    """The integrand, the places of `quadrature` relative to its peak, and the weight of each."""
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
    return one, d, size * c * torch.exp(one.below(d) - c * x) * (2.0 / (nodes - 1))


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
    if slopes:
        one, d, weight = hermite(bins, mu, rate)
        return one.density(d, weight)
    one = Integrand(bins, mu, rate)
    return Density(one.value(hermite_sum(one, torch.rsqrt(one.bend))), mu[:0], mu[:0])


def hermite_sum(
    one: Integrand, width: Float[Tensor, "draw bin"], nodes: int | None = None
) -> Float[Tensor, "draw bin"]:
    """The integral relative to the peak, node by node: a short last axis would be slow."""
    if nodes is None:
        known = float(one.bins.known.min())
        nodes = next((nodes for least, nodes in HERMITE.items() if known >= least), HERMITE[WELL_KNOWN])
    total = torch.zeros_like(width)
    for x, log_weight in zip(*(values.tolist() for values in hermite_nodes(nodes)), strict=True):
        total.add_(one.below(x * width).exp_(), alpha=math.exp(log_weight))
    return total.mul_(width)


def hermite(
    bins: Bins, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]
) -> tuple[Integrand, Float[Tensor, "draw bin node"], Float[Tensor, "draw bin node"]]:
    """The integrand, the places of `near_normal` relative to its peak, and the weight of each."""
    one, (x, log_weight) = Integrand(bins, mu, rate), hermite_nodes(HERMITE[WELL_KNOWN])
    width = torch.rsqrt(one.bend)[..., None]
    d = x * width
    return one, d, torch.exp(one.below(d) + log_weight) * width


@cache
def hermite_nodes(nodes: int) -> tuple[Tensor, Tensor]:
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
    return found if s2 == 0.0 else found + log_rising(s + alpha, s2)


def log_rising(z: Float[Tensor, " bin"], s2: float) -> Float[Tensor, " bin"]:
    """ln of Gamma(z + k) / (Gamma(k) k^z) at k = 1 / s^2, without loss where k is large.

    Args:
        z: >= 0.
        s2: s^2 > 0.
    """
    ratio = z * s2
    more = stirling_remainder(1.0 / (z + 1.0 / s2)) - stirling_remainder(torch.tensor(s2, dtype=torch.float64))
    return (z - 0.5) * torch.log1p(ratio) - (ratio - torch.log1p(ratio)) / s2 + more
