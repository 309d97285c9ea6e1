"""A thin bent tail of known mass on a bulk, in three probit coordinates, and proposals that know of it or not.

The target is two thin sheets, normalised in closed form (ln Z = 0): a bulk about the origin, and a tail that leaves it
along a parabola. No evaluation of a spectrum is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xrayflow.inference.proposals.counts_coordinates import CountsCoordinates
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.student import StudentMixture
from xrayflow.statistics import Curvature

WIDTH, BULK, BEGIN, LENGTH, BEND = 0.05, 0.3, 0.5, 3.0, 0.2
PROBITS = CountsCoordinates(None, ())  # type: ignore[arg-type]


def log_normal(x: Tensor, mean: Tensor | float, sd: float) -> Tensor:
    return -0.5 * ((x - mean) / sd) ** 2 - math.log(sd * math.sqrt(2.0 * math.pi))


@dataclass(frozen=True)
class Tailed:
    """(1 - mass) bulk + mass tail, of every source of a batch the same.

    Attributes:
        mass: The tail's; it runs from BEGIN to BEGIN + LENGTH, thinning out evenly.
        level: Added to ln target, as an evidence.
    """

    mass: float
    level: float = 0.0

    def log_target(self, v: Tensor) -> Tensor:
        u, across, third = v.unbind(-1)
        thin = log_normal(across, BEND * u * u, WIDTH) + log_normal(third, 0.0, WIDTH)
        value = log_normal(u, 0.0, BULK) + thin
        if self.mass:
            part = (u - BEGIN) / LENGTH
            slope = math.log(2.0 / LENGTH) + torch.log1p(-part.clamp(0.0, 1.0 - 1e-12))
            along = torch.where((part > 0) & (part < 1), slope, -torch.inf)
            value = torch.logaddexp(value + math.log1p(-self.mass), along + thin + math.log(self.mass))
        return value + self.level

    def target_curvature(self, v: Tensor) -> Curvature:
        """As Fisher's information would be: of the sheet, and the prior's along it."""
        at = v.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.log_target(at).sum(), at)
        across = torch.stack([-2.0 * BEND * v[..., 0], torch.ones_like(v[..., 0]), torch.zeros_like(v[..., 0])], -1)
        third = torch.tensor([0.0, 0.0, 1.0], dtype=v.dtype).expand_as(across)
        sheet = across[..., :, None] * across[..., None, :] + third[..., :, None] * third[..., None, :]
        return Curvature(gradient, sheet / WIDTH**2 + torch.eye(3, dtype=v.dtype))

    def select(self, sources: Tensor) -> Tailed:
        return self


def ellipsoid(centre: float, sd: float, slope: float) -> tuple[Tensor, Tensor]:
    """Mean and scale of a component about the line at u = centre."""
    mean = torch.tensor([centre, BEND * centre * centre, 0.0], dtype=torch.float64)
    tril = torch.tensor([[sd, 0, 0], [slope * sd, 1.3 * WIDTH, 0], [0, 0, 1.3 * WIDTH]], dtype=torch.float64)
    return mean, tril


def proposal(knows_the_tail: bool) -> Proposal:
    """The bulk, perhaps the tail, and the prior's share."""
    places = [(0.0, 1.2 * BULK, 0.0)]
    if knows_the_tail:
        places += [(BEGIN + 0.3 * i, 0.25, 2.0 * BEND * (BEGIN + 0.3 * i)) for i in range(10)]
    mean, tril = zip(*(ellipsoid(*place) for place in places), strict=True)
    share = [0.5 if knows_the_tail else 1.0] + [0.05] * (len(places) - 1)
    mixture = StudentMixture(torch.tensor(share).double().log()[None], torch.stack(mean)[None], torch.stack(tril)[None])
    return Proposal(mixture, (Components.prior(3),))


def drawn_of(target: Tailed, own: Proposal, generator: torch.Generator, draws: int = 2000) -> WeightedDraws:
    """Weighted draws of one source."""
    v = own.sample(draws, [generator])
    return WeightedDraws.of(own, v, target.log_target(v))
