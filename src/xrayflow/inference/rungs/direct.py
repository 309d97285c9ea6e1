"""The rung of most spectra: ellipsoids and what a network says, with shares that a few draws ask for."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from xrayflow.inference.ladder import SamplingBudget, State
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.rungs.refine import with_asked_shares
from xrayflow.inference.weights import effective_sample_size

PILOT = 100
"""Draws that tell whether the modes describe a source."""

GOOD = 0.4
"""Efficiency of a pilot from which nothing is gained by a better proposal."""


class Direct:
    """The first proposal, where its pilot is good."""

    name = "proposing"

    def climbers(self, state: State) -> Int[Tensor, " climber"]:
        """Sources whose first proposal needs no more than other shares."""
        every = torch.arange(state.problem.sources)
        pilot = state.draw(every, state.first, PILOT)
        return (effective_sample_size(pilot.log_weight) >= GOOD * PILOT).nonzero()[:, 0]

    def propose(self, state: State, sources: Int[Tensor, " climber"]) -> Proposal:
        """A proposal for each of some sources."""
        return Proposal.stack(with_asked_shares(state, sources))

    def most(self, budget: SamplingBudget) -> float:
        """As many as a good proposal needs."""
        return budget.first
