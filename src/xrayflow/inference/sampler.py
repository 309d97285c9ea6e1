"""An ensemble that walks a tempered posterior: differential evolution, many sources at once.

Each walker proposes a jump along the difference of two others, in the coordinates of `level`. The posterior is
flattened (log likelihood times `TEMPERATURE`), so the ensemble reaches past the tails that weighted draws must cover.
Its states shape a proposal (`refine.explored`); they are never an answer themselves.

Source: ter Braak 2006, Stat. Comput. 16, 239 (differential evolution MCMC).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.importance import log_target
from xrayflow.inference.level import Level
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


def explore(
    problem: Problem, level: Level, start: Float[Tensor, "source walker parameter"], generators: list[torch.Generator]
) -> Float[Tensor, "source state parameter"]:
    """States of the ensemble after it forgot its start.

    Args:
        problem: The batch.
        level: Its coordinates.
        start: Probit coordinates of `WALKERS` walkers, spread over the posterior.
        generators: One per source.

    Returns:
        The walkers' places at every remembered step, in those coordinates; `WALKERS` x `STEPS` likelihood evaluations
        per source.
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


def _tempered_density(problem: Problem, level: Level, v: Tensor) -> Float[Tensor, "source walker"]:
    """Natural log of likelihood^TEMPERATURE x prior in the level's coordinates; -inf where it is no number."""
    return log_target(problem, v, TEMPERATURE) - level.log_slope(v)
