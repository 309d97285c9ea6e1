"""Makes `src/xrayflow/models/tables/cross_sections.npz` from the compiled XSPEC library.

    python tests/reference/make_cross_sections.py          (needs `pip install 'xrayflow[xspec]'`, about a minute)

Absorbers are sums over elements, so one table per element serves every set of abundances. The library's TBvarabs and
vphabs, called with one element at a million times its abundance, give the cross-section of that element per atom.
Nodes lie on an even lattice of ln E and are halved until straight lines in (ln E, ln sigma) are good to the
tolerance of `RANGES` of the *total* cross-section.

Source: LibXSPEC 6.35.1 of xspectrampoline 0.1.5; cross-sections of Verner et al. 1996, ApJ 465, 487, and
those of Wilms, Allen & McCray 2000, ApJ 542, 914, section 2 (with the high-resolution edges of tbvabs 2.3).
"""

from __future__ import annotations

import ctypes
import datetime
import importlib.metadata
import json
import os
import sys
from pathlib import Path

import numpy as np
import xspectrampoline

TABLE = Path(__file__).resolve().parents[2] / "src/xrayflow/models/tables/cross_sections.npz"
ELEMENTS = ["H", "He", "C", "N", "O", "Ne", "Na", "Mg", "Al", "Si", "S", "Cl", "Ar", "Ca", "Cr", "Fe", "Co", "Ni"]
ABUNDANCES = ("wilm", "angr", "aspl", "grsa", "lodd")
STEP = 2.0**-23
LOWEST, HIGHEST = np.log(5e-3), np.log(110.0)
BOOST = 1e6
RANGES = ((0.1, 0.5), (0.6, 0.69), (0.76, 0.84), (0.92, 10.0))
"""Where the tolerance is `FINE` of the total; elsewhere resonances would cost too many nodes, and
above 10 keV the noise of the library would [keV]."""
FINE, COARSE, SINGLE = 1e-7, 1e-6, 1e-6
"""Tolerances; `SINGLE` for vphabs, which computes in single precision."""
LINES = ((0.055, 0.08), (0.5, 0.6), (0.69, 0.76), (0.84, 0.92))
"""Where He, O, Fe and Ne have narrow structure, so that the search starts on a fine lattice [keV]."""
LIBRARY = xspectrampoline.lib_XSFunctions
DUST = [0.2, 1.0, 0.025, 0.25, 3.5]


def set_abundances(name: str) -> None:
    """Sets the library's abundances and cross-sections."""
    status = ctypes.c_int(0)
    LIBRARY.FPSOLR(name.encode(), ctypes.byref(status))
    LIBRARY.FPXSCT(b"vern", ctypes.byref(status))


def factor(component: str, parameters: list[float], edges: np.ndarray) -> np.ndarray:
    """The factor of a multiplicative component on a grid."""
    function = getattr(LIBRARY, f"C_{component}")
    function.restype = None
    arrays = [edges, np.array(parameters), np.zeros(edges.size - 1), np.zeros(edges.size - 1)]
    pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in arrays]
    function(pointers[0], ctypes.c_int(edges.size - 1), pointers[1], ctypes.c_int(1), *pointers[2:], b"")
    return arrays[2]


def cross_section(component: str, parameters: list[float], log_energy: np.ndarray) -> np.ndarray:
    """Cross-section per hydrogen at single energies [1e-22 cm^2], from columns of about one optical depth.

    The library takes the mean of a bin's two edges, so an infinitesimal bin gives the value at a point.
    """
    energy = np.exp(log_energy)
    width = 1e-6 * STEP if component == "tbvabs" else 0.0
    edges = np.append(np.stack([energy * (1 - width), energy * (1 + width)], axis=1).ravel(), 1e5)
    depths, columns = [], 10.0 ** np.arange(-14, 8)
    for column in columns:
        depths.append(-np.log(np.maximum(factor(component, [column, *parameters], edges)[:-1:2], 1e-300)))
    depth = np.array(depths)
    best = np.argmin(np.abs(np.log(np.where((depth > 1e-3) & (depth < 600), depth, 1e-200))), axis=0)
    rows = np.arange(energy.size)
    sigma = depth[best, rows] / columns[best]
    return np.where(depth[best, rows] > 1e-3, sigma, 0.0)


def tbvabs(multipliers: np.ndarray) -> list[float]:
    """Parameters of TBvarabs without nH: all in the gas."""
    return [*multipliers, *DUST, *[1.0] * 18, 0.0]


def vphabs(multipliers: np.ndarray) -> list[float]:
    """Parameters of vphabs without nH."""
    return list(multipliers)


def element(component: str, number: int, abundance: float) -> object:
    """The cross-section per atom of one element as a function of ln E [1e-22 cm^2]."""
    make = {"tbvabs": tbvabs, "vphabs": vphabs}[component]
    none = make(np.zeros(17))
    if number == 0:
        return lambda log_energy: cross_section(component, none, log_energy)
    one = make(BOOST * (np.arange(1, 18) == number))

    def sigma(log_energy: np.ndarray) -> np.ndarray:
        rest = cross_section(component, none, log_energy)
        return np.maximum(cross_section(component, one, log_energy) - rest, 0.0) / (BOOST * abundance)

    return sigma


def tolerance(log_energy: np.ndarray, component: str) -> np.ndarray:
    """Error allowed, as a share of the total cross-section."""
    energy = np.exp(log_energy)
    fine = np.any([(energy >= low) & (energy < high) for low, high in RANGES], axis=0)
    coarse = np.where(energy < 0.1, 5.0 * COARSE, COARSE)
    return np.where(fine, FINE if component == "tbvabs" else SINGLE, coarse)


