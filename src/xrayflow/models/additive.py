"""Additive components: photons/cm^2/s in each bin.

Every function is pure: tensors in, tensors out, float64 unless its inputs say otherwise. All integrate their density
over the bin, so that splitting a bin keeps the photons; where the compiled library takes the mean of the two edges
(bbody, bbodyrad), the two differ by the curvature, (E / kT)^2 (dE / E)^2 / 12 and less.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.models.component import Bound, Component, OnGrid, without_abund
from xrayflow.models.disk import bind_disk, disk_table, ring_temperature_diskbb, ring_temperature_zero_torque
from xrayflow.models.edges import EnergyBins, nodes_needed
from xrayflow.models.parameter import declare, declare_norm, declare_place


def expm1_over(y: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """(exp(y) - 1) / y, continued through y = 0.

    Near zero the Taylor series keeps the value and all derivatives right.

    Args:
        y: Any real.

    Returns:
        1 at 0.

    >>> expm1_over(torch.zeros(1, dtype=torch.float64)).item()
    1.0
    """
    small = y.abs() < 1e-2
    # where() alone would still send 0/0 through the gradient of the branch not taken
    safe = torch.where(small, torch.ones_like(y), y)
    series = 1.0 + y / 2.0 * (1.0 + y / 3.0 * (1.0 + y / 4.0 * (1.0 + y / 5.0 * (1.0 + y / 6.0))))
    return torch.where(small, series, torch.expm1(safe) / safe)


def powerlaw(
    index: Float[Tensor, "*batch"],
    norm: Float[Tensor, "*batch"],
    log_low: Float[Tensor, " energy"],
    log_width: Float[Tensor, " energy"],
) -> Float[Tensor, "*batch energy"]:
    """A power law, integrated over each bin: norm E^-index photons/cm^2/s/keV.

    The integral norm E_lo^(1-a) w (exp((1-a) w) - 1) / ((1-a) w), w = ln(E_hi / E_lo), has no hole at a = 1.

    Args:
        index: Photon index a.
        norm: Photons/cm^2/s/keV at 1 keV.
        log_low: ln of the lower edge in keV.
        log_width: ln(E_hi / E_lo).

    Returns:
        Photons/cm^2/s per bin.

    Source: XSPEC manual, powerlaw.
    """
    slope = (1.0 - index).unsqueeze(-1)
    return torch.exp(slope * log_low) * (norm.unsqueeze(-1) * log_width) * expm1_over(slope * log_width)


def powerlaw_narrow(
    index: Float[Tensor, "*batch"],
    norm: Float[Tensor, "*batch"],
    log_centre: Float[Tensor, " energy"],
    log_width: Float[Tensor, " energy"],
) -> Float[Tensor, "*batch energy"]:
    """`powerlaw` on narrow bins, three times faster: norm E_c^(1-a) w sinh(y) / y, y = (1 - a) w / 2, as a series.

    Args:
        index: Photon index a.
        norm: Photons/cm^2/s/keV at 1 keV.
        log_centre: Mean of the logarithms of the two edges in keV.
        log_width: w = ln(E_hi / E_lo), at most `NARROW`.

    Returns:
        Photons/cm^2/s per bin.
    """
    slope = (1.0 - index).unsqueeze(-1)
    y2 = slope**2 * (0.25 * log_width**2)
    series = y2.mul(1.0 / 42.0).add(1.0).mul(y2 / 20.0).add(1.0).mul(y2 / 6.0).add(1.0)
    return torch.exp(slope * log_centre) * (norm.unsqueeze(-1) * log_width) * series


NARROW = 0.05
"""Widest ln(E_hi / E_lo) for `powerlaw_narrow`: with |1 - a| <= 9 its error is 2e-11 (y^8 / 9!)."""


def cutoff_powerlaw_density(
    index: Float[Tensor, "*batch"], cutoff: Float[Tensor, "*batch"], energy: Float[Tensor, " energy"]
) -> Float[Tensor, "*batch energy"]:
    """A power law with an exponential cut-off, E^-index exp(-E / cutoff).

    Args:
        index: Photon index.
        cutoff: e-folding energy [keV].
        energy: Energies [keV].

    Returns:
        Photons/cm^2/s/keV for norm 1.

    Source: XSPEC manual, cutoffpl.
    """
    return torch.exp(-index.unsqueeze(-1) * torch.log(energy) - energy / cutoff.unsqueeze(-1))


def planck_density(temperature: Float[Tensor, "*batch"], energy: Float[Tensor, " energy"]) -> Tensor:
    """The shape of a black body, E^2 / (exp(E / kT) - 1), without overflow.

    Args:
        temperature: kT [keV].
        energy: Energies [keV].

    Returns:
        The shape [keV^2], `(*batch, energy)`.

    Source: XSPEC manual, bbody.
    """
    x = energy / temperature.unsqueeze(-1)
    return energy**2 * torch.exp(-x) / -torch.expm1(-x)


def gaussian(
    line: Float[Tensor, "*batch"], sigma: Float[Tensor, "*batch"], low: Float[Tensor, " energy"], high: Tensor
) -> Float[Tensor, "*batch energy"]:
    """A Gaussian line, its part above 0 keV normalised to 1, integrated over each bin.

    Each side is a difference of complementary error functions, so the wings keep their digits. Where sigma is 0, all
    photons are in the bin with E_lo < line <= E_hi.

    Args:
        line: Energy of the line [keV].
        sigma: Width [keV].
        low: Lower edges [keV].
        high: Upper edges [keV].

    Returns:
        Photons/cm^2/s per bin for norm 1.

    Source: XSPEC manual, gaussian.
    """
    centre, width = line.unsqueeze(-1), sigma.unsqueeze(-1)
    narrow = width <= 0.0
    scale = 1.0 / (math.sqrt(2.0) * torch.where(narrow, torch.ones_like(width), width))
    left, right = (low - centre) * scale, (high - centre) * scale
    sign = torch.where(left + right > 0.0, 1.0, -1.0).to(left.dtype)
    share = 0.5 * sign * (torch.erfc(sign * left) - torch.erfc(sign * right))
    # over a bin much narrower than the line the difference cancels: density x width, with the curvature
    step = (high - low) * scale
    squared = (0.5 * (left + right)) ** 2
    flat = torch.exp(-squared) * step * (1.0 + (2.0 * squared - 1.0) * step**2 / 12.0) / math.sqrt(math.pi)
    share = torch.where(step < (1e-3 if step.dtype == torch.float64 else 2e-2), flat, share)
    share = share / (0.5 * torch.erfc(-centre * scale))
    return torch.where(narrow, ((low < centre) & (centre <= high)).to(left.dtype), share)


def integrate(
    density: Callable[..., Tensor], bins: EnergyBins, steepness: Tensor
) -> Callable[..., Float[Tensor, "*batch energy"]]:
    """The integral of a density over each bin, by Gauss-Legendre nodes.

    Args:
        density: Of the parameters and the energies, its last argument.
        bins: The grid.
        steepness: How much ln(density) may change over each bin; it decides how many nodes are taken.

    Returns:
        A function of the parameters.
    """
    nodes, weights = bins.quadrature(nodes_needed(float(steepness.max()), bins.tolerance))
    pairs = [(bins.cast(node), bins.cast(weight)) for node, weight in zip(nodes, weights, strict=True)]

    def integral(*parameters: Tensor) -> Tensor:
        total = density(*parameters, pairs[0][0]) * pairs[0][1]
        for node, weight in pairs[1:]:
            total = total + density(*parameters, node) * weight
        return total

    return integral


def exponential_steepness(bins: EnergyBins, coldest: float) -> Tensor:
    """How much E / T changes over each bin, up to 40 e-foldings beyond which there are no photons.

    Args:
        bins: The grid.
        coldest: The lowest T that matters [keV].

    Returns:
        The change in each bin.
    """
    return (bins.energy_edges[1:] / coldest).clamp(max=40.0) * torch.log(bins.energy_edges).diff()


def bind_powerlaw(bins: EnergyBins) -> Bound:
    """`powerlaw` on a grid."""
    if float(bins.log_width.max()) > NARROW:
        return lambda index, norm: powerlaw(index, norm, bins.log_low, bins.log_width)
    log_centre = bins.cast(0.5 * torch.log(bins.energy_edges[1:] * bins.energy_edges[:-1]))

    def by_index(photons: Tensor, index: Tensor, norm: Tensor) -> Tensor:
        # d ln(sinh(y) / y) / dy = y / 3 - y^3 / 45 + 2 y^5 / 945
        y = 0.5 * (1.0 - index).unsqueeze(-1) * bins.log_width
        rise = y * (1.0 / 6.0 - y**2 * (1.0 / 90.0 - y**2 / 945.0))
        return -photons * (log_centre + bins.log_width * rise)

    return OnGrid(lambda index, norm: powerlaw_narrow(index, norm, log_centre, bins.log_width), {0: by_index})


def bind_ezdiskbb(bins: EnergyBins) -> Bound:
    """The zero-torque disc on a grid (`disk.bind_disk`)."""
    return bind_disk(bins, disk_table(ring_temperature_zero_torque), coldest=0.025)


def bind_diskbb(bins: EnergyBins) -> Bound:
    """The disc with T ~ r^(-3/4) on a grid (`disk.bind_disk`)."""
    return bind_disk(bins, disk_table(ring_temperature_diskbb), coldest=0.025)


def bind_cutoffpl(bins: EnergyBins) -> Bound:
    """`cutoff_powerlaw_density`, integrated."""
    steepness = exponential_steepness(bins, 0.01) + 9.0 * torch.log(bins.energy_edges).diff()
    integral = integrate(cutoff_powerlaw_density, bins, steepness)
    return lambda index, cutoff, norm: integral(index, cutoff) * norm.unsqueeze(-1)


def bind_bbody(bins: EnergyBins) -> Bound:
    """A black body with the norm L / 1e39 erg/s / (D / 10 kpc)^2: 8.0525 E^2 / kT^4 / (exp(E / kT) - 1)."""
    integral = integrate(planck_density, bins, exponential_steepness(bins, 0.01))
    return lambda temperature, norm: integral(temperature) * (8.0525 * norm / temperature**4).unsqueeze(-1)


def bind_bbodyrad(bins: EnergyBins) -> Bound:
    """A black body with the norm (R / km / (D / 10 kpc))^2: 1.0344e-3 E^2 / (exp(E / kT) - 1)."""
    integral = integrate(planck_density, bins, exponential_steepness(bins, 0.01))
    return lambda temperature, norm: integral(temperature) * (1.0344e-3 * norm).unsqueeze(-1)


def bind_gaussian(bins: EnergyBins) -> Bound:
    """`gaussian` on a grid, with its slopes: a line is narrow against any step that would suit its energy."""

    def on_grid(line: Tensor, sigma: Tensor, norm: Tensor) -> Tensor:
        return gaussian(line, sigma, bins.low, bins.high) * norm.unsqueeze(-1)

    def slope(photons: Tensor, line: Tensor, sigma: Tensor, norm: Tensor, power: int) -> Tensor:
        """Of z^power phi(z) between the edges, z = (E - line) / sigma, and of the part above 0 keV."""
        centre, width = line.unsqueeze(-1), sigma.unsqueeze(-1)
        safe = torch.where(width > 0.0, width, torch.ones_like(width))
        left, right, start = ((energy - centre) / safe for energy in (bins.low, bins.high, 0.0))
        at_left, at_right, at_start = (z**power * torch.exp(-0.5 * z**2) for z in (left, right, start))
        scale = 1.0 / (math.sqrt(2.0 * math.pi) * safe * (0.5 * torch.erfc(start / math.sqrt(2.0))))
        change = scale * (norm.unsqueeze(-1) * (at_left - at_right) - photons * at_start)
        return torch.where(width > 0.0, change, torch.zeros_like(change))

    return OnGrid(on_grid, {0: functools.partial(slope, power=0), 1: functools.partial(slope, power=1)})


FLUX_NORM = "ph/cm^2/s/keV"
DISK_NORM = "(km/10kpc)^2"

COMPONENTS = (
    Component(
        "powerlaw",
        "additive",
        "power law",
        (
            declare("PhoIndex", "", 1.0, (-3.0, 10.0), (-2.0, 9.0), meaning="photon index"),
            declare_norm(FLUX_NORM, (1e-9, 1e3), "photon flux density at 1 keV"),
        ),
        without_abund(bind_powerlaw),
        "norm E^-PhoIndex",
        "XSPEC manual, powerlaw",
    ),
    Component(
        "cutoffpl",
        "additive",
        "power law with an exponential cut-off",
        (
            declare("PhoIndex", "", 1.0, (-3.0, 10.0), (-2.0, 9.0), meaning="photon index"),
            declare("HighECut", "keV", 15.0, (0.01, 500.0), (1.0, 500.0), None, "log", "e-folding energy"),
            declare_norm(FLUX_NORM, (1e-9, 1e3), "photon flux density at 1 keV without the cut-off"),
        ),
        without_abund(bind_cutoffpl),
        "norm E^-PhoIndex exp(-E / HighECut)",
        "XSPEC manual, cutoffpl",
    ),
    Component(
        "bbody",
        "additive",
        "black body by its luminosity",
        (
            declare("kT", "keV", 3.0, (1e-4, 200.0), (1e-2, 100.0), None, "log", "temperature"),
            declare_norm("1e39erg/s/(10kpc)^2", (1e-9, 1e3), "luminosity over the distance squared"),
        ),
        without_abund(bind_bbody),
        "norm 8.0525 E^2 / (kT^4 (exp(E / kT) - 1))",
        "XSPEC manual, bbody",
    ),
    Component(
        "bbodyrad",
        "additive",
        "black body by its radius",
        (
            declare("kT", "keV", 3.0, (1e-4, 200.0), (1e-3, 100.0), None, "log", "temperature"),
            declare_norm(DISK_NORM, (1e-4, 1e10), "radius over the distance, squared"),
        ),
        without_abund(bind_bbodyrad),
        "norm 1.0344e-3 E^2 / (exp(E / kT) - 1)",
        "XSPEC manual, bbodyrad",
    ),
    Component(
        "diskbb",
        "additive",
        "disc of black bodies, T ~ r^-3/4",
        (
            declare(
                "Tin", "keV", 1.0, (0.0, 1000.0), (0.0, 1000.0), (0.025, 10.0), "log", "temperature at the inner edge"
            ),
            declare_norm(DISK_NORM, (1e-2, 1e10), "(R_in/km / D/10 kpc)^2 cos i"),
        ),
        without_abund(bind_diskbb),
        "norm K E^2 int_0^1 2 u^-5 du / (exp(E / (Tin u^1.5)) - 1)",
        "Mitsuda et al. 1984, PASJ 36, 741; Makishima et al. 1986, ApJ 308, 635",
    ),
    Component(
        "gaussian",
        "additive",
        "Gaussian line",
        (
            declare_place("LineE", 6.5, (0.0, 1e6), (0.1, 20.0), "energy of the line"),
            declare("Sigma", "keV", 0.1, (0.0, 20.0), (0.0, 10.0), (1e-3, 10.0), "log", "width of the line"),
            declare_norm("ph/cm^2/s", (1e-9, 1e3), "photons in the line"),
        ),
        without_abund(bind_gaussian),
        "norm exp(-(E - LineE)^2 / (2 Sigma^2)) / (Sigma sqrt(2 pi)), normalised above 0 keV",
        "XSPEC manual, gaussian",
    ),
    Component(
        "ezdiskbb",
        "additive",
        "disc of black bodies with zero torque at its inner edge",
        (
            declare("T_max", "keV", 1.0, (0.01, 100.0), (0.01, 100.0), (0.025, 4.0), "log", "highest disc temperature"),
            declare_norm(DISK_NORM, (1e-2, 1e10), "(R_in/km / D/10 kpc)^2 cos i / f^4, f the colour correction"),
        ),
        without_abund(bind_ezdiskbb),
        "norm K E^2 int_0^1 2 u^-5 du / (exp(E / (T_max t(u))) - 1)",
        "Zimmerman et al. 2005, ApJ 618, 832",
    ),
)
