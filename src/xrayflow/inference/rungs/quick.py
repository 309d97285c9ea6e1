"""The rung that serves most spectra: the first proposal, where a pilot says that it will do."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from xrayflow.inference.ladder import SamplingBudget, State
from xrayflow.inference.proposals.draws import balance_heuristic
from xrayflow.inference.proposals.em import reshared
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.rungs.pilot import pilot

PROMISING = 0.2
"""Efficiency of the pilot from which draws are cheaper than a better proposal."""


class Quick:
    """The first proposal with the shares that a pilot asks for."""

    name = "proposing"

    def climbers(self, state: State) -> Int[Tensor, " climber"]:
        """Sources whose pilot is good enough."""
        every = torch.arange(state.problem.sources)
        efficiency = pilot(state, every, [state.base(source) for source in every.tolist()])
        return every[efficiency >= min(PROMISING, state.budget.enough)]

    def propose(self, state: State, sources: Int[Tensor, " climber"]) -> Proposal:
        """A proposal for each of some sources."""
        chosen = sources.tolist()
        return Proposal.stack([reshared(balance_heuristic(state.history[i]), state.base(i)) for i in chosen])

    def most(self, budget: SamplingBudget) -> float:
        """As many as a good proposal needs."""
        return budget.first
