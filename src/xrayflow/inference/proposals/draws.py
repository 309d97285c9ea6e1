"""Draws of a proposal with their densities: what weights are made of.

A draw v from a proposal q weighs

    log w = log likelihood + log N(v; 0, I) - log q(v).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.weights import effective_sample_size
from xrayflow.prior import log_standard_normal


@dataclass(frozen=True)
class WeightedDraws:
    """Draws of a proposal with their densities in probit coordinates.

    Attributes:
        proposal: What they were drawn from.
        v: The draws.
        log_target: Natural log of the posterior density, up to the evidence.
        log_proposal: Natural log of the proposal's.
        log_parts: Of each source, natural log of the density of every part of the proposal (`Proposal.log_parts`).
    """

    proposal: Proposal
    v: Float[Tensor, "source draw parameter"]
    log_target: Float[Tensor, "source draw"]
    log_proposal: Float[Tensor, "source draw"]
    log_parts: tuple[Float[Tensor, "draw part"], ...]

    @classmethod
    def of(cls, proposal: Proposal, v: Tensor, log_target: Tensor) -> WeightedDraws:
        """Draws and where they came from; the densities are worked out here, once."""
        log_parts = proposal.log_parts(v)
        return cls(proposal, v, log_target, proposal.log_density(v, log_parts), log_parts)

    @property
    def log_weight(self) -> Float[Tensor, "source draw"]:
        """Natural log of the weights."""
        return self.log_target - self.log_proposal

    @property
    def log_likelihood(self) -> Float[Tensor, "source draw"]:
        """Natural log of the likelihood."""
        return self.log_target - log_standard_normal(self.v)

    @property
    def ess(self) -> float:
        """Effective sample size of one source's draws."""
        return float(effective_sample_size(self.log_weight))

    def select(self, sources: Tensor) -> WeightedDraws:
        """The draws of some of the sources."""
        return WeightedDraws(
            self.proposal.select(sources),
            self.v[sources],
            self.log_target[sources],
            self.log_proposal[sources],
            tuple(self.log_parts[i] for i in sources.tolist()),
        )

    @classmethod
    def chain(cls, blocks: Sequence[WeightedDraws]) -> WeightedDraws:
        """Blocks of draws of one proposal, end to end."""
        return cls(
            blocks[0].proposal,
            torch.cat([block.v for block in blocks], dim=1),
            torch.cat([block.log_target for block in blocks], dim=1),
            torch.cat([block.log_proposal for block in blocks], dim=1),
            tuple(torch.cat(columns) for columns in zip(*(block.log_parts for block in blocks), strict=True)),
        )


def balance_heuristic(rounds: Sequence[WeightedDraws]) -> WeightedDraws:
    """The draws of all rounds of a source as draws of the mixture of their proposals (the balance heuristic).

    Args:
        rounds: Of proposals with the same parts; the last one's stands in the result.

    Source: Veach & Guibas 1995.
    """
    together = WeightedDraws.chain(rounds)
    draws = together.v.shape[1]
    pool = [
        one.proposal.log_density(together.v, together.log_parts) + math.log(one.v.shape[1] / draws) for one in rounds
    ]
    return replace(together, proposal=rounds[-1].proposal, log_proposal=torch.logsumexp(torch.stack(pool), dim=0))
