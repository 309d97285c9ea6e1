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
        knots: (moved, 2, bin + 1, row) in x, and in y.
        slope: (moved, bin + 1, row) logarithm of the slope at each, 0 at the ends, before it is squashed.
    """

    def __init__(self, raw: Float[Tensor, "moved number row"], bound: float) -> None:
        """Args:
        raw: Free numbers: widths, heights, and the slopes between the bins.
        bound: Where the splines end.
        """
        bins = (raw.shape[1] + 1) // 3
        steps = torch.exp(_squashed(raw[:, : 2 * bins], 2.0)).unflatten(1, (2, bins))  # type: ignore[no-untyped-call]
        sums = torch.ones((bins + 1, bins), dtype=raw.dtype, device=raw.device).tril(-1) @ steps
        self.knots = (2.0 * bound) * (sums / sums[:, :, -1:]) - bound
        self.slope = functional.pad(raw[:, 2 * bins :], (0, 0, 1, 1))

    def __call__(self, x: Rows) -> tuple[Rows, Rows]:
        """y, and ln dy / dx."""
        inside, x0, y0, width, height, d0, d1 = self._bin(0, x)
        s = height / width
        z = torch.where(inside, (x - x0) / width, 0.0)
        rest, square = z * (1.0 - z), z * z
        below = s + (d0 + d1 - 2.0 * s) * rest
        y = y0 + height * (s * square + d0 * rest) / below
        above = 2.0 * s * rest + d0 * (1.0 - z).square() + d1 * square
        steepness = torch.log(above * (s / below).square())
        return torch.where(inside, y, x), torch.where(inside, steepness, 0.0)

    def inverse(self, y: Rows) -> Rows:
        """x."""
        inside, x0, y0, width, height, d0, d1 = self._bin(1, y)
        s = height / width
        up = torch.where(inside, y - y0, 0.0)
        bend = up * (d0 + d1 - 2.0 * s)
        a, b, c = height * (s - d0) + bend, height * d0 - bend, -s * up
        z = 2.0 * c / (-b - torch.sqrt(b * b - 4.0 * a * c))
        return torch.where(inside, x0 + z * width, y)

    def _bin(self, side: int, at: Rows) -> tuple[Bool[Tensor, "moved row"], Rows, Rows, Rows, Rows, Rows, Rows]:
        """Whether each is within the knots, and its bin: where it starts, width and height, slopes at both ends.

        Args:
            side: 0 where x is given, 1 where y is.
            at: The places.
        """
        bins = self.slope.shape[1] - 1
        k = (self.knots[:, side] < at[:, None]).sum(1, keepdim=True) - 1
        inside = (k >= 0) & (k < bins)
        k = k.clamp(0, bins - 1)
        ends = torch.cat([k, k + 1], dim=1)
        corner = self.knots.gather(2, ends[:, None].expand(-1, 2, -1, -1))
        x0, y0 = corner[:, :, 0].unbind(1)
        width, height = (corner[:, :, 1] - corner[:, :, 0]).unbind(1)
        d0, d1 = torch.exp(_squashed(self.slope.gather(1, ends), 1.0)).unbind(1)
        return inside[:, 0], x0, y0, width, height, d0, d1


def _squashed(raw: Tensor, times: float) -> Tensor:
    """The numbers held between +-ln(least slope) / times."""
    return raw / (1.0 + raw.abs() * (times / abs(math.log(LEAST_SLOPE))))
