"""Bins on a background that is a cut normal, and mpmath's integral of one."""

from __future__ import annotations

import mpmath
from torch import Tensor, ones_like

from sum_zoo import tensor
from xrayflow.statistics.background_cut import CutNormals

Case = tuple[float, float, float, float, float]
"""S, mu, b, sigma, A."""


def integral(counts: float, mu: float, middle: float, error: float, scale: float) -> float:
    """ln p(S) without a systematic error, with 30 digits."""
    with mpmath.workdps(30):
        s, m, b, sd, a = (mpmath.mpf(float(one)) for one in (counts, mu, middle, error, scale))

        def log(y: mpmath.mpf) -> mpmath.mpf:
            met = s * mpmath.log(m + a * y) if s > 0 else mpmath.mpf(0)
            return met - m - a * y - (y - b) ** 2 / (2 * sd**2)

        lo, hi = mpmath.mpf(0), max(b, 0) + 12 * sd + s / a
        for _ in range(150):
            left, right = lo + (hi - lo) / 3, hi - (hi - lo) / 3
            lo, hi = (left, hi) if log(left) < log(right) else (lo, right)
        peak = (lo + hi) / 2
        width = 1 / mpmath.sqrt(1 / sd**2 + a * a * s / (m + a * peak) ** 2)
        steps = [k * width for k in (-14, -10, -6, -3, -1, 0, 1, 3, 6, 10, 14, 20, 30)]
        places = {mpmath.mpf(0)} | {max(peak + step, mpmath.mpf(0)) for step in steps}
        places |= {peak + k / a for k in (1, 4, 12, 30, 70)}
        total = mpmath.quad(lambda y: mpmath.exp(log(y) - log(peak)), sorted(places))
        norm = sd * mpmath.sqrt(2 * mpmath.pi) * mpmath.ncdf(b / sd)
        return float(mpmath.log(total / norm) + log(peak) - mpmath.loggamma(s + 1))


def bins_of(cases: list[Case], systematic: float = 0.0) -> tuple[CutNormals, Tensor, Tensor]:
    """Bins, mu and g of one draw; g is 1 at A = 1."""
    counts, mu, middle, error, scale = (tensor(*column) for column in zip(*cases, strict=True))
    return CutNormals(counts, middle, error, ones_like(counts), systematic**2), mu[None], 1.0 / scale[None]
