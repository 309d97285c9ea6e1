"""Proposals: made from optima, improved by their own weighted draws, or fitted to what a sampler explored.

1. `laplace_mixture`: a Student-t at every distinct optimum (the inverse information as its scale) with a wider twin.
2. `reshared`: the same parts with the shares that a few weighted draws of it ask for. It serves most spectra.
3. `refined`: Student-t components, and the shares of the parts beside them, fitted by expectation-maximisation to all
   weighted draws so far. The draws of all rounds count as drawn from the mixture of their proposals; weights are
   tempered while a few dominate.
4. `explored`: for posteriors that are wide in several parameters at once and bend, where what is fitted to weighted
   draws forgets the tails that no draw has reached. It is fitted to the states of an ensemble that walked the
   *tempered* posterior (`sampler`), which reach beyond the tails: half by expectation-maximisation, half as kernels
   with the covariance of their neighbours, both in the coordinates of `level`.

Every proposal keeps a share of the optima and of every part. Covariances of components are shrunk towards
the average one, so that a component with few draws does not collapse onto them.

Source: Cappe et al. 2008, Stat. Comput. 18, 447 (population Monte Carlo by EM); Peel & McLachlan 2000, Stat. Comput.
10, 339 (EM for t-mixtures); West 1993, J. R. Stat. Soc. B 55, 409 (adaptive kernel importance sampling).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.importance import Round, effective_sample_size
from xrayflow.inference.level import Level
from xrayflow.inference.optimiser import Optima
from xrayflow.inference.parts import Parts
from xrayflow.inference.proposal import Mixture, Proposal, mahalanobis
from xrayflow.inference.ridge import DOF, root_of_inverse

NEAR = 20.0
"""In -2 log posterior: optima within this of the best are part of the posterior's support."""

SAME = 1.0
"""Two optima closer than this Mahalanobis distance are one."""

TWIN_SHARE = 0.15
LAPLACE_SHARE = 0.1
"""What the optima keep of a refined proposal, so that none of them is forgotten."""

MOST_PARTS = 0.95
"""Of what the floors leave: the rest is the t-mixture's."""

GUESSED = 0.2
"""Of the shares before any draw, what a proposal keeps when its first draws are weighed: few do not reach the tails."""

UNSHAPED = 0.5
"""Of a refined proposal: parts with shares of their own fit."""

EXPLORED = 0.75
"""What the ensemble's states get of an explored proposal."""

LEAST_ESS = 100.0

ENOUGH = 0.15
"""The weights are tempered to an effective sample size of this part of the draws."""

COMPONENTS, DRAWS_EACH, MOST_COMPONENTS = 4, 400, 8
"""Of a refined mixture: so many, one more for each so many draws, at most so many."""

EXPLORED_COMPONENTS = 12
EM_STEPS = 30
SHRINK = 8.0
"""Draws' worth of the average covariance in each component's."""

CORRELATED = 8.0
"""So many states of the ensemble count as one draw when covariances are shrunk."""

KERNELS = 500
NEIGHBOURS = 150
KERNEL_SCALE = 0.85
KERNEL_SHARE = 0.45
"""Kernels at so many states, each with the covariance of its neighbours times scale^2: they make the weights' tail
light, the components make them even (docs/decisions/0002)."""


@dataclass(frozen=True)
class Explored:
    """A t-mixture in the coordinates of a level, as a part of one source's proposal.

    Attributes:
        level: Of this source.
        mixture: Likewise.
    """

    level: Level
    mixture: Mixture

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        """Draws."""
        return self.level.back(Proposal(self.mixture, (Parts.none(),)).sample(draws, [generator]))[0]

    def log_density(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, " draw"]:
        """Natural log of the density; -inf where the level is no number."""
        density = self.mixture.log_density(self.level.into(v[None]))[0] + self.level.log_slope(v[None])[0]
        return torch.where(torch.isnan(density), -torch.inf, density)


