"""Multiplicative components: a factor for each bin."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.models.absorption import phabs_cross_section, tbabs_cross_section
from xrayflow.models.component import Binding, Bound, Component, OnGrid, without_abund
from xrayflow.models.edges import LOG2_E, EnergyBins
from xrayflow.models.parameter import declare, declare_depth, declare_place


def absorb(column_density: Float[Tensor, "*batch"], sigma: Float[Tensor, " energy"]) -> Float[Tensor, "*batch energy"]:
    """What a column lets through: exp(-N_H sigma).

    Args:
        column_density: Hydrogen column N_H [1e22 cm^-2].
        sigma: Cross-section per hydrogen [1e-22 cm^2].

    Returns:
        The factor of each bin.

    Source: Wilms, Allen & McCray 2000, ApJ 542, 914, eq. 1.
    """
    return torch.exp2(column_density.unsqueeze(-1) * (-LOG2_E * sigma))


def absorber(cross_section: Callable[[np.ndarray, str], np.ndarray]) -> Binding:
    """The binding of an absorber.

    Args:
        cross_section: Of the edges and the abundances.

    Returns:
        Its binding.
    """

    def bind(bins: EnergyBins, abund: str) -> Bound:
        sigma = bins.cast(cross_section(bins.energy_edges.cpu().numpy(), abund))
        slopes = {0: lambda factor, column_density: -sigma * factor}
        return OnGrid(lambda column_density: absorb(column_density, sigma), slopes)

    return bind


def edge(
    threshold: Float[Tensor, "*batch"], depth: Float[Tensor, "*batch"], bins: EnergyBins
) -> Float[Tensor, "*batch energy"]:
    """An absorption edge, exp(-depth (E / threshold)^-3) above the threshold.

    The mean over the bin by the trapezoidal rule from the threshold on, as in the library, so the factor follows the
    threshold smoothly through a bin.

    Args:
        threshold: Energy of the edge [keV].
        depth: Optical depth at the threshold.
        bins: The grid.

    Returns:
        The factor of each bin.

    Source: XSPEC manual, edge.
    """
    start, tau = threshold.unsqueeze(-1), depth.unsqueeze(-1)
    first = torch.minimum(torch.maximum(start, bins.low), bins.high)
    last = torch.maximum(start, bins.high)
    mean = 0.5 * (torch.exp(-tau * (start / torch.maximum(start, first)) ** 3) + torch.exp(-tau * (start / last) ** 3))
    above = (bins.high - first) / (bins.high - bins.low)
    return 1.0 + above * (mean - 1.0)


def highecut(
    cutoff: Float[Tensor, "*batch"], folding: Float[Tensor, "*batch"], bins: EnergyBins
) -> Float[Tensor, "*batch energy"]:
    """A high-energy cut-off, exp((cutoff - E) / folding) above the cut-off energy; the mean of the two edges.

    The compiled library gives exp(-0.001 keV / folding) instead of 1 below the cut-off.

    Args:
        cutoff: Where it sets in [keV].
        folding: e-folding energy [keV].
        bins: The grid.

    Returns:
        The factor of each bin.

    Source: XSPEC manual, highecut.
    """
    start, fold = cutoff.unsqueeze(-1), folding.unsqueeze(-1)
    at_low, at_high = (torch.exp(-torch.relu(energy - start) / fold) for energy in (bins.low, bins.high))
    return 0.5 * (at_low + at_high)


def gabs_factor(
    line: Float[Tensor, "*batch"],
    sigma: Float[Tensor, "*batch"],
    strength: Float[Tensor, "*batch"],
    energy: Float[Tensor, " energy"],
) -> Float[Tensor, "*batch energy"]:
    """What a line with a Gaussian optical depth lets through.

    As in the library, the strength is the integral of the optical depth above 0 keV.

    Args:
        line: Energy of the line [keV].
        sigma: Width [keV], above 0.
        strength: Optical depth integrated over energy [keV].
        energy: Energies [keV].

    Returns:
        The factor at each energy.

    Source: XSPEC manual, gabs.
    """
    away = (energy - line.unsqueeze(-1)) / sigma.unsqueeze(-1)
    above_zero = 0.5 * torch.erfc(-line / (sigma * math.sqrt(2.0)))
    depth = strength / (sigma * math.sqrt(2.0 * math.pi) * above_zero)
    return torch.exp(-depth.unsqueeze(-1) * torch.exp(-0.5 * away**2))


def bind_gabs(bins: EnergyBins) -> Bound:
    """`gabs_factor`, its mean over each bin by four Gauss-Legendre nodes."""
    nodes, weights = bins.quadrature(4)
    width = bins.energy_edges.diff()
    pairs = [(bins.cast(node), bins.cast(weight / width)) for node, weight in zip(nodes, weights, strict=True)]

    def on_grid(line: Tensor, sigma: Tensor, strength: Tensor) -> Tensor:
        total = gabs_factor(line, sigma, strength, pairs[0][0]) * pairs[0][1]
        for node, weight in pairs[1:]:
            total = total + gabs_factor(line, sigma, strength, node) * weight
        return total

    return on_grid


def bind_constant(bins: EnergyBins) -> Bound:
    """The same factor in every bin."""
    ones = torch.ones_like(bins.low)
    return OnGrid(lambda factor: factor.unsqueeze(-1) * ones, {0: lambda value, factor: ones})


def bind_edge(bins: EnergyBins) -> Bound:
    """`edge` on a grid."""
    return lambda threshold, depth: edge(threshold, depth, bins)


def bind_highecut(bins: EnergyBins) -> Bound:
    """`highecut` on a grid."""
    return lambda cutoff, folding: highecut(cutoff, folding, bins)


COLUMN = declare("nH", "10^22 cm^-2", 1.0, (0.0, 1e6), (0.0, 1e5), (5e-3, 75.0), "log", "hydrogen column")

COMPONENTS = (
    Component(
        "TBabs",
        "multiplicative",
        "absorption by interstellar gas, grains and molecules",
        (COLUMN,),
        absorber(tbabs_cross_section),
        "exp(-nH sigma(E)), with grains and molecules",
        "Wilms, Allen & McCray 2000, ApJ 542, 914",
        uses_abund=True,
    ),
    Component(
        "phabs",
        "multiplicative",
        "photoelectric absorption by gas",
        (COLUMN,),
        absorber(phabs_cross_section),
        "exp(-nH sigma(E))",
        "XSPEC manual, phabs; Verner et al. 1996, ApJ 465, 487",
        uses_abund=True,
    ),
    Component(
        "constant",
        "multiplicative",
        "constant factor",
        (declare("factor", "", 1.0, (0.0, 1e10), (0.0, 1e10), (1e-3, 1e3), "log", "the factor"),),
        without_abund(bind_constant),
        "factor",
        "XSPEC manual, constant",
    ),
    Component(
        "edge",
        "multiplicative",
        "absorption edge",
        (
            declare_place("edgeE", 7.0, (0.0, 100.0), (0.1, 20.0), "energy of the edge"),
            declare_depth("MaxTau", "", 1.0, (0.0, 10.0), (0.0, 5.0), "linear", "optical depth at the edge"),
        ),
        without_abund(bind_edge),
        "exp(-MaxTau (E / edgeE)^-3) above edgeE, 1 below",
        "XSPEC manual, edge",
    ),
    Component(
        "gabs",
        "multiplicative",
        "Gaussian absorption line",
        (
            declare_place("LineE", 1.0, (0.0, 1e6), (0.1, 20.0), "energy of the line"),
            # XSPEC allows 0, where its library has no defined depth
            declare("Sigma", "keV", 0.01, (1e-4, 20.0), (1e-4, 10.0), (1e-3, 10.0), "log", "width of the line"),
            declare_depth("Strength", "keV", 1.0, (0.0, 1e6), (1e-4, 10.0), "log", "integrated optical depth"),
        ),
        without_abund(bind_gabs),
        "exp(-Strength exp(-(E - LineE)^2 / (2 Sigma^2)) / (Sigma sqrt(2 pi)))",
        "XSPEC manual, gabs",
    ),
    Component(
        "highecut",
        "multiplicative",
        "exponential cut-off above an energy",
        (
            declare("cutoffE", "keV", 10.0, (1e-4, 1e6), (1e-2, 1e6), (0.1, 200.0), "log", "where the cut-off sets in"),
            declare("foldE", "keV", 15.0, (1e-4, 1e6), (1e-2, 1e6), (0.1, 1000.0), "log", "e-folding energy"),
        ),
        without_abund(bind_highecut),
        "exp((cutoffE - E) / foldE) above cutoffE, 1 below",
        "XSPEC manual, highecut",
    ),
)
