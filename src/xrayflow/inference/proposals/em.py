"""Proposals that their own weighted draws shape.

* `reshared`: the same components with the shares that a few weighted draws of them ask for. It serves most spectra.
* `refined`: Student-t components, and the shares of those beside them, fitted by expectation-maximisation to all
  weighted draws so far. The draws of all rounds count as drawn from the mixture of their proposals; weights are
  tempered while a few dominate.

Every proposal keeps a share of the modes and of every component. Covariances are shrunk towards the average one, so
that a component with few draws does not collapse onto them.

Source: Cappe et al. 2008, Stat. Comput. 18, 447 (population Monte Carlo by EM); Peel & McLachlan 2000, Stat. Comput.
10, 339 (EM for t-mixtures).
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.proposals.student import DOF, StudentMixture, cholesky, log_student
from xrayflow.inference.weights import tempered

LAPLACE_SHARE = 0.1
"""What the modes keep of a refined proposal, so that none of them is forgotten."""

MOST_PARTS = 0.95
"""Of what the floors leave: the rest is the t-mixture's."""

GUESSED = 0.2
"""Of the shares before any draw, what a proposal keeps when its first draws are weighed: few do not reach the tails."""

UNSHAPED = 0.5
"""Of a refined proposal: components with shares of their own fit."""

LEAST_ESS = 100.0

ENOUGH = 0.15
"""The weights are tempered to an effective sample size of this part of the draws."""

COMPONENTS, DRAWS_EACH, MOST_COMPONENTS = 4, 400, 8
"""Of a refined mixture: so many, one more for each so many draws, at most so many."""

EM_STEPS = 30
SHRINK = 8.0
"""Draws' worth of the average covariance in each component's."""


def reshared(every: WeightedDraws, first: Proposal) -> Proposal:
    """The first proposal of one source with the shares that its weighted draws ask for.

    Args:
        every: The rounds so far, `pooled`.
        first: The first proposal.
    """
    beside = first.parts[0]
    share = GUESSED * beside.above + (1.0 - GUESSED) * part_shares(every, first)
    return replace(first, parts=(beside.sharing(share),))


def refined(every: WeightedDraws, first: Proposal, generator: torch.Generator) -> Proposal:
    """A proposal fitted to the weighted draws of all rounds of one source.

    A share of the first is kept: of its optima, and of every part.

    Args:
        every: The rounds so far, `pooled`.
        first: The first proposal.
        generator: For the starting means.
    """
    draws = every.v.shape[1]
    weight = tempered(every.log_weight, ENOUGH * draws)
    components = min(COMPONENTS + draws // DRAWS_EACH, MOST_COMPONENTS)
    mixture, share = fit_students(every.v, weight, components, 1.0, [generator], every.log_parts[0][None])
    # half by what the draws shaped, half by the best mix of parts that no draw has shaped: few heavy draws mislead
    share = UNSHAPED * part_shares(every, first) + (1.0 - UNSHAPED) * share[0]
    return Proposal(mixture.joined(first.mixture, LAPLACE_SHARE), (first.parts[0].sharing(share),))


def part_shares(every: WeightedDraws, first: Proposal) -> Float[Tensor, " part"]:
    """The shares with which the parts of one source, beside its optima, come closest to all of its weighted draws.

    Args:
        every: The rounds so far, `pooled`.
        first: The first proposal.
    """
    weight = tempered(every.log_weight, min(LEAST_ESS, ENOUGH * every.v.shape[1]))[0]
    columns = torch.cat([every.log_parts[0], first.mixture.log_density(every.v)[0, :, None]], dim=1)
    share = columns.new_full((columns.shape[1],), 1.0 / columns.shape[1])
    for _ in range(EM_STEPS):
        share = (torch.softmax(columns + torch.log(share), dim=1) * weight[:, None]).sum(0)
    return share[:-1] * (MOST_PARTS / share[:-1].sum().clamp(min=MOST_PARTS))


def fit_students(
    v: Tensor,
    weight: Tensor,
    components: int,
    correlated: float,
    generators: list[torch.Generator],
    log_parts: Float[Tensor, "source draw part"] | None = None,
) -> tuple[StudentMixture, Float[Tensor, "source part"]]:
    """Weighted EM for a t-mixture with fixed degrees of freedom, started at draws picked by weight.

    Beside it stand other parts, of which only the shares are fitted.
    """
    log_parts = v.new_zeros((*v.shape[:2], 0)) if log_parts is None else log_parts
    parts = log_parts.shape[-1]
    part_share = v.new_full((v.shape[0], parts), 0.5 / max(parts, 1))
    parameters = v.shape[-1]
    draws = 1.0 / weight.square().sum(1) / correlated
    picks = [torch.multinomial(w, components, generator=g) for w, g in zip(weight, generators, strict=True)]
    mean = v.gather(1, torch.stack(picks)[..., None].expand(-1, -1, parameters))
    centre = (weight[..., None] * v).sum(1, keepdim=True)
    # each component starts with its part of the volume
    covariance = ((v - centre) * weight[..., None]).mT @ (v - centre) * components ** (-2.0 / parameters)
    scale = cholesky(covariance)[:, None].expand(-1, components, -1, -1)
    mixture = StudentMixture(v.new_full((v.shape[0], components), -math.log(components)), mean, scale)
    # the draws last: every step works along them
    places, weights, log_parts = v.mT.contiguous(), weight[:, None], log_parts.mT.contiguous()
    for _ in range(EM_STEPS):
        white = torch.linalg.solve_triangular(
            mixture.scale_tril, places[:, None] - mixture.mean[..., None], upper=False
        )
        distance2 = white.square().sum(-2)
        student = log_student(distance2.mT, mixture.scale_tril).mT + mixture.log_share[..., None]
        student = student + torch.log1p(-part_share.sum(-1))[:, None, None]
        everything = torch.cat([log_parts + torch.log(part_share)[..., None], student], dim=1)
        responsibility = torch.exp(everything - torch.logsumexp(everything, dim=1, keepdim=True)) * weights
        part_share = responsibility[:, :parts].sum(-1)
        part_share = part_share * (MOST_PARTS / part_share.sum(-1, keepdim=True).clamp(min=MOST_PARTS))
        responsibility = responsibility[:, parts:]
        share = responsibility.sum(-1)
        latent = responsibility * (DOF + parameters) / (DOF + distance2)
        mean = (latent @ v) / latent.sum(-1).clamp(min=1e-300)[..., None]
        difference = places[:, None] - mean[..., None]
        scatter = (difference * latent[:, :, None]) @ difference.mT
        average = scatter.sum(1, keepdim=True) / share.sum(1).clamp(min=1e-300)[:, None, None, None]
        number = (draws[:, None] * share)[..., None, None]
        within = scatter / share.clamp(min=1e-300)[..., None, None]
        covariance = (number * within + SHRINK * average) / (number + SHRINK)
        log_share = torch.log_softmax(torch.log(draws[:, None] * share + 1.0), dim=1)
        mixture = StudentMixture(log_share, mean, cholesky(covariance))
    return mixture, part_share