def distinct_optima(optima: Optima) -> list[Tensor]:
    """For each source the indices of its distinct optima within `NEAR` of the best, best first."""
    kept: list[Tensor] = []
    for v, objective, information in zip(optima.v, optima.objective, optima.information, strict=True):
        order = torch.argsort(torch.where(torch.isfinite(objective), objective, torch.inf))
        chosen: list[int] = []
        for i in order.tolist():
            if not (torch.isfinite(objective[i]) and objective[i] <= objective[order[0]] + NEAR):
                break
            distance = [float(torch.sqrt((v[i] - v[j]) @ information[j] @ (v[i] - v[j]))) for j in chosen]
            if all(d > SAME for d in distance):
                chosen.append(i)
        kept.append(torch.tensor(chosen, dtype=torch.int64))
    return kept


def laplace_mixture(optima: Optima) -> Mixture:
    """Student-t components at the distinct optima, each with a twin twice as wide; shares by Laplace's evidence."""
    chosen = distinct_optima(optima)
    most = max(max(index.numel() for index in chosen), 1)
    sources, _, parameters = optima.v.shape
    log_share = torch.full((sources, most), -torch.inf, dtype=torch.float64)
    mean = torch.zeros((sources, most, parameters), dtype=torch.float64)
    scale = torch.eye(parameters, dtype=torch.float64).expand(sources, most, -1, -1).clone()
    for source, index in enumerate(chosen):
        if index.numel() == 0:  # no start reached a finite likelihood: the prior is all we know
            log_share[source, 0] = 0.0
            continue
        information = optima.information[source, index]
        log_evidence = optima.log_evidence(source, index)
        # none below 5 % of the largest: Laplace's evidence is a guess
        log_evidence = torch.maximum(log_evidence, log_evidence.max() + math.log(0.05))
        log_share[source, : index.numel()] = torch.log_softmax(log_evidence, 0)
        mean[source, : index.numel()] = optima.v[source, index]
        scale[source, : index.numel()] = root_of_inverse(information)
    core = Mixture(log_share, mean, scale)
    return core.joined(Mixture(log_share, mean, 2.0 * scale), share=TWIN_SHARE)


def reshared(every: Round, first: Proposal) -> Proposal:
    """The first proposal of one source with the shares that its weighted draws ask for.

    Args:
        every: The rounds so far, `pooled`.
        first: The first proposal.
    """
    beside = first.parts[0]
    share = GUESSED * beside.above + (1.0 - GUESSED) * part_shares(every, first)
    return replace(first, parts=(beside.sharing(share),))


def refined(every: Round, first: Proposal, generator: torch.Generator) -> Proposal:
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
    mixture, share = _fitted(every.v, weight, components, 1.0, [generator], every.log_parts[0][None])
    # half by what the draws shaped, half by the best mix of parts that no draw has shaped: few heavy draws mislead
    share = UNSHAPED * part_shares(every, first) + (1.0 - UNSHAPED) * share[0]
    return Proposal(mixture.joined(first.mixture, LAPLACE_SHARE), (first.parts[0].sharing(share),))


def part_shares(every: Round, first: Proposal) -> Float[Tensor, " part"]:
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


def explored(
    states: Float[Tensor, "source state parameter"],
    level: Level,
    first: Proposal,
    shares: list[Float[Tensor, " part"]],
    generators: list[torch.Generator],
) -> Proposal:
    """A proposal for the region that an ensemble walked.

    Args:
        states: Of `sampler.explore`, equally weighted.
        level: Whose coordinates they are.
        first: The first proposal, of which a share is kept.
        shares: `part_shares` of each source.
        generators: One per source.
    """
    weight = torch.full(states.shape[:2], 1.0 / states.shape[1], dtype=states.dtype)
    components, _ = _fitted(states, weight, EXPLORED_COMPONENTS, CORRELATED, generators)
    kernels = [_kernels(w, generator) for w, generator in zip(states, generators, strict=True)]
    spread = Mixture(
        states.new_full((states.shape[0], kernels[0][0].shape[0]), -math.log(kernels[0][0].shape[0])),
        torch.stack([mean for mean, _ in kernels]),
        torch.stack([scale for _, scale in kernels]),
    )
    mixture = components.joined(spread, KERNEL_SHARE)
    parts = []
    for source, (beside, share) in enumerate(zip(first.parts, shares, strict=True)):
        one = torch.tensor([source])
        walked = Explored(level.select(one), mixture.select(one))
        parts.append(beside.sharing(share).beside(walked, EXPLORED))
    return Proposal(first.mixture, tuple(parts))


