"""Two modes and the valley between them; proposals that are blind on one side of it, and answers that draw no others.

Every component and kernel on the side is removed; ridges, tails and the network's draws are drawn anew until they lie
outside; no draw from the side shapes a refit. Only the prior keeps its share there, and the density is exact but for a
factor that is known to 1 %.

A stripped answer climbs the ladder of every other with a `StrippedDrawing` in its state, and with the modes that
`without` leaves; but not the rung that searches from the draws (`WITHOUT_SEARCHES`), which may come to the side by
itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xrayflow.fitting import Modes
from xrayflow.inference import SamplingBudget
from xrayflow.inference.answer import Candidate
from xrayflow.inference.exactness import weighed_exactly
from xrayflow.inference.ladder import Drawing, ExactDrawing, Rung, State, climb
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.network import Guide
from xrayflow.inference.rungs import LADDER, Widen, find_modes, first_proposal
from xrayflow.prior import log_standard_normal
from xrayflow.problem import Problem

OWN_DRAWS = 2000
"""From which the share of a proposal that lies outside the side is known."""

WITHOUT_SEARCHES = tuple(rung for rung in LADDER if not isinstance(rung, Widen))

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
class Stripped:
    """A proposal that only its share of the prior takes into one side of each source; it offers what a `Proposal` does.

    q(v) = p N(v; 0, I) + (1 - p) inner(v) [v outside] / inner(outside); inner has no part of the prior, p is its share.

    Attributes:
        inner: The proposals without the prior and without the components on the sides.
        prior: (source,) p.
        sides: Of each source.
        log_outside: (source,) natural log of inner(outside).
        parts: Of each source, what stands beside its t-mixture in the whole proposal, the prior first.
    """

    inner: Proposal
    prior: Tensor
    sides: tuple[Side, ...]
    log_outside: Tensor
    parts: tuple[Components, ...]

    @classmethod
    def of(cls, whole: Proposal, sides: Sequence[Side]) -> Stripped:
        """A proposal without its components on the sides."""
        inside = torch.stack([side.holds(mean) for side, mean in zip(sides, whole.mixture.mean, strict=True)])
        log_share = torch.where(inside, -torch.inf, whole.mixture.log_share)
        log_share = log_share - torch.logsumexp(log_share, dim=1, keepdim=True)
        mixture = replace(whole.mixture, log_share=log_share)
        inner = Proposal(mixture, tuple(_without_prior(beside) for beside in whole.parts))
        v = inner.sample(OWN_DRAWS, [torch.Generator().manual_seed(0) for _ in sides])
        outside = ~torch.stack([side.holds(places) for side, places in zip(sides, v, strict=True)])
        prior = torch.stack([beside.share[PRIOR] for beside in whole.parts])
        return cls(inner, prior, tuple(sides), torch.log(outside.double().mean(1)), whole.parts)

    def sample(self, draws: int, generators: list[torch.Generator]) -> Tensor:
        """(source, draw, parameter) draws, one generator per source."""
        found = []
        for source, generator in enumerate(generators):
            offset = float(torch.rand(1, generator=generator, dtype=torch.float64))
            from_prior = math.floor(float(self.prior[source]) * draws + offset)
            shape = (from_prior, self.inner.mixture.mean.shape[-1])
            blocks = [torch.randn(shape, generator=generator, dtype=torch.float64)]
            inner = self.inner.select(torch.tensor([source]))
            while sum(block.shape[0] for block in blocks) < draws:
                v = inner.sample(draws, [generator])[0]
                blocks.append(v[~self.sides[source].holds(v)])
            found.append(torch.cat(blocks)[:draws][torch.randperm(draws, generator=generator)])
        return torch.stack(found)

    def log_parts(self, v: Tensor) -> tuple[Tensor, ...]:
        """Natural log of the density of every part of each whole proposal: what a refit asks for."""
        return Proposal(self.inner.mixture, self.parts).log_parts(v)

    def log_density(self, v: Tensor, log_parts: Sequence[Tensor] | None = None) -> Tensor:
        """(source, draw) log q(v)."""
        log_parts = self.log_parts(v) if log_parts is None else log_parts
        inside = torch.stack([side.holds(places) for side, places in zip(self.sides, v, strict=True)])
        own = self.inner.log_density(v, [columns[:, PRIOR + 1 :] for columns in log_parts])
        share = self.prior[:, None]
        own = torch.where(inside, -torch.inf, own - self.log_outside[:, None] + torch.log1p(-share))
        return torch.logaddexp(own, log_standard_normal(v) + torch.log(share))

    def select(self, sources: Tensor) -> Stripped:
        """The proposals of some of the sources."""
        rows = sources.tolist()
        sides, parts = (tuple(each[i] for i in rows) for each in (self.sides, self.parts))
        return Stripped(self.inner.select(sources), self.prior[sources], sides, self.log_outside[sources], parts)


def _without_prior(beside: Components) -> Components:
    """The others, with the shares that they have among themselves and the mixture."""
    share = beside.share[PRIOR + 1 :] / (1.0 - beside.share[PRIOR])
    return Components(share, torch.zeros_like(share), beside.parts[PRIOR + 1 :])


@dataclass(frozen=True)
class StrippedDrawing:
    """Draws that come to a side from the prior alone, and of which none from there is learnt from.

    Attributes:
        sides: By `key_of` a source.
    """

    sides: Mapping[str, Side]

    def draw(
        self, problem: Problem, proposal: Proposal, draws: int, generators: list[torch.Generator]
    ) -> WeightedDraws:
        """Draws of the stripped proposal with their exact log posterior density."""
        stripped = Stripped.of(proposal, [self.sides[key] for key in keys_of(problem)])
        v = stripped.sample(draws, generators)
        return WeightedDraws.of(stripped, v, problem.log_target(v))  # type: ignore[arg-type]

    def learnt(self, problem: Problem, drawn: WeightedDraws) -> WeightedDraws:
        """Those from the sides count as if the posterior were zero there."""
        sides = [self.sides[key] for key in keys_of(problem)]
        inside = torch.stack([side.holds(places) for side, places in zip(sides, drawn.v, strict=True)])
        return replace(drawn, log_target=torch.where(inside, -torch.inf, drawn.log_target))


def keys_of(problem: Problem) -> list[str]:
    """The hash of each source's spectrum, which is the same in any company."""
    return [spectrum.observation.pha.sha256 for spectrum in problem.data.sets[0].spectra]


