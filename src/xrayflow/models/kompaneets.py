r"""Thermal Comptonisation by the Kompaneets equation: photons that electrons scatter in a sphere until they escape.

The occupation number u of photons of energy x (in units of m_e c^2) balances diffusion in energy, escape and seeds:

    -x^-3 d/d(ln x) [K(x) (theta du/dx + u)] + P(x) u = q(x) / x^2,      K = tau x^4 / (1 + 4.6 x + 1.1 x^2),

theta = kT_e / m_e c^2, q the photon density of the seeds, P = 1 / (1 + tau sigma_KN l / 3) the escape; l goes from 1 to
0 between x = 0.1 and 1: one scattering of such a photon takes more energy than diffusion knows of. The Thomson depth
tau is the one that makes the power law's photon index Gamma. What escapes is E^2 N_E ~ x^4 P u.

All of it stands on nodes of 0.02 dex, from 1e-4 kT_bb to 40 kT_e, with differences of second order, as in XSPEC's
nthComp. Divided by x_j^3 the equation of node j has numbers around 1. The matrix is one of column sums P > 0 with
nothing positive beside its diagonal, so it is solved without pivots. In units of kT_bb the nodes stand still, and the
seeds are a constant.

Source: Kompaneets 1957, JETP 4, 730; Lightman & Zdziarski 1987, ApJ 319, 643; Zdziarski, Johnson & Magdziarz 1996,
MNRAS 283, 193; Zycki, Done & Smith 1999, MNRAS 309, 561.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from xrayflow.models.additive import bind_diskbb
from xrayflow.models.edges import EnergyBins

REST_ENERGY = 511.0
"""m_e c^2 as in the library [keV]."""
STEP = 0.02
"""Decades between nodes."""
LOG_STEP = STEP * math.log(10.0)
LOWEST, HIGHEST = 1e-4, 40.0
"""The first node in units of kT_bb, the last in units of kT_e."""
SEED_NODES = 284
"""Nodes with seeds of a black body, to 50 kT_bb; those of a disc end one before."""
NO_DIFFUSION = 0.1, 1.0
"""Where the photons' diffusion in space begins to give way to straight escape, and where it has done [m_e c^2]."""
ASYMPTOTIC = 0.05
"""Below, the Klein-Nishina cross-section is taken from its expansion [m_e c^2]."""


def nodes(count: int, start: float = 0.0) -> Float[Tensor, " node"]:
    """Energies of the nodes in units of kT_bb.

    Args:
        count: How many.
        start: Of the first; 0.5 gives the middles between them.

    Returns:
        Energies, float64.
    """
    return LOWEST * 10.0 ** (STEP * (torch.arange(count, dtype=torch.float64) + start))


@functools.cache
def seeds(disc: bool) -> Float[Tensor, " seed"]:
    """Photon density of the seeds on their nodes, up to a factor.

    Args:
        disc: Whether a disc of black bodies (diskbb) shines, averaged between the middles of the nodes; else one black
            body.

    Returns:
        Density per energy in units of kT_bb, float64.
    """
    if not disc:
        y = nodes(SEED_NODES)
        return y**2 / torch.expm1(y)
    middles = nodes(SEED_NODES, 0.5)[: SEED_NODES - 1]
    one = torch.ones((), dtype=torch.float64)
    density = bind_diskbb(EnergyBins(middles))(one, one) / middles.diff()
    # the library repeats the first
    return torch.cat([density[:1], density])


