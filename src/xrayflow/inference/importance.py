"""Weighted draws of a proposal, and what the weights say: effective sample size, Pareto k, evidence.

A draw v from a proposal q weighs

    log w = log likelihood + log N(v; 0, I) - log q(v);      mean weight = evidence,      ess = (sum w)^2 / sum w^2.

The tail of the weights is described by a generalised Pareto shape k: below 0.7 the mean of the weights converges.

Source: Kish 1965 (ess); Vehtari et al. 2024, JMLR 25, 72 (Pareto k and its threshold); Zhang & Stephens 2009,
Technometrics 51, 316 (the estimator of k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.inference.proposal import Proposal
from xrayflow.prior import FAR, log_standard_normal
from xrayflow.problem import Problem


@dataclass(frozen=True)
class Round:
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
    def of(cls, proposal: Proposal, v: Tensor, log_target: Tensor) -> Round:
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

    def select(self, sources: Tensor) -> Round:
        """The draws of some of the sources."""
        return Round(
            self.proposal.select(sources),
            self.v[sources],
            self.log_target[sources],
            self.log_proposal[sources],
            tuple(self.log_parts[i] for i in sources.tolist()),
        )

    @classmethod
    def chain(cls, blocks: Sequence[Round]) -> Round:
        """Blocks of draws of one proposal, end to end."""
        return cls(
            blocks[0].proposal,
            torch.cat([block.v for block in blocks], dim=1),
            torch.cat([block.log_target for block in blocks], dim=1),
            torch.cat([block.log_proposal for block in blocks], dim=1),
            tuple(torch.cat(columns) for columns in zip(*(block.log_parts for block in blocks), strict=True)),
        )


def log_target(
    problem: Problem, v: Float[Tensor, "source draw parameter"], power: float = 1.0
) -> Float[Tensor, "source draw"]:
    """Natural log of likelihood^power x prior in probit coordinates.

    It is -inf where the model gives no number, and outside the box, where a guide made for another box may draw.
    """
    value = power * problem.log_likelihood(problem.prior.to_theta(v)) + log_standard_normal(v)
    return torch.where(torch.isnan(value) | (v.abs() >= FAR).any(-1), -torch.inf, value)


def pooled(rounds: Sequence[Round]) -> Round:
    """The draws of all rounds of a source as draws of the mixture of their proposals (the balance heuristic).

    Args:
        rounds: Of proposals with the same parts; the last one's stands in the result.

    Source: Veach & Guibas 1995.
    """
    together = Round.chain(rounds)
    draws = together.v.shape[1]
    pool = [
        one.proposal.log_density(together.v, together.log_parts) + math.log(one.v.shape[1] / draws) for one in rounds
    ]
    return replace(together, proposal=rounds[-1].proposal, log_proposal=torch.logsumexp(torch.stack(pool), dim=0))


def effective_sample_size(log_weight: Float[Tensor, "*batch draw"]) -> Float[Tensor, "*batch"]:
    """(sum w)^2 / sum w^2; 0 where no weight is finite."""
    peak = log_weight.amax(-1, keepdim=True)
    weight = torch.where(
        torch.isfinite(log_weight), torch.exp(log_weight - torch.where(torch.isfinite(peak), peak, 0.0)), 0.0
    )
    square = weight.square().sum(-1)
    return torch.where(square > 0, weight.sum(-1).square() / square.clamp(min=1e-300), 0.0)


def log_mean_weight(log_weight: Float[Tensor, "*batch draw"]) -> Float[Tensor, "*batch"]:
    """Natural log of the mean weight: the evidence."""
    return torch.logsumexp(log_weight, dim=-1) - math.log(log_weight.shape[-1])


def log_evidence_error(ess: float, draws: int) -> float:
    """Standard error of the log of the mean weight, sqrt(1/ess - 1/draws)."""
    return math.sqrt(max(1.0 / ess - 1.0 / draws, 0.0)) if ess > 0 else math.inf


def pareto_k(log_weight: NDArray[np.float64]) -> float:
    """Shape of the generalised Pareto tail of the weights, from the largest min(n / 5, 3 sqrt n) of them.

    Returns:
        k with the weak prior of Vehtari et al. (10 observations at 0.5); -inf for weights that are all equal, inf
        where fewer than 5 tail weights are finite.
    """
    finite = np.sort(log_weight[np.isfinite(log_weight)])
    tail = math.ceil(min(0.2 * log_weight.size, 3.0 * math.sqrt(log_weight.size)))
    if tail < 5 or finite.size <= tail:
        return math.inf
    cutoff = finite[-tail - 1]
    scaled = np.exp(finite[-tail:] - finite[-1])
    exceed = scaled - math.exp(cutoff - finite[-1])
    if finite[-1] == cutoff:
        return -math.inf
    exceed = exceed[exceed > 0]
    if exceed.size < 5:  # the rest underflows beside the largest weights
        return math.inf
    k = _pareto_shape(exceed)
    n = exceed.size
    return float((n * k + 10.0 * 0.5) / (n + 10.0))


def most_pareto_k(draws: int) -> float:
    """The largest Pareto k at which the mean of so many weights can be relied upon: min(1 - 1 / log10(draws), 0.7).

    Source: Vehtari et al. 2024, section 3.2.4.
    """
    return min(1.0 - 1.0 / math.log10(max(draws, 11)), 0.7)


def _pareto_shape(exceed: NDArray[np.float64]) -> float:
    """Zhang & Stephens' estimate of k from ascending positive exceedances (k > 0: heavy tail)."""
    n = exceed.size
    grid = 30 + int(math.sqrt(n))
    quartile = exceed[int(n / 4 + 0.5) - 1]
    steps = np.arange(1, grid + 1)
    b = 1.0 / exceed[-1] + (1.0 - np.sqrt(grid / (steps - 0.5))) / (3.0 * quartile)
    shape = np.log1p(-b[:, None] * exceed).mean(axis=1)
    profile = n * (np.log(-b / shape) - shape - 1.0)
    posterior = np.exp(profile - profile.max())
    mean_b = float((b * posterior).sum() / posterior.sum())
    return float(np.log1p(-mean_b * exceed).mean())
