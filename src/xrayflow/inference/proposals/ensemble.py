"""For posteriors that are wide in several parameters at once and bend: an ensemble, and the proposal that it shapes.

Each walker proposes a jump along the difference of two others, in the coordinates of `level`. The posterior is
flattened (log likelihood times `TEMPERATURE`), so the ensemble reaches past the tails that weighted draws must cover.
Its states reach beyond the tails, where what is fitted to weighted draws forgets those that no draw has reached. They
shape a proposal (`explored`), half by expectation-maximisation, half as kernels with the covariance of their
neighbours, and are never an answer themselves.

Source: ter Braak 2006, Stat. Comput. 16, 239 (differential evolution MCMC); West 1993, J. R. Stat. Soc. B 55, 409
(adaptive kernel importance sampling).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.proposals.counts_coordinates import CountsCoordinates, MixtureInCoordinates
from xrayflow.inference.proposals.em import fit_students
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.proposals.student import StudentMixture, cholesky
from xrayflow.problem import Problem

TEMPERATURE = 0.6
WALKERS = 100
STEPS = 120
FORGOTTEN = 40
"""First steps, left out."""

JITTER = 1e-4
"""Of the ensemble's spread: what makes every place reachable."""

WHOLE_JUMP = 0.1
"""Share of the jumps that are the whole difference of two walkers, which lead from one mode to another."""

EXPLORED = 0.75
"""What the ensemble's states get of an explored proposal."""

EXPLORED_COMPONENTS = 12

CORRELATED = 8.0
"""So many states of the ensemble count as one draw when covariances are shrunk."""

KERNELS = 500
NEIGHBOURS = 150
KERNEL_SCALE = 0.85
KERNEL_SHARE = 0.45
"""Kernels at so many states, each with the covariance of its neighbours times scale^2: they make the weights' tail
light, the components make them even (docs/decisions/0002)."""


def explore(
    problem: Problem,
    level: CountsCoordinates,
    start: Float[Tensor, "source walker parameter"],
    generators: list[torch.Generator],
) -> Float[Tensor, "source state parameter"]:
    """States of the ensemble after it forgot its start.

    Args:
        problem: The batch.
        level: Its coordinates.
        start: Probit coordinates of `WALKERS` walkers, spread over the posterior.
        generators: One per source.

    Returns:
        The walkers' places at every remembered step, in those coordinates; `WALKERS` x (`STEPS` + 1) likelihood
        evaluations per source.
    """
    walkers, parameters = start.shape[1:]
    usual = 2.38 / math.sqrt(2.0 * parameters)
    w, density = level.into(start), _tempered_density(problem, level, start)
    states = []
    for step in range(STEPS):
        rolls = [_rolls(walkers, parameters, generator) for generator in generators]
        partner, jump, jitter, chance = (torch.stack(column) for column in zip(*rolls, strict=True))
        index = partner[..., None].expand(-1, -1, -1, parameters)
        first, second = (w.gather(1, index[:, side]) for side in (0, 1))
        length = torch.where(jump[..., :1] < WHOLE_JUMP, 1.0, usual * (0.1 + 0.9 * jump[..., 1:]))
        trial = w + length * (first - second) + JITTER * w.std(1, keepdim=True) * jitter
        trial_density = _tempered_density(problem, level, level.back(trial))
        accepted = torch.log(chance) < trial_density - density
        w = torch.where(accepted[..., None], trial, w)
        density = torch.where(accepted, trial_density, density)
        if step >= FORGOTTEN:
            states.append(w)
    return torch.cat(states, dim=1)


def _rolls(walkers: int, parameters: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One step's random numbers of one source: two other walkers for each, jump lengths, jitter, chances."""
    me = torch.arange(walkers)
    partner = torch.randint(0, walkers - 1, (2, walkers), generator=generator)
    partner = partner + (partner >= me)
    jump = torch.rand((walkers, 2), generator=generator, dtype=torch.float64)
    jitter = torch.randn((walkers, parameters), generator=generator, dtype=torch.float64)
    return partner, jump, jitter, torch.rand(walkers, generator=generator, dtype=torch.float64)


def _tempered_density(problem: Problem, level: CountsCoordinates, v: Tensor) -> Float[Tensor, "source walker"]:
    """Natural log of likelihood^TEMPERATURE x prior in the level's coordinates; -inf where it is no number."""
    return problem.log_target(v, TEMPERATURE) - level.log_slope(v)


def explored(
    states: Float[Tensor, "source state parameter"],
    level: CountsCoordinates,
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
    components, _ = fit_students(states, weight, EXPLORED_COMPONENTS, CORRELATED, generators)
    kernels = [_kernels(w, generator) for w, generator in zip(states, generators, strict=True)]
    spread = StudentMixture(
        states.new_full((states.shape[0], kernels[0][0].shape[0]), -math.log(kernels[0][0].shape[0])),
        torch.stack([mean for mean, _ in kernels]),
        torch.stack([scale for _, scale in kernels]),
    )
    mixture = components.joined(spread, KERNEL_SHARE)
    parts = []
    for source, (beside, share) in enumerate(zip(first.parts, shares, strict=True)):
        one = torch.tensor([source])
        walked = MixtureInCoordinates(level.select(one), mixture.select(one))
        parts.append(beside.sharing(share).beside(walked, EXPLORED))
    return Proposal(first.mixture, tuple(parts))


def _kernels(states: Float[Tensor, "state parameter"], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Places and Cholesky factors of kernels at states picked at random, shaped by their nearest neighbours."""
    parameters = states.shape[-1]
    count, neighbours = min(KERNELS, states.shape[0]), min(NEIGHBOURS, states.shape[0])
    place = states[torch.randperm(states.shape[0], generator=generator)[:count]]
    covariance = torch.cov(states.T).reshape(parameters, parameters)
    white = torch.linalg.solve_triangular(cholesky(covariance), torch.cat([states, place]).T, upper=False).T
    nearest = torch.cdist(white[-count:], white[:-count]).topk(neighbours, largest=False).indices
    around = states[nearest]
    around = around - around.mean(1, keepdim=True)
    return place, cholesky(KERNEL_SCALE**2 * around.mT @ around / neighbours)
