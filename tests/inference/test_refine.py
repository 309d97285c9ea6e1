"""Proposals for posteriors of known shape."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from bent_zoo import Bent
from guide_zoo import Fake
from xrayflow.inference.guide import GuidePart
from xrayflow.inference.importance import Round, effective_sample_size, log_mean_weight, pareto_k, pooled
from xrayflow.inference.level import Level
from xrayflow.inference.optimiser import Optima
from xrayflow.inference.parts import Parts, PriorPart
from xrayflow.inference.proposal import Mixture, Proposal
from xrayflow.inference.refine import (
    distinct_optima,
    explored,
    laplace_mixture,
    part_shares,
    refined,
    reshared,
    tempered,
)
from xrayflow.inference.sampler import FORGOTTEN, STEPS, TEMPERATURE, WALKERS, explore
from xrayflow.prior import log_standard_normal


def seeded(seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed)]


FLAT = Level(None, ())  # type: ignore[arg-type]
"""No norm: the coordinates are the prior's."""


def plain(mixture: Mixture) -> Proposal:
    """A proposal of one source with nothing beside but the prior."""
    return Proposal(mixture, (Parts.prior(mixture.mean.shape[-1]),))


def draw(problem: Bent, proposal: Proposal, count: int, generators: list[torch.Generator]) -> Round:
    v = proposal.sample(count, generators)
    return Round.of(proposal, v, problem.log_likelihood(torch.special.ndtr(v)) + log_standard_normal(v))


def optima_at(v: Tensor, objective: list[float], precision: float = 100.0) -> Optima:
    """Optima of one source with one round information matrix."""
    count, parameters = v.shape
    information = precision * torch.eye(parameters, dtype=torch.float64).expand(1, count, -1, -1)
    return Optima(
        v[None], torch.tensor([objective], dtype=torch.float64), information, torch.zeros(1, dtype=torch.int64)
    )


