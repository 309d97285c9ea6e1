"""nthComp: photons of a black body or of a disc, Comptonised by thermal electrons.

`kompaneets` gives E^2 N_E on nodes. Between them it is a straight line in E, as in the compiled library, and the
photons of a bin are the exact integral of that polygon over E^2. So the spectrum *is* the polygon: in the Wien tail its
chords lie above the curve by up to some per cent, and finer nodes would be another spectrum than XSPEC's.

The nodes move with kT_bb. What hangs on the number of a node jumps when one passes, as in the library: by 4e-4 of the
spectrum at most below 50 keV in the median of its parameters and by 4e-3 in the worst, where kT_e is above 5 keV; by
2e-7 and 1e-3 below 20 keV. The stated derivatives are those between the jumps.

All is computed in float64: in a deep sphere the escape is a millionth of what diffuses.

Source: Zdziarski, Johnson & Magdziarz 1996, MNRAS 283, 193; Zycki, Done & Smith 1999, MNRAS 309, 561; XSPEC manual,
nthComp.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.models.additive import FLUX_NORM
from xrayflow.models.component import Bound, Component, OnGrid, without_abund
from xrayflow.models.edges import EnergyBins
from xrayflow.models.kompaneets import LOWEST, STEP, Marks, comptonised, marks, nodes
from xrayflow.models.parameter import declare, declare_norm, declare_switch

DIFFERENCE = 1e-5
"""Of a central difference, relative to the parameter."""


@dataclass(frozen=True, eq=False)
class Pieces:
    """The bins of a grid, those wider than a step of the nodes cut, so that no piece has two nodes inside.

    Attributes:
        owner: The bin of each piece; None where no bin is cut.
        edges: Of the pieces [keV].
        log_edges: Their decimal logarithms.
        level: Integral of dE / E^2 over a piece [1/keV].
        rise: Integral of (E - E_lo) / (E_hi - E_lo) dE / E^2 [1/keV].
        count: Bins.
    """

    owner: Tensor | None
    edges: Float[Tensor, " edge"]
    log_edges: Float[Tensor, " edge"]
    level: Float[Tensor, " piece"]
    rise: Float[Tensor, " piece"]
    count: int


def rising(low: Tensor, high: Tensor) -> Tensor:
    """Integral of (E - low) / (high - low) dE / E^2: (ln(high / low) - 1 + low / high) / (high - low), as a series.

    Args:
        low, high: Ends, at most 5 % apart; then it is good to 1e-11.

    Returns:
        The integral, 0 where the ends meet.
    """
    half = (high - low) / (high + low)
    return 2.0 * half * (1.0 / (1.0 + half) + half * (1.0 / 3.0 + half**2 * (0.2 + half**2 / 7.0))) / (high + low)


def cut(bins: EnergyBins) -> Pieces:
    """The pieces of a grid.

    Args:
        bins: The grid.

    Returns:
        Pieces, float64.
    """
    edges, owner = bins.energy_edges, None
    log_width = torch.log10(edges).diff()
    parts = torch.ceil(log_width / (0.999 * STEP)).clamp(min=1.0).to(torch.int64)
    if int(parts.max()) > 1:
        owner = torch.repeat_interleave(parts)
        place = torch.arange(owner.numel(), device=owner.device) - (torch.cumsum(parts, 0) - parts)[owner]
        edges = torch.cat([edges[owner] * 10.0 ** (log_width[owner] * place / parts[owner]), edges[-1:]])
    low, high = edges[:-1], edges[1:]
    return Pieces(owner, edges, torch.log10(edges), (high - low) / (high * low), rising(low, high), parts.numel())


def between_nodes(
    values: Float[Tensor, "*batch node"],
    unit: Float[Tensor, "*batch"],
    at: Float[Tensor, " edge"],
    log_at: Float[Tensor, " edge"],
) -> tuple[Float[Tensor, "*batch edge"], Float[Tensor, "*batch edge"], Float[Tensor, "*batch edge"]]:
    """The polygon through nodes, constant below the first.

    Args:
        values: On the nodes.
        unit: kT_bb in the frame of the energies [keV].
        at, log_at: Energies [keV] and their decimal logarithms.

    Returns:
        The value at each energy, and energy [keV] and value of the node below it.
    """
    last = values.shape[-1] - 1
    energy = unit.unsqueeze(-1) * nodes(last + 1).to(values.device)
    slopes = values.diff() / energy.diff()
    start = torch.log10(LOWEST * unit.detach()).unsqueeze(-1)
    place = ((log_at - start) / STEP).floor().clamp(0.0, last - 1.0).to(torch.int64)
    node, at_node, slope = (torch.gather(part, -1, place) for part in (energy, values, slopes))
    return at_node + slope * (at - node).clamp(min=0.0), node, at_node


def integrated(
    values: Float[Tensor, "*batch node"], unit: Float[Tensor, "*batch"], pieces: Pieces
) -> Float[Tensor, "*batch energy"]:
    """Photons per bin of a polygon in E^2 N_E.

    Args:
        values: E^2 N_E on the nodes.
        unit: kT_bb in the frame of the bins [keV].
        pieces: Of the bins.

    Returns:
        The integral of N_E over each bin.
    """
    height, node, at_node = between_nodes(values, unit, pieces.edges, pieces.log_edges)
    left, right = height[..., :-1], height[..., 1:]
    low, width, rise = pieces.edges[:-1], pieces.edges.diff(), right - left
    photons = left * pieces.level + rise * pieces.rise
    # a node inside stands off the chord by a triangle: 1 / E^2 at its centroid, with the curvature
    share = ((node[..., 1:] - low) / width).clamp(0.0, 1.0)
    off = torch.where(share > 0.0, at_node[..., 1:] - left - share * rise, 0.0)
    spread = width / (low + (1.0 + share) / 3.0 * width)
    photons = photons + off * (0.5 / width) * spread**2 * (1.0 + spread**2 * (1.0 - share + share**2) / 6.0)
    if pieces.owner is None:
        return photons
    return torch.index_add(photons.new_zeros(*photons.shape[:-1], pieces.count), -1, pieces.owner, photons)


def bind_nthcomp(bins: EnergyBins) -> Bound:
    """nthComp on a grid, with its derivatives."""
    pieces = cut(bins)
    one_kev, log_one = pieces.edges.new_ones(1), pieces.edges.new_zeros(1)

    def spectrum(shape: Sequence[Tensor], disc: bool, marked: Marks) -> tuple[Tensor, Tensor]:
        """E^2 N_E on the nodes, 1 at 1 keV, and the unit of the nodes' energies."""
        gamma, electrons, seed, redshift = shape
        values, unit = comptonised(gamma, electrons, seed, disc, marked), seed / (1.0 + redshift)
        at_one, _, _ = between_nodes(values, unit, one_kev, log_one)
        return values / at_one, unit

    def on_grid(
        gamma: Tensor, electrons: Tensor, seed: Tensor, inp_type: float, redshift: Tensor, norm: Tensor
    ) -> Tensor:
        shape = _together(gamma, electrons, seed, redshift)
        photons = integrated(*spectrum(shape, inp_type >= 0.5, marks(shape[1], shape[2])), pieces)
        return photons.to(bins.dtype) * norm.unsqueeze(-1)

    def slope(which: int) -> Bound:
        """By one of gamma, electrons, seed and redshift: a difference between whose ends no mark moves."""

        def by_one(
            photons: Tensor,
            gamma: Tensor,
            electrons: Tensor,
            seed: Tensor,
            inp_type: float,
            redshift: Tensor,
            norm: Tensor,
        ) -> Tensor:
            shape = _together(gamma, electrons, seed, redshift)
            marked, at = marks(shape[1], shape[2]), shape[which]
            step = DIFFERENCE * torch.where(at == 0.0, 1.0, at.abs())
            both = [one.expand(2, *one.shape) for one in shape]
            both[which] = torch.stack([at + step, at - step])
            values, unit = spectrum(both, inp_type >= 0.5, marked)
            if which < 2:  # the energies stand still
                change = integrated(values[0] - values[1], unit[0], pieces)
            else:
                up, down = integrated(values, unit, pieces)
                change = up - down
            return (change / (2.0 * step).unsqueeze(-1)).to(bins.dtype) * norm.unsqueeze(-1)

        return by_one

    return OnGrid(on_grid, {place: slope(which) for which, place in enumerate((0, 1, 2, 4))})


