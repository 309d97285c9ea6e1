"""From the places of a walk to ridges: which lines part from the ellipsoid of their optimum, and what they carry.

Along a line the others have the covariance C = (H without j)^-1 at each place, H the information and j the held
parameter, and follow with slope -C H_others,j. A line whose profile or whose others part from what the optimum's own
curvature says becomes a `Ridge`, with the masses of its slices by Laplace's method, none below `LEAST` of the largest.
Each ridge describes the whole posterior, in slices.

So a tail that is flat because the data do not care (a component that fades at the edge of its box, and with it the
meaning of its parameters) is drawn from with the width that the prior has there, and a second mode at the end of a
ridge is found.

Source: Tierney & Kadane 1986, J. Am. Stat. Assoc. 81, 82 (masses of slices).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from xrayflow.inference.ridge import Ridge, root_of_inverse
from xrayflow.inference.walk import Places, other_index, others_of

CURVED = 0.15, 0.3
"""A profile that differs from the parabola by this part of it and this much, or ..."""

WIDENED = 0.6
"""... a log volume of the others that changes by this much, or ..."""

BENT = 0.5
"""... others that leave the straight line by this many of their standard deviations make a ridge."""

SEEN = 9.0
"""In -2 log posterior above the optimum: where those are looked for."""

LEAST = 0.01


def lines(places: Places, source: int) -> list[Ridge]:
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


def _line(places: Places, rows: Tensor, held: int) -> Ridge | None:
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