def test_optima_that_coincide_are_one_and_those_far_above_the_best_are_left_out() -> None:
    v = torch.tensor([[0.0, 0.0], [0.01, 0.0], [1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    assert distinct_optima(optima_at(v, [3.0, 2.0, 10.0, 23.0]))[0].tolist() == [1, 2]


def test_an_optimum_without_a_finite_likelihood_leaves_the_prior() -> None:
    mixture = plain(laplace_mixture(optima_at(torch.zeros((1, 2), dtype=torch.float64), [math.inf])))
    v = torch.randn((1, 4000, 2), generator=seeded(1)[0], dtype=torch.float64)
    # unit t-components: within 1 nat of the prior for 90 % of its draws
    assert (mixture.log_density(v) - log_standard_normal(v)).abs().quantile(0.9) < 1.0


def test_every_optimum_keeps_a_share_of_the_proposal() -> None:
    """The worse optimum is 18 in -2 log posterior above: 1e-4 by Laplace, at least 5 % of the best in ours."""
    v = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    mixture = plain(laplace_mixture(optima_at(v, [0.0, 18.0])))
    near = (mixture.sample(20_000, seeded(2)) - v[1]).norm(dim=-1) < 0.5
    assert 0.03 < near.double().mean() < 0.08


def test_tempered_weights_reach_the_wanted_ess_and_even_ones_are_left_alone() -> None:
    uneven = torch.linspace(0.0, 300.0, 1000, dtype=torch.float64)[None]
    assert abs(float(1.0 / tempered(uneven, 100.0).square().sum()) - 100.0) < 1.0
    even = 0.1 * torch.randn((1, 1000), generator=seeded(3)[0], dtype=torch.float64)
    torch.testing.assert_close(tempered(even, 100.0), torch.softmax(even, 1))


def test_pooled_weights_estimate_the_same_evidence_as_each_round() -> None:
    problem = Bent(bend=0.2, width=0.3)
    generators = seeded(4)
    laplace = plain(laplace_mixture(problem.optima()))
    wide = plain(replace(laplace.mixture, scale_tril=1.5 * laplace.mixture.scale_tril))
    rounds = [draw(problem, laplace, 4000, generators), draw(problem, wide, 2000, generators)]
    # 6000 draws at ess > 2000: the error is below 0.02, so 0.08 fails by chance in less than 1e-4
    assert abs(float(log_mean_weight(pooled(rounds).log_weight)) - problem.log_evidence()) < 0.08


def test_refining_raises_the_efficiency_of_a_shifted_proposal() -> None:
    problem = Bent(bend=0.2, width=0.2)
    generators = seeded(5)
    laplace = plain(laplace_mixture(problem.optima()))
    off = plain(replace(laplace.mixture, mean=laplace.mixture.mean + 1.0))
    first = draw(problem, off, 1000, generators)
    second = draw(problem, refined(pooled([first]), laplace, generators[0]), 1000, generators)
    before, after = (float(effective_sample_size(one.log_weight)) / 1000 for one in (first, second))
    assert before < 0.1
    assert after > 0.25


def test_a_refined_proposal_finds_both_of_two_narrow_modes() -> None:
    generators = seeded(6)
    v = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    laplace = plain(laplace_mixture(optima_at(v, [0.0, 0.0], precision=1e4)))
    places = laplace.sample(2000, generators)
    distance2 = torch.stack([(places - mode).square().sum(-1) for mode in v])
    one = Round.of(laplace, places, torch.logsumexp(-0.5e4 * distance2, dim=0))
    better = refined(pooled([one]), laplace, generators[0])
    assert better.mixture.scale_tril.amax() < 1.0
    left = better.sample(4000, generators)[0, :, 0] < 0.0
    assert 0.4 < left.double().mean() < 0.6


def test_the_ensemble_walks_the_tempered_posterior() -> None:
    """Its states match L^0.5 x prior: the spread along the banana by quadrature, within 15 % (correlated states)."""
    problem = Bent(bend=0.3, width=0.3)
    generators = seeded(7)
    start = plain(laplace_mixture(problem.optima())).sample(WALKERS, generators)
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
    laplace = plain(laplace_mixture(problem.optima()))
    one = draw(problem, laplace, 2000, generators)
    weight = tempered(one.log_weight - (1.0 - TEMPERATURE) * one.log_likelihood, float(WALKERS))
    start = one.v[:, torch.multinomial(weight[0], WALKERS, replacement=True, generator=generators[0])]
    states = explore(problem, FLAT, start, generators)  # type: ignore[arg-type]
    proposal = explored(states, FLAT, laplace, [part_shares(pooled([one]), laplace)], generators)
    fresh = draw(problem, proposal, 8000, generators)
    ess = float(effective_sample_size(fresh.log_weight))
    assert ess > 400
    assert pareto_k(fresh.log_weight[0].numpy()) < 0.7
    assert abs(float(log_mean_weight(fresh.log_weight)) - problem.log_evidence()) < 5.0 / math.sqrt(ess)
    assert float(effective_sample_size(draw(problem, laplace, 8000, generators).log_weight)) < 0.5 * ess


def test_parts_get_the_shares_that_the_posterior_has_in_them() -> None:
    present, where = torch.tensor([True]), torch.tensor([[[-3.0, 0.0, 0.0]], [[3.0, 0.0, 0.0]]], dtype=torch.float64)
    left, right = (Fake(mean, 0.5, present) for mean in where)
    core = plain(laplace_mixture(Bent().optima()))
    parts = Parts.of([PriorPart(3), GuidePart(left), GuidePart(right)], [0.02, 0.0, 0.0], [0.0, 0.4, 0.4])
    first = replace(core, parts=(parts,))
    v = first.sample(4000, seeded(3))
    log_target = torch.logaddexp(left.log_density(v) + math.log(0.2), right.log_density(v) + math.log(0.8))
    share = part_shares(pooled([Round.of(first, v, log_target)]), first)
    assert share.tolist() == pytest.approx([0.0, 0.2, 0.75], abs=0.06)


def test_first_draws_change_the_shares_of_the_parts_and_nothing_else() -> None:
    present = torch.tensor([True])
    right, wrong = (Fake(torch.tensor([[place, 0.0, 0.0]], dtype=torch.float64), 0.5, present) for place in (-3.0, 3.0))
    core = plain(laplace_mixture(Bent().optima()))
    parts = Parts.of([PriorPart(3), GuidePart(right), GuidePart(wrong)], [0.02, 0.05, 0.05], [0.0, 0.4, 0.4])
    first = replace(core, parts=(parts,))
    v = first.sample(50, seeded(3))
    better = reshared(pooled([Round.of(first, v, right.log_density(v))]), first)
    share = better.parts[0].share
    assert float(share[1]) > 0.7
    assert float(share[2]) > 0.05 + 0.8 * 0.2 * 0.4
    assert bool((share >= parts.floor).all())
    assert better.mixture is first.mixture
    assert better.parts[0].parts == parts.parts


def test_explored_proposals_are_reproducible_and_depend_on_the_seed() -> None:
    problem = Bent()
    start = plain(laplace_mixture(problem.optima())).sample(WALKERS, seeded(9))
    first, again, other = (explore(problem, FLAT, start, seeded(seed)) for seed in (10, 10, 11))  # type: ignore[arg-type]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
