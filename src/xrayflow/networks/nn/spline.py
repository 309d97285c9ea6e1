"""Monotone rational-quadratic splines of many rows, the row axis last: what runs along it is one vector.

Widths, heights and slopes of the bins are free numbers, squashed so that no slope is below `LEAST_SLOPE`. In the bin
from (x0, y0) to (x1, y1) with slopes d0, d1 at its ends, s = (y1 - y0) / (x1 - x0), z = (x - x0) / (x1 - x0):

    y = y0 + (y1 - y0) (s z^2 + d0 z (1 - z)) / (s + (d0 + d1 - 2 s) z (1 - z)).

Beyond +-bound it is the identity.

Source: Durkan et al. 2019, arXiv 1906.04032, eq. 4-8; the squashing is that of zuko, by which networks were trained.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

LEAST_SLOPE = 1e-3

Rows = Float[Tensor, "moved row"]


class Spline:
    """One spline for each moved coordinate of each row.

    Attributes:
        x, y: (moved, bin + 1, row) knots.
        slope: (moved, bin + 1, row) logarithm of the slope at each, 0 at the ends, before it is squashed.
    """

    def __init__(self, raw: Float[Tensor, "moved number row"], bound: float) -> None:
        """Args:
        raw: Free numbers: widths, heights, and the slopes between the bins.
        bound: Where the splines end.
        """
        bins = (raw.shape[1] + 1) // 3
        self.x, self.y = (_knots(raw[:, first : first + bins], bound) for first in (0, bins))
        self.slope = functional.pad(raw[:, 2 * bins :], (0, 0, 1, 1))

    def __call__(self, x: Rows) -> tuple[Rows, Rows]:
        """y, and ln dy / dx."""
        inside, x0, x1, y0, y1, d0, d1 = self._bin(self.x, x)
        s = (y1 - y0) / (x1 - x0)
        z = torch.where(inside, (x - x0) / (x1 - x0), 0.0)
        rest = z * (1.0 - z)
        below = s + (d0 + d1 - 2.0 * s) * rest
        y = y0 + (y1 - y0) * (s * z * z + d0 * rest) / below
        above = 2.0 * s * rest + d0 * (1.0 - z) ** 2 + d1 * z * z
        steepness = torch.log(s * s * above / (below * below))
        return torch.where(inside, y, x), torch.where(inside, steepness, 0.0)

    def inverse(self, y: Rows) -> Rows:
        """x."""
        inside, x0, x1, y0, y1, d0, d1 = self._bin(self.y, y)
        s = (y1 - y0) / (x1 - x0)
        up = torch.where(inside, y - y0, 0.0)
        bend = d0 + d1 - 2.0 * s
        a = (y1 - y0) * (s - d0) + up * bend
        b = (y1 - y0) * d0 - up * bend
        c = -s * up
        z = 2.0 * c / (-b - torch.sqrt(b * b - 4.0 * a * c))
        return torch.where(inside, x0 + z * (x1 - x0), y)

    def _bin(
        self, knots: Float[Tensor, "moved knot row"], at: Rows
    ) -> tuple[Bool[Tensor, "moved row"], Rows, Rows, Rows, Rows, Rows, Rows]:
        """Whether each is within the knots, and its bin: both ends in x and y, and the slopes there."""
        k = (knots < at[:, None]).sum(1, keepdim=True) - 1
        bins = knots.shape[1] - 1
        inside = (k >= 0) & (k < bins)
        k = k.clamp(0, bins - 1)
        found = [of.gather(1, place)[:, 0] for of in (self.x, self.y) for place in (k, k + 1)]
        slopes = [torch.exp(_squashed(self.slope.gather(1, place)[:, 0], 1.0)) for place in (k, k + 1)]
        return (inside[:, 0], *found, *slopes)  # type: ignore[return-value]


def _knots(raw: Float[Tensor, "moved bin row"], bound: float) -> Float[Tensor, "moved knot row"]:
    """From -bound to bound, in steps that go with the exponential of the numbers."""
    step = torch.exp(_squashed(raw, 2.0))
    bins = raw.shape[1]
    sums = torch.tril(raw.new_ones((bins + 1, bins)), -1) @ step
    return bound * (2.0 * sums / sums[:, -1:] - 1.0)


def _squashed(raw: Tensor, times: float) -> Tensor:
    """The numbers held between +-ln(least slope) / times."""
    return raw / (1.0 + raw.abs() * (times / abs(math.log(LEAST_SLOPE))))
