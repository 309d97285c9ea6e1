"""Is every mode that the starts found covered by the draws?"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.problem import Problem


def peak_share(
    problem: Problem,
    drawn: WeightedDraws,
    modes: Float[Tensor, "mode parameter"],
    log_evidence: float,
    log_proposal: Float[Tensor, " mode"] | None = None,
) -> float:
    """The largest share of all weight that one draw at a mode would carry; 1 where there is no mode at all.

    Args:
        problem: A batch of one.
        drawn: Its draws.
        modes: Distinct modes, in probit coordinates.
        log_evidence: Of the draws.
        log_proposal: Natural log of the proposal's density at the modes, where it is known.
    """
    if modes.shape[0] == 0:
        return 1.0
    if log_proposal is None:
        log_proposal = drawn.proposal.log_density(modes[None])[0]
    at_modes = problem.log_target(modes[None])[0] - log_proposal
    largest = torch.exp(at_modes - log_evidence).max()
    return float(largest) / drawn.v.shape[1]
