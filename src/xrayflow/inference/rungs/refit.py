"""The rung for sources that came close: a proposal refitted to all draws, those included that were to be the answer."""

from __future__ import annotations

from jaxtyping import Int
from torch import Tensor

from xrayflow.inference.ladder import SamplingBudget, State
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.rungs.refine import refitted

CLOSE = 100.0
"""Effective draws from which a refit pays; below, the fit would follow a few heavy draws."""


class Refit:
    """Components fitted to all draws so far."""

    name = "proposing again"

    def climbers(self, state: State) -> Int[Tensor, " climber"]:
        """Sources that are not good, and not far from it."""
        return state.unsettled(least=CLOSE)

    def most(self, budget: SamplingBudget) -> float:
        """As many as a good proposal needs."""
        return budget.first

    def propose(self, state: State, sources: Int[Tensor, " climber"]) -> Proposal:
        """A proposal for each of some sources."""
        return Proposal.stack(refitted(state, sources))
