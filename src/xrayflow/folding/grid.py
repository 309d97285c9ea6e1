"""The photon-energy grid on which a model is evaluated.

Inside the response's range the grid keeps the RMF's own energy edges, so that going to the RMF's grid is a plain sum
and the effective area acts exactly; bins are split where a model has structure finer than the detector's (`density`:
the absorption edges), and wherever they are wider than 1.5 %. A convolution (simpl) moves photons in from outside that
range, so for such models the grid goes on in logarithmic steps down to 1 eV and up to 1 MeV.

For NICER that makes 5100 bins. Measured over the prior against 46 000 bins (benchmarks/energy_grid.py).

Source: XSPEC manual, `energies` (what XSPEC does when a model needs more than the response's range).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xrayflow.errors import ModelError
from xrayflow.folding.density import ABSORPTION_EDGES, BINS_PER_DECADE, JUMP_WIDTH, count_bins

WIDE_RANGE = (1e-3, 1e3)
"""keV; what a convolution needs around any X-ray band."""


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
    def of_response(cls, response_edges: ArrayLike, wide: bool = True) -> Grid:
        """The grid for one RMF: its own edges, finer where absorption is steep, continued outside.

        Args:
            response_edges: (edge,) keV, the RMF's energy edges; a first edge of 0 is taken as 1 eV, or as half of the
                second where that is lower.
            wide: Continue to 1 eV and 1 MeV, as convolutions need.

        Raises:
            ModelError: The edges are not ascending.
        """
        edges = np.array(response_edges, dtype=np.float64)
        if edges.ndim == 1 and edges.size > 1 and edges[0] == 0.0:
            edges[0] = min(WIDE_RANGE[0], 0.5 * edges[1])
        cls(edges, "the response's energies")
        edges = _split(edges)
        if wide:
            edges = np.concatenate(
                [_decades(WIDE_RANGE[0], edges[0])[:-1], edges, _decades(edges[-1], WIDE_RANGE[1])[1:]]
            )
        return cls(edges, "the response's energies" + (", continued to 0.001-1000 keV" if wide else ""))

    def finer(self, parts: int) -> Grid:
        """The same grid with every bin cut into so many parts of equal ratio; what the grid check compares with.

        Args:
            parts: At least 1.

        Raises:
            ModelError: Fewer parts.

        >>> Grid.log(1.0, 100.0, 1).finer(2).energy_edges.round(9).tolist()
        [1.0, 10.0, 100.0]
        """
        if parts < 1:
            raise ModelError(f"energy grid: bins cut into {parts} parts; give 1 or more")
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
    """The edges, all kept, with both sides of every absorption edge and what `density.count_bins` asks for."""
    jumps = np.multiply.outer(np.array(ABSORPTION_EDGES), [1.0 - JUMP_WIDTH, 1.0 + JUMP_WIDTH]).ravel()
    kept = np.union1d(edges, jumps[(jumps > edges[0]) & (jumps < edges[-1])])
    number = _number(kept)
    # 1e-2: a bin that needs hardly more than itself stays whole
    parts = np.maximum(np.ceil(np.diff(number) - 1e-2), 1.0).astype(np.int64)
    place = np.arange(parts.sum()) - np.repeat(np.cumsum(parts) - parts, parts)
    wanted = np.repeat(number[:-1], parts) + place * np.repeat(np.diff(number) / parts, parts)
    split = np.append(_energy(wanted), kept[-1])
    split[np.append(place == 0, True)] = kept
    return split


def _number(energy: NDArray[np.float64]) -> NDArray[np.float64]:
    """How many bins the energies up to each need; `BINS_PER_DECADE` outside the range of absorption."""
    at, number = count_bins()
    inside = np.interp(energy, at, number)
    beyond = np.log10(np.minimum(energy / at[0], 1.0)) + np.log10(np.maximum(energy / at[-1], 1.0))
    return np.asarray(inside + BINS_PER_DECADE * beyond)


def _energy(wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `_number`."""
    at, number = count_bins()
    beyond = np.minimum(wanted, 0.0) + np.maximum(wanted - number[-1], 0.0)
    return np.asarray(np.interp(wanted, number, at) * 10.0 ** (beyond / BINS_PER_DECADE))
