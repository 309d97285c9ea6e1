r"""How densely the edges of the energy grid must stand: closely where interstellar absorption is steep.

An absorber acts on a bin of width h with exp(-N s), s the mean of the cross-section sigma at the bin's two edges. With
tau = N sigma that is off by h^2 (tau'^2 / 24 + |tau''| / 12) of the bin's photons, up to the signs and to what the
source's own slope adds. A detector sums over many bins, so the best use of a number of bins makes the *sum* of h^3 g,
g = tau'^2 / 24 + |tau''| / 12, the smallest: then edges stand at the density g^(1/3). N is the largest column that
still lets photons through (tau of the smooth part at most `DEEPEST`, N at most `COLUMN`) and some smaller ones.

Where sigma jumps (the K and L edges) no density helps: a bin that holds the jump is off by half of it. There the grid
has an edge on both sides, `ABSORPTION_EDGES`, so that the jump lies in a bin of no width.

Source: de Boor 1973 (Lecture Notes in Mathematics 363, 12) for knots that equidistribute an error; measured in
benchmarks/energy_grid.py.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from xrayflow.models.absorption import load_cross_sections

Array = NDArray[np.float64]

ABSORPTION_EDGES = (
    *(0.105999997, 0.155999995, 0.169999988, 0.234999987, 0.249199988),  # Si L, Si L, S L, S L, Ar L
    *(0.290999976, 0.325999984, 0.35229998, 0.404799986, 0.44249997),  # C K, Ar L, Ca L, N K, Ca L
    *(0.490013004, 0.537999976, 0.58499994, 0.723999956, 0.799999984),  # O K (twice), Cr L, Fe L, Co L
    *(0.856999989, 0.870099978, 0.876000006, 1.023999928, 1.078999984),  # Fe L, Ne K, Ni L, Ni L, Na K
    *(1.310999871, 1.567000005, 1.84599979, 2.476999906, 2.829999834),  # Mg K, Al K, Si K, S K, Cl K
    *(3.202999705, 4.042999907, 5.995999646, 7.123999343, 7.724999309, 8.34799942),  # Ar, Ca, Cr, Fe, Co, Ni K
)
"""keV: where TBabs or phabs jump by 3e-4 or more of sigma, with any abundances; a test finds them in the tables."""

JUMP_WIDTH = 1e-6
"""Relative: the two edges stand so far from a jump; the tables of the absorbers place it to 3e-7."""

BINS_PER_DECADE = 150
"""Everywhere at least: bins 1.5 % wide, where spectra are smooth."""

RANGE = (0.1, 20.0)
"""keV: where absorption decides."""

FINE_STRUCTURE = ((0.52, 0.58), (0.70, 0.73), (0.86, 0.875))
"""keV: the resonances of O K and the structure of Fe L and Ne K, which need a fine look at sigma."""

COLUMN, DEEPEST = 75.0, 3.0
"""N of at most 75e22 cm^-2, the end of the prior, and an optical depth of 3: what is absorbed more hides under the
detector's tail from higher energies (measured: a limit of 6 or 10 spends more bins for the same accuracy)."""

BINS_PER_UNIT = 210.0
"""Edges per keV at g = 1 / keV^2: 1e-4 of the counts in 99 % of the bins needs 160, 7e-5 has this."""


@functools.cache
def count_bins() -> tuple[Array, Array]:
    """The number of bins that the energies up to E need, counted from the lowest energy.

    Returns:
        (point,) energies [keV], ascending over `RANGE`, and (point,) the number up to each.
    """
    jumps = np.array(ABSORPTION_EDGES)
    before = jumps * (1.0 - JUMP_WIDTH)
    marks = [np.arange(np.log(RANGE[0]), np.log(RANGE[1]), 3e-4), np.log(before), np.log(jumps * (1.0 + JUMP_WIDTH))]
    marks += [np.arange(np.log(low), np.log(high), 1e-5) for low, high in FINE_STRUCTURE]
    log_energy = np.unique(np.concatenate(marks))
    energy = np.exp(log_energy)
    sections = load_cross_sections()
    atoms = sections.abundances["wilm"]
    tables = sections.elements["TBabs"]
    sigma = np.sum([atom * table(log_energy) for atom, table in zip(atoms, tables, strict=True) if atom > 0], axis=0)
    width, middle = np.diff(energy), 0.5 * (energy[1:] + energy[:-1])
    rise = np.diff(sigma) / width
    jump = np.isin(log_energy[:-1], np.log(before))
    rise[jump] = 0.0
    bend = np.zeros_like(rise)
    bend[1:-1] = np.abs(rise[2:] - rise[:-2]) / (middle[2:] - middle[:-2])
    bend[jump | np.roll(jump, 1) | np.roll(jump, -1)] = 0.0
    density = BINS_PER_UNIT * np.cbrt(_error(0.5 * (sigma[1:] + sigma[:-1]), _smooth(log_energy, sigma), rise, bend))
    density = np.maximum(density, BINS_PER_DECADE / (np.log(10.0) * middle))
    density[jump] = 0.0
    return energy, np.concatenate([[0.0], np.cumsum(density * width)])


def _error(sigma: Array, smooth: Array, rise: Array, bend: Array) -> Array:
    """g, the largest over columns, each weighed with what it lets through relative to the smooth part."""
    deepest = np.minimum(COLUMN, DEEPEST / smooth)
    error = np.zeros_like(sigma)
    for share in (1.0, 0.4, 0.15, 0.05, 0.02):
        column = share * deepest
        through = np.exp(-np.clip(column * (sigma - smooth), -3.0, 700.0))
        error = np.maximum(error, through * ((column * rise) ** 2 / 24.0 + column * bend / 12.0))
    return error


def _smooth(log_energy: Array, sigma: Array) -> Array:
    """sigma without its narrow structure, between the points: medians over 10 %."""
    at = np.arange(log_energy[0], log_energy[-1], 0.02)
    start, stop = np.searchsorted(log_energy, at - 0.05), np.searchsorted(log_energy, at + 0.05)
    medians = [np.log(np.median(sigma[a:b])) for a, b in zip(start, stop, strict=True)]
    return np.asarray(np.exp(np.interp(0.5 * (log_energy[1:] + log_energy[:-1]), at, medians)))