def klein_nishina(x: Float[Tensor, "*shape"], expanded: Bool[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The cross-section of an electron in units of Thomson's.

    Args:
        x: Photon energy [m_e c^2].
        expanded: Where to take its expansion, which is off by 13 x^3; right below `ASYMPTOTIC`.

    Returns:
        1 at low energies.

    Source: Rybicki & Lightman 1979, eq. 7.5 and 7.6a.
    """
    low = 1.0 - 2.0 * x + 5.2 * x**2
    high = x.clamp(min=0.5 * ASYMPTOTIC)  # the terms cancel below
    double = 1.0 + 2.0 * high
    log = torch.log(double)
    bracket = 2.0 * high * (1.0 + high) / double - log
    exact = (1.0 + high) / high**3 * bracket + log / (2.0 * high) - (1.0 + 3.0 * high) / double**2
    return torch.where(expanded, low, 0.75 * exact)


def solve_tridiagonal(
    lower: Float[Tensor, "*row node"],
    diagonal: Float[Tensor, "*row node"],
    upper: Float[Tensor, "*row node"],
    right: Float[Tensor, "*row node"],
) -> Float[Tensor, "*row node"]:
    """Solves lower_i u_(i-1) + diagonal_i u_i + upper_i u_(i+1) = right_i, row by row.

    Odd-even reduction: every other unknown is eliminated at once, so ten rounds of vector operations do what a
    recursion does in 600. No pivots: the columns must be diagonally dominant.

    Args:
        lower, diagonal, upper: The three diagonals; the first of `lower` and the last of `upper` must be 0.
        right: The right-hand side.

    Returns:
        u.

    Source: Golub & Van Loan, Matrix Computations, section 4.5.
    """
    count = diagonal.shape[-1]
    if count == 1:
        return right / diagonal
    if count % 2 == 0:
        zero, one = torch.zeros_like(diagonal[..., :1]), torch.ones_like(diagonal[..., :1])
        longer = (torch.cat(pair, dim=-1) for pair in ((lower, zero), (diagonal, one), (upper, zero), (right, zero)))
        return solve_tridiagonal(*longer)[..., :-1]
    (low, odd_low), (mid, odd_mid), (high, odd_high), (known, odd_known) = (
        (part[..., 0::2], part[..., 1::2]) for part in (lower, diagonal, upper, right)
    )
    before, after = odd_low / mid[..., :-1], odd_high / mid[..., 1:]
    odd = solve_tridiagonal(
        -before * low[..., :-1],
        odd_mid - before * high[..., :-1] - after * low[..., 1:],
        -after * high[..., 1:],
        odd_known - before * known[..., :-1] - after * known[..., 1:],
    )
    around = pad(odd, (1, 1))
    even = (known - low * around[..., :-1] - high * around[..., 1:]) / mid
    pairs = torch.stack([even[..., :-1], odd], dim=-1).flatten(-2)
    return torch.cat([pairs, even[..., -1:]], dim=-1)


@dataclass(frozen=True, eq=False)
class Marks:
    """Numbers of nodes, from 0, that whole parts of the equation hang on: steps in what is else smooth.

    Attributes:
        last: Where photons end, at 40 kT_e.
        begin, end: Where diffusion in space begins to give way, and where it has done.
        expanded: The last whose cross-section is expanded.
        count: Nodes to take, for all rows.
    """

    last: Float[Tensor, "*batch 1"]
    begin: Float[Tensor, "*batch 1"]
    end: Float[Tensor, "*batch 1"]
    expanded: Float[Tensor, "*batch 1"]
    count: int


def marks(electrons: Float[Tensor, "*batch"], seed: Float[Tensor, "*batch"]) -> Marks:
    """The marks of rows.

    Args:
        electrons: kT_e [keV].
        seed: kT_bb [keV].

    Returns:
        Without derivatives.
    """
    highest, lowest = HIGHEST * electrons.detach().unsqueeze(-1), LOWEST * seed.detach().unsqueeze(-1)

    def number(energy: Tensor | float) -> Tensor:
        return torch.floor(torch.log10(energy / lowest) / STEP)

    last = number(highest)
    begin, end, expanded = (number(mark * REST_ENERGY) for mark in (*NO_DIFFUSION, ASYMPTOTIC))
    return Marks(last, torch.minimum(begin, last - 1.0), torch.minimum(end, last), expanded, int(last.max()) + 2)


def comptonised(
    gamma: Float[Tensor, "*batch"],
    electrons: Float[Tensor, "*batch"],
    seed: Float[Tensor, "*batch"],
    disc: bool,
    marked: Marks,
) -> Float[Tensor, "*batch node"]:
    """E^2 N_E on the nodes.

    Args:
        gamma: Photon index, above 1.
        electrons: kT_e [keV].
        seed: kT_bb [keV].
        disc: As for `seeds`.
        marked: `marks` of these rows.

    Returns:
        E^2 N_E up to a factor, float64; 0 from the last node on.
    """
    theta, unit = (electrons / REST_ENERGY).unsqueeze(-1), (seed / REST_ENERGY).unsqueeze(-1)
    depth = torch.sqrt(2.25 + 3.0 / (theta * ((gamma.unsqueeze(-1) + 0.5) ** 2 - 2.25))) - 1.5
    y, middles = (nodes(marked.count, start).to(theta.device) for start in (0.0, 0.5))
    x, middle = unit * y, unit * middles
    begin, end = (unit * LOWEST * 10.0 ** (STEP * number) for number in (marked.begin, marked.end))
    spreads = ((end - x) / (end - begin)).clamp(0.0, 1.0)
    number = torch.arange(marked.count, dtype=y.dtype, device=y.device)
    escape = 1.0 / (1.0 + depth * klein_nishina(x, number <= marked.expanded) * spreads / 3.0)
    # K / x^4 between the nodes, over the step; x^4 there is 10^(1.5 STEP) times x_j^3 x, or that much less from above
    rate = depth / LOG_STEP / (1.0 + 4.6 * middle + 1.1 * middle**2)
    half_step = 10.0 ** (1.5 * STEP)
    cooling, heating = theta / LOG_STEP + 0.5 * middle, theta / LOG_STEP - 0.5 * middle
    gain, loss = rate * half_step * cooling, rate * half_step * heating
    loss_below, gain_below = (pad(part[..., :-1] / half_step**2, (1, 0)) for part in (loss, gain))
    inside = (number > 0.0) & (number < marked.last)
    # nothing flows through the first middle
    first = torch.where(number == 0.0, -cooling / heating, 0.0)
    source = seeds(disc).to(y.device)
    source = pad(source, (0, max(0, marked.count - source.numel())))[: marked.count] / y**2
    u = solve_tridiagonal(
        torch.where(inside, -loss_below, 0.0),
        torch.where(inside, escape + loss + gain_below, 1.0),
        torch.where(inside, -gain, first),
        torch.where(inside, source, torch.zeros_like(escape)),
    )
    return y**4 * escape * u
