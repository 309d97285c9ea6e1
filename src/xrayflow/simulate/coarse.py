"""A photon-energy grid of about 1000 bins, on which a network's training spectra are made. `Problem` never uses it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xrayflow.folding import Grid
from xrayflow.folding.density import ABSORPTION_EDGES, JUMP_WIDTH

COARSENESS, OXYGEN = 6, (0.48, 0.6)
"""Every so manieth edge of the default grid is kept for training, twice as many in this range [keV], where most of the
error of a coarse grid arises: benchmarks/simulator.py."""


def training_grid(response_edges: NDArray[np.float64], wide: bool = True, every: int = COARSENESS) -> Grid:
    """A coarser grid for training: some edges of `Grid.of_response`, so that it stays finer where absorption is steep.

    Every so manieth edge is kept, twice as many around the O K edge, and both sides of every absorption edge. For NICER
    that makes 1025 bins.

    Args:
        response_edges: (edge,) keV, the RMF's.
        wide: As in `Grid.of_response`.
        every: Which edges are kept.
    """
    default = Grid.of_response(response_edges, wide)
    edges = default.energy_edges
    jumps = np.multiply.outer(np.array(ABSORPTION_EDGES), [1.0 - JUMP_WIDTH, 1.0 + JUMP_WIDTH]).ravel()
    kept = np.isin(edges, jumps)
    kept[[0, -1]] = True
    kept[::every] = True
    oxygen = (edges > OXYGEN[0]) & (edges < OXYGEN[1])
    near = max(every // 2, 1)
    kept[np.flatnonzero(oxygen)[::near]] = True
    description = (
        f"{default.description}; one in {every} of its {edges.size} edges, one in {near} in "
        f"{OXYGEN[0]:g}-{OXYGEN[1]:g} keV, and both sides of absorption edges"
    )
    return Grid(edges[kept], description)
