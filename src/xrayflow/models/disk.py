r"""Spectra of multicolour discs, from one table per disc.

The disc shines as rings of black bodies with T(r) = T t(u), u = (r / r_in)^(-1/2). Its photon density
N_E = norm K E^2 \int_0^1 2 u^-5 du / (exp(x / t(u)) - 1), x = E / T, depends on x alone up to factors, so one integral

    E N_E = norm K T^3 exp(r(ln x) - x),    r(ln x) = ln(x^3 I(x)) + x

is tabulated. r is smooth: its nearest singularities lie at Im(ln x) = pi/2 (the poles of the Bose factor), so over a
block of ln E of half-width 1.2 twenty Chebyshev nodes give it to 1e-9. That makes the exponent at all energies of a
block *one matrix product* of (r at the block's nodes, 1/T) with a fixed matrix, and the photons of a bin a sum over a
few Gauss-Legendre nodes: two or three where the bins are narrow, more where they are wide.

Source: Zimmerman et al. 2005, ApJ 618, 832 (zero torque); Mitsuda et al. 1984, PASJ 36, 741 (diskbb).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.errors import ModelError
from xrayflow.models.component import Bound
from xrayflow.models.edges import LOG2_E, EnergyBins, nodes_needed

PLANCK_KEV_S = 6.62607015e-34 / 1.602176634e-16
LIGHT_CM_S = 2.99792458e10
KM_PER_10KPC = 1e3 / (1e4 * 3.0856775814913673e16)
DISK_CONSTANT = 4.0 * math.pi * KM_PER_10KPC**2 / (PLANCK_KEV_S**3 * LIGHT_CM_S**2)
"""2 pi * 2 / (h^3 c^2) * (1 km / 10 kpc)^2 = 2.0760149e-3 photons/cm^2/s/keV^3 (CODATA 2018, IAU parsec)."""

LOG_X_LOW, LOG_X_HIGH, LOG_X_STEP = math.log(1e-12), math.log(2e4), 0.02
BLOCK_WIDTH, BLOCK_NODES = 2.4, 20
STEEPEST = 40.0
"""Beyond E = 40 T the spectrum is 1e-17 of its maximum: narrower bins there would buy nothing."""


def ring_temperature_zero_torque(u: np.ndarray, one_minus_u: np.ndarray) -> np.ndarray:
    """Temperature of a ring in units of the hottest, no torque at the inner edge.

    T ~ r^(-3/4) (1 - r^(-1/2))^(1/4), hottest at u = 6/7 (r = 49/36).

    Args:
        u: (r / r_in)^(-1/2), 0 .. 1.
        one_minus_u: 1 - u, without cancellation.

    Returns:
        t(u) <= 1.

    Source: Zimmerman et al. 2005, eq. 1.
    """
    hottest = (6.0 / 7.0) ** 1.5 * (1.0 / 7.0) ** 0.25
    return np.asarray(u**1.5 * one_minus_u**0.25 / hottest)


def ring_temperature_diskbb(u: np.ndarray, one_minus_u: np.ndarray) -> np.ndarray:
    """Temperature of a ring in units of the innermost, T ~ r^(-3/4).

    Args:
        u: (r / r_in)^(-1/2), 0 .. 1.
        one_minus_u: Not used.

    Returns:
        t(u) <= 1.

    Source: Mitsuda et al. 1984, PASJ 36, 741.
    """
    return np.asarray(u**1.5)


@dataclass(frozen=True, eq=False)
class DiskTable:
    """r(ln x) as cubic Hermite pieces on an even grid of ln x.

    Attributes:
        coefficients: Of each piece, lowest power first, in units of the step.
    """

    coefficients: np.ndarray

    def __call__(self, log_x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """r at any ln x inside the table.

        Above the table exp(-x) is zero in float64, so r is held at its last value there.

        Args:
            log_x: ln(E / T).

        Returns:
            ln(x^3 I(x)) + x.
        """
        coefficients = _coefficients(self, log_x.dtype, log_x.device)
        position = (log_x.clamp(max=LOG_X_HIGH - LOG_X_STEP) - LOG_X_LOW) / LOG_X_STEP
        piece = position.detach().to(torch.int32)
        inside = position - piece.to(position.dtype)
        flat = piece.reshape(-1)  # index_select is three times as fast as indexing
        c0, c1, c2, c3 = (torch.index_select(one, 0, flat).reshape(piece.shape) for one in coefficients)
        return c0 + inside * (c1 + inside * (c2 + inside * c3))


@functools.lru_cache(maxsize=16)
def _coefficients(table: DiskTable, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    return tuple(torch.as_tensor(row, dtype=dtype, device=device) for row in table.coefficients)


def disk_integral(log_x: np.ndarray, ring_temperature: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """r(ln x) by the trapezoidal rule in logit(u), which converges exponentially for this integrand.

    Args:
        log_x: ln(E / T).
        ring_temperature: t(u, 1 - u) <= 1.

    Returns:
        ln(x^3 I(x)) + x.
    """
    logit = np.arange(-34.0, 90.0, 0.05)
    log_u, log_rest = -np.logaddexp(0.0, -logit), -np.logaddexp(0.0, logit)
    ring = ring_temperature(np.exp(log_u), np.exp(log_rest))
    # du = u (1 - u) d(logit)
    log_weight = math.log(2.0 * 0.05) - 4.0 * log_u + log_rest
    x = np.exp(np.asarray(log_x, dtype=np.float64))[..., None]
    with np.errstate(over="ignore"):
        log_bose = -x * (1.0 / ring - 1.0) - np.log(-np.expm1(-x / ring))
    terms = log_weight + log_bose
    top = terms.max(axis=-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(terms - top).sum(axis=-1)) + 3.0 * np.asarray(log_x))


@functools.cache
def disk_table(ring_temperature: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> DiskTable:
    """The table of a disc, made on first use (0.1 s).

    Args:
        ring_temperature: t(u, 1 - u) <= 1.

    Returns:
        The table, good to 1e-9 in r.
    """
    count = math.ceil((LOG_X_HIGH - LOG_X_LOW) / LOG_X_STEP) + 1
    # two more points on each side: slopes by a five-point rule
    log_x = LOG_X_LOW + LOG_X_STEP * np.arange(-2, count + 2)
    r = np.concatenate([disk_integral(part, ring_temperature) for part in np.array_split(log_x, 32)])
    slope = (r[:-4] - 8.0 * r[1:-3] + 8.0 * r[3:-1] - r[4:]) / 12.0
    r = r[2:-2]
    rise = np.diff(r)
    low, high = slope[:-1], slope[1:]
    return DiskTable(np.stack([r[:-1], low, 3.0 * rise - 2.0 * low - high, low + high - 2.0 * rise]))


@dataclass(frozen=True, eq=False)
class _Block:
    """A run of bins with one matrix: exponent = (r at the nodes, 1/T) @ matrix + offset."""

    log_nodes: Float[Tensor, " chebyshev"]
    matrix: Float[Tensor, "chebyshev+1 gauss*energy"]
    offset: Float[Tensor, " gauss*energy"]
    gauss: int


def _barycentric(nodes: np.ndarray, weights: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Rows of Lagrange polynomials at points, `(node, point)`; Berrut & Trefethen 2004, SIAM Rev. 46, 501."""
    distance = points[None, :] - nodes[:, None]
    exact = distance == 0.0
    ratio = weights[:, None] / np.where(exact, 1.0, distance)
    rows = ratio / ratio.sum(axis=0)
    hit = exact.any(axis=0)
    return np.asarray(np.where(hit, exact, rows))


