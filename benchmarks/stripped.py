"""Two modes and the valley between them; proposals that are blind on one side of it, and a search that makes no others.

Every component and kernel on the side is removed; ridges, tails and the network's draws are drawn anew until they lie
outside; no draw from the side shapes a refit. Only the prior keeps its share there, and the density is exact but for a
factor that is known to 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from xrayflow.inference.importance import Round
from xrayflow.inference.optimiser import Optima
from xrayflow.inference.parts import Parts
from xrayflow.inference.proposal import Proposal
from xrayflow.inference.search import Search
from xrayflow.prior import log_standard_normal

OWN_DRAWS = 2000
"""From which the share of a proposal that lies outside the side is known."""

PRIOR = 0
"""Its place among the parts of a proposal."""

VALLEY, LEAST_MASS = 0.15, 0.01
CELLS = 120
"""Of a marginal's histogram."""


@dataclass(frozen=True)
class Side:
    """Half of the parameter space, of one source: where `sign` x (v - bound) > 0 in one coordinate."""

    coordinate: int
    bound: float
    sign: float

    def holds(self, v: Tensor) -> Tensor:
        """Whether places lie in it."""
        return self.sign * (v[..., self.coordinate] - self.bound) > 0


@dataclass(frozen=True)
class Split:
    """Two modes and the valley between them.

    Attributes:
        coordinate, bound: The valley's place.
        depth: The marginal there over its lower peak.
        above: What the side above it holds of the posterior.
    """

    coordinate: int
    bound: float
    depth: float
    above: float


def find_split(v: Tensor, weight: Tensor) -> Split | None:
    """The valley with the most on its smaller side, where there is one.

    Args:
        v: (draw, parameter).
        weight: (draw,) normalised.
    """
    found: list[Split] = []
    for coordinate in range(v.shape[1]):
        place = v[:, coordinate].numpy()
        lo, hi = np.quantile(np.repeat(place, np.round(weight.numpy() * 4e4).astype(int)), [0.001, 0.999])
        mass, edge = np.histogram(place, CELLS, (lo, hi), weights=weight.numpy())
        smooth = np.convolve(mass, [0.25, 0.5, 0.25], "same")
        left, right = np.maximum.accumulate(smooth), np.maximum.accumulate(smooth[::-1])[::-1]
        depth = smooth / np.minimum(left, right).clip(min=1e-12)
        for begin, end in _runs(depth < VALLEY):
            at = np.flatnonzero(depth[begin:end] == depth[begin:end].min()) + begin
            middle = at[at.size // 2]
            bound = float(0.5 * (edge[middle] + edge[middle + 1]))
            above = float(weight[v[:, coordinate] > bound].sum())
            if LEAST_MASS < above < 1.0 - LEAST_MASS:
                found.append(Split(coordinate, bound, float(depth[middle]), above))
    return max(found, key=lambda one: min(one.above, 1.0 - one.above), default=None)


def _runs(chosen: np.ndarray) -> Iterator[tuple[int, int]]:
    """Begin and end of the stretches that are true."""
    step = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(int), [0]])))
    yield from zip(step[::2].tolist(), step[1::2].tolist(), strict=True)


