"""XSPEC's fit statistics: what people compare, `error` and `steppar` walk on, and papers quote.

Every function gives the contribution of each bin; a statistic is their sum. All are twice (negative log-likelihood
minus that of the saturated model). The building block is

    C(S, x) = 2 [x - S + S ln(S / x)] = 2 S psi((x - S) / S),   psi(y) = y - log(1 + y),   C(0, x) = 2 x,

which loses no digits near x = S. W and PGStat are C of the source counts plus the penalty of the background that fits
best in that bin (the posterior does not rest on them: see `likelihood`). With mu the source model's counts, beta the
background's in the source's exposure t_s, B what the background file holds in t_b, and r = t_s / t_b:

    W        C(S, mu + beta) + C(B, beta / r),               A beta^2 + (A mu - S - B) beta - B mu = 0,  A = 1 + 1/r
    PGStat   C(S, x) + (x - mu - b)^2 / v,   x = mu + beta,  x^2 + (v - b - mu) x - S v = 0,  b = r B,  v = (r sigma)^2

each with its only positive root, taken in the form that does not cancel. Times enter as their ratio alone, so that
float32 neither overflows nor loses more than C itself does.

Where XSPEC differs on purpose: it floors the expected counts (at 1e-5 where counts were seen, which makes a model of 0
merely bad); here such a bin is infinite, since no parameter near it can be right. `systematic` and SYS_ERR enter chi2
alone.

Names: `counts` S; `expected` mu; `background` B; AREASCAL and BACKSCAL are folded into the times.

Source: XSPEC manual, appendix B "Statistics in XSPEC"; the profiles are derived here.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

Bins = Float[Tensor, "*#batch bin"]

_ATANH = (2 / 13, 2 / 11, 2 / 9, 2 / 7, 2 / 5, 2 / 3)


def psi(y: Tensor) -> Tensor:
    """y - log(1 + y), without cancellation near 0; infinite at and below -1.

    With t = y / (2 + y), log(1 + y) = 2 atanh(t) and y - 2 t = y t, so psi = t y - 2 (t^3 / 3 + t^5 / 5 + ...): six
    terms give all digits for |y| < 0.1.

    >>> float(psi(torch.tensor(1e-12, dtype=torch.float64)))
    4.999999999996667e-25
    """
    t = y / (2.0 + y)
    square = t * t
    series = torch.zeros_like(y)
    for coefficient in _ATANH:
        series = series * square + coefficient
    return torch.where(y.abs() < 0.1, t * (y - square * series), y - torch.log1p(torch.clamp(y, min=-1.0)))


def _root(square: Tensor) -> Tensor:
    """The square root, with a derivative of 0 at 0: bins of nothing at all must not spoil a gradient."""
    some = square > 0
    return torch.where(some, torch.sqrt(torch.where(some, square, 1.0)), 0.0)


def cstat(counts: Bins, expected: Bins) -> Bins:
    """C: Poisson counts, no background. Infinite where the model is 0 and counts are not.

    Args:
        counts: S.
        expected: Expected counts, >= 0.
    """
    safe = torch.where(counts > 0, counts, 1.0)
    return torch.where(counts > 0, 2.0 * counts * psi((expected - counts) / safe), 2.0 * expected)


def pstat(counts: Bins, expected: Bins, source_exposure: Bins, background: Bins, background_exposure: Bins) -> Bins:
    """C with a background that is known exactly: expected + B t_s / t_b.

    Args:
        counts: S.
        expected: mu, the source model alone.
        source_exposure: t_s, s.
        background: B, counts in t_b.
        background_exposure: t_b, s.
    """
    return cstat(counts, expected + background * (source_exposure / background_exposure))


def wstat(counts: Bins, expected: Bins, source_exposure: Bins, background: Bins, background_exposure: Bins) -> Bins:
    """W: Poisson background, profiled in every bin (XSPEC's `cstat` with a background file).

    Args:
        counts: S.
        expected: mu, the source model alone.
        source_exposure: t_s, s.
        background: B >= 0, counts in t_b.
        background_exposure: t_b, s.
    """
    ratio = source_exposure / background_exposure
    both = 1.0 + 1.0 / ratio
    a = both * expected - counts - background
    d = _root(a * a + 4.0 * both * background * expected)
    rising = a > 0
    small = 2.0 * background * expected / torch.where(rising, a + d, 1.0)
    beta = torch.where(rising, small, (d - a) / (2.0 * both))
    return cstat(counts, expected + beta) + cstat(background, beta / ratio)


def pgstat(
    counts: Bins,
    expected: Bins,
    source_exposure: Bins,
    background: Bins,
    background_err: Bins,
    background_exposure: Bins,
    as_xspec: bool = False,
) -> Bins:
    """PGStat: Poisson counts, Gaussian background B +- sigma, profiled in every bin.

    The background is not held positive, as in XSPEC, so a bin without counts can be negative: it gives
    2 (mu + b) - v. Where sigma = 0 it is pstat.

    Args:
        counts: S.
        expected: mu, the source model alone.
        source_exposure: t_s, s.
        background: B, counts in t_b, of any sign.
        background_err: sigma of B, counts.
        background_exposure: t_b, s.
        as_xspec: With sigma^2 / t_b where the manual has sigma^2, which is what XSPEC (12.9.1) computes and prints.
    """
    ratio = source_exposure / background_exposure
    variance = (background_err * ratio) ** 2
    if as_xspec:
        variance = variance / background_exposure
    known = expected + background * ratio
    a = variance - known
    d = _root(a * a + 4.0 * counts * variance)
    rising = a > 0
    total = torch.where(rising, 2.0 * counts * variance / torch.where(rising, a + d, 1.0), 0.5 * (d - a))
    # at the root (x - mu - b) / v = S / x - 1: whichever side is the smaller difference keeps its digits
    wide = variance > total
    off = (total - known) ** 2 / torch.where(wide, variance, 1.0)
    pull = variance * (counts / torch.where(total > 0, total, 1.0) - 1.0) ** 2
    some = cstat(counts, total) + torch.where(wide, off, pull)
    return torch.where(counts > 0, some, 2.0 * known - variance)


def chi2(counts: Bins, expected: Bins, variance: Bins, background_counts: Bins | float = 0.0) -> Bins:
    """chi^2 with the data's variance.

    Args:
        counts: Gross counts.
        expected: The source model alone.
        variance: > 0; of the counts and of the background that is subtracted.
        background_counts: Background in the source's exposure, subtracted from the counts.
    """
    return (counts - background_counts - expected) ** 2 / variance
