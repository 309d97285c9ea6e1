"""The normalised likelihood that posteriors, weights and evidence rest on.

The counts of a bin are Poisson about `M`, or, with a fractional systematic error s of the source model, negative
binomial: mean M, variance M + phi M^2. It is written relative to the model that meets the counts, so that it loses no
digits at 1e9 counts, and is Poisson at phi = 0 without a jump. With d = M - S, c = 1 + phi S, y = phi d / c:

    ln K = sat(S) - log(1 + phi S) / 2 + omega(phi / c) - omega(phi)  +  S log(1 + d / S) - d  +  d (1 - log(1 + y) / y)
    sat(S) = ln Poisson(S | S),      omega(1 / z) = the remainder of Stirling's series at z.

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

LOW = -0.999
"""d / S below which 1 + d / S has lost digits of M / S."""

MANY = 1e5
"""Counts of a bin above which the rounding of d is seen beside the result."""


def log_saturated_poisson(counts: Tensor) -> Tensor:
    """ln Poisson(S | S): S ln S - S - ln S!, by Stirling's series above 30 counts; 0 at 0."""
    counts = counts.to(torch.float64)
    small = torch.xlogy(counts, counts) - counts - torch.lgamma(counts + 1.0)
    large = torch.clamp(counts, min=1.0)
    stirling = -0.5 * torch.log(2.0 * math.pi * large) - stirling_remainder(1.0 / large)
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
    d = total - counts
    if isinstance(phi, float) and phi == 0.0:
        return saturated + _above(counts, total)
    phi = torch.as_tensor(phi, dtype=total.dtype)
    c = 1.0 + phi * counts
    y = phi * d / c
    met = saturated - 0.5 * torch.log1p(phi * counts) + stirling_remainder(phi / c) - stirling_remainder(phi)
    return met + _above(counts, total) + d * y * _g2(y)


def log_counts_slope(
    counts: Float[Tensor, "*#batch bin"], total: Float[Tensor, "*#batch bin"], phi: Float[Tensor, "*#batch bin"]
) -> tuple[Float[Tensor, "*#batch bin"], Float[Tensor, "*#batch bin"]]:
    """d `log_counts` / d total and d `log_counts` / d phi, each with the other held.

    Args:
        counts, total, phi: As for `log_counts`, total > 0.
    """
    d = total - counts
    c = 1.0 + phi * counts
    y = phi * d / c
    by_phi = _omega_slope(phi / c) / (c * c) - _omega_slope(phi) - 0.5 * counts / c + (d / c) ** 2 * _g2_slope(y)
    return -d / (total * (1.0 + phi * total)), by_phi


def _above(counts: Tensor, total: Tensor) -> Tensor:
    """S log(1 + d / S) - d, and -d in empty bins; without cancellation where there are many counts."""
    d = total - counts
    safe = counts.clamp(min=1.0)
    part = (d / safe).clamp(min=-1.0)
    log_ratio = torch.log1p(part)
    low = (part < LOW) & (counts > 0)
    if bool(low.any()):
        log_ratio = torch.where(low, torch.log(torch.where(low, (total / safe).clamp(min=0.0), 1.0)), log_ratio)
    plain = counts * log_ratio - d
    many = (counts > MANY) & ~low
    return torch.where(many, -counts * psi(part), plain) if bool(many.any()) else plain


def _g2(y: Tensor) -> Tensor:
    """(y - log(1 + y)) / y^2."""
    small = y.abs() < torch.finfo(y.dtype).eps ** 0.2  # there both have as many digits
    safe = torch.where(small, 1.0, y)
    series = 0.5 - y * (1.0 / 3.0 - y * (0.25 - 0.2 * y))
    return torch.where(small, series, (y - torch.log1p(y)) / (safe * safe))


def _g2_slope(y: Tensor) -> Tensor:
    """(log(1 + y) - y / (1 + y)) / y^2: the slope of y times `_g2`."""
    small = y.abs() < torch.finfo(y.dtype).eps ** 0.2
    safe = torch.where(small, 1.0, y)
    series = 0.5 - y * (2.0 / 3.0 - y * (0.75 - 0.8 * y))
    return torch.where(small, series, (torch.log1p(safe) - safe / (1.0 + safe)) / (safe * safe))


def _omega_slope(inverse: Tensor) -> Tensor:
    """The slope of `stirling_remainder`."""
    p2 = inverse * inverse
    return 1.0 / 12.0 + p2 * (
        -1.0 / 120.0 + p2 * (1.0 / 252.0 + p2 * (-1.0 / 240.0 + p2 * (1.0 / 132.0 - p2 * 7601.0 / 360360.0)))
    )


def stirling_remainder(inverse: Tensor) -> Tensor:
    """Stirling's remainder lgamma(z) - [(z - 1/2) ln z - z + ln(2 pi) / 2], from 1/z <= 0.25."""
    p2 = inverse * inverse
    series = 1.0 / 12.0 + p2 * (
        -1.0 / 360.0 + p2 * (1.0 / 1260.0 + p2 * (-1.0 / 1680.0 + p2 * (1.0 / 1188.0 - p2 * 691.0 / 360360.0)))
    )
    return inverse * series
