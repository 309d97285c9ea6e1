"""Is the photon-energy grid fine enough? What a finer one does to the log likelihood, over posterior draws."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from xrayflow.problem import Problem

DRAWS = 20
"""Posterior draws that are evaluated on both grids."""


def grid_spread(problem: Problem, finer: Problem, v: Float[Tensor, "draw parameter"]) -> float:
    """Standard deviation over draws of what a finer grid does to the log likelihood of one source.

    Args:
        problem: A batch of one.
        finer: The same on a finer grid.
        v: Equally weighted draws, in probit coordinates.
    """
    theta = problem.prior.to_theta(v)[None]
    change = finer.log_likelihood(theta) - problem.log_likelihood(theta)
    return float(change.std())
