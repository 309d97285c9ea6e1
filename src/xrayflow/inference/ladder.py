"""The ladder: ways to propose, cheap ones first; each source climbs until its weights are good.

    modes and first proposal -> rung -> weighed -> rung -> weighed ...

A rung makes a proposal from what is known so far (`State`): the modes, the first proposal, all draws with their exact
weights. The proposal is frozen then and *fresh* draws of it are weighed, in blocks until the effective sample size is
reached: only those are an answer. `climb` yields the state after each rung, so that progress, tests and whoever wants
to stop see where every source stands. A batch climbs together; no decision looks at another source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from jaxtyping import Int
from torch import Tensor

from xrayflow.fitting import Modes
from xrayflow.inference.checks.tails import TailSearch
from xrayflow.inference.clock import Clock
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.foot import Guided
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.weights import effective_sample_size, most_pareto_k, pareto_k
from xrayflow.problem import Problem


@dataclass(frozen=True)
class SamplingBudget:
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
        seconds: That a source may take; None: as long as it needs.
    """

    draws: int = 1000
    ess: float = 400.0
    starts: int = 32
    pilot: float = 0.2
    rounds: int = 3
    enough: float = 0.5
    first: float = 7.5
    most: float = 40.0
    seconds: float | None = None


class Drawing(Protocol):
    """How draws are made of a proposal, and what is learnt from them. A study that blinds an answer gives another."""

    def draw(
        self, problem: Problem, proposal: Proposal, draws: int, generators: list[torch.Generator]
    ) -> WeightedDraws:
        """Draws with their log posterior density on the problem.

        Args:
            problem: Some sources.
            proposal: Of the same.
            draws: Of each.
            generators: One per source.
        """
        ...

    def learnt(self, problem: Problem, drawn: WeightedDraws) -> WeightedDraws:
        """What later proposals are shaped by.

        Args:
            problem: Likewise.
            drawn: What `draw` gave.
        """
        ...


class ExactDrawing:
    """Draws of the proposal itself, all of them learnt from."""

    def draw(
        self, problem: Problem, proposal: Proposal, draws: int, generators: list[torch.Generator]
    ) -> WeightedDraws:
        """Draws with their log posterior density on the problem."""
        v = proposal.sample(draws, generators)
        return WeightedDraws.of(proposal, v, problem.log_target(v))

    def learnt(self, problem: Problem, drawn: WeightedDraws) -> WeightedDraws:
        """All of them."""
        return drawn


@dataclass
class TailWatch:
    """What searches for missing tails have said of the draws so far.

    Attributes:
        last: Of each source, the search from its last draws.
        widened: Sources whose proposal was widened by what a search found.
        evaluations: Of each source, those of all searches.
    """

    last: dict[int, TailSearch] = field(default_factory=dict)
    widened: set[int] = field(default_factory=set)
    evaluations: Counter[int] = field(default_factory=Counter)

    def reason(self, source: int) -> str:
        """What is to be said of a tail that may be missing from the last draws of a source; "" where none is.

        Args:
            source: Its number in the batch.
        """
        seen = self.last.get(source)
        return seen.reason if seen is not None and seen.alarm else ""


