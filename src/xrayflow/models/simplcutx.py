r"""simplcutx: simpl with a turnover at high energies.

A scattered photon of energy E0 leaves as E^-Gamma C(E) above E0, normalised to one photon:

    G(E, E0) = E^-Gamma C(E) / \int_E0^\infty e^-Gamma C(e) de,      E > E0.

E0 enters as the start of the spectrum and in the norm alone, so the sum over seed bins is separable as in simpl: one
cumulative sum over the bins' masses b_j from above gives the norms, a second one of n_i / norm_i the spectrum. What
scatters beyond the grid is counted in the norm and leaves the grid.

The fourth parameter is the turnover. Below 0, C = exp(-E / E_cut) with E_cut its absolute value. Above 0 it is kT_e,
and E^-Gamma C(E) the spectrum that nthComp has far above its seed photons (`tests/reference/make_nthcomp.py`). That is
no function of E / kT_e alone: relativity turns the spectra of hot electrons earlier.

The original code of simplcutx is not public; see docs/discussion/simplcutx.md for what this is checked against.

Source: Steiner et al. 2009, PASP 121, 1279; Steiner et al. 2017, ApJ 836, 119; Zdziarski, Johnson & Magdziarz 1996,
MNRAS 283, 193; Zycki, Done & Smith 1999, MNRAS 309, 561 (nthComp).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from importlib.resources import files

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.models.component import Bound, Component, OnGrid, without_abund
from xrayflow.models.edges import EnergyBins
from xrayflow.models.parameter import declare, declare_switch

HIGHEST = 1e5
"""Where no turnover leaves photons [keV]; the norms are integrated so far."""
EXTENSION_WIDTH = 0.1
"""ln(E_hi / E_lo) of the bins between the grid and `HIGHEST`."""
FAINTEST = {torch.float64: 1e-140, torch.float32: 1e-17}
"""Norms below are of seeds so far above the turnover that scattering leaves them in their bin. The gradient needs the
square of a norm."""


@dataclass(frozen=True, eq=False)
class ThermalTable:
    """ln C of thermal Comptonisation: y sum c_ijk T_i(Gamma) T_j(ln kT_e) T_k(y), y = ln(1 + E / (z0 E*)).

    Attributes:
        coefficients: c.
        gamma, kt: Ranges of Gamma and of kT_e [keV].
        turn: 1/E* = 1/kT_e + 1/turn [keV].
        z0, z_max: Scale of y, and the largest E / E* of the table; beyond it ln C falls as -E / E*.
    """

    coefficients: np.ndarray
    gamma: tuple[float, float]
    kt: tuple[float, float]
    turn: float
    z0: float
    z_max: float


@functools.cache
def load_thermal_table() -> ThermalTable:
    """The table of the package, read on first use.

    Returns:
        The table.
    """
    with (
        files("xrayflow.models").joinpath("tables/nthcomp.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as table,
    ):
        gamma, kt = ((float(table[name][0]), float(table[name][1])) for name in ("gamma", "kt"))
        scales = (float(table[name]) for name in ("turn", "z0", "z_max"))
        return ThermalTable(table["coefficients"], gamma, kt, *scales)


def chebyshev(x: Tensor, count: int) -> list[Tensor]:
    """Chebyshev polynomials by their recurrence.

    Args:
        x: -1 .. 1.
        count: How many.

    Returns:
        T_0(x), T_1(x), ...
    """
    terms = [torch.ones_like(x), x]
    while len(terms) < count:
        terms.append(2.0 * x * terms[-1] - terms[-2])
    return terms[:count]


def thermal_turnover(
    gamma: Float[Tensor, "*batch"], temperature: Float[Tensor, "*batch"], energy: Float[Tensor, " energy"]
) -> Float[Tensor, "*batch energy"]:
    """ln C of thermal Comptonisation.

    Args:
        gamma: Photon index.
        temperature: kT_e [keV]; one for all rows (no axes) is three times faster than one for each.
        energy: Energies [keV].

    Returns:
        ln C, 0 at low energies.

    Source: nthComp of LibXSPEC 6.35.1, through `tests/reference/make_nthcomp.py`.
    """
    table = load_thermal_table()
    count_gamma, count_kt, count_y = table.coefficients.shape
    coefficients = torch.as_tensor(table.coefficients, dtype=energy.dtype, device=energy.device)
    in_kt = 2.0 * torch.log(temperature / table.kt[0]) / math.log(table.kt[1] / table.kt[0]) - 1.0
    in_gamma = 2.0 * (gamma - table.gamma[0]) / (table.gamma[1] - table.gamma[0]) - 1.0
    z = energy * (1.0 / temperature + 1.0 / table.turn).unsqueeze(-1)
    y = torch.log1p(z.clamp(max=table.z_max) / table.z0)
    in_y = 2.0 * y / math.log1p(table.z_max / table.z0) - 1.0
    by_kt = torch.einsum("...j,ijk->...ik", torch.stack(chebyshev(in_kt, count_kt), dim=-1), coefficients)
    by_gamma = torch.stack(chebyshev(in_gamma, count_gamma), dim=-1)
    beyond = torch.relu(z - table.z_max)
    if temperature.ndim == 0:
        return by_gamma @ (by_kt @ torch.stack(chebyshev(in_y, count_y))) * y - beyond
    # Clenshaw, row by row: (batch, 1) coefficients against (batch, energy) arguments
    rows = torch.einsum("...i,...ik->...k", by_gamma, by_kt).unsqueeze(-2)
    last, before = torch.zeros_like(in_y), torch.zeros_like(in_y)
    for k in range(count_y - 1, 0, -1):
        last, before = rows[..., k] + 2.0 * in_y * last - before, last
    return (rows[..., 0] + in_y * last - before) * y - beyond


def log_turnover(
    gamma: Float[Tensor, "*batch"], turnover: Tensor | float, energy: Float[Tensor, " energy"]
) -> Float[Tensor, "*batch energy"]:
    """ln C of either kernel.

    Args:
        gamma: Photon index.
        turnover: kT_e, or -E_cut [keV]; a float decides for all rows at once and saves the other kernel.
        energy: Energies [keV].

    Returns:
        ln C, 0 at low energies.
    """
    if isinstance(turnover, float):
        if turnover < 0.0:
            return energy / turnover
        return thermal_turnover(gamma, gamma.new_full((), turnover), energy)
    thermal = turnover > 0.0
    # where() alone would still send the other kernel's inf through the gradient
    hot = thermal_turnover(gamma, torch.where(thermal, turnover, 1.0), energy)
    return torch.where(thermal.unsqueeze(-1), hot, energy / torch.where(thermal, -1.0, turnover).unsqueeze(-1))


@dataclass(frozen=True, eq=False)
class WithTail:
    """A grid and the bins that continue it to `HIGHEST`.

    Attributes:
        count: Bins of the grid.
        energy: Logarithmic middles of all bins [keV].
        log_high, log_width: ln of the upper edge [keV] and of the ratio of the edges, of all bins.
        log_rest: ln(upper edge / arithmetic middle) of the bins of the grid: a seed photon sits in the middle.
    """

    count: int
    energy: Float[Tensor, " all"]
    log_high: Float[Tensor, " all"]
    log_width: Float[Tensor, " all"]
    log_rest: Float[Tensor, " energy"]


def with_tail(bins: EnergyBins) -> WithTail:
    """The grid and its continuation.

    Args:
        bins: The grid.

    Returns:
        Both, in the precision of the grid.
    """
    edges = bins.energy_edges
    top = math.log(float(edges[-1]))
    more = max(1, math.ceil((math.log(HIGHEST) - top) / EXTENSION_WIDTH))
    steps = torch.arange(1, more + 1, dtype=edges.dtype, device=edges.device)
    log_edges = torch.cat([torch.log(edges), top + EXTENSION_WIDTH * steps])
    log_mid = torch.log(0.5 * (edges[1:] + edges[:-1]))
    return WithTail(
        edges.numel() - 1,
        bins.cast(torch.exp(0.5 * (log_edges[1:] + log_edges[:-1]))),
        bins.cast(log_edges[1:]),
        bins.cast(log_edges.diff()),
        bins.cast(log_edges[1 : edges.numel()] - log_mid),
    )


def scattered(
    photons: Float[Tensor, "*batch energy"],
    gamma: Float[Tensor, "*row"],
    log_c: Float[Tensor, "*row all"],
    grid: WithTail,
) -> Float[Tensor, "*batch energy"]:
    """What scattering all of the seed adds to each bin, minus what it takes.

    Args:
        photons: Seed photons per bin.
        gamma: Photon index, above 1.
        log_c: ln C at `grid.energy`.
        grid: The grid.

    Returns:
        Scattered minus seed photons per bin.
    """
    slope = (gamma - 1.0).unsqueeze(-1)
    density = torch.exp(log_c - slope * grid.log_high)
    mass = density * torch.expm1(slope * grid.log_width)
    inside, outside = mass[..., : grid.count], mass[..., grid.count :].sum(dim=-1, keepdim=True)
    own = density[..., : grid.count] * torch.expm1(slope * grid.log_rest)
    above = torch.flip(torch.cumsum(torch.flip(inside, (-1,)), dim=-1), (-1,)) - inside
    norm = own + above + outside
    moves = norm > FAINTEST[photons.dtype]
    share = torch.where(moves, photons / torch.where(moves, norm, 1.0), 0.0)
    gain = inside * (torch.cumsum(share, dim=-1) - share) + own * share
    return gain - torch.where(moves, photons, 0.0)


def bind_simplcutx(bins: EnergyBins) -> Bound:
    """`scattered` on a grid."""
    grid = with_tail(bins)

    def change(photons: Tensor, gamma: Tensor, turnover: Tensor | float) -> Tensor:
        return scattered(photons, gamma, log_turnover(gamma, turnover, grid.energy), grid)

    def on_grid(
        photons: Tensor, gamma: Tensor, fraction: Tensor, reflection: float, turnover: Tensor | float
    ) -> Tensor:
        return photons + fraction.unsqueeze(-1) * change(photons, gamma, turnover)

    def by_fraction(
        value: Tensor, photons: Tensor, gamma: Tensor, fraction: Tensor, reflection: float, turnover: Tensor | float
    ) -> Tensor:
        return change(photons, gamma, turnover)

    return OnGrid(on_grid, {2: by_fraction})


COMPONENTS = (
    Component(
        "simplcutx",
        "convolution",
        "Comptonisation as by simpl, with a thermal or an exponential turnover",
        (
            declare("Gamma", "", 2.3, (1.1, 5.0), (1.1, 4.0), (1.3, 4.0), meaning="photon index below the turnover"),
            declare("FracSctr", "", 0.05, (0.0, 1.0), (0.0, 0.4), (1e-3, 1.0), "log", "scattered fraction of the seed"),
            declare_switch("ReflFrac", 0.0, (0.0, 0.0), "reflected fraction: 0 alone, reflection is not implemented"),
            replace(
                declare(
                    *("kT_e", "keV", 100.0, (-1000.0, 1000.0), (-1000.0, 1000.0), (5.0, 500.0), "log"),
                    meaning="electron temperature; below 0 its absolute value is an e-folding energy",
                ),
                frozen=True,
                gap=(-1.0, 1.0),
            ),
        ),
        without_abund(bind_simplcutx),
        "(1 - FracSctr) n(E) + FracSctr int n(E0) G(E, E0) dE0, G = E^-Gamma C(E) / int_E0 e^-Gamma C(e) de above E0",
        "Steiner et al. 2017, ApJ 836, 119; the original code is not public, see docs/discussion/simplcutx.md",
    ),
)