def tempered(log_weight: Float[Tensor, "source draw"], wanted: float) -> Float[Tensor, "source draw"]:
    """Normalised weights to the largest power <= 1 that leaves the wanted ess."""
    log_weight = torch.where(torch.isfinite(log_weight), log_weight, -torch.inf)
    lo, hi = log_weight.new_zeros(log_weight.shape[0]), log_weight.new_ones(log_weight.shape[0])
    enough = effective_sample_size(log_weight) >= wanted
    for _ in range(30):
        middle = 0.5 * (lo + hi)
        good = effective_sample_size(middle[:, None] * log_weight) >= wanted
        lo, hi = torch.where(good, middle, lo), torch.where(good, hi, middle)
    power = torch.where(enough, 1.0, lo.clamp(min=1e-3))
    return torch.softmax(power[:, None] * log_weight, dim=1)


def _fitted(
    v: Tensor,
    weight: Tensor,
    components: int,
    correlated: float,
    generators: list[torch.Generator],
    log_parts: Float[Tensor, "source draw part"] | None = None,
) -> tuple[Mixture, Float[Tensor, "source part"]]:
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
    scale = _cholesky(covariance)[:, None].expand(-1, components, -1, -1)
    mixture = Mixture(v.new_full((v.shape[0], components), -math.log(components)), mean, scale)
    for _ in range(EM_STEPS):
        distance2 = mahalanobis(v, mixture.mean, mixture.scale_tril)
        student = mixture.component_log_density(v) + torch.log1p(-part_share.sum(-1))[:, None, None]
        everything = torch.cat([log_parts + torch.log(part_share)[:, None], student], dim=-1)
        responsibility = torch.softmax(everything, dim=-1) * weight[..., None]
        part_share = responsibility[..., :parts].sum(1)
        part_share = part_share * (MOST_PARTS / part_share.sum(-1, keepdim=True).clamp(min=MOST_PARTS))
        responsibility = responsibility[..., parts:]
        share = responsibility.sum(1)
        latent = responsibility * (DOF + parameters) / (DOF + distance2)
        mean = (latent.mT @ v) / latent.sum(1).clamp(min=1e-300)[..., None]
        difference = v[:, None, :, :] - mean[:, :, None, :]
        scatter = (difference * latent.mT[..., None]).mT @ difference
        average = scatter.sum(1, keepdim=True) / share.sum(1).clamp(min=1e-300)[:, None, None, None]
        number = (draws[:, None] * share)[..., None, None]
        within = scatter / share.clamp(min=1e-300)[..., None, None]
        covariance = (number * within + SHRINK * average) / (number + SHRINK)
        log_share = torch.log_softmax(torch.log(draws[:, None] * share + 1.0), dim=1)
        mixture = Mixture(log_share, mean, _cholesky(covariance))
    return mixture, part_share


def _kernels(states: Float[Tensor, "state parameter"], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Places and Cholesky factors of kernels at states picked at random, shaped by their nearest neighbours."""
    parameters = states.shape[-1]
    count, neighbours = min(KERNELS, states.shape[0]), min(NEIGHBOURS, states.shape[0])
    place = states[torch.randperm(states.shape[0], generator=generator)[:count]]
    covariance = torch.cov(states.T).reshape(parameters, parameters)
    white = torch.linalg.solve_triangular(_cholesky(covariance), torch.cat([states, place]).T, upper=False).T
    nearest = torch.cdist(white[-count:], white[:-count]).topk(neighbours, largest=False).indices
    around = states[nearest]
    around = around - around.mean(1, keepdim=True)
    return place, _cholesky(KERNEL_SCALE**2 * around.mT @ around / neighbours)


def _cholesky(covariance: Tensor) -> Tensor:
    """Cholesky factor of a covariance that may be singular to rounding."""
    size = covariance.diagonal(dim1=-2, dim2=-1)
    factor: Tensor = torch.linalg.cholesky(covariance + torch.diag_embed(1e-10 * size + 1e-14))
    return factor
