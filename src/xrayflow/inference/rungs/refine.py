"""The rung for sources whose first proposal will not do: ridges beside the modes, then shares and components that the
weighted draws of a few rounds ask for."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Int
from torch import Tensor

from xrayflow.inference.ladder import SamplingBudget, State
from xrayflow.inference.proposals.draws import balance_heuristic
from xrayflow.inference.proposals.em import refined, reshared
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.proposals.profiles import PathPoints, walk
from xrayflow.inference.proposals.ridge import ridges_of
from xrayflow.inference.rungs.pilot import pilot

RIDGES, GUIDED_RIDGES = 0.7, 0.15
"""Share of the ridges in the first proposal of a source that has some; where a network's local flow stands beside."""

UNGUIDED = 1
"""Parts of a proposal that no network guides: the prior."""

RIDGE_FLOOR = 0.1
"""What ridges keep of every proposal, together."""


class Refine:
    """Ridges; shares fitted to a pilot; where its weights are uneven, components fitted to all draws. The proposal with
    the best pilot is taken."""

    name = "following ridges"

    def climbers(self, state: State) -> Int[Tensor, " climber"]:
        """Sources that are not good."""
        return state.unsettled()

    def most(self, budget: SamplingBudget) -> float:
        """As many as a good proposal needs."""
        return budget.first

    def propose(self, state: State, sources: Int[Tensor, " climber"]) -> Proposal:
        """A proposal for each of some sources."""
        follow_ridges(state, sources)
        every = torch.arange(sources.numel())
        kept = [state.base(source) for source in sources.tolist()]
        best = torch.full((sources.numel(),), -1.0, dtype=torch.float64)
        active, trial = every, kept.copy()
        for attempt in range(state.budget.rounds + 1):
            efficiency = pilot(state, sources[active], trial)
            for row, place in enumerate(active.tolist()):
                if efficiency[row] > best[place]:
                    best[place], kept[place] = efficiency[row], trial[row]
            if attempt == 0:
                drawn = [balance_heuristic(state.history[source]) for source in sources.tolist()]
                kept = [reshared(*pair) for pair in zip(drawn, kept, strict=True)]
            active = active[efficiency < state.budget.enough]
            if active.numel() == 0 or attempt == state.budget.rounds:
                break
            trial = refitted(state, sources[active]) if attempt else [kept[i] for i in active.tolist()]
        return Proposal.stack(kept)


def follow_ridges(state: State, sources: Int[Tensor, " source"]) -> None:
    """Put the ridges that modes do not describe beside them; what was drawn without them is not learnt from.

    Args:
        state: Where the batch stands.
        sources: Their numbers in the batch.
    """
    modes = state.modes.select(sources)
    found, evaluations = walk(state.problem.select(sources), modes, modes.distinct())
    state.modes = replace(state.modes, evaluations=state.modes.evaluations.index_add(0, sources, evaluations))
    if not found:
        return
    points = PathPoints.joined(found)
    for row, source in enumerate(sources.tolist()):
        ridges = ridges_of(points, row)
        if ridges:
            base = state.base(source)
            share = GUIDED_RIDGES if len(base.parts[0].parts) > UNGUIDED else RIDGES
            parts = base.parts[0].beside_all(ridges, share, RIDGE_FLOOR)
            state.rebase(source, replace(base, parts=(parts,)), [])


def refitted(state: State, sources: Int[Tensor, " source"]) -> list[Proposal]:
    """Proposals fitted to all draws of each source so far.

    Args:
        state: Where the batch stands.
        sources: Their numbers in the batch.
    """
    return [refined(balance_heuristic(state.history[i]), state.base(i), state.generators[i]) for i in sources.tolist()]
