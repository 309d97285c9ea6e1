"""Posteriors with a thin tail of known mass, and proposals that do not know of it.

A target is a mixture of two sheets in probit coordinates, both normalised in closed form,

    p(v) = (1 - mass) bulk(v) + mass tail(v),      ln Z = 0,

each a density along a line u and normal about it: x_j ~ N(c_j(u), s_j(u)). What bends does so by a shear, whose
determinant is one; an orthogonal matrix turns the whole. The tail begins where the bulk ends and is nowhere denser
than the bulk: no optimiser would find it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xrayflow.inference.proposals.counts_coordinates import CountsCoordinates
from xrayflow.inference.proposals.em import fit_students
from xrayflow.inference.proposals.ensemble import explored
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.student import StudentMixture
from xrayflow.statistics import Curvature

SHAPES = "straight", "bent", "hook", "widening", "thinning", "neck"
SEEN = "wave", "bent_neck", "curl"
"""Shapes on which the search was tried while it was built."""

UNSEEN = "kink", "spiral", "far_neck"
"""Shapes that were drawn up after it was built."""

LONGEST, SHORTEST = 5.0, 1.5
"""Of a tail: in prior standard deviations, in the bulk's."""

OUTERMOST, INSIDE = 4.5, 0.998
"""Prior standard deviations that so much of a target keeps within: beyond, a prior leaves nothing of any posterior."""

STATES = 3000
"""Exact draws that a proposal is fitted to."""


