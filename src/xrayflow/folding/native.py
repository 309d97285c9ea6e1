"""Counts of a detector's own channels: what bins are made of."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from xrayflow.folding.grid import Grid
from xrayflow.folding.matrix import overlap
from xrayflow.ogip import Spectrum


def native_counts(
    spectrum: Spectrum, grid: Grid, photons: Float[NDArray[np.float64], " energy"]
) -> Float[NDArray[np.float64], " channel"]:
    """Expected source counts of every channel of the response, its energy scale as the file has it.

    Args:
        spectrum: Any bins of an observation.
        grid: Photon energies.
        photons: photons/cm^2/s in each of its bins.
    """
    observation = spectrum.observation
    reached = photons @ overlap(grid.energy_edges, observation.rmf.energy_edges)
    if observation.arf is not None:
        reached = reached * observation.arf.area
    counts = observation.rmf.seen(reached) * observation.pha.exposure
    counts[observation.channel_row] *= observation.pha.areascal
    return counts
