"""Absorbers that cover a part of the source: a fraction f behind a column, the rest in plain view.

    M(E) = f exp(-N_H sigma(E)) + 1 - f,

with sigma that of phabs (`pcfabs`) or that of TBabs (`TBpcf`), at the energies (1 + z) E of the absorber's own frame.

Source: XSPEC manual, pcfabs and TBpcf; for the cross-sections see `absorption`.
"""

from __future__ import annotations

import functools

from jaxtyping import Float
from torch import Tensor

from xrayflow.models.absorption import phabs_cross_section, tbabs_cross_section
from xrayflow.models.component import Binding, Bound, Component, OnGrid
from xrayflow.models.edges import EnergyBins
from xrayflow.models.link import Range
from xrayflow.models.multiplicative import COLUMN, absorb
from xrayflow.models.parameter import Parameter, declare, declare_switch

REDSHIFT = -0.99, 10.0
"""XSPEC's limits begin at -1, where every energy of the absorber is 0."""


def cover(
    column_density: Float[Tensor, "*batch"], fraction: Float[Tensor, "*batch"], sigma: Float[Tensor, " energy"]
) -> Float[Tensor, "*batch energy"]:
    """What comes through a column over a part of the source.

    Args:
        column_density: Hydrogen column N_H [1e22 cm^-2].
        fraction: Covered part f of the source, 0 to 1.
        sigma: Cross-section per hydrogen [1e-22 cm^2].

    Returns:
        The factor of each bin.

    Source: XSPEC manual, pcfabs.
    """
    covered = fraction.unsqueeze(-1)
    # in this order a source that is covered whole keeps its digits at any depth
    return covered * absorb(column_density, sigma) + (1.0 - covered)


def bind_pcfabs(bins: EnergyBins, abund: str) -> Bound:
    """`cover` with the cross-sections of phabs."""
    return _covering(bins.cast(phabs_cross_section(bins.energy_edges.cpu().numpy(), abund)))


def bind_tbpcf(bins: EnergyBins, abund: str) -> Bound:
    """`cover` with the cross-sections of TBabs in the frame of the absorber."""

    @functools.cache
    def at(redshift: float) -> OnGrid:
        edges = bins.energy_edges.cpu().numpy() * (1.0 + redshift)
        return _covering(bins.cast(tbabs_cross_section(edges, abund)))

    def by_column(factor: Tensor, column_density: Tensor, fraction: Tensor, redshift: float) -> Tensor:
        return at(redshift).slopes[0](factor, column_density, fraction)

    def by_fraction(factor: Tensor, column_density: Tensor, fraction: Tensor, redshift: float) -> Tensor:
        return at(redshift).slopes[1](factor, column_density, fraction)

    def on_grid(column_density: Tensor, fraction: Tensor, redshift: float) -> Tensor:
        return at(redshift)(column_density, fraction)

    return OnGrid(on_grid, {0: by_column, 1: by_fraction})


def _covering(sigma: Float[Tensor, " energy"]) -> OnGrid:
    """`cover` on a grid, with its derivatives."""

    def by_column(factor: Tensor, column_density: Tensor, fraction: Tensor) -> Tensor:
        return -sigma * (factor - (1.0 - fraction).unsqueeze(-1))

    def by_fraction(factor: Tensor, column_density: Tensor, fraction: Tensor) -> Tensor:
        return absorb(column_density, sigma) - 1.0

    def on_grid(column_density: Tensor, fraction: Tensor) -> Tensor:
        return cover(column_density, fraction, sigma)

    return OnGrid(on_grid, {0: by_column, 1: by_fraction})


def _fraction(name: str, soft: Range) -> Parameter:
    """How much is covered; the prior takes in all of it."""
    return declare(name, "", 0.5, (0.0, 1.0), soft, (0.0, 1.0), meaning="covered fraction of the source")


def _component(name: str, title: str, parameters: tuple[Parameter, ...], bind: Binding, source: str) -> Component:
    formula = f"{parameters[1].name} exp(-nH sigma(E)) + 1 - {parameters[1].name}"
    return Component(name, "multiplicative", title, parameters, bind, formula, source, uses_abund=True)


COMPONENTS = (
    _component(
        "pcfabs",
        "photoelectric absorption by gas that covers a part of the source",
        (COLUMN, _fraction("CvrFract", (0.05, 0.95))),
        bind_pcfabs,
        "XSPEC manual, pcfabs; Verner et al. 1996, ApJ 465, 487",
    ),
    _component(
        "TBpcf",
        "TBabs that covers a part of the source",
        (
            COLUMN,
            _fraction("pcf", (0.0, 1.0)),
            declare_switch("redshift", 0.0, REDSHIFT, "redshift of the absorber, held"),
        ),
        bind_tbpcf,
        "XSPEC manual, TBpcf; Wilms, Allen & McCray 2000, ApJ 542, 914",
    ),
)
