"""How exactly photons are computed and folded: the energy grid, and the precision, as one object.

| fidelity | grid | precision | used for |
|---|---|---|---|
| EXACT | the answer's own | float64 | what a corrected grid is made and checked by; weights where none follows it |
| FINER | each bin in three | float64 | the check of the grid |
| SEARCH | one edge in many, `PER_DECADE` bins per decade | float64 | starts, most of an optimiser's way; corrected at
  the modes (`correction`) all that comes after, weights too where the check passes |
| SINGLE | likewise | float32 | the same for many draws of a source |
| TRAINING | one edge in six, finer at O K | float32 | spectra that networks learn from |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.folding.density import ABSORPTION_EDGES, JUMP_WIDTH
from xrayflow.folding.grid import Grid
from xrayflow.models import TOLERANCE

PER_DECADE, OUTSIDE = 120.0, 25.0
"""Bins of the search's grid: 1.9 % wide, where a CCD resolves 2-30 %; and outside the response's own energies, where
photons only come from to be scattered."""

WORTHWHILE = 2.0
"""The search's grid must have this many times fewer bins than the answer's; else the answer's serves."""

COARSENESS, OXYGEN = 6, (0.48, 0.6)
"""Every so manieth edge is kept for training, twice as many in this range [keV], where most of the error of a coarse
grid arises: benchmarks/simulator.py."""


@dataclass(frozen=True)
class Fidelity:
    """A way to make a grid from the answer's own, and a precision to compute in.

    Attributes:
        name: For messages.
        parts: Into how many parts each bin of the answer's grid is cut.
        per_decade: Bins per decade that are kept of the answer's edges; None keeps all.
        every: Every so manieth edge is kept; None keeps all.
        dtype: Precision of photons and folding.
        tolerance: Relative error allowed in the integral of a component over a bin.
    """

    name: str
    parts: int = 1
    per_decade: float | None = None
    every: int | None = None
    dtype: torch.dtype = torch.float64
    tolerance: float = TOLERANCE

    def grid(self, exact: Grid, response: tuple[float, float] = (0.0, math.inf)) -> Grid:
        """The grid of this fidelity.

        Args:
            exact: The answer's own grid.
            response: keV; outside, no photon is detected unless it is scattered.
        """
        if self.per_decade is not None:
            return _thinned(exact, self.per_decade, response)
        if self.every is not None:
            return _every(exact, self.every)
        return exact if self.parts == 1 else exact.finer(self.parts)


EXACT = Fidelity("exact")
FINER = Fidelity("finer", parts=3)
SEARCH = Fidelity("search", per_decade=PER_DECADE, tolerance=0.03)
SINGLE = replace(SEARCH, name="search in float32", dtype=torch.float32)
TRAINING = Fidelity("training", every=COARSENESS, dtype=torch.float32)


def _thinned(exact: Grid, per_decade: float, response: tuple[float, float]) -> Grid:
    """A subset of the edges, fewer outside the response's energies; all where that would not be much cheaper."""
    edges = exact.energy_edges
    inside = (edges[1:] > response[0]) & (edges[:-1] < response[1])
    steps = np.diff(np.log10(edges)) * np.where(inside, per_decade, min(OUTSIDE, per_decade))
    number = np.floor(np.append(0.0, np.cumsum(steps)) + 1e-9)  # rounding keeps a grid of whole steps whole
    kept = np.unique(np.append(np.flatnonzero(np.diff(number, prepend=-1.0)), edges.size - 1))
    if kept.size * WORTHWHILE > edges.size:
        return exact
    return Grid(edges[kept], f"{exact.description}, thinned for the search")


def _every(exact: Grid, every: int) -> Grid:
    """Every so manieth edge, twice as many around the O K edge, and both sides of every absorption edge."""
    edges = exact.energy_edges
    kept: NDArray[np.bool_] = np.isin(
        edges, np.multiply.outer(np.array(ABSORPTION_EDGES), [1.0 - JUMP_WIDTH, 1.0 + JUMP_WIDTH]).ravel()
    )
    kept[[0, -1]] = True
    kept[::every] = True
    oxygen = (edges > OXYGEN[0]) & (edges < OXYGEN[1])
    near = max(every // 2, 1)
    kept[np.flatnonzero(oxygen)[::near]] = True
    description = (
        f"{exact.description}; one in {every} of its {edges.size} edges, one in {near} in "
        f"{OXYGEN[0]:g}-{OXYGEN[1]:g} keV, and both sides of absorption edges"
    )
    return Grid(edges[kept], description)
