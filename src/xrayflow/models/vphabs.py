"""vphabs: phabs with the abundance of each element, as multiples of those of the table.

    exp(-N_H sum_Z m_Z A_Z sigma_Z(E)),

A_Z the abundances per hydrogen, m_Z the parameters (1 for hydrogen, whose column N_H is), sigma_Z as for phabs.

Source: XSPEC manual, vphabs; for the cross-sections see `absorption`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from xrayflow.models.absorption import ELEMENTS, PHABS_LOWEST, load_cross_sections, sum_elements
from xrayflow.models.component import Bound, Component, OnGrid
from xrayflow.models.edges import LOG2_E, EnergyBins
from xrayflow.models.multiplicative import COLUMN
from xrayflow.models.parameter import Parameter, declare


def bind_vphabs(bins: EnergyBins, abund: str) -> Bound:
    """The absorber on a grid, with its derivatives."""
    edges, atoms = bins.energy_edges.cpu().numpy(), load_cross_sections().abundances[abund]
    # a row of this diagonal matrix is one element alone
    each = [bins.cast(sum_elements(edges, "phabs", alone, PHABS_LOWEST)) for alone in np.diag(atoms)]

    def cross_section(multiples: tuple[Tensor, ...]) -> Tensor:
        total = each[0]
        # those that all rows share first: they cost one row
        for multiple, sigma in sorted(zip(multiples, each[1:], strict=True), key=lambda pair: pair[0].ndim):
            total = total + multiple.unsqueeze(-1) * sigma
        return total

    def on_grid(column_density: Tensor, *multiples: Tensor) -> Tensor:
        return torch.exp2(-LOG2_E * column_density.unsqueeze(-1) * cross_section(multiples))

    def by_column(factor: Tensor, column_density: Tensor, *multiples: Tensor) -> Tensor:
        return -cross_section(multiples) * factor

    def by_multiple(sigma: Tensor) -> Bound:
        return lambda factor, column_density, *multiples: -column_density.unsqueeze(-1) * sigma * factor

    return OnGrid(on_grid, {0: by_column, **{at: by_multiple(each[at]) for at in range(1, len(ELEMENTS))}})


def _abundance(element: str) -> Parameter:
    """The multiple of an element's abundance, held at 1 as in XSPEC."""
    limits, meaning = (0.0, 1e3), f"abundance of {element} in units of the table's"
    return replace(declare(element, "", 1.0, limits, limits, (0.1, 10.0), "log", meaning), frozen=True)


COMPONENTS = (
    Component(
        "vphabs",
        "multiplicative",
        "photoelectric absorption by gas of any abundances",
        (COLUMN, *(_abundance(element) for element in ELEMENTS[1:])),
        bind_vphabs,
        "exp(-nH sum m_Z A_Z sigma_Z(E)), A_Z the abundances, m_Z the parameters",
        "XSPEC manual, vphabs; Verner et al. 1996, ApJ 465, 487",
        uses_abund=True,
    ),
)
