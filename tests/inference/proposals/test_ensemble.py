"""An ensemble walks a flattened posterior, and its states shape a proposal that reaches the bends."""

from __future__ import annotations

import math

import torch

from bent_zoo import Bent
from proposal_zoo import draw, plain, seeded
from xrayflow.inference.proposals.counts_coordinates import CountsCoordinates
from xrayflow.inference.proposals.draws import balance_heuristic
from xrayflow.inference.proposals.em import part_shares
from xrayflow.inference.proposals.ensemble import (
    FORGOTTEN,
    STEPS,
    TEMPERATURE,
    WALKERS,
    explore,
    explored,
)
from xrayflow.inference.proposals.laplace import laplace_mixture
from xrayflow.inference.weights import effective_sample_size, log_mean_weight, pareto_k, tempered

FLAT = CountsCoordinates(None, ())  # type: ignore[arg-type]

"""No norm: the coordinates are the prior's."""


def test_the_ensemble_walks_the_tempered_posterior() -> None:
    """Its states match L^0.5 x prior: the spread along the banana by quadrature, within 15 % (correlated states)."""
    problem = Bent(bend=0.3, width=0.3)
    generators = seeded(7)
    start = plain(laplace_mixture(problem.modes())).sample(WALKERS, generators)
    states = explore(problem, FLAT, start, generators)  # type: ignore[arg-type]
    assert states.shape == (1, WALKERS * (STEPS - FORGOTTEN), 3)
    v0 = torch.linspace(-8.0, 8.0, 4001, dtype=torch.float64)
    width2 = problem.width**2 / TEMPERATURE
    density = torch.exp(-0.5 * v0**2 - 0.5 * (problem.bend * v0**2) ** 2 / (1.0 + width2))
    sd = math.sqrt(float((density * v0**2).sum() / density.sum()))
    assert abs(float(states[..., 0].std()) / sd - 1.0) < 0.15
    assert abs(float(states[..., 2].std()) - 1.0) < 0.15


def test_an_explored_proposal_carries_a_banana_that_laplace_misses() -> None:
    problem = Bent(bend=0.4, width=0.1)
    generators = seeded(8)
    laplace = plain(laplace_mixture(problem.modes()))
    one = draw(problem, laplace, 2000, generators)
    weight = tempered(one.log_weight - (1.0 - TEMPERATURE) * one.log_likelihood, float(WALKERS))
    start = one.v[:, torch.multinomial(weight[0], WALKERS, replacement=True, generator=generators[0])]
    states = explore(problem, FLAT, start, generators)  # type: ignore[arg-type]
    proposal = explored(states, FLAT, laplace, [part_shares(balance_heuristic([one]), laplace)], generators)
    fresh = draw(problem, proposal, 8000, generators)
    ess = float(effective_sample_size(fresh.log_weight))
    assert ess > 400
    assert pareto_k(fresh.log_weight[0].numpy()) < 0.7
    assert abs(float(log_mean_weight(fresh.log_weight)) - problem.log_evidence()) < 5.0 / math.sqrt(ess)
    assert float(effective_sample_size(draw(problem, laplace, 8000, generators).log_weight)) < 0.5 * ess


def test_explored_proposals_are_reproducible_and_depend_on_the_seed() -> None:
    problem = Bent()
    start = plain(laplace_mixture(problem.modes())).sample(WALKERS, seeded(9))
    first, again, other = (explore(problem, FLAT, start, seeded(seed)) for seed in (10, 10, 11))  # type: ignore[arg-type]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
