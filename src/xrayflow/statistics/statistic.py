"""XSPEC's fit statistics: what people compare, `error` and `steppar` walk on, and papers quote.

Every function gives the contribution of each bin; a statistic is their sum. All are twice (negative log-likelihood
minus that of the saturated model). The building block is

    C(S, x) = 2 [x - S + S ln(S / x)] = 2 S psi((x - S) / S),   psi(y) = y - log(1 + y),   C(0, x) = 2 x,

which loses no digits near x = S. W and PGStat are C of the source counts plus the penalty of the background's rate f
that fits best in that bin (the posterior does not rest on them: see `likelihood`).

Names: `counts` S in the source's exposure t_s; `expected` t_s m, the source model alone; `background` B counts in t_b
(AREASCAL and BACKSCAL folded into the times).

Source: XSPEC manual, appendix B "Statistics in XSPEC"; the profile rates are the roots of the same quadratics, written
without cancellation.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Bins = Float[Tensor, "*batch bin"]


def psi(y: Tensor) -> Tensor:
    """y - log(1 + y), without cancellation near 0: a series below |y| = 0.02.

    >>> float(psi(torch.tensor(1e-9, dtype=torch.float64)))
    5e-19
    """
    # 8 terms at |y| < 0.02 leave 2e-16 of the leading y^2 / 2
    series = torch.zeros_like(y)
    for power in range(9, 1, -1):
        series = series * y + (1.0 if power % 2 == 0 else -1.0) / power
    return torch.where(y.abs() < 0.02, series * y * y, y - torch.log1p(torch.clamp(y, min=-1.0)))


def cstat(counts: Bins, expected: Bins) -> Bins:
    """C: Poisson counts, no background. Infinite where the model is 0 and counts are not."""
    safe = torch.where(counts > 0, counts, 1.0)
    return torch.where(counts > 0, 2.0 * counts * psi((expected - counts) / safe), 2.0 * expected)


def pstat(counts: Bins, expected: Bins, source_exposure: Bins, background: Bins, background_exposure: Bins) -> Bins:
    """C with a background that is known exactly: expected + B t_s / t_b."""
    return cstat(counts, expected + background * source_exposure / background_exposure)


def wstat(counts: Bins, expected: Bins, source_exposure: Bins, background: Bins, background_exposure: Bins) -> Bins:
    """W: Poisson background, its rate f profiled in every bin (XSPEC's `cstat` with a background file)."""
    both = source_exposure + background_exposure
    rate = expected / source_exposure
    a = both * rate - counts - background
    d = torch.sqrt(a * a + 4.0 * both * background * rate)
    below = a > 0
    f = torch.where(below, 2.0 * background * rate / torch.where(below, a + d, 1.0), (d - a) / (2.0 * both))
    return cstat(counts, source_exposure * (rate + f)) + cstat(background, background_exposure * f)


def pgstat(
    counts: Bins,
    expected: Bins,
    source_exposure: Bins,
    background: Bins,
    background_err: Bins,
    background_exposure: Bins,
    as_xspec: bool = False,
) -> Bins:
    """PGStat: Poisson counts, Gaussian background B +- sigma, its rate f profiled in every bin.

    f is not held positive, as in XSPEC, so the statistic can be negative. Where sigma = 0 it is pstat.

    Args:
        counts: S.
        expected: t_s m.
        source_exposure: t_s, s.
        background: B, counts in t_b.
        background_err: sigma of B, counts.
        background_exposure: t_b, s.
        as_xspec: With sigma^2 / t_b where the manual has sigma^2, which is what XSPEC (12.9.1) computes and prints.
    """
    variance = background_err**2
    if as_xspec:
        variance = variance / background_exposure
    exact = variance <= 0
    s2 = torch.where(exact, 1.0, variance)
    ts, tb, rate = source_exposure, background_exposure, expected / source_exposure
    a = ts * s2 - tb * background + tb**2 * rate
    c = ts * s2 * rate - counts * s2 - tb * background * rate
    d = torch.sqrt(torch.clamp(a * a - 4.0 * tb**2 * c, min=0.0))
    f = torch.where(a > 0, -2.0 * c / torch.where(a > 0, a + d, 1.0), (d - a) / (2.0 * tb**2))
    # without counts the quadratic's larger root need not be the minimum that XSPEC's formula takes
    f = torch.where(counts > 0, f, background / tb - ts * s2 / tb**2)
    profiled = _signed_c(counts, ts * (rate + f)) + (background - tb * f) ** 2 / s2
    return torch.where(exact, pstat(counts, expected, ts, background, tb), profiled)


def chi2(counts: Bins, expected: Bins, variance: Bins, background_counts: Bins | float = 0.0) -> Bins:
    """chi^2 with the data's variance; `background_counts` (scaled to t_s) are subtracted from the counts."""
    return (counts - background_counts - expected) ** 2 / variance


def _signed_c(counts: Bins, total: Bins) -> Bins:
    """`cstat` where a bin without counts may have a negative total (PGStat's unconstrained background)."""
    return torch.where(counts > 0, cstat(counts, torch.where(counts > 0, total, 1.0)), 2.0 * total)