def without(modes: Modes, sides: Sequence[Side]) -> Modes:
    """Modes as if no start had come to the side of its source."""
    inside = torch.stack([side.holds(v) for side, v in zip(sides, modes.v, strict=True)])
    return replace(modes, objective=torch.where(inside, torch.inf, modes.objective))


def climbed(
    problem: Problem,
    seed: int,
    budget: SamplingBudget,
    guide: Guide | None = None,
    drawing: Drawing | None = None,
    modes: tuple[Modes, Problem] | None = None,
    rungs: Sequence[Rung] = LADDER,
) -> State:
    """The state at the top of the ladder.

    Args:
        problem: The batch.
        seed: Of the draws.
        budget: How hard to try.
        guide: What a network says of the batch.
        drawing: How draws are made; default as users' answers make them.
        modes: Where starts ended, and the corrected problem; default those of the budget's own starts.
        rungs: The ladder.
    """
    generators = problem.generators(seed)
    found, corrected = find_modes(problem, budget.starts, generators, guide) if modes is None else modes
    first, guided = first_proposal(corrected, found, guide)
    state = State(corrected, budget, generators, found, first, guided, drawing or ExactDrawing())
    for _ in climb(state, rungs):
        pass
    return state


def candidates(state: State, exact: Problem, searched: bool = True, rungs: Sequence[Rung] = LADDER) -> list[Candidate]:
    """Every source of a state, to be judged. Its energy grid is checked, and stays what it is.

    Args:
        state: At the top of the ladder.
        exact: The batch on the answers' own grid.
        searched: Whether a search that finds what no draw has met is told.
        rungs: What is climbed where the search's grid does not follow that.
    """

    def again(source: int, problem: Problem, exactly: bool) -> State:
        modes = state.modes.select(torch.tensor([source]))
        first, guided = first_proposal(problem, modes, None)
        new = State(problem, state.budget, [state.generators[source]], modes, first, guided, state.drawing)
        for _ in climb(new, rungs):
            pass
        return new

    found = weighed_exactly(state, exact, own_grid=False, climb_again=again)
    return found if searched else [replace(one, missing_tail="") for one in found]
