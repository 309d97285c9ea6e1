"""The photon-energy grid on which a model is evaluated.

Inside the response's range the grid is the RMF's own energy edges, each bin split where the model has structure finer
than the detector's (the absorption edges), so that going to the RMF's grid is a plain sum and the effective area acts
exactly. A convolution (simpl) moves photons in from outside that range, so for such models the grid goes on in
logarithmic steps down to 1 eV and up to 1 MeV.

Source: XSPEC manual, `energies` (what XSPEC does when a model needs more than the response's range).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import ModelError

WIDE_RANGE = (1e-3, 1e3)
"""keV; what a convolution needs around any X-ray band."""

BINS_PER_DECADE = 200
"""Outside the response: bins 1.2 % wide, where spectra are smooth."""

WIDEST_BINS = (
    (0.28, 0.60, 1e-3),
    (0.525, 0.56, 1.25e-4),
    (0.70, 0.75, 5e-4),
    (0.86, 0.88, 5e-4),
    (1.295, 1.325, 5e-4),
    (1.83, 1.85, 5e-4),
    (7.10, 7.14, 1e-3),
)
"""(lo, hi, width), keV: an RMF bin that touches lo..hi is split until it is no wider; around C K to O K, then O K, Fe L,
Ne K, Mg K, Si K and Fe K, where absorption changes faster than the detector resolves. Measured: benchmarks/energy_grid.py."""


@dataclass(frozen=True)
class Grid:
    """Edges of the photon-energy bins, ascending, in keV.

    Attributes:
        energy_edges: (edge,) keV.
        description: How the grid was made, for products.
    """

    energy_edges: NDArray[np.float64]
    description: str

    def __post_init__(self) -> None:
        edges = self.energy_edges
        if (
            edges.ndim != 1
            or edges.size < 2
            or not np.isfinite(edges).all()
            or edges[0] <= 0
            or (np.diff(edges) <= 0).any()
        ):
            raise ModelError(
                "energy grid: its edges must be positive, finite and ascending; give lo < hi and at least one bin"
            )

    @classmethod
    def log(cls, lo: float, hi: float, bins: int) -> Grid:
        """Logarithmic bins, XSPEC's `energies lo hi bins log`.

        Args:
            lo: Lower edge of the first bin, keV.
            hi: Upper edge of the last bin, keV.
            bins: How many.

        >>> Grid.log(0.1, 10.0, 2).energy_edges.tolist()
        [0.1, 1.0, 10.0]
        """
        if not (0 < lo < hi < np.inf) or bins < 1:
            raise ModelError(f"energy grid {lo:g}-{hi:g} keV with {bins} bins: give 0 < lo < hi and at least one bin")
        edges = np.geomspace(lo, hi, bins + 1)
        return cls(edges, f"{lo:g}-{hi:g} keV, {bins} logarithmic bins")

    @classmethod
    def of_response(
        cls, response_edges: Sequence[NDArray[np.float64]] | NDArray[np.float64], wide: bool = True
    ) -> Grid:
        """The grid for one RMF: its own edges, finer at absorption edges, continued outside.

        Args:
            response_edges: (edge,) keV, the RMF's energy edges; a first edge of 0 is taken as 1 eV.
            wide: Continue to 1 eV and 1 MeV, as convolutions need.
        """
        edges = np.array(response_edges, dtype=np.float64)
        if edges[0] <= 0:
            edges[0] = min(WIDE_RANGE[0], 0.5 * edges[1])
        edges = _split(edges)
        if wide:
            edges = np.concatenate(
                [_decades(WIDE_RANGE[0], edges[0])[:-1], edges, _decades(edges[-1], WIDE_RANGE[1])[1:]]
            )
        return cls(edges, "the response's energies" + (", continued to 0.001-1000 keV" if wide else ""))

    def finer(self, parts: int) -> Grid:
        """The same grid with every bin cut into so many parts of equal ratio; what the grid check compares with."""
        logs = np.log(self.energy_edges)
        steps = np.arange(parts) / parts
        inner = (logs[:-1, None] + np.diff(logs)[:, None] * steps).ravel()
        edges = np.append(np.exp(inner), self.energy_edges[-1])
        edges[::parts] = self.energy_edges
        return replace(self, energy_edges=edges, description=f"{self.description}, each bin in {parts}")


def _decades(lo: float, hi: float) -> NDArray[np.float64]:
    """Logarithmic edges from lo to hi, at `BINS_PER_DECADE`; a single edge where there is no room."""
    if hi <= lo:
        return np.array([hi if lo > hi else lo])
    bins = max(int(np.ceil(BINS_PER_DECADE * np.log10(hi / lo))), 1)
    edges = np.geomspace(lo, hi, bins + 1)
    edges[0], edges[-1] = lo, hi
    return edges


def _split(edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """The edges with the bins of `WIDEST_BINS` cut into equal parts, keeping every old edge."""
    width = np.diff(edges)
    widest = np.full(width.size, np.inf)
    for lo, hi, limit in WIDEST_BINS:
        touched = (edges[1:] > lo) & (edges[:-1] < hi)
        widest[touched] = np.minimum(widest[touched], limit)
    # 1e-6: an RMF's edges are float32, and a bin that is 1 eV wide to rounding stays whole
    parts = np.maximum(np.ceil(width / widest * (1.0 - 1e-6)), 1.0).astype(np.int64)
    place = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    inner = np.repeat(edges[:-1], parts) + place * np.repeat(width / parts, parts)
    return np.append(inner, edges[-1])