@dataclass
class State:
    """Where a batch stands.

    Attributes:
        problem: The batch.
        budget: How hard to try.
        generators: One per source.
        modes: Where the optimiser's starts ended.
        first: The first proposal: what the modes and a network say.
        guided: What a network says of each source, now that the modes are known; empty without one.
        drawing: How draws are made.
        fresh: Weighted draws of the last frozen proposal of each source.
        bases: Of each source that has another than the first, the proposal that the next is fitted from.
        history: Draws of each source, in order, of proposals with the parts of that.
        spent: (source,) likelihood evaluations on draws, pilots and rejected rounds included.
        tails: What searches for missing tails have said of the draws.
        rung: What was done last, for progress.
        clock: Wall time by step and source, and its limit.
    """

    problem: Problem
    budget: SamplingBudget
    generators: list[torch.Generator]
    modes: Modes
    first: Proposal
    guided: Sequence[Guided | None] = ()
    drawing: Drawing = field(default_factory=ExactDrawing)
    fresh: list[WeightedDraws | None] = field(default_factory=list)
    bases: dict[int, Proposal] = field(default_factory=dict)
    history: list[list[WeightedDraws]] = field(default_factory=list)
    spent: Int[Tensor, " source"] = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    tails: TailWatch = field(default_factory=TailWatch)
    rung: str = ""
    clock: Clock = field(default_factory=lambda: Clock(0))

    def __post_init__(self) -> None:
        if self.clock.sources == 0:
            self.clock = Clock(self.problem.sources, self.budget.seconds)
        if not self.history:
            self.fresh = [None] * self.problem.sources
            self.history = [[] for _ in range(self.problem.sources)]
            self.spent = torch.zeros(self.problem.sources, dtype=torch.int64)

    def base(self, source: int) -> Proposal:
        """What the next proposal of one source is fitted from; its history has draws of proposals with the same parts.

        Args:
            source: Its number in the batch.
        """
        later = self.bases.get(source)
        return self.first.select(torch.tensor([source])) if later is None else later

    def rebase(self, source: int, proposal: Proposal, history: list[WeightedDraws]) -> None:
        """Fit what comes next from a proposal with other parts; the history begins anew.

        Args:
            source: Its number in the batch.
            proposal: Of this source.
            history: Draws of proposals with these parts.
        """
        self.bases[source] = proposal
        self.history[source] = history

    def draw(self, sources: Tensor, proposal: Proposal, draws: int) -> WeightedDraws:
        """Draws of the sources' proposals, counted and kept.

        Args:
            sources: Their numbers in the batch.
            proposal: One for each of them.
            draws: Of each.
        """
        problem = self.problem.select(sources)
        drawn = self.drawing.draw(problem, proposal, draws, [self.generators[i] for i in sources.tolist()])
        learnt = self.drawing.learnt(problem, drawn)
        self.spent[sources] += draws
        for row, source in enumerate(sources.tolist()):
            self.history[source].append(learnt.select(torch.tensor([row])))
        return drawn

    def weigh(self, sources: Tensor, proposal: Proposal, most: float) -> None:
        """Fresh draws of frozen proposals, in blocks until each source has its ess.

        Args:
            sources: Their numbers in the batch.
            proposal: One for each of them.
            most: Draws at most, per wanted effective draw.
        """
        blocks: list[list[WeightedDraws]] = [[] for _ in range(sources.numel())]
        rows = torch.arange(sources.numel())
        while rows.numel():
            with self.clock.charged("certify", sources[rows]):
                drawn = self.draw(sources[rows], proposal.select(rows), self.budget.draws)
            unfinished = []
            for place, row in enumerate(rows.tolist()):
                blocks[row].append(drawn.select(torch.tensor([place])))
                together = WeightedDraws.chain(blocks[row])
                enough = float(effective_sample_size(together.log_weight)) >= self.budget.ess
                room = together.v.shape[1] + self.budget.draws <= most * self.budget.ess
                unfinished.append(not enough and room)
            rows = rows[torch.tensor(unfinished)]
            rows = rows[torch.isin(sources[rows], self.clock.left(sources[rows]))]
        for source, block in zip(sources.tolist(), blocks, strict=True):
            self.fresh[source] = WeightedDraws.chain(block)
            self.tails.last.pop(source, None)

    def drawn(self, source: int) -> WeightedDraws:
        """The fresh draws of one source.

        Args:
            source: Its number in the batch.

        Raises:
            ValueError: None have been weighed yet.
        """
        found = self.fresh[source]
        if found is None:
            raise ValueError(f"no draws of source {source} have been weighed yet")
        return found

    def answers(self) -> list[WeightedDraws]:
        """The fresh draws of every source, once all have been weighed."""
        return [self.drawn(source) for source in range(self.problem.sources)]

    def unsettled(self, least: float = 0.0) -> Int[Tensor, " unsettled"]:
        """Sources whose weights ask for a better proposal.

        Args:
            least: Effective draws that they have at least.
        """
        found = [
            i
            for i, drawn in enumerate(self.fresh)
            if drawn is None or (not is_good(drawn, self.budget.ess) and drawn.ess >= least)
        ]
        return torch.tensor(found, dtype=torch.int64)


class Rung(Protocol):
    """One way to propose."""

    @property
    def name(self) -> str:
        """What it does, for progress."""
        ...

    def climbers(self, state: State) -> Int[Tensor, " climber"]:
        """The sources that need it."""
        ...

    def propose(self, state: State, sources: Int[Tensor, " climber"]) -> Proposal:
        """A proposal for each of some sources."""
        ...

    def most(self, budget: SamplingBudget) -> float:
        """Fresh draws at most, per wanted effective draw."""
        ...


def is_good(drawn: WeightedDraws, ess: float) -> bool:
    """Whether the weights of one source need no better proposal.

    Args:
        drawn: Its draws.
        ess: Effective draws that are wanted.
    """
    log_weight = drawn.log_weight[0]
    light = pareto_k(log_weight.numpy()) < most_pareto_k(log_weight.numel())
    return light and drawn.ess >= ess


def climb(state: State, rungs: Sequence[Rung]) -> Iterator[State]:
    """Climb, each source as far as it needs.

    Args:
        state: With modes and a first proposal.
        rungs: The cheap ones first.

    Yields:
        The state after each rung.
    """
    clock, every = state.clock, torch.arange(state.problem.sources)
    for rung in rungs:
        with clock.charged("propose", every):
            sources = rung.climbers(state)
        sources = clock.left(sources)
        if sources.numel() == 0:
            continue
        with clock.charged("propose", sources):
            proposal = rung.propose(state, sources)
        state.weigh(sources, proposal, rung.most(state.budget))
        state.rung = rung.name
        yield state
    left = [source for source, drawn in enumerate(state.fresh) if drawn is None]
    if left:  # stopped before anything was weighed: one block says how good the last proposal is
        state.weigh(torch.tensor(left), Proposal.stack([state.base(source) for source in left]), 0.0)
        yield state
