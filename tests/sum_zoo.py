"""Bins on a background, and their exact probabilities by mpmath."""

from __future__ import annotations

import mpmath
import numpy as np
import torch
from torch import Tensor

from xrayflow.statistics.background_integral import Bins

Case = tuple[float, float, float, float, float]
"""S, mu, alpha, g, s."""


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def bins_of(*cases: Case) -> tuple[Bins, Tensor, Tensor]:
    """Bins of one systematic error, with mu and g as one draw."""
    s, mu, alpha, rate, systematic = (list(column) for column in zip(*cases, strict=True))
    assert len(set(systematic)) == 1
    return Bins(tensor(*s), tensor(*alpha), systematic[0] ** 2), tensor(*mu)[None], tensor(*rate)[None]


def convolution(s: float, mu: float, alpha: float, rate: float, systematic: float) -> float:
    """ln p(S), with 40 digits."""
    with mpmath.workdps(40):
        m, a, g = mpmath.mpf(mu), mpmath.mpf(alpha), mpmath.mpf(rate)
        if systematic == 0.0:
            source = [mpmath.exp(-m) * m**i / mpmath.factorial(i) for i in range(int(s) + 1)]
        else:
            k = 1 / mpmath.mpf(systematic) ** 2
            p = (k / (k + m)) ** k
            source = [mpmath.rf(k, i) / mpmath.factorial(i) * p * (m / (k + m)) ** i for i in range(int(s) + 1)]
        first = (g / (1 + g)) ** a
        behind = [mpmath.rf(a, j) / mpmath.factorial(j) * first / (1 + g) ** j for j in range(int(s) + 1)]
        return float(mpmath.log(mpmath.fsum(one * other for one, other in zip(source, reversed(behind), strict=True))))


def random_cases(counts: list[int], number: int, seed: int = 0) -> list[Case]:
    random = np.random.default_rng(seed)
    return [
        (
            float(random.choice(counts)),
            10.0 ** random.uniform(-3, 3),
            float(random.choice([0.3, 1.5, 10.3, 300.0, 1e4])),
            10.0 ** random.uniform(-3, 3),
            float(random.choice([0.0, 0.01, 0.1, 0.3])),
        )
        for _ in range(number)
    ]
