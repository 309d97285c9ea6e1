"""Is the photon-energy grid fine enough, and does the corrected one follow it? Log likelihoods over posterior draws."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from xrayflow.problem import Problem

DRAWS, FINER_DRAWS = 20, 10
"""Posterior draws that are evaluated on both grids; on the answer's and a finer one."""

FOLLOWS = 0.1
"""A corrected grid follows the answer's own where ln L changes by no more than this, in the mean and in scatter:
weights change by a tenth, at random, and quantiles by less than the draws' own luck."""


@dataclass(frozen=True)
class GridChange:
    """What another grid does to the log likelihood of one source.

    Attributes:
        mean: Over draws.
        spread: Standard deviation over draws.
    """

    mean: float
    spread: float

    @classmethod
    def of(
        cls, log_likelihood: Float[Tensor, " draw"], other: Problem, v: Float[Tensor, "draw parameter"]
    ) -> GridChange:
        """From one grid to another.

        Args:
            log_likelihood: Of equally weighted draws.
            other: A batch of one, on another grid.
            v: The draws, in probit coordinates.
        """
        change = other.log_likelihood(other.prior.to_theta(v)[None])[0] - log_likelihood
        return cls(float(change.mean()), float(change.std()))

    @property
    def is_small(self) -> bool:
        """Whether weights on one grid are as good as weights on the other."""
        return abs(self.mean) <= FOLLOWS and self.spread <= FOLLOWS
