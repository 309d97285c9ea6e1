"""Proposals with a density, and what their weights say: effective sample size, Pareto k, evidence.

A proposal q is a mixture of Student-t components in probit coordinates plus a share of the prior itself, so no region
of the prior is out of its reach. A draw v from q weighs

    log w = log likelihood + log N(v; 0, I) - log q(v);      mean weight = evidence,      ess = (sum w)^2 / sum w^2.

The tail of the weights is described by a generalised Pareto shape k: below 0.7 the mean of the weights converges.

Source: Kish 1965 (ess); Vehtari et al. 2024, JMLR 25, 72 (Pareto k and its threshold); Zhang & Stephens 2009,
Technometrics 51, 316 (the estimator of k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.prior import log_standard_normal

DOF = 5
"""Of the Student-t components: heavy enough for tails, with a finite fourth moment."""


@dataclass(frozen=True)
class Mixture:
    """Student-t components and a share of the prior, one mixture per source.

    Attributes:
        log_share: (source, component) natural log of the shares of the t-part, normalised; -inf pads.
        mean: (source, component, parameter).
        scale_tril: (source, component, parameter, parameter) lower Cholesky factors of the scale matrices.
        prior_share: Share of N(0, I).
    """

    log_share: Float[Tensor, "source component"]
    mean: Float[Tensor, "source component parameter"]
    scale_tril: Float[Tensor, "source component parameter parameter"]
    prior_share: float

    def sample(self, draws: int, generators: list[torch.Generator]) -> Float[Tensor, "source draw parameter"]:
        """Draws, one generator per source."""
        return torch.stack([self._sample_one(source, draws, generator) for source, generator in enumerate(generators)])

    def _sample_one(self, source: int, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        parameters = self.mean.shape[-1]
        z = torch.randn((draws, parameters), generator=generator, dtype=torch.float64)
        chi2 = torch.randn((draws, DOF), generator=generator, dtype=torch.float64).square().sum(-1)
        pick = torch.rand((draws, 2), generator=generator, dtype=torch.float64)
        cumulative = self.log_share[source].exp().cumsum(0)
        component = torch.searchsorted(cumulative, pick[:, 0] * cumulative[-1]).clamp(max=cumulative.numel() - 1)
        student = (
            self.mean[source, component]
            + (self.scale_tril[source, component] @ z[..., None])[..., 0] * torch.sqrt(DOF / chi2)[:, None]
        )
        return torch.where(pick[:, 1:] < self.prior_share, z, student)

    def component_log_density(
        self, v: Float[Tensor, "source draw parameter"]
    ) -> Float[Tensor, "source draw component"]:
        """Natural log of share x density of each t-component."""
        return self.log_share[:, None, :] + log_student(mahalanobis(v, self.mean, self.scale_tril), self.scale_tril)

    def log_density(self, v: Float[Tensor, "source draw parameter"]) -> Float[Tensor, "source draw"]:
        """log q(v)."""
        student = torch.logsumexp(self.component_log_density(v), dim=-1)
        if self.prior_share == 0.0:
            return student
        return torch.logaddexp(
            student + math.log1p(-self.prior_share), log_standard_normal(v) + math.log(self.prior_share)
        )

    def select(self, sources: Tensor) -> Mixture:
        """The mixtures of some of the sources."""
        return Mixture(self.log_share[sources], self.mean[sources], self.scale_tril[sources], self.prior_share)

    @classmethod
    def stack(cls, mixtures: Sequence[Mixture]) -> Mixture:
        """Mixtures of several sources as one batch, padded with empty components."""
        most = max(mixture.log_share.shape[1] for mixture in mixtures)
        padded = [mixture._padded(most - mixture.log_share.shape[1]) for mixture in mixtures]
        return cls(
            torch.cat([mixture.log_share for mixture in padded]),
            torch.cat([mixture.mean for mixture in padded]),
            torch.cat([mixture.scale_tril for mixture in padded]),
            mixtures[0].prior_share,
        )

    def _padded(self, missing: int) -> Mixture:
        eye = torch.eye(self.mean.shape[-1], dtype=self.mean.dtype).expand(self.mean.shape[0], missing, -1, -1)
        return Mixture(
            torch.nn.functional.pad(self.log_share, (0, missing), value=-torch.inf),
            torch.nn.functional.pad(self.mean, (0, 0, 0, missing)),
            torch.cat([self.scale_tril, eye], dim=1),
            self.prior_share,
        )

    def joined(self, other: Mixture, share: float) -> Mixture:
        """This mixture with `share` of its t-part given to another's components."""
        return Mixture(
            torch.cat([self.log_share + math.log1p(-share), other.log_share + math.log(share)], dim=1),
            torch.cat([self.mean, other.mean], dim=1),
            torch.cat([self.scale_tril, other.scale_tril], dim=1),
            self.prior_share,
        )


@dataclass(frozen=True)
class Round:
    """Draws of a proposal with their log posterior density (up to the evidence) in probit coordinates."""

    proposal: Mixture
    v: Float[Tensor, "source draw parameter"]
    log_target: Float[Tensor, "source draw"]

    @property
    def log_weight(self) -> Float[Tensor, "source draw"]:
        """Natural log of the weights."""
        return self.log_target - self.proposal.log_density(self.v)

    @property
    def log_likelihood(self) -> Float[Tensor, "source draw"]:
        """Natural log of the likelihood."""
        return self.log_target - log_standard_normal(self.v)

    def select(self, sources: Tensor) -> Round:
        """The draws of some of the sources."""
        return Round(self.proposal.select(sources), self.v[sources], self.log_target[sources])

    @classmethod
    def stack(cls, rounds: Sequence[Round]) -> Round:
        """Rounds of several sources as one batch."""
        return cls(
            Mixture.stack([one.proposal for one in rounds]),
            torch.cat([one.v for one in rounds]),
            torch.cat([one.log_target for one in rounds]),
        )

    @classmethod
    def chain(cls, blocks: Sequence[Round]) -> Round:
        """Blocks of draws of one proposal, end to end."""
        return cls(
            blocks[0].proposal,
            torch.cat([block.v for block in blocks], dim=1),
            torch.cat([block.log_target for block in blocks], dim=1),
        )


def mahalanobis(v: Tensor, mean: Tensor, scale_tril: Tensor) -> Float[Tensor, "source draw component"]:
    """Squared distance of every draw from every component."""
    difference = v[:, None, :, :] - mean[:, :, None, :]
    white = torch.linalg.solve_triangular(scale_tril, difference.mT, upper=False)
    distance2: Tensor = white.square().sum(-2).mT
    return distance2


def log_student(
    distance2: Float[Tensor, "source draw component"], scale_tril: Tensor
) -> Float[Tensor, "source draw component"]:
    """Natural log of the multivariate Student-t density with `DOF` degrees of freedom."""
    parameters = scale_tril.shape[-1]
    log_determinant = torch.log(scale_tril.diagonal(dim1=-2, dim2=-1)).sum(-1)
    constant = (
        math.lgamma(0.5 * (DOF + parameters)) - math.lgamma(0.5 * DOF) - 0.5 * parameters * math.log(DOF * math.pi)
    )
    return constant - log_determinant[:, None, :] - 0.5 * (DOF + parameters) * torch.log1p(distance2 / DOF)


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
    posterior = 1.0 / np.exp(profile - profile[:, None]).sum(axis=1)
    mean_b = float((b * posterior).sum() / posterior.sum())
    return float(np.log1p(-mean_b * exceed).mean())
