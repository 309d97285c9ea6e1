"""Convolution components: photons per bin in, photons per bin out.

They need photons outside the band that is folded: give them a grid from 1 eV to 1 MeV.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.models.component import Bound, Component, OnGrid, without_abund
from xrayflow.models.edges import LOG2_E, EnergyBins
from xrayflow.models.parameter import declare, declare_switch


def scattered_up(photons: Float[Tensor, "*batch energy"], slope: Float[Tensor, "*batch"], bins: EnergyBins) -> Tensor:
    """What Compton scattering to higher energies adds to each bin, minus what it takes: simpl's G(E, E0).

    A photon of energy E0 (the middle of its bin) leaves as a power law (Gamma - 1) (E / E0)^-Gamma / E0 above E0. The
    sum over seed bins is separable. With s = Gamma - 1, m_i = n_i Ebar_i^s, S_j = sum of m_i below bin j:
    gain_j - n_j = S_j (E_j^-s - E_{j+1}^-s) - m_j E_{j+1}^-s = E_{j+1}^-s (S_j expm1(s w_j) - m_j),
    which is a cumulative sum, and exact as s goes to 0.

    Args:
        photons: Seed photons per bin.
        slope: Gamma - 1.
        bins: The grid.

    Returns:
        Scattered minus seed photons per bin, for all of the seed scattered.

    Source: Steiner et al. 2009, PASP 121, 1279, eq. 1, 4.
    """
    steep = slope.unsqueeze(-1)
    weighted = photons * torch.exp2(steep * (LOG2_E * bins.log_mid))
    below = torch.cumsum(weighted, dim=-1) - weighted
    falls = torch.exp2(steep * (-LOG2_E * (bins.log_low + bins.log_width)))
    return falls * (below * torch.expm1(steep * bins.log_width) - weighted)


def scattered_down(photons: Float[Tensor, "*batch energy"], slope: Float[Tensor, "*batch"], bins: EnergyBins) -> Tensor:
    """The same to lower energies: (Gamma + 2) (E / E0)^(Gamma + 1) / E0 below E0.

    Args:
        photons: Seed photons per bin.
        slope: Gamma + 2, the exponent of the integral.
        bins: The grid.

    Returns:
        Scattered minus seed photons per bin, for all of the seed scattered.

    Source: Steiner et al. 2009, PASP 121, 1279, eq. 2.
    """
    steep = slope.unsqueeze(-1)
    weighted = photons * torch.exp(-steep * bins.log_mid)
    above = torch.flip(torch.cumsum(torch.flip(weighted, (-1,)), dim=-1), (-1,)) - weighted
    rises = torch.exp(steep * bins.log_low)
    return rises * (above * torch.expm1(steep * bins.log_width) - weighted)


def simpl(
    photons: Float[Tensor, "*batch energy"],
    gamma: Float[Tensor, "*batch"],
    fraction: Float[Tensor, "*batch"],
    up_only: bool,
    bins: EnergyBins,
) -> Float[Tensor, "*batch energy"]:
    """Comptonisation of a fraction of the seed photons into a power law.

    Args:
        photons: Seed photons per bin.
        gamma: Photon index of the power law, >= 1.
        fraction: Scattered fraction of the seed.
        up_only: Whether photons only gain energy; otherwise (Gamma + 2) / (1 + 2 Gamma) gain and the rest lose.
        bins: The grid.

    Returns:
        Photons per bin.

    Source: Steiner et al. 2009, PASP 121, 1279.
    """
    return photons + fraction.unsqueeze(-1) * scattered(photons, gamma, up_only, bins)


def scattered(
    photons: Float[Tensor, "*batch energy"], gamma: Float[Tensor, "*batch"], up_only: bool, bins: EnergyBins
) -> Float[Tensor, "*batch energy"]:
    """What scattering all of the seed adds to each bin, minus what it takes.

    Args:
        photons: Seed photons per bin.
        gamma: Photon index of the power law, >= 1.
        up_only: As for `simpl`.
        bins: The grid.

    Returns:
        Scattered minus seed photons per bin: the derivative of `simpl` by its fraction.

    Source: Steiner et al. 2009, PASP 121, 1279, eq. 1-4.
    """
    change = scattered_up(photons, gamma - 1.0, bins)
    if up_only:
        return change
    down = scattered_down(photons, gamma + 2.0, bins)
    share = ((gamma + 2.0) / (1.0 + 2.0 * gamma)).unsqueeze(-1)
    return down + share * (change - down)


def scattered_up_slope(
    photons: Float[Tensor, "*batch energy"], slope: Float[Tensor, "*batch"], bins: EnergyBins
) -> Float[Tensor, "*batch energy"]:
    """The derivative of `scattered_up` by its slope, in one pass over the same factors.

    Args:
        photons: Seed photons per bin.
        slope: Gamma - 1.
        bins: The grid.

    Returns:
        d(scattered minus seed photons) / d slope.
    """
    steep = slope.unsqueeze(-1)
    weighted = photons * torch.exp2(steep * (LOG2_E * bins.log_mid))
    turned = weighted * bins.log_mid
    below, below_turned = torch.cumsum(weighted, dim=-1) - weighted, torch.cumsum(turned, dim=-1) - turned
    log_high = bins.log_low + bins.log_width
    share = torch.expm1(steep * bins.log_width)
    # d/ds of falls * (below * share - weighted), with share' = w (share + 1) and falls' = -ln(E_high) falls
    change = below_turned * share - turned + below * (bins.log_width * (share + 1.0))
    return torch.exp(-steep * log_high) * (change - log_high * (below * share - weighted))


def scattered_down_slope(
    photons: Float[Tensor, "*batch energy"], slope: Float[Tensor, "*batch"], bins: EnergyBins
) -> Float[Tensor, "*batch energy"]:
    """The derivative of `scattered_down` by its slope.

    Args:
        photons: Seed photons per bin.
        slope: Gamma + 2.
        bins: The grid.

    Returns:
        d(scattered minus seed photons) / d slope.
    """
    steep = slope.unsqueeze(-1)
    weighted = photons * torch.exp(-steep * bins.log_mid)
    turned = weighted * bins.log_mid
    above, above_turned = (
        torch.flip(torch.cumsum(torch.flip(part, (-1,)), dim=-1), (-1,)) - part for part in (weighted, turned)
    )
    share = torch.expm1(steep * bins.log_width)
    change = turned - above_turned * share + above * (bins.log_width * (share + 1.0))
    return torch.exp(steep * bins.log_low) * (change + bins.log_low * (above * share - weighted))


def scattered_slope(
    photons: Float[Tensor, "*batch energy"], gamma: Float[Tensor, "*batch"], up_only: bool, bins: EnergyBins
) -> Float[Tensor, "*batch energy"]:
    """The derivative of `scattered` by gamma.

    Args:
        photons: Seed photons per bin.
        gamma: Photon index of the power law, >= 1.
        up_only: As for `simpl`.
        bins: The grid.

    Returns:
        d(scattered minus seed photons) / d gamma.
    """
    up = scattered_up_slope(photons, gamma - 1.0, bins)
    if up_only:
        return up
    down = scattered_down_slope(photons, gamma + 2.0, bins)
    share = ((gamma + 2.0) / (1.0 + 2.0 * gamma)).unsqueeze(-1)
    moved = scattered_up(photons, gamma - 1.0, bins) - scattered_down(photons, gamma + 2.0, bins)
    return down + share * (up - down) - 3.0 / (1.0 + 2.0 * gamma.unsqueeze(-1)) ** 2 * moved


def bind_simpl(bins: EnergyBins) -> Bound:
    """`simpl` on a grid."""

    def on_grid(photons: Tensor, gamma: Tensor, fraction: Tensor, up_scatter_only: float) -> Tensor:
        return simpl(photons, gamma, fraction, up_scatter_only > 0.0, bins)

    def by_gamma(value: Tensor, photons: Tensor, gamma: Tensor, fraction: Tensor, up_scatter_only: float) -> Tensor:
        return fraction.unsqueeze(-1) * scattered_slope(photons, gamma, up_scatter_only > 0.0, bins)

    def by_fraction(value: Tensor, photons: Tensor, gamma: Tensor, fraction: Tensor, up_scatter_only: float) -> Tensor:
        return scattered(photons, gamma, up_scatter_only > 0.0, bins)

    return OnGrid(on_grid, {1: by_gamma, 2: by_fraction})


COMPONENTS = (
    Component(
        "simpl",
        "convolution",
        "Comptonisation of a fraction of the photons into a power law",
        (
            declare("Gamma", "", 2.3, (1.0, 5.0), (1.1, 4.0), (1.3, 4.0), meaning="photon index of the scattered part"),
            declare("FracSctr", "", 0.05, (0.0, 1.0), (0.0, 0.4), (1e-3, 1.0), "log", "scattered fraction of the seed"),
            declare_switch("UpScOnly", 1.0, (0.0, 100.0), "above 0: photons only gain energy"),
        ),
        without_abund(bind_simpl),
        "(1 - FracSctr) n(E) + FracSctr int n(E0) G(E, E0) dE0",
        "Steiner et al. 2009, PASP 121, 1279",
    ),
)
