"""The normalised likelihood that posteriors, weights and evidence rest on.

The counts of a bin are Poisson about `M`, or, with a fractional systematic error s of the source model, negative
binomial: mean M, variance M + phi M^2. Written relative to the saturated model it loses no digits at 1e9 counts and is
Poisson at phi = 0 without a jump. With d = M - S, a = 1 + phi M, c = 1 + phi S, psi(x) = x - log(1 + x):

    ln K = sat(S) - phi d^2 / (a c) - S psi(d / (S a)) + phi (d / c)^2 g2(phi d / c) - log(1 + phi S) / 2
           + omega(c / phi) - omega(1 / phi),      g2(y) = psi(y) / y^2,
    sat(S) = ln Poisson(S | S),      omega = the remainder of Stirling's series.

Source: the negative binomial with shape k = 1/phi rearranged with lgamma(z) = Stirling(z) + omega(z) (Abramowitz &
Stegun 6.1.40); checked against scipy.stats.nbinom and mpmath in tests/statistics/test_count_density.py.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.statistic import psi

MOST_SYSTEMATIC = 0.5
"""Above this fractional error the Stirling remainder omega(1 / s^2) is no longer exact to 1e-9."""


def log_saturated_poisson(counts: Tensor) -> Tensor:
    """ln Poisson(S | S): S ln S - S - ln S!, by Stirling's series above 30 counts; 0 at 0."""
    counts = counts.to(torch.float64)
    small = torch.xlogy(counts, counts) - counts - torch.lgamma(counts + 1.0)
    large = torch.clamp(counts, min=1.0)
    stirling = -0.5 * torch.log(2.0 * math.pi * large) - _omega(1.0 / large)
    return torch.where(counts > 30.0, stirling, small)


def log_counts(
    counts: Float[Tensor, "*#batch bin"],
    total: Float[Tensor, "*#batch bin"],
    phi: Float[Tensor, "*#batch bin"] | float,
    saturated: Float[Tensor, "*#batch bin"],
) -> Float[Tensor, "*#batch bin"]:
    """ln of the probability of the counts of each bin.

    Args:
        counts: S, whole numbers >= 0.
        total: M, expected counts (source and background), > 0 where S > 0.
        phi: (variance - M) / M^2; 0 is Poisson. At most 0.25.
        saturated: `log_saturated_poisson(counts)`, which no draw changes.
    """
    some = counts > 0
    safe = torch.where(some, counts, 1.0)
    d = total - counts
    if isinstance(phi, float) and phi == 0.0:
        return saturated - torch.where(some, counts * psi(d / safe), total)
    phi = torch.as_tensor(phi, dtype=total.dtype)
    a = 1.0 + phi * total
    c = 1.0 + phi * counts
    y = phi * d / c
    value = (
        saturated
        - phi * d * d / (a * c)
        - counts * psi(d / (safe * a))
        + phi * (d / c) ** 2 * _g2(y)
        - 0.5 * torch.log1p(phi * counts)
        + _omega(phi / c)
        - _omega(phi)
    )
    x = phi * total
    empty = -total * torch.where(x > 1e-8, torch.log1p(x) / torch.where(x > 1e-8, x, 1.0), 1.0 - 0.5 * x)
    return torch.where(some, value, empty)


def _g2(y: Tensor) -> Tensor:
    """(y - log(1 + y)) / y^2."""
    small = y.abs() < 1e-6
    safe = torch.where(small, 1.0, y)
    return torch.where(small, 0.5 - y / 3.0, psi(y) / (safe * safe))


def _omega(inverse: Tensor) -> Tensor:
    """Stirling's remainder lgamma(z) - [(z - 1/2) ln z - z + ln(2 pi) / 2], from 1/z <= 0.25."""
    p2 = inverse * inverse
    series = 1.0 / 12.0 + p2 * (
        -1.0 / 360.0 + p2 * (1.0 / 1260.0 + p2 * (-1.0 / 1680.0 + p2 * (1.0 / 1188.0 - p2 * 691.0 / 360360.0)))
    )
    return inverse * series
