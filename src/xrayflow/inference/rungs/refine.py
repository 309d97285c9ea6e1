"""The rung of spectra that bend: ridges beside the modes, with shares that a few weighted draws ask for."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.inference.ladder import SamplingBudget, State
from xrayflow.inference.proposals.draws import WeightedDraws, balance_heuristic
from xrayflow.inference.proposals.em import refined, reshared
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.rungs.ridges import stand_on_ridges
from xrayflow.inference.weights import effective_sample_size

LEAST_PILOT = 100
"""Draws of an adaptive round: a mixture is fitted to them."""

PEEK = 4
"""This part of a pilot is drawn first; where it is good enough, the rest is spared."""


class Refine:
    """Shares fitted to a pilot; where the pilot's weights are uneven, components fitted to all draws. The proposal
    with the best pilot is taken."""

    name = "following ridges"

    def climbers(self, state: State) -> Int[Tensor, " climber"]:
        """Sources whose modes alone did not do."""
        return state.unsettled()

    def most(self, budget: SamplingBudget) -> float:
        """As many as a good proposal needs."""
        return budget.first

    def propose(self, state: State, sources: Int[Tensor, " climber"]) -> Proposal:
        """A proposal for each of some sources."""
        every = torch.arange(sources.numel())
        stand_on_ridges(state, sources)
        kept = [state.base(source) for source in sources.tolist()]
        best = torch.full((sources.numel(),), -1.0, dtype=torch.float64)
        active, trial = every, kept.copy()
        for attempt in range(state.budget.rounds + 1):
            efficiency = self._pilot(state, sources[active], trial)
            for row, place in enumerate(active.tolist()):
                if efficiency[row] > best[place]:
                    best[place], kept[place] = efficiency[row], trial[row]
            if attempt == 0:
                kept = with_asked_shares(state, sources)
            active = active[efficiency < state.budget.enough]
            if active.numel() == 0 or attempt == state.budget.rounds:
                break
            trial = refitted(state, sources[active]) if attempt else [kept[i] for i in active.tolist()]
        return Proposal.stack(kept)

    def _pilot(self, state: State, sources: Tensor, trial: list[Proposal]) -> Float[Tensor, " source"]:
        """Efficiency of proposals: most first ones are good, and a few draws tell; else more are drawn."""
        draws = max(round(state.budget.pilot * state.budget.draws), LEAST_PILOT)
        peek = draws // PEEK
        look = state.draw(sources, Proposal.stack(trial), peek)
        efficiency = effective_sample_size(look.log_weight) / peek
        doubtful = (efficiency < state.budget.enough).nonzero()[:, 0]
        if doubtful.numel():
            again = Proposal.stack([trial[row] for row in doubtful.tolist()])
            rest = state.draw(sources[doubtful], again, draws - peek)
            both = WeightedDraws.chain([look.select(doubtful), rest])
            efficiency[doubtful] = effective_sample_size(both.log_weight) / draws
        return efficiency


def with_asked_shares(state: State, sources: Int[Tensor, " source"]) -> list[Proposal]:
    """What the next proposals are fitted from, with the shares that all draws of each source so far ask for.

    Args:
        state: Where the batch stands.
        sources: Their numbers in the batch.
    """
    return [reshared(balance_heuristic(state.history[i]), state.base(i)) for i in sources.tolist()]


def refitted(state: State, sources: Int[Tensor, " source"]) -> list[Proposal]:
    """Proposals fitted to all draws of each source so far.

    Args:
        state: Where the batch stands.
        sources: Their numbers in the batch.
    """
    return [refined(balance_heuristic(state.history[i]), state.base(i), state.generators[i]) for i in sources.tolist()]
