"""What the components need of an energy grid, computed once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.errors import ModelError

TOLERANCE = 3e-8
"""Relative error of the integral over a bin."""

MOST_NODES = 64
"""Enough for a bin as wide as a spectrum."""


LOG2_E = 1.4426950408889634
"""exp(x) = 2^(LOG2_E x): torch's exp is 2 to 30 times slower than its exp2, most where the result underflows."""


@dataclass(frozen=True, eq=False)
class EnergyBins:
    """The bins between neighbouring energy edges, with the logarithms that the components use.

    Everything is computed in float64 from the edges and cast once, so that float32 loses nothing in the widths.

    Attributes:
        energy_edges: Edges, float64 [keV].
        dtype: The precision of every other field, and of the results of the components.
        tolerance: Relative error allowed in the integral of a component over a bin.
        low, high: Edges of each bin [keV].
        mid: Arithmetic middle of each bin [keV].
        log_low, log_mid: Their natural logarithms.
        log_width: ln(high / low).
    """

    energy_edges: Float[Tensor, " edge"]
    dtype: torch.dtype = torch.float64
    tolerance: float = TOLERANCE
    low: Float[Tensor, " energy"] = field(init=False, repr=False)
    high: Float[Tensor, " energy"] = field(init=False, repr=False)
    mid: Float[Tensor, " energy"] = field(init=False, repr=False)
    log_low: Float[Tensor, " energy"] = field(init=False, repr=False)
    log_mid: Float[Tensor, " energy"] = field(init=False, repr=False)
    log_width: Float[Tensor, " energy"] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        edges = self.energy_edges.detach().to(torch.float64)
        if edges.ndim != 1 or edges.numel() < 2:
            raise ModelError(f"energy_edges: shape {tuple(edges.shape)}; give one axis of at least 2 edges")
        if not bool(torch.isfinite(edges).all() and (edges[0] > 0.0) and (edges.diff() > 0.0).all()):
            raise ModelError("energy_edges: not finite, increasing and above 0 keV; sort them, start above 0")
        low, high = edges[:-1], edges[1:]
        mid = 0.5 * (low + high)
        values = {
            "low": low,
            "high": high,
            "mid": mid,
            "log_low": torch.log(low),
            "log_mid": torch.log(mid),
            "log_width": torch.log1p((high - low) / low),
        }
        object.__setattr__(self, "energy_edges", edges)
        for name, value in values.items():
            object.__setattr__(self, name, value.to(self.dtype))

    def cast(self, values: np.ndarray | Tensor) -> Tensor:
        """Numbers in the precision and on the device of the bins.

        Args:
            values: Any array.

        Returns:
            The same numbers as a tensor.
        """
        return torch.as_tensor(values).to(dtype=self.dtype, device=self.energy_edges.device)

    def quadrature(self, count: int) -> tuple[Float[Tensor, "node energy"], Float[Tensor, "node energy"]]:
        """Gauss-Legendre nodes in energy, for the integral of a density over each bin.

        Args:
            count: Nodes per bin.

        Returns:
            Energies of the nodes [keV] and their weights [keV], float64.
        """
        position, weight = np.polynomial.legendre.leggauss(count)
        low, high = self.energy_edges[:-1], self.energy_edges[1:]
        half = 0.5 * (high - low)
        nodes = 0.5 * (low + high) + half * torch.as_tensor(position, device=half.device)[:, None]
        return nodes, half * torch.as_tensor(weight, device=half.device)[:, None]


def nodes_needed(decay: float, tolerance: float = TOLERANCE) -> int:
    """How many Gauss-Legendre nodes integrate exp(-decay t) over one unit of t.

    The error of n nodes is decay^(2n) (n!)^4 / ((2n + 1) (2n)!^3) of the integral.

    Args:
        decay: Fall of the logarithm of the density over the bin.
        tolerance: Relative error allowed.

    Returns:
        2 .. `MOST_NODES`.

    Source: Abramowitz & Stegun, eq. 25.4.30.

    >>> nodes_needed(0.05), nodes_needed(0.5), nodes_needed(3.0)
    (2, 3, 5)
    """
    for count in range(2, MOST_NODES):
        log_error = 2 * count * math.log(max(decay, 1e-300)) + 4 * math.lgamma(count + 1)
        log_error -= math.log(2 * count + 1) + 3 * math.lgamma(2 * count + 1)
        if log_error < math.log(tolerance):
            return count
    return MOST_NODES