def refine(sigma, weight: float, total, component: str) -> tuple[np.ndarray, np.ndarray]:
    """Lattice nodes between which straight lines in the logarithms are good to the tolerance of the total."""
    last = round((HIGHEST - LOWEST) / STEP)
    node = np.arange(0, last, 2**14)
    fine = np.arange(0, last, 2**8)
    energy = np.exp(LOWEST + fine * STEP)
    if component == "tbvabs":
        node = np.union1d(node, fine[np.any([(energy > low) & (energy < high) for low, high in LINES], axis=0)])
    value = sigma(LOWEST + node * STEP)
    fresh = np.ones(node.size - 1, bool)
    while fresh.any():
        left = np.flatnonzero(fresh & (np.diff(node) > 1))
        if left.size == 0:
            break
        middle = (node[left] + node[left + 1]) // 2
        found = sigma(LOWEST + middle * STEP)
        share = (middle - node[left]) / (node[left + 1] - node[left])
        with np.errstate(divide="ignore", invalid="ignore"):
            line = np.exp((1 - share) * np.log(value[left]) + share * np.log(value[left + 1]))
        at = LOWEST + middle * STEP
        allowed = tolerance(at, component) * total(at)
        bad = ~(weight * np.abs(found - line) <= allowed)
        marks = np.zeros(node.size - 1, bool)
        marks[left[bad]] = True
        # an interval that passed in the middle is tested no more; the pieces of one that failed are
        fresh = np.repeat(marks, np.where(marks, 2, 1))
        node = np.insert(node, left[bad] + 1, middle[bad])
        value = np.insert(value, left[bad] + 1, found[bad])
    return node, value


def prune(node: np.ndarray, value: np.ndarray, weight: float, total, component: str) -> tuple[np.ndarray, np.ndarray]:
    """Drops nodes that the straight line between their neighbours gives as well."""
    for _ in range(10):
        x, middle = node.astype(float), slice(1, -1)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_value = np.log(value)
            share = (x[1:-1] - x[:-2]) / (x[2:] - x[:-2])
            line = np.exp((1 - share) * log_value[:-2] + share * log_value[2:])
        at = LOWEST + node[middle] * STEP
        allowed = 0.5 * tolerance(at, component) * total(at)
        spare = weight * np.abs(line - value[middle]) <= allowed
        spare[1::2] = False
        keep = np.ones(node.size, bool)
        keep[1:-1] = ~spare
        node, value = node[keep], value[keep]
    return node, value


def provenance() -> np.ndarray:
    """Where the numbers come from, as JSON text."""
    facts = {
        "command": "python tests/reference/make_cross_sections.py",
        "date": datetime.date.today().isoformat(),
        "xspectrampoline": importlib.metadata.version("xspectrampoline"),
        "library": "LibXSPEC 6.35.1",
        "numpy": np.__version__,
    }
    return np.array(json.dumps(facts))


def main() -> None:
    """Writes the table."""
    abundances = {}
    manager = Path(xspectrampoline.__file__).parent.glob("LibXSPEC*/spectral/manager/abundances.dat")
    lines = [line.split() for line in next(manager).read_text().splitlines() if ":" in line]
    order = lines[0][1:]
    for name, *values in lines[1:]:
        if name[:-1] in ABUNDANCES and name[:-1] not in abundances:
            abundances[name[:-1]] = [float(values[order.index(symbol)]) for symbol in ELEMENTS]
    table = {f"abund_{name}": np.array(abundances[name]) for name in ABUNDANCES}
    table["provenance"] = provenance()
    table |= {"step": np.float64(STEP), "lowest": np.float64(LOWEST)}
    set_abundances("angr")
    known: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for component, absorber in (("tbvabs", "TBabs"), ("vphabs", "phabs")):
        standard = cross_section_total(component)
        for number, symbol in enumerate(ELEMENTS):
            abundance = abundances["angr"][number]
            weight = max(values[number] for values in abundances.values())
            sigma = element(component, number, abundance)
            node, value = prune(*refine(sigma, weight, standard, component), weight, standard, component)
            if absorber == "phabs" and same(known[symbol], node, value, weight, standard):
                continue
            known[symbol] = (node, value)
            table[f"{absorber}_{symbol}_node"] = np.diff(node, prepend=0).astype(np.int32)
            table[f"{absorber}_{symbol}_sigma"] = value.astype(np.float32)
            print(absorber, symbol, node.size, file=sys.stderr)
    np.savez_compressed(TABLE, **table)
    print(TABLE.stat().st_size, "bytes", file=sys.stderr)


def cross_section_total(component: str):
    """An interpolated lower bound of the total cross-section of all sets of abundances (wilm's, smooth)."""
    grid = np.linspace(LOWEST, HIGHEST, 4000)
    make = {"tbvabs": tbvabs, "vphabs": vphabs}[component]
    total = 0.6 * cross_section(component, make(np.ones(17)), grid)
    return lambda log_energy: np.maximum(np.interp(log_energy, grid, total), 1e-30)


def same(other, node: np.ndarray, value: np.ndarray, weight: float, total) -> bool:
    """Whether another table of the element serves as well."""
    with np.errstate(divide="ignore"):
        line = np.exp(np.interp(node, other[0], np.log(other[1])))
    at = LOWEST + node * STEP
    return bool((weight * np.abs(line - value) <= 1e-6 * total(at))[at > np.log(0.1)].all())


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
