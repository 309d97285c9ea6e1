"""A ridge: a density that follows a bent line through the probit coordinates.

One parameter is held at u; the others follow it. With places u_k along the line, where the others' mode m_k, its slope
m'_k and their covariance L_k L_k' are known,

    q(v) = p(u) t(v_others; m(u), L(u) L(u)'),

m the cubic Hermite curve, L interpolated (its diagonal in the logarithm), p piecewise exponential through the masses of
the slices. However strongly the line bends, the density is exact and drawing from it is cheap: bending is a shear.

Along a line the others have the covariance C = (H without j)^-1 at each place, H the information and j the held
parameter, and follow with slope -C H_others,j. A line whose profile or whose others part from what the optimum's own
curvature says becomes a `Ridge`, with the masses of its slices by Laplace's method, none below `LEAST` of the largest.
So a tail that is flat because the data do not care (a component that fades at the edge of its box, and with it the
meaning of its parameters) is drawn from with the width that the prior has there, and a second mode at the end of a
ridge is found.

Source: Fritsch & Butland 1984, SIAM J. Sci. Stat. Comput. 5, 300 (monotone interpolation of the masses); Tierney &
Kadane 1986, J. Am. Stat. Assoc. 81, 82 (masses of slices).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.proposals.profiles import PathPoints, other_index, others_of
from xrayflow.inference.proposals.student import DOF, log_student_constant, root_of_inverse, student_scale

CELLS = 8
"""Cells of the masses' table between two places."""

CURVED = 0.15, 0.3
"""A profile that differs from the parabola by this part of it and this much, or ..."""

WIDENED = 0.6
"""... a log volume of the others that changes by this much, or ..."""

BENT = 0.5
"""... others that leave the straight line by this many of their standard deviations make a ridge."""

SEEN = 9.0
"""In -2 log posterior above the optimum: where those are looked for."""

LEAST = 0.01


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
        stretch = student_scale(draws, generator)
        mean, unit, log_width = self._at(u)
        step = log_width.exp() * z * stretch[:, None]
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
        student = log_student_constant(size) - log_width.sum(-1) - 0.5 * (DOF + size) * torch.log1p(distance2 / DOF)
        cell, part = _cell(self.edge, u)
        along = self.log_mass[cell] + part * self.log_mass.diff()[cell]
        return torch.where(inside, student + along, -torch.inf)

    def _at(self, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean, unit factor and log width of the others at u."""
        from scipy.interpolate import CubicHermiteSpline  # a quarter of a second, which most answers do without

        at, part = _cell(self.place, u)
        curve = CubicHermiteSpline(self.place.numpy(), self.mean.numpy(), self.slope.numpy())
        mean = torch.from_numpy(curve(u.detach().numpy()))
        part = part[:, None]
        log_width = self.log_width[at] + part * self.log_width.diff(dim=0)[at]
        return mean, self.unit[at] + part[..., None] * self.unit.diff(dim=0)[at], log_width


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
    from scipy.interpolate import PchipInterpolator

    curve = PchipInterpolator(place.numpy(), log_mass.numpy())
    number = np.arange(CELLS * (place.numel() - 1) + 1) / CELLS
    edge = np.interp(number, np.arange(place.numel()), place.numpy())
    return torch.from_numpy(edge), torch.from_numpy(curve(edge))


def ridges_of(places: PathPoints, source: int) -> list[Ridge]:
    """The ridges of one source: the lines that part from their optimum's ellipsoid."""
    made = []
    mine = (places.source == source).nonzero()[:, 0]
    for optimum in sorted(set(places.optimum[mine].tolist())):
        for held in range(places.v.shape[1]):
            rows = mine[(places.optimum[mine] == optimum) & (places.held[mine] == held)]
            line = _line(places, rows, held) if rows.numel() > 2 else None
            if line is not None:
                made.append(line)
    return made


def _line(places: PathPoints, rows: Tensor, held: int) -> Ridge | None:
    """The ridge along one line; None where it is what the optimum's curvature says."""
    u, rise = places.v[rows, held], places.rise[rows]
    holding = torch.full_like(rows, held)
    slope, factor = others_of(places.information[rows], holding)
    mean = places.v[rows].gather(1, other_index(holding, places.v.shape[1]))
    volume = 2.0 * torch.log(factor.diagonal(dim1=-2, dim2=-1)).sum(-1)
    variance = root_of_inverse(places.information[rows[0]]).square().sum(-1)[held]
    parabola = (u - u[0]).square() / variance
    part, much = CURVED
    curved = (rise - parabola).abs() > part * parabola + much
    widened = (volume - volume[0]).abs() > WIDENED
    straight = mean - mean[0] - (u - u[0])[:, None] * slope[0]
    bent = torch.linalg.solve_triangular(factor, straight[..., None], upper=False).square().sum((-2, -1)).sqrt() > BENT
    if not bool((torch.minimum(rise, parabola) < SEEN).logical_and(curved | widened | bent).any()):
        return None
    mass = 0.5 * (volume - rise)
    mass = torch.maximum(mass, mass.max() + math.log(LEAST))
    order = u.argsort()
    order = order[torch.cat([torch.ones(1, dtype=torch.bool), u[order].diff() > 1e-9])]
    return Ridge.of(held, u[order], mean[order], slope[order], factor[order], mass[order])