@dataclass(frozen=True)
class Tail:
    """A target with a tail.

    Attributes:
        shape: In words.
        mass: The tail's.
        bulk: Standard deviations, the first along the line.
        widths: Of the tail across the line, where it begins.
        begin, end: Of the tail along the line.
        steep: The two shapes of the Beta density along it.
        bend: Of the line.
        growth: Of the tail's widths from its beginning to its end, natural log.
        turn: Orthogonal.
        centre: Of the bulk.
    """

    shape: str
    mass: float
    bulk: Tensor
    widths: Tensor
    begin: float
    end: float
    steep: tuple[float, float]
    bend: float
    growth: float
    turn: Tensor
    centre: Tensor

    @classmethod
    def drawn(cls, shape: str, mass: float, parameters: int, generator: torch.Generator) -> Tail:
        """A tail of a kind, with everything else by chance; all of it where a prior has mass."""
        while True:
            target = cls._anywhere(shape, mass, parameters, generator)
            states = target.sample(STATES, mass, torch.Generator().manual_seed(0))
            if float((states.abs() < OUTERMOST).all(-1).double().mean()) > INSIDE:
                return target

    @classmethod
    def _anywhere(cls, shape: str, mass: float, parameters: int, generator: torch.Generator) -> Tail:
        def even(lo: float, hi: float) -> float:
            return lo + (hi - lo) * float(torch.rand((), generator=generator, dtype=torch.float64))

        while True:
            bulk = torch.tensor([even(0.15, 0.5) for _ in range(parameters)], dtype=torch.float64)
            if parameters > 1:
                bulk[1] = math.exp(even(math.log(0.02), math.log(0.3)))
            # what is thin stays as thin; the rest narrows or not
            others = parameters - 1
            factor = torch.tensor([even(0.35, 1.1) ** (1.0 / others) for _ in range(others)], dtype=torch.float64)
            widths = bulk[1:] * factor
            growth = {"widening": even(0.7, 1.5) / others, "thinning": -even(0.7, 1.5) / others}.get(shape, 0.0)
            neck = "neck" in shape
            steep = (2.0, 2.0) if neck else (1.0, 2.0)
            far = shape == "far_neck"
            begin = float(bulk[0]) * (even(3.0, 4.0) if far else even(2.0, 3.0) if neck else even(0.8, 1.8))
            below = even(0.3, 2.0)  # the tail's density is lower than the bulk's by this, in natural logs
            thickest = max(-growth, 0.0) * others
            peak = 2.0 if not neck else 1.5
            length = mass / (1.0 - mass) * math.exp(below + thickest) * peak * math.sqrt(2.0 * math.pi)
            length *= float(bulk[0] / factor.prod())
            if SHORTEST * float(bulk[0]) < length < LONGEST:
                break
        bend = {
            "bent": even(0.2, 1.0),
            "hook": even(2.0, 6.0),
            "bent_neck": even(0.3, 1.5),
            "wave": even(0.2, 0.8),
            "curl": even(0.5, 2.0),
            "kink": even(0.5, 2.0),
            "spiral": even(0.3, 1.2),
        }.get(shape, 0.0)
        turn, _ = torch.linalg.qr(torch.randn((parameters, parameters), generator=generator, dtype=torch.float64))
        centre = 0.5 * torch.randn(parameters, generator=generator, dtype=torch.float64) - 0.5 * length * turn[:, 0]
        return cls(shape, mass, bulk, widths, begin, begin + length, steep, bend, growth, turn, centre)

    def line(self, u: Tensor) -> Tensor:
        """(..., parameter - 1) the centre of what is across the line."""
        across = u.new_zeros((*u.shape, self.bulk.numel() - 1))
        if not self.bend:
            return across
        if self.shape == "hook":  # straight within the bulk
            across[..., 0] = self.bend * (u - self.begin).clamp(min=0.0).square()
        elif self.shape == "wave":
            across[..., 0] = self.bend * torch.sin(2.5 * u)
        elif self.shape == "kink":
            across[..., 0] = self.bend * (u - self.begin - (self.end - self.begin) / 3.0).clamp(min=0.0)
        elif self.shape == "spiral":
            angle = 1.5 * (u - self.begin).clamp(min=0.0)
            across[..., 0] = self.bend * torch.sin(angle)
            across[..., -1] = across[..., -1] + self.bend * (1.0 - torch.cos(angle))
        elif self.shape == "curl":
            across[..., 0] = self.bend * (u - self.begin).clamp(min=0.0).square()
            across[..., -1] = across[..., -1] + self.bend * torch.sin(2.0 * (u - self.begin).clamp(min=0.0))
        else:
            across[..., 0] = self.bend * u.square()
        return across

    def into(self, v: Tensor) -> Tensor:
        """Coordinates in which the line is straight: of unit determinant."""
        x = (v - self.centre) @ self.turn
        return torch.cat([x[..., :1], x[..., 1:] - self.line(x[..., 0])], dim=-1)

    def back(self, w: Tensor) -> Tensor:
        """And back."""
        x = torch.cat([w[..., :1], w[..., 1:] + self.line(w[..., 0])], dim=-1)
        return x @ self.turn.T + self.centre

    def select(self, sources: Tensor) -> Tail:
        """As a level."""
        return self

    def log_slope(self, v: Tensor) -> Tensor:
        """ln |dw / dv| = 0."""
        return torch.zeros_like(v[..., 0])

    def log_parts(self, v: Tensor) -> tuple[Tensor, Tensor]:
        """Natural log of the densities of the bulk and of the tail, each normalised."""
        w = self.into(v)
        bulk = _log_normal(w, self.bulk)
        a, b = self.steep
        place = (w[..., 0] - self.begin) / (self.end - self.begin)
        inside = (place > 0) & (place < 1)
        safe = place.clamp(1e-12, 1.0 - 1e-12)
        beta = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) - math.log(self.end - self.begin)
        along = beta + (a - 1.0) * torch.log(safe) + (b - 1.0) * torch.log1p(-safe)
        widths = self.widths * torch.exp(self.growth * safe)[..., None]
        tail = torch.where(inside, along + _log_normal(w[..., 1:], widths), -torch.inf)
        return bulk, tail

    def log_target(self, v: Tensor) -> Tensor:
        """Natural log of the target, ln Z = 0."""
        bulk, tail = self.log_parts(v)
        return torch.logaddexp(bulk + math.log1p(-self.mass), tail + math.log(self.mass))

    def target_curvature(self, v: Tensor) -> Curvature:
        """Gradient of ln target, and |its curvature|, at least the prior's, in the place of Fisher's information."""
        at = v.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(self.log_target(at).sum(), at, create_graph=True)
        rows = [torch.autograd.grad(column.sum(), at, retain_graph=True)[0] for column in gradient.unbind(-1)]
        value, vector = torch.linalg.eigh(torch.nan_to_num(torch.stack(rows, -2)))
        information = (vector * value.abs().clamp(1.0, 1e8)[..., None, :]) @ vector.mT
        return Curvature(gradient.detach(), information)

    def sample(self, draws: int, mass: float, generator: torch.Generator) -> Tensor:
        """Draws of the target with another mass of the tail: 0 for the bulk, `self.mass` for the target."""
        z = torch.randn((draws, self.bulk.numel()), generator=generator, dtype=torch.float64)
        w = z * self.bulk
        chance = torch.rand((draws,), generator=generator, dtype=torch.float64)
        a, b = self.steep
        u = torch.rand((draws,), generator=generator, dtype=torch.float64)
        if (a, b) == (1.0, 2.0):
            along = 1.0 - torch.sqrt(1.0 - u)
        else:  # Beta(2, 2) is the median of three
            along = torch.rand((draws, 3), generator=generator, dtype=torch.float64).median(-1).values
        widths = self.widths * torch.exp(self.growth * along)[:, None]
        thin = torch.cat([(self.begin + along * (self.end - self.begin))[:, None], z[:, 1:] * widths], dim=1)
        return self.back(torch.where((chance < mass)[:, None], thin, w))


def _log_normal(x: Tensor, sd: Tensor) -> Tensor:
    return (-0.5 * (x / sd).square() - torch.log(sd)).sum(-1) - 0.5 * x.shape[-1] * math.log(2.0 * math.pi)


def fitted_proposal(states: Tensor, kernels: bool, generator: torch.Generator) -> Proposal:
    """What the house would fit to draws: few components, or components and kernels, beside the prior.

    Args:
        states: (state, parameter) equally weighted.
        kernels: As an explored proposal.
        generator: Its random numbers.
    """
    parameters = states.shape[1]
    covariance = torch.cov(states.T)
    root = torch.linalg.cholesky(covariance)
    own = StudentMixture(torch.zeros((1, 1), dtype=torch.float64), states.mean(0)[None, None], root[None, None])
    first = Proposal(own.joined(replace(own, scale_tril=2.0 * own.scale_tril), 0.15), (Components.prior(parameters),))
    if not kernels:
        weight = torch.full((1, states.shape[0]), 1.0 / states.shape[0], dtype=torch.float64)
        mixture, _ = fit_students(states[None], weight, 6, 1.0, [generator])
        return Proposal(mixture.joined(first.mixture, 0.1), first.parts)
    level = CountsCoordinates(None, ())  # type: ignore[arg-type]
    return explored(states[None], level, first, [torch.zeros(1, dtype=torch.float64)], [generator])
