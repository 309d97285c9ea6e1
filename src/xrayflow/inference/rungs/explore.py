"""The rung for posteriors that bend: an ensemble walks from the draws so far, and its states shape the proposal."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from xrayflow.inference.ladder import SamplingBudget, State
from xrayflow.inference.proposals.counts_coordinates import CountsCoordinates
from xrayflow.inference.proposals.draws import balance_heuristic
from xrayflow.inference.proposals.em import part_shares
from xrayflow.inference.proposals.ensemble import STEPS, TEMPERATURE, WALKERS, explore, explored
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.weights import systematic_rows, tempered


class Explore:
    """Components and kernels fitted to a tempered ensemble."""

    name = "exploring"

    def climbers(self, state: State) -> Int[Tensor, " climber"]:
        """Sources that are not good."""
        return state.unsettled()

    def most(self, budget: SamplingBudget) -> float:
        """As many as a proposal with tails needs."""
        return budget.most

    def propose(self, state: State, sources: Int[Tensor, " climber"]) -> Proposal:
        """A proposal for each of some sources."""
        generators = [state.generators[source] for source in sources.tolist()]
        every = [balance_heuristic(state.history[source]) for source in sources.tolist()]
        starts = []
        for drawn, generator in zip(every, generators, strict=True):
            weight = tempered(drawn.log_weight - (1.0 - TEMPERATURE) * drawn.log_likelihood, float(WALKERS))
            starts.append(drawn.v[0, systematic_rows(weight[0], WALKERS, generator)])
        problem = state.problem.select(sources)
        level = CountsCoordinates.of(problem)
        states = explore(problem, level, torch.stack(starts), generators)
        state.spent[sources] += WALKERS * (STEPS + 1)
        bases = [state.base(source) for source in sources.tolist()]
        shares = [part_shares(*pair) for pair in zip(every, bases, strict=True)]
        made = explored(states, level, Proposal.stack(bases), shares, generators)
        for row, source in enumerate(sources.tolist()):
            state.rebase(source, made.select(torch.tensor([row])), [])
            state.tails.widened.discard(source)
        return made
