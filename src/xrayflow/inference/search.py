"""From a problem to weighted draws: optimise, propose, refine or explore, freeze, weigh.

A batch of sources goes through every step together, each with a random generator of its own and no decision across
sources. Only draws made *after* a proposal was frozen are weighed for the answer: choosing among proposals by weights
that also serve as the answer would flatter it. Every likelihood evaluation is counted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from xrayflow.inference.guide import Guide, GuidePart
from xrayflow.inference.importance import (
    Round,
    effective_sample_size,
    log_target,
    most_pareto_k,
    pareto_k,
    pooled,
)
from xrayflow.inference.level import Level
from xrayflow.inference.optimiser import Optima, minimise, starting_points
from xrayflow.inference.parts import PRIOR_FLOOR, Part, Parts, PriorPart
from xrayflow.inference.proposal import Proposal
from xrayflow.inference.refine import (
    distinct_optima,
    explored,
    laplace_mixture,
    part_shares,
    refined,
    reshared,
    tempered,
)
from xrayflow.inference.ridges import lines
from xrayflow.inference.sampler import STEPS, TEMPERATURE, WALKERS, explore
from xrayflow.inference.walk import Places, walk
from xrayflow.networks import Homes, home_numbers
from xrayflow.problem import Problem
from xrayflow.seeds import generator_for

RIDGES = 0.7
"""Share of the ridges in the first proposal of a source that has some: of all, or of what a guide leaves."""

SEEN, GUIDED = 0.75, 0.05
"""Shares of what a guide sees from the optima, and of what it knew before, in the first proposal."""

GUIDE_FLOOR, SHAPED_FLOOR = 0.05, 0.1
"""What every proposal keeps of a guide's first word, and of all ridges and of what it sees from the optima together."""

MOST_SEEN, LEAST_SEEN = 3, 3.0
"""Optima from which it looks, and how far in ln evidence one may stand below the best before it gets no less."""

LEAST_PILOT = 100
"""Draws of an adaptive round: a mixture is fitted to them."""

PEEK = 4
"""This part of a pilot is drawn first; where it is good enough, the rest is spared."""

Progress = Callable[[str, float], None]
"""Called with the name of the step and the done fraction of the whole, 0..1."""


@dataclass(frozen=True)
class Effort:
    """How hard to try.

    Attributes:
        draws: Fresh draws per block.
        ess: Blocks go on until this effective sample size.
        starts: Independent starts of the optimiser.
        pilot: Draws per adaptive round, in parts of a block.
        rounds: Adaptive rounds at most, for sources whose efficiency is below `enough`.
        enough: Efficiency of a pilot at which no further round pays.
        first: Fresh draws of a refined proposal at most, per wanted effective draw; without a good answer then, a
            source is explored.
        most: Fresh draws of an explored proposal at most, per wanted effective draw.
        grid_draws: Draws that are evaluated on a finer energy grid.
        grid_parts: Into how many parts that grid cuts each bin.
    """

    draws: int = 1000
    ess: float = 400.0
    starts: int = 32
    pilot: float = 0.2
    rounds: int = 3
    enough: float = 0.5
    first: float = 7.5
    most: float = 40.0
    grid_draws: int = 20
    grid_parts: int = 3


@dataclass(frozen=True)
class Guided:
    """What a guide says of one source.

    Attributes:
        before: What it knew before the optima were known.
        seen: What it sees from each of them; empty where it knows no more.
        shares: Of what it sees, by Laplace's evidence of the optima.
    """

    before: Part
    seen: list[Part]
    shares: list[float]


