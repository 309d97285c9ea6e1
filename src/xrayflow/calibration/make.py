"""How the shipped sets of modes are made: eigenvectors of two Gaussian processes, and steps at the edges of atoms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from xrayflow.calibration.modes import FORMAT_VERSION, HEADER
from xrayflow.files import write_file

Array = NDArray[np.float64]

SMOOTH, SHORT = (0.01, 0.3), (0.005, 0.05)
"""Amplitude, and correlation length in ln E, of the two Gaussian processes."""

EDGES = {
    "N K": (0.402, 0.02),
    "O K": (0.532, 0.02),
    "Al K": (1.56, 0.01),
    "Si K": (1.839, 0.015),
    "Au M5": (2.206, 0.015),
    "Au M3": (2.743, 0.005),
    "Au M2": (3.148, 0.005),
    "Au M1": (3.425, 0.005),
}
"""keV, and the standard deviation of the step there."""

NEAR_EDGE, NEAR_FACTOR = 0.06, 2.0
"""ln E from an edge within which short errors are larger, and by how much."""

SOFT, SOFT_FACTOR = 0.6, 3.0
"""keV below which short errors are larger still."""

FALL = 3.0
"""A step fades as E^-3, as the absorption of its atom does."""

NICER_RANGE, GENERIC_RANGE = (0.15, 16.0), (0.1, 100.0)
STEP = 0.005
"""Of the stored grid, in ln E."""

LEFT_OUT = 1e-5
"""Part of a process's variance that the modes left out hold."""

GAIN_OFFSET, GAIN_SLOPE = 0.010, 0.005
"""keV, and a fraction."""

NICER_SOURCE = (
    "residuals of the Crab below 1.5 % and an energy scale good to 5 eV (BAAS 2023n4i103p49); energies good to 5-10 eV "
    "but for 4-7 keV and below 1 keV, reproducible residuals at the edges (NICER calibration guide 2018); amplitudes "
    "of single modes are ours, checked by the evidence of bright spectra"
)
GENERIC_SOURCE = "smooth errors of one per cent, as most missions state them; lengths and amplitudes as in nicer-v1"


def nicer_v1() -> tuple[Array, Array, dict[str, object]]:
    """Energies, modes and header of `nicer-v1`."""
    energy = _energies(NICER_RANGE)
    near = np.zeros(energy.size, dtype=bool)
    for at, _ in EDGES.values():
        near |= np.abs(np.log(energy / at)) < NEAR_EDGE
    larger = np.where(energy < SOFT, SOFT_FACTOR, np.where(near, NEAR_FACTOR, 1.0))
    steps = [size * np.where(energy >= at, (energy / at) ** -FALL, 0.0) for at, size in EDGES.values()]
    smooth, short = _process(energy, *SMOOTH), _process(energy, *SHORT) * larger
    # CALDB of 2022 is twice as good as the responses of the first years
    header = _header(smooth, short, list(EDGES), (GAIN_OFFSET, GAIN_SLOPE), {2017: 2.0, 2022: 1.0}, NICER_SOURCE)
    return energy, np.concatenate([smooth, short, np.array(steps)]), header


def generic_v1() -> tuple[Array, Array, dict[str, object]]:
    """Energies, modes and header of `generic-v1`."""
    energy = _energies(GENERIC_RANGE)
    smooth, short = _process(energy, *SMOOTH), _process(energy, *SHORT)
    header = _header(smooth, short, [], (0.0, 0.0), {0: 1.0}, GENERIC_SOURCE)
    return energy, np.concatenate([smooth, short]), header


def write_mode_set(path: Path, energy: Array, phi: Array, header: Mapping[str, object]) -> None:
    """Write a set, in float32.

    Args:
        path: The file; an existing one is replaced.
        energy: (energy,) keV.
        phi: (mode, energy).
        header: As `nicer_v1` makes it.
    """
    arrays = {"energy": energy.astype("<f4"), "phi": np.ascontiguousarray(phi.astype("<f4"))}
    content = save(arrays, {HEADER: json.dumps(header, sort_keys=True)})
    write_file(path, content)


def _energies(ends: tuple[float, float]) -> Array:
    lo, hi = np.log(ends)
    return np.exp(np.linspace(lo, hi, int(np.ceil((hi - lo) / STEP)) + 1))


def _process(energy: Array, amplitude: float, length: float) -> Array:
    """(mode, energy) of a Gaussian process with a squared exponential covariance in ln E, by variance."""
    x = np.log(energy)
    covariance = np.exp(-0.5 * ((x[:, None] - x) / length) ** 2)
    value, vector = np.linalg.eigh(covariance)
    value, vector = value[::-1].clip(min=0.0), vector[:, ::-1]
    keep = int(np.searchsorted(np.cumsum(value), (1.0 - LEFT_OUT) * value.sum())) + 1
    modes = amplitude * np.sqrt(value[:keep, None]) * vector[:, :keep].T
    # of two signs, the one that is positive where the mode is largest
    sign = np.sign(modes[np.arange(keep), np.abs(modes).argmax(1)])
    return np.asarray(modes * sign[:, None])


def _header(
    smooth: Array,
    short: Array,
    edges: list[str],
    gain: tuple[float, float],
    nominal: Mapping[int, float],
    source: str,
) -> dict[str, object]:
    names = [f"smooth {i}" for i in range(len(smooth))] + [f"short {i}" for i in range(len(short))] + edges
    return {
        "format_version": FORMAT_VERSION,
        "names": names,
        "gain_offset_keV": gain[0],
        "gain_slope": gain[1],
        "nominal": {str(year): value for year, value in nominal.items()},
        "source": source,
    }