@dataclass(frozen=True)
class Stripped(Proposal):
    """A proposal that only its share of the prior takes into one side of each source.

    q(v) = p N(v; 0, I) + (1 - p) inner(v) [v outside] / inner(outside); inner has no part of the prior, p is its share.

    Attributes:
        sides: Of each source.
        log_outside: (source,) natural log of inner(outside).
    """

    sides: tuple[Side, ...] = ()
    log_outside: Tensor = field(default_factory=lambda: torch.zeros(0))

    @classmethod
    def of(cls, whole: Proposal, sides: Sequence[Side]) -> Stripped:
        """A proposal without its components on the sides."""
        inside = torch.stack([side.holds(mean) for side, mean in zip(sides, whole.mixture.mean, strict=True)])
        log_share = torch.where(inside, -torch.inf, whole.mixture.log_share)
        log_share = log_share - torch.logsumexp(log_share, dim=1, keepdim=True)
        mixture = replace(whole.mixture, log_share=log_share)
        one = cls(mixture, whole.parts, tuple(sides))
        generators = [torch.Generator().manual_seed(0) for _ in sides]
        v = one._inner().sample(OWN_DRAWS, generators)
        outside = ~torch.stack([side.holds(places) for side, places in zip(sides, v, strict=True)])
        return replace(one, log_outside=torch.log(outside.double().mean(1)))

    def _inner(self) -> Proposal:
        return Proposal(self.mixture, tuple(_without_prior(beside) for beside in self.parts))

    @property
    def prior_share(self) -> Tensor:
        """(source,)."""
        return torch.stack([beside.share[PRIOR] for beside in self.parts])

    def sample(self, draws: int, generators: list[torch.Generator]) -> Tensor:
        """Draws, one generator per source."""
        return torch.stack([self._sample_source(i, draws, one) for i, one in enumerate(generators)])

    def _sample_source(self, source: int, draws: int, generator: torch.Generator) -> Tensor:
        offset = float(torch.rand(1, generator=generator, dtype=torch.float64))
        from_prior = math.floor(float(self.prior_share[source]) * draws + offset)
        shape = (from_prior, self.mixture.mean.shape[-1])
        parts = [torch.randn(shape, generator=generator, dtype=torch.float64)]
        inner = self._inner().select(torch.tensor([source]))
        while sum(part.shape[0] for part in parts) < draws:
            v = inner.sample(draws, [generator])[0]
            parts.append(v[~self.sides[source].holds(v)])
        return torch.cat(parts)[:draws][torch.randperm(draws, generator=generator)]

    def log_density(self, v: Tensor, log_parts: Sequence[Tensor] | None = None) -> Tensor:
        """log q(v)."""
        log_parts = self.log_parts(v) if log_parts is None else log_parts
        inside = torch.stack([side.holds(places) for side, places in zip(self.sides, v, strict=True)])
        own = self._inner().log_density(v, [columns[:, PRIOR + 1 :] for columns in log_parts])
        share = self.prior_share[:, None]
        own = torch.where(inside, -torch.inf, own - self.log_outside[:, None] + torch.log1p(-share))
        return torch.logaddexp(own, log_standard_normal(v) + torch.log(share))

    def select(self, sources: Tensor) -> Stripped:
        """The proposals of some of the sources."""
        part = super().select(sources)
        sides = tuple(self.sides[i] for i in sources.tolist())
        return Stripped(part.mixture, part.parts, sides, self.log_outside[sources])


def _without_prior(beside: Parts) -> Parts:
    """The others, with the shares that they have among themselves and the mixture."""
    share = beside.share[PRIOR + 1 :] / (1.0 - beside.share[PRIOR])
    return Parts(share, torch.zeros_like(share), beside.parts[PRIOR + 1 :])


@dataclass
class StrippedSearch(Search):
    """A search whose proposals are stripped of one side of each source.

    Attributes:
        known: By the hash of the source: the side, and the optima that the first proposal is made from.
    """

    known: dict[str, tuple[Side, Optima]] = field(default_factory=dict)

    def _of(self, source: int) -> tuple[Side, Optima]:
        return self.known[self.problem.spectra[source].observation.pha.sha256]

    def _optimise(self) -> Optima:
        every = [without(*reversed(self._of(i))) for i in range(self.problem.sources)]
        return Optima(
            torch.cat([one.v for one in every]),
            torch.cat([one.objective for one in every]),
            torch.cat([one.information for one in every]),
            torch.cat([one.evaluations for one in every]),
        )

    def _draw(self, sources: Tensor, proposal: Proposal, draws: int) -> Round:
        stripped = Stripped.of(proposal, [self._of(source)[0] for source in sources.tolist()])
        one = super()._draw(sources, stripped, draws)
        for source in sources.tolist():
            side, _ = self._of(source)
            last = self.history[source][-1]
            unseen = torch.where(side.holds(last.v), -torch.inf, last.log_target)
            self.history[source][-1] = replace(last, log_target=unseen)
        return one


def without(optima: Optima, side: Side) -> Optima:
    """Optima of one source as if no start had come to a side."""
    return replace(optima, objective=torch.where(side.holds(optima.v), torch.inf, optima.objective))
