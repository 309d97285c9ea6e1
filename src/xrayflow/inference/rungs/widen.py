"""The rung for tails that no draw reached: a walk on the posterior looks for them, and what it finds is drawn from.

Effective sample size and Pareto k say nothing of where no draw went, so an answer that is good by them, but whose draws
leave doubt, is walked from (`checks.tails`). Where the walk stands at places that the draws do not know, the frozen
proposal is widened by what it found and weighed anew, twice at most; what is left then is said in the verdict.

Draws leave doubt where fewer than `EVEN` of them count, or where the tail of their weights is heavier than `LIGHT`: a
tail that hangs on a posterior makes weights uneven where it begins, long before a draw is in it. Two thirds of all
spectra leave none.

The walk is on the search's fidelity where the draws keep their effective size on it, and what raises an alarm is
weighed on the exact forward. Its evaluations are counted apart from those of draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.folding import SEARCH
from xrayflow.inference.checks.tails import (
    LONGER,
    STEPS,
    LogDensity,
    TailProbe,
    confirmed,
    probe,
    states_to_cover,
)
from xrayflow.inference.ladder import SamplingBudget, State, is_good
from xrayflow.inference.proposals.counts_coordinates import CountsCoordinates
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.ensemble import explored
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.weights import effective_sample_size, log_mean_weight, pareto_k
from xrayflow.problem import Problem

TAIL_ROUNDS = 2
"""Proposals that are widened by what a walk found, at most: so many of these rungs stand on the ladder."""

EVEN, LIGHT = 0.5, 0.4
"""Effective draws of each draw, and Pareto k: beyond both no doubt is left (a thin tail that was certified with a third
of its mass missing had 0.16-0.20, 0.53-0.68 with three seeds)."""

CHEAP_ENOUGH = 0.4
"""A walk is on the cheap forward where the draws have this part of their effective size on it."""


@dataclass(frozen=True)
class TailFinder:
    """What a walk needs to know of one answer.

    Attributes:
        target, exact: Natural log of the posterior on the forward that is walked, and on the answer's own.
        coordinates: To walk in.
        drawn: The answer's draws.
        log_weight: Theirs on the forward that is walked.
        tried: Evaluations that it took to choose the forward.
    """

    target: LogDensity
    exact: LogDensity
    coordinates: CountsCoordinates
    drawn: WeightedDraws
    log_weight: Float[Tensor, "source draw"]
    tried: int = 0

    @property
    def cheap(self) -> bool:
        """Whether the walk is on another forward than the answer."""
        return self.target is not self.exact

    @classmethod
    def of(cls, problem: Problem, drawn: WeightedDraws) -> TailFinder:
        """The cheap forward where the draws' weights on it are as even, else the exact one.

        Args:
            problem: A batch of one.
            drawn: Its draws.
        """
        coordinates, search, exact = CountsCoordinates.of(problem), problem.at(SEARCH), problem.log_target
        if search is problem:
            return cls(exact, exact, coordinates, drawn, drawn.log_weight)
        weight, tried = search.log_target(drawn.v) - drawn.log_proposal, drawn.v.shape[1]
        if float(effective_sample_size(weight)) >= CHEAP_ENOUGH * drawn.ess:
            return cls(search.log_target, exact, coordinates, drawn, weight, tried)
        return cls(exact, exact, coordinates, drawn, drawn.log_weight, tried)

    def probe(self, generator: torch.Generator) -> TailProbe:
        """A walk; a longer one where that leaves doubt."""
        given = (
            self.target,
            self.drawn.proposal.log_density,
            self.drawn.v,
            self.log_weight,
            [generator],
            self.coordinates,
        )
        found = probe(*given)
        if bool(found.doubtful):
            longer = probe(*given, steps=LONGER * STEPS)
            found = replace(longer, evaluations=longer.evaluations + found.evaluations)
        if self.cheap and bool(found.alarm):
            found = confirmed(found, self.exact, self.drawn.proposal.log_density, self.drawn.log_weight)
        return replace(found, evaluations=found.evaluations + self.tried)

    def wider(self, found: TailProbe, generator: torch.Generator) -> tuple[Proposal, int]:
        """The frozen proposal with what the walk found, and the evaluations."""
        proposal = self.drawn.proposal
        given = self.target, proposal.log_density, found, self.log_weight, [generator], self.coordinates
        states, spent = states_to_cover(*given)
        shares = [beside.above for beside in proposal.parts]
        return explored(states, self.coordinates, proposal, shares, [generator]), spent


class Widen:
    """The frozen proposals of answers that miss a tail, widened by what a walk found."""

    name = "looking for tails"

    def climbers(self, state: State) -> Int[Tensor, " climber"]:
        """Sources that are good by their weights, and whose draws a walk finds wanting."""
        found = []
        unsettled = set(state.unsettled().tolist())
        for source, drawn in enumerate(state.fresh):
            if drawn is None or source in unsettled or source in state.tails.whole:
                continue
            if not leaves_doubt(drawn):
                state.tails.whole.add(source)
                continue
            state.tails.probes[source] = look(state, source)
            if bool(state.tails.probes[source].alarm):
                found.append(source)
            else:
                state.tails.whole.add(source)
        return torch.tensor(found, dtype=torch.int64)

    def most(self, budget: SamplingBudget) -> float:
        """As many as a proposal with tails needs."""
        return budget.most

    def propose(self, state: State, sources: Int[Tensor, " climber"]) -> Proposal:
        """A proposal for each of some sources."""
        made = []
        for source in sources.tolist():
            finder = _finder(state, source)
            proposal, spent = finder.wider(state.tails.probes[source], state.generators[source])
            state.tails.evaluations[source] += spent + finder.tried
            state.tails.first.setdefault(source, (finder.drawn, state.tails.probes[source]))
            state.tails.evidence[source] = float(log_mean_weight(finder.drawn.log_weight))
            made.append(proposal)
        return Proposal.stack(made)


def leaves_doubt(drawn: WeightedDraws) -> bool:
    """Whether the weights of one source are so uneven that a tail may hide behind them.

    Args:
        drawn: Its draws.
    """
    draws = drawn.v.shape[1]
    return drawn.ess < EVEN * draws or not pareto_k(drawn.log_weight[0].numpy()) < LIGHT


def look(state: State, source: int) -> TailProbe:
    """Walk from the draws of one source.

    Args:
        state: Where the batch stands.
        source: Its number.
    """
    found = _finder(state, source).probe(state.generators[source])
    state.tails.evaluations[source] += found.evaluations
    return found


def missing_tail(state: State, source: int) -> str:
    """What is to be said of a tail that may be missing from an answer at the top of the ladder; "" where none may be.

    Where wider proposals brought no better answer and the alarm was about little, the draws before are the answer.

    Args:
        state: Where the batch stands.
        source: Its number.
    """
    drawn = state.fresh[source]
    if drawn is None or source in state.tails.whole:
        return ""
    missing, good = "", is_good(drawn, state.budget.ess)
    evidence = float(log_mean_weight(drawn.log_weight))
    if good:
        found = look(state, source)
        before = state.tails.evidence.get(source)
        change = math.inf if before is None else evidence - before
        missing = found.reason(0) if bool(found.grave(torch.tensor([change]))) else ""
    if source in state.tails.first and (missing or not good):
        first, alarm = state.tails.first[source]
        if bool(alarm.small(torch.tensor([evidence - float(log_mean_weight(first.log_weight))]))):
            state.fresh[source] = first
            return ""
    return missing


def _finder(state: State, source: int) -> TailFinder:
    """What a walk from the last draws of one source needs to know."""
    drawn = state.fresh[source]
    if drawn is None:
        raise ValueError("a source without draws has no tail to look for")
    return TailFinder.of(state.problem.select(torch.tensor([source])), drawn)