def _make_block(bins: EnergyBins, first: int, last: int, coldest: float) -> _Block:
    part = EnergyBins(bins.energy_edges[first : last + 1])
    edges = part.energy_edges.cpu().numpy()
    # below E = T the density is a power of E, above it falls exponentially
    steepness = (3.0 + np.minimum(edges[1:] / coldest, STEEPEST)) * np.diff(np.log(edges))
    gauss = nodes_needed(float(steepness.max()), bins.tolerance)
    energy, weight = part.quadrature(gauss)
    angle = (2.0 * np.arange(BLOCK_NODES) + 1.0) * np.pi / (2.0 * BLOCK_NODES)
    middle, half = 0.5 * np.log(edges[-1] * edges[0]), 0.5 * np.log(edges[-1] / edges[0])
    log_nodes = middle + half * np.cos(angle)
    log_energy = torch.log(energy).reshape(-1)
    signs = (-1.0) ** np.arange(BLOCK_NODES) * np.sin(angle)
    lagrange = _barycentric(log_nodes, signs, log_energy.cpu().numpy())
    matrix = np.concatenate([lagrange, -energy.reshape(1, -1).cpu().numpy()])
    offset = torch.log(weight).reshape(-1) - log_energy
    return _Block(bins.cast(log_nodes), bins.cast(LOG2_E * matrix), bins.cast(LOG2_E * offset), gauss)


def bind_disk(bins: EnergyBins, table: DiskTable, coldest: float) -> Bound:
    """Photons per bin of a disc on a grid.

    Args:
        bins: The grid.
        table: Of the disc.
        coldest: The lowest temperature for which the quadrature shall be good to 3e-8 [keV].

    Returns:
        A function of the temperature [keV] and the norm [(km / 10 kpc)^2 cos i].

    Raises:
        ModelError: The grid starts so low that the table does not reach.
    """
    log_edges = torch.log(bins.energy_edges)
    if float(log_edges[0]) - math.log(200.0) < LOG_X_LOW:
        raise ModelError(f"energy_edges: start at {float(bins.energy_edges[0]):g} keV; discs need 1e-9 keV at least")
    span = float(log_edges[-1] - log_edges[0])
    marks = log_edges[0] + torch.linspace(0.0, span, max(2, math.ceil(span / BLOCK_WIDTH) + 1), dtype=torch.float64)
    cuts = torch.unique(torch.searchsorted(log_edges, marks[1:-1].to(log_edges.device))).tolist()
    limits = [0, *[cut for cut in cuts if 0 < cut < log_edges.numel() - 1], log_edges.numel() - 1]
    blocks = [_make_block(bins, first, last, coldest) for first, last in itertools.pairwise(limits)]
    log_nodes = torch.cat([block.log_nodes for block in blocks])

    def photon_flux(temperature: Tensor, norm: Tensor) -> Tensor:
        r = table(log_nodes - torch.log(temperature).unsqueeze(-1))
        cold = (1.0 / temperature).unsqueeze(-1)
        pieces = []
        for number, block in enumerate(blocks):
            features = torch.cat([r[..., number * BLOCK_NODES : (number + 1) * BLOCK_NODES], cold], dim=-1)
            exponent = torch.addmm(block.offset, features.reshape(-1, BLOCK_NODES + 1), block.matrix)
            first, *others = torch.exp2(exponent).reshape(*temperature.shape, block.gauss, -1).unbind(-2)
            for other in others:  # twice as fast as torch's sum of so few
                first = first + other
            pieces.append(first)
        return torch.cat(pieces, dim=-1) * (DISK_CONSTANT * norm * temperature**3).unsqueeze(-1)

    return photon_flux
