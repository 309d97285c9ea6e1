"""Is every mode that the starts found covered by the draws?"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.problem import Problem


def peak_share(
    problem: Problem, drawn: WeightedDraws, modes: Float[Tensor, "mode parameter"], log_evidence: float
) -> float:
    """The largest share of all weight that one draw at a mode would carry; 1 where there is no mode at all.

    Args:
        problem: A batch of one.
        drawn: Its draws.
        modes: Distinct modes, in probit coordinates.
        log_evidence: Of the draws.
    """
    if modes.shape[0] == 0:
        return 1.0
    at_modes = problem.log_target(modes[None]) - drawn.proposal.log_density(modes[None])
    largest = torch.exp(at_modes - log_evidence).max()
    return float(largest) / drawn.v.shape[1]
