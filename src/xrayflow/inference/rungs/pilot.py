"""What a few draws say of proposals, before many are weighed."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.ladder import State
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.weights import effective_sample_size

LEAST_PILOT = 100
"""Draws of an adaptive round: a mixture is fitted to them."""

PEEK = 4
"""This part of a pilot is drawn first; where it is good enough, the rest is spared."""


def pilot(state: State, sources: Tensor, trial: list[Proposal]) -> Float[Tensor, " source"]:
    """Efficiency of proposals: most first ones are good, and a few draws tell; else more are drawn.

    Args:
        state: Where the batch stands; the draws are kept in it.
        sources: Their numbers in the batch.
        trial: A proposal for each of them.
    """
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
