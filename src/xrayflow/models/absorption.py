r"""Photoelectric absorption by the interstellar medium: exp(-N_H sigma(E)).

sigma is a sum over elements, sigma = sum A_Z sigma_Z, with A_Z the abundance per hydrogen. `phabs` is just that.
`TBabs` puts a part 1 - beta_Z of each element into grains, which shield themselves: with g = sum A_Z (1 - beta_Z)
sigma_Z the cross-section per hydrogen locked in grains, a grain of radius a has the optical depth k a g, with
k = (4/3) rho / sum A_Z (1 - beta_Z) m_Z, and grains of the distribution a^-3.5 absorb

    F(g) = \int a^-1.5 (1 - exp(-k a g)) da / (k \int a^-0.5 da)          (F = g for small grains)

instead of g. sigma_H of the table already holds the 20 % of molecular hydrogen. The compiled library takes the mean of
the edges of each bin for the elements *before* F; so do we, and agree with it to 1e-6.

The tables are those of the library (`tests/reference/make_cross_sections.py`), zero above 100 keV as there.

Source: Wilms, Allen & McCray 2000, ApJ 542, 914, eq. 1, 9, 11-13 and table 2; Verner et al. 1996, ApJ 465, 487.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

ABUNDANCES = ("wilm", "angr", "aspl", "grsa", "lodd")
ELEMENTS = ("H", "He", "C", "N", "O", "Ne", "Na", "Mg", "Al", "Si", "S", "Cl", "Ar", "Ca", "Cr", "Fe", "Co", "Ni")
MASSES = (1, 4, 12, 14, 16, 20, 23, 24, 27, 28, 32, 35, 40, 40, 52, 56, 59, 59)
"""Mass numbers of `ELEMENTS`, which the library takes for the mass of a grain (0.1 % from the atomic weights)."""
GAS_SHARE = (1.0, 1.0, 0.5, 1.0, 0.6, 1.0, 0.25, 0.2, 0.02, 0.1, 0.6, 0.5, 1.0, 0.003, 0.03, 0.3, 0.05, 0.04)
"""beta_Z of `ELEMENTS`: the share that is not in grains (Wilms et al. 2000, table 2)."""
GRAIN_DENSITY = 1.0
"""g/cm^3."""
GRAIN_RADII = (0.025, 0.25)
"""Smallest and largest grain [um]."""
PHABS_LOWEST = 0.0136
"""Below the edge of hydrogen phabs and vphabs absorb nothing [keV]."""
ATOMIC_MASS_G = 1.6605655e-24
"""CODATA 1973, as in the library."""


@dataclass(frozen=True, eq=False)
class ElementTable:
    """The cross-section of one element per atom, straight lines in the logarithms.

    Attributes:
        log_energy: ln(E / keV).
        log_sigma: ln(sigma / 1e-22 cm^2), -inf where it is zero.
    """

    log_energy: np.ndarray
    log_sigma: np.ndarray

    def __call__(self, log_energy: np.ndarray) -> np.ndarray:
        """The cross-section.

        Args:
            log_energy: ln(E / keV).

        Returns:
            sigma [1e-22 cm^2], 0 outside the table.
        """
        right = np.searchsorted(self.log_energy, log_energy).clip(1, self.log_energy.size - 1)
        x0, x1 = self.log_energy[right - 1], self.log_energy[right]
        y0, y1 = self.log_sigma[right - 1], self.log_sigma[right]
        inside = (log_energy >= self.log_energy[0]) & (log_energy <= self.log_energy[-1])
        known = np.isfinite(y0) & np.isfinite(y1) & inside
        rise = np.where(known, y1, 0.0) - np.where(known, y0, 0.0)
        return np.asarray(np.where(known, np.exp(np.where(known, y0, 0.0) + rise * (log_energy - x0) / (x1 - x0)), 0.0))


@dataclass(frozen=True, eq=False)
class CrossSections:
    """All tables.

    Attributes:
        elements: Per absorber (`"TBabs"`, `"phabs"`), a table for each of `ELEMENTS`.
        abundances: Per set of abundances, the number of atoms of each of `ELEMENTS` per hydrogen.
    """

    elements: dict[str, tuple[ElementTable, ...]]
    abundances: dict[str, np.ndarray]


@functools.cache
def load_cross_sections() -> CrossSections:
    """The tables of the package, read on first use.

    Returns:
        The tables.
    """
    with (
        files("xrayflow.models").joinpath("tables/cross_sections.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as table,
    ):
        step, lowest = float(table["step"]), float(table["lowest"])
        elements: dict[str, tuple[ElementTable, ...]] = {}
        for absorber in ("TBabs", "phabs"):
            tables = []
            for symbol in ELEMENTS:
                # elements that both absorbers share are stored once
                owner = absorber if f"{absorber}_{symbol}_node" in table else "TBabs"
                node = np.cumsum(table[f"{owner}_{symbol}_node"], dtype=np.int64)
                with np.errstate(divide="ignore"):
                    log_sigma = np.log(table[f"{owner}_{symbol}_sigma"].astype(np.float64))
                tables.append(ElementTable(lowest + step * node, log_sigma))
            elements[absorber] = tuple(tables)
        abundances = {name: np.asarray(table[f"abund_{name}"]) for name in ABUNDANCES}
    return CrossSections(elements, abundances)


def sum_elements(energy: np.ndarray, absorber: str, share: np.ndarray, lowest: float = 0.0) -> np.ndarray:
    """sum share_Z sigma_Z, the mean of the two edges of each bin.

    Args:
        energy: Edges [keV].
        absorber: `"TBabs"` or `"phabs"`.
        share: Atoms of each element per hydrogen.
        lowest: Energy below which all cross-sections are 0 [keV].

    Returns:
        Cross-section per hydrogen in each bin [1e-22 cm^2].
    """
    tables = load_cross_sections().elements[absorber]
    log_energy = np.log(energy)
    total = np.zeros(energy.size)
    for atoms, table in zip(share, tables, strict=True):
        if atoms > 0.0:
            total += atoms * table(log_energy)
    total[energy < lowest] = 0.0
    mean: np.ndarray = 0.5 * (total[1:] + total[:-1])
    return mean


def shield_grains(grains: np.ndarray, depth_per_micron: float) -> np.ndarray:
    """F(g): what self-shielding leaves of the cross-section that is locked in grains.

    Args:
        grains: g, cross-section per hydrogen in grains [1e-22 cm^2].
        depth_per_micron: k, optical depth of a grain per um of radius and unit of g.

    Returns:
        F(g) [1e-22 cm^2].

    Source: Wilms, Allen & McCray 2000, ApJ 542, 914, eq. 11-13.
    """
    smallest, largest = GRAIN_RADII
    position, weight = np.polynomial.legendre.leggauss(32)
    radius = 0.5 * (largest + smallest) + 0.5 * (largest - smallest) * position
    weight = 0.5 * (largest - smallest) * weight * radius**-1.5
    small_grains = 2.0 * depth_per_micron * (largest**0.5 - smallest**0.5)
    shielded: np.ndarray = -np.expm1(-depth_per_micron * grains[:, None] * radius) @ weight / small_grains
    return shielded


def tbabs_cross_section(energy_edges: np.ndarray, abund: str) -> np.ndarray:
    """The cross-section of TBabs in each bin.

    Args:
        energy_edges: Edges [keV].
        abund: One of `ABUNDANCES`.

    Returns:
        sigma per hydrogen [1e-22 cm^2].

    Source: Wilms, Allen & McCray 2000, ApJ 542, 914.
    """
    atoms = load_cross_sections().abundances[abund]
    gas_share = np.array(GAS_SHARE)
    gas = sum_elements(energy_edges, "TBabs", atoms * gas_share)
    grains = sum_elements(energy_edges, "TBabs", atoms * (1.0 - gas_share))
    grain_mass = float(np.sum(atoms * (1.0 - gas_share) * np.array(MASSES))) * ATOMIC_MASS_G
    # 1e-4 cm per um, 1e-22 cm^2 per unit of g
    sigma: np.ndarray = gas + shield_grains(grains, 4.0 / 3.0 * GRAIN_DENSITY * 1e-26 / grain_mass)
    return sigma


def phabs_cross_section(energy_edges: np.ndarray, abund: str) -> np.ndarray:
    """The cross-section of phabs with `xsect vern` in each bin.

    Args:
        energy_edges: Edges [keV].
        abund: One of `ABUNDANCES`.

    Returns:
        sigma per hydrogen [1e-22 cm^2].

    Source: XSPEC manual, phabs; Verner et al. 1996, ApJ 465, 487.
    """
    return sum_elements(energy_edges, "phabs", load_cross_sections().abundances[abund], lowest=PHABS_LOWEST)