def _together(*shape: Tensor) -> tuple[Tensor, ...]:
    """Parameters as float64 of one shape."""
    wide = [one.to(torch.float64) for one in shape]
    together = functools.reduce(torch.add, wide)
    return tuple(one.expand_as(together) for one in wide)


COMPONENTS = (
    Component(
        "nthComp",
        "additive",
        "photons of a black body or a disc, Comptonised by thermal electrons",
        (
            declare(
                "Gamma", "", 1.7, (1.001, 10.0), (1.001, 5.0), (1.1, 5.0), meaning="photon index below the turnover"
            ),
            declare("kT_e", "keV", 100.0, (1.0, 1e3), (5.0, 1e3), (2.0, 500.0), "log", "electron temperature"),
            replace(
                declare("kT_bb", "keV", 0.1, (1e-3, 10.0), (1e-3, 10.0), (0.01, 5.0), "log", "seed temperature"),
                frozen=True,
            ),
            replace(declare_switch("inp_type", 0.0, (0.0, 1.0), "seeds: 0 black body, 1 disc as diskbb"), unit="0/1"),
            replace(
                declare("Redshift", "", 0.0, (-0.999, 10.0), (-0.999, 10.0), (0.0, 5.0), meaning="redshift"),
                frozen=True,
            ),
            declare_norm(FLUX_NORM, (1e-9, 1e3), "photon flux density at 1 keV"),
        ),
        without_abund(bind_nthcomp),
        "norm E^-2 f(E) / f(1 keV), f = x^4 P u, u the steady state of the Kompaneets equation with escape P",
        "Zdziarski, Johnson & Magdziarz 1996, MNRAS 283, 193; Zycki, Done & Smith 1999, MNRAS 309, 561",
    ),
)