@dataclass
class Search:
    """One batch on its way; the methods stand in the order of the work.

    Attributes:
        problem: The batch.
        seed: Of the run.
        effort: How hard to try.
        progress: Called at every step.
        guide: What knows the answers roughly; None without.
        generators: One per source, from the run's seed and the file's hash.
        seconds: Wall time of each step.
        spent: (source,) likelihood evaluations on draws, pilots and rejected rounds included.
        history: All rounds of each source, in order.
        optima: Where the starts ended.
    """

    problem: Problem
    seed: int
    effort: Effort
    progress: Progress
    guide: Guide | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.generators = [generator_for(self.seed, one.observation.pha.sha256) for one in self.problem.spectra]
        self.everything = torch.arange(self.problem.sources)
        self.spent = torch.zeros(self.problem.sources, dtype=torch.int64)
        self.history: list[list[Round]] = [[] for _ in self.problem.spectra]
        self.optima: Optima

    def run(self) -> list[Round]:
        """Weighted draws of a frozen proposal for every source."""
        with self.timed("optimise"):
            self.optima = self._optimise()
            first = self._ridges()
        with self.timed("propose"):
            proposal = self._refine(first)
        with self.timed("certify"):
            fresh = self._weigh(self.everything, proposal, self.effort.first)
        close = [i for i, one in enumerate(fresh) if not self.good(one) and ess_of(one) >= LEAST_PILOT]
        self._try(close, self._refine_again, first, self.effort.first, fresh)
        bent = [i for i, one in enumerate(fresh) if not self.good(one)]
        self._try(bent, self._explore, first, self.effort.most, fresh)
        return fresh

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add the wall time of a block to a step."""
        started = time.perf_counter()
        yield
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - started

    def _optimise(self) -> Optima:
        """Independent starts, each run to its optimum."""
        self.progress("searching", 0.05)
        starts, tried = starting_points(self.problem, self.effort.starts, self.generators, self.guide)
        self.progress("optimising", 0.10)
        optima = minimise(self.problem, starts)
        return replace(optima, evaluations=optima.evaluations + tried)

    def _ridges(self) -> Proposal:
        """The first proposals: ellipsoids at the optima, and the ridges that they do not describe."""
        self.progress("following ridges", 0.25)
        found, evaluations = walk(self.problem, self.optima, distinct_optima(self.optima))
        self.optima = replace(self.optima, evaluations=self.optima.evaluations + evaluations)
        places = Places.joined(found) if found else None
        every = range(self.problem.sources)
        ridges: list[list[Part]] = [[*lines(places, i)] if places else [] for i in every]
        guided = self._guided(self.guide) if self.guide is not None else [None for _ in every]
        parts = tuple(self._parts(*pair) for pair in zip(ridges, guided, strict=True))
        return Proposal(laplace_mixture(self.optima), parts)

    def _parts(self, ridges: list[Part], guided: Guided | None) -> Parts:
        """The parts of one source's proposals, with their floors and first shares."""
        parts: list[Part] = [PriorPart(len(self.problem.prior.marginals))]
        floors, shares = [PRIOR_FLOOR], [0.0]
        seen = guided.seen if guided is not None else []
        if guided is not None:
            parts.append(guided.before)
            floors.append(GUIDE_FLOOR)
            shares.append(GUIDED)
        shaped = [*seen, *ridges]
        rest = 1.0 - sum(shares) - (SEEN if seen else 0.0)
        parts += shaped
        floors += [SHAPED_FLOOR / len(shaped) for _ in shaped]
        shares += [SEEN * one for one in guided.shares] if guided is not None and seen else []
        shares += [rest * RIDGES / len(ridges) for _ in ridges]
        return Parts.of(parts, floors, shares)

    def _guided(self, guide: Guide) -> list[Guided | None]:
        """What the guide says of each source, now that its optima are known."""
        noise = self.problem.noise
        counts, net = noise.counts.sum(-1), noise.total(torch.zeros_like(noise.counts[:, None]))[:, 0]
        numbers = home_numbers(counts, (net * noise.used).sum(-1), noise.systematic[:, 0])
        found: list[Guided | None] = []
        for source, chosen in enumerate(distinct_optima(self.optima)):
            chosen = chosen[:MOST_SEEN]
            if chosen.numel() == 0 or not bool(guide.present[source]):
                found.append(None)
                continue
            information = self.optima.information[source, chosen]
            evidence = self.optima.log_evidence(source, chosen)
            share = torch.softmax(evidence.clamp(min=float(evidence.max()) - LEAST_SEEN), 0)
            homes = Homes(self.optima.v[source, chosen], information, numbers[source].expand(chosen.numel(), -1))
            before = GuidePart(guide.select(torch.tensor([source])))
            found.append(Guided(before, list(guide.seen_from(source, homes)), share.tolist()))
        return found

    def _refine(self, first: Proposal) -> Proposal:
        """First proposals with shares fitted to a few draws, refitted where their weights are uneven; of each source
        the one with the best pilot."""
        kept = [first.select(self.everything[i : i + 1]) for i in range(self.problem.sources)]
        best = torch.full((self.problem.sources,), -1.0, dtype=torch.float64)
        active, trial = self.everything, kept.copy()
        for attempt in range(self.effort.rounds + 1):
            self.progress("proposing", 0.35 + 0.05 * attempt)
            efficiency = self._pilot(active, trial)
            for row, source in enumerate(active.tolist()):
                if efficiency[row] > best[source]:
                    best[source], kept[source] = efficiency[row], trial[row]
            if attempt == 0:
                kept = [reshared(pooled(self.history[i]), one) for i, one in enumerate(kept)]
            active = active[efficiency < self.effort.enough]
            if active.numel() == 0 or attempt == self.effort.rounds:
                break
            trial = self._refitted(active, first) if attempt else [kept[i] for i in active.tolist()]
        return Proposal.stack(kept)

    def _pilot(self, sources: Tensor, trial: list[Proposal]) -> Tensor:
        """(source,) efficiency of proposals: most first ones are good, and a few draws tell; else more are drawn."""
        draws = max(round(self.effort.pilot * self.effort.draws), LEAST_PILOT)
        peek = draws // PEEK
        look = self._draw(sources, Proposal.stack(trial), peek)
        efficiency = effective_sample_size(look.log_weight) / peek
        doubtful = (efficiency < self.effort.enough).nonzero()[:, 0]
        if doubtful.numel():
            rest = self._draw(
                sources[doubtful], Proposal.stack([trial[row] for row in doubtful.tolist()]), draws - peek
            )
            both = Round.chain([look.select(doubtful), rest])
            efficiency[doubtful] = effective_sample_size(both.log_weight) / draws
        return efficiency

    def _try(
        self,
        rows: list[int],
        propose: Callable[[Tensor, Proposal], Proposal],
        first: Proposal,
        most: float,
        fresh: list[Round],
    ) -> None:
        """Replace the draws of some sources by those of other proposals."""
        if not rows:
            return
        sources = torch.tensor(rows)
        with self.timed("propose"):
            proposal = propose(sources, first)
        with self.timed("certify"):
            for i, one in zip(rows, self._weigh(sources, proposal, most), strict=True):
                fresh[i] = one

    def _refitted(self, sources: Tensor, first: Proposal) -> list[Proposal]:
        """Proposals fitted to all draws of each source so far."""
        return [
            refined(pooled(self.history[i]), first.select(self.everything[i : i + 1]), self.generators[i])
            for i in sources.tolist()
        ]

    def _refine_again(self, sources: Tensor, first: Proposal) -> Proposal:
        """Proposals refitted to all draws, those included that were to be the answer."""
        return Proposal.stack(self._refitted(sources, first))

    def _explore(self, sources: Tensor, first: Proposal) -> Proposal:
        """Proposals for posteriors that bend, from an ensemble that starts at the draws so far."""
        self.progress("exploring", 0.6)
        generators = [self.generators[source] for source in sources.tolist()]
        every = [pooled(self.history[source]) for source in sources.tolist()]
        starts = []
        for one, generator in zip(every, generators, strict=True):
            weight = tempered(one.log_weight - (1.0 - TEMPERATURE) * one.log_likelihood, float(WALKERS))
            starts.append(one.v[0, torch.multinomial(weight[0], WALKERS, replacement=True, generator=generator)])
        problem = self.problem.select(sources)
        level = Level.of(problem)
        states = explore(problem, level, torch.stack(starts), generators)
        self.spent[sources] += WALKERS * STEPS
        chosen = first.select(sources)
        shares = [part_shares(one, chosen.select(self.everything[row : row + 1])) for row, one in enumerate(every)]
        return explored(states, level, chosen, shares, generators)

    def _weigh(self, sources: Tensor, proposal: Proposal, most: float) -> list[Round]:
        """Fresh draws of the frozen proposals, in blocks until each source has its ess."""
        blocks: list[list[Round]] = [[] for _ in range(sources.numel())]
        rows = torch.arange(sources.numel())
        while rows.numel():
            self.progress("weighing", 0.75)
            fresh = self._draw(sources[rows], proposal.select(rows), self.effort.draws)
            unfinished = []
            for place, row in enumerate(rows.tolist()):
                blocks[row].append(fresh.select(torch.tensor([place])))
                together = Round.chain(blocks[row])
                enough = float(effective_sample_size(together.log_weight)) >= self.effort.ess
                unfinished.append(not enough and together.v.shape[1] + self.effort.draws <= most * self.effort.ess)
            rows = rows[torch.tensor(unfinished)]
        return [Round.chain(block) for block in blocks]

    def good(self, fresh: Round) -> bool:
        """Whether the weights need no better proposal."""
        log_weight = fresh.log_weight[0]
        light = pareto_k(log_weight.numpy()) < most_pareto_k(log_weight.numel())
        return light and ess_of(fresh) >= self.effort.ess

    def _draw(self, sources: Tensor, proposal: Proposal, draws: int) -> Round:
        """Draws of the sources' proposals with their exact log posterior density in v."""
        v = proposal.sample(draws, [self.generators[source] for source in sources.tolist()])
        one = Round.of(proposal, v, log_target(self.problem.select(sources), v))
        self.spent[sources] += draws
        for row, source in enumerate(sources.tolist()):
            self.history[source].append(one.select(torch.tensor([row])))
        return one


def ess_of(fresh: Round) -> float:
    """Effective sample size of one source's draws."""
    return float(effective_sample_size(fresh.log_weight))
