"""A ridge: a density that follows a bent line through the probit coordinates.

One parameter is held at u; the others follow it. With places u_k along the line, where the others' mode m_k, its slope
m'_k and their covariance L_k L_k' are known,

    q(v) = p(u) t(v_others; m(u), L(u) L(u)'),

m the cubic Hermite curve, L interpolated (its diagonal in the logarithm), p piecewise exponential through the masses of
the slices. However strongly the line bends, the density is exact and drawing from it is cheap: bending is a shear.

Source: Steffen 1990, A&A 239, 443 (monotone interpolation of the masses).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

DOF = 8
CELLS = 8
"""Cells of the masses' table between two places."""


@dataclass(frozen=True)
class Ridge:
    """A density about one line.

    Attributes:
        held: Which parameter is held.
        place: (place,) its values, ascending.
        mean: (place, other) the others' modes there.
        slope: (place, other) d mean / d place.
        unit: (place, other, other) unit lower triangular, L = unit x diag(exp(log_width)).
        log_width: (place, other).
        edge: (edge,) of the cells in which log p is linear.
        log_mass: (edge,) log p there, normalised.
    """

    held: int
    place: Float[Tensor, " place"]
    mean: Float[Tensor, "place other"]
    slope: Float[Tensor, "place other"]
    unit: Float[Tensor, "place other other"]
    log_width: Float[Tensor, "place other"]
    edge: Float[Tensor, " edge"]
    log_mass: Float[Tensor, " edge"]

    @classmethod
    def of(cls, held: int, place: Tensor, mean: Tensor, slope: Tensor, factor: Tensor, log_mass: Tensor) -> Ridge:
        """A ridge through places.

        Args:
            held, place, mean, slope: See the attributes.
            factor: (place, other, other) Cholesky factors of the others' covariance.
            log_mass: (place,) log of the slices' masses, up to a constant.
        """
        width = factor.diagonal(dim1=-2, dim2=-1)
        edge, log_mass = _table(place, log_mass)
        total = torch.logsumexp(_cell_mass(edge, log_mass), 0)
        return cls(held, place, mean, slope, factor / width[:, None, :], torch.log(width), edge, log_mass - total)

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        """Draws."""
        others = self.mean.shape[1]
        cell_mass = _cell_mass(self.edge, self.log_mass)
        cumulative = cell_mass.exp().cumsum(0)
        pick = torch.rand(draws, generator=generator, dtype=torch.float64) * cumulative[-1]
        cell = torch.searchsorted(cumulative, pick, right=True).clamp(max=cell_mass.numel() - 1)
        within = torch.rand(draws, generator=generator, dtype=torch.float64)
        rise = self.log_mass.diff()[cell]
        flat = rise.abs() < 1e-9
        safe = torch.where(flat, 1.0, rise)
        part = torch.where(flat, within, torch.log1p(within * torch.expm1(safe)) / safe)
        u = self.edge[cell] + part * self.edge.diff()[cell]
        z = torch.randn((draws, others), generator=generator, dtype=torch.float64)
        chi2 = torch.randn((draws, DOF), generator=generator, dtype=torch.float64).square().sum(-1)
        mean, unit, log_width = self._at(u)
        step = log_width.exp() * z * torch.sqrt(DOF / chi2)[:, None]
        other = mean + (unit @ step[..., None])[..., 0]
        return torch.cat([other[:, : self.held], u[:, None], other[:, self.held :]], dim=1)

    def log_density(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, " draw"]:
        """Natural log of the density; -inf beyond the ends of the line."""
        u = v[:, self.held].contiguous()
        other = torch.cat([v[:, : self.held], v[:, self.held + 1 :]], dim=1)
        inside = (u >= self.edge[0]) & (u <= self.edge[-1])
        u = u.clamp(self.edge[0], self.edge[-1])
        mean, unit, log_width = self._at(u)
        white = torch.linalg.solve_triangular(unit, (other - mean)[..., None], upper=False, unitriangular=True)[..., 0]
        distance2 = (white * torch.exp(-log_width)).square().sum(-1)
        size = other.shape[1]
        constant = math.lgamma(0.5 * (DOF + size)) - math.lgamma(0.5 * DOF) - 0.5 * size * math.log(DOF * math.pi)
        student = constant - log_width.sum(-1) - 0.5 * (DOF + size) * torch.log1p(distance2 / DOF)
        cell, part = _cell(self.edge, u)
        along = self.log_mass[cell] + part * self.log_mass.diff()[cell]
        return torch.where(inside, student + along, -torch.inf)

    def _at(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, unit factor and log width of the others at u."""
        at, part = _cell(self.place, u)
        both = torch.stack([at, at + 1])
        mean = hermite(self.mean[both], self.slope[both], self.place.diff()[at], part)
        part = part[:, None]
        log_width = self.log_width[at] + part * self.log_width.diff(dim=0)[at]
        return mean, self.unit[at] + part[..., None] * self.unit.diff(dim=0)[at], log_width


def hermite(
    ends: Float[Tensor, "2 row other"],
    slopes: Float[Tensor, "2 row other"],
    length: Float[Tensor, " row"],
    part: Float[Tensor, " row"],
) -> Float[Tensor, "row other"]:
    """The cubic curve between two ends with given slopes, at a part of its length (0..1; beyond: extrapolated)."""
    part, rest, rise = part[:, None], 1.0 - part[:, None], ends[1] - ends[0]
    bend = rest * (slopes[0] * length[:, None] - rise) - part * (slopes[1] * length[:, None] - rise)
    return rest * ends[0] + part * ends[1] + part * rest * bend


def root_of_inverse(information: Float[Tensor, "*batch parameter parameter"]) -> Float[Tensor, "*batch p p"]:
    """Lower Cholesky factor of the inverse, however badly conditioned; nothing is wider than the prior."""
    scale = information.diagonal(dim1=-2, dim2=-1).clamp(min=1.0).sqrt()
    value, vector = torch.linalg.eigh(information / scale[..., :, None] / scale[..., None, :])
    root = vector / value.clamp(min=1e-14).sqrt()[..., None, :] / scale[..., :, None]
    return _lower_factor(root)


def _lower_factor(root: Tensor) -> Tensor:
    """Lower triangular L with L L' = root root'."""
    upper = torch.linalg.qr(root.mT).R
    sign = torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    lower: Tensor = (upper * sign[..., :, None]).mT
    return lower


def _cell(edge: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """The interval of each u and its part of it."""
    at = (torch.searchsorted(edge, u, right=True) - 1).clamp(0, edge.numel() - 2)
    return at, (u - edge[at]) / edge.diff()[at]


def _cell_mass(edge: Tensor, log_mass: Tensor) -> Tensor:
    """Log of the integral of a piecewise exponential density over each cell."""
    rise = log_mass.diff()
    size = rise.abs().clamp(min=1e-9)
    mean = torch.log(-torch.expm1(-size) / size)
    return torch.maximum(log_mass[:-1], log_mass[1:]) + mean + torch.log(edge.diff())


def _table(place: Tensor, log_mass: Tensor) -> tuple[Tensor, Tensor]:
    """Monotone cubic interpolation of the log masses, on `CELLS` cells between two places."""
    gap, secant = place.diff(), log_mass.diff() / place.diff()
    slope = torch.zeros_like(place)
    if place.numel() > 2:
        h0, h1, s0, s1 = gap[:-1], gap[1:], secant[:-1], secant[1:]
        p = (s0 * h1 + s1 * h0) / (h0 + h1)
        least = torch.minimum(torch.minimum(s0.abs(), s1.abs()), 0.5 * p.abs())
        slope[1:-1] = (torch.sign(s0) + torch.sign(s1)) * least
        slope[0] = 1.5 * secant[0] - 0.5 * slope[1]
        slope[-1] = 1.5 * secant[-1] - 0.5 * slope[-2]
    else:
        slope[:] = secant[0]
    part = torch.arange(CELLS, dtype=place.dtype) / CELLS
    at = torch.arange(gap.numel()).repeat_interleave(CELLS)
    part = part.repeat(gap.numel())
    edge = torch.cat([place[at] + part * gap[at], place[-1:]])
    both = torch.stack([at, at + 1])
    value = hermite(log_mass[both][..., None], slope[both][..., None], gap[at], part)[:, 0]
    return edge, torch.cat([value, log_mass[-1:]])
