"""Draws with their densities, in blocks and in rounds."""

from __future__ import annotations

from dataclasses import replace

import torch

from bent_zoo import Bent
from proposal_zoo import draw, modes_at, plain, seeded
from xrayflow.inference.proposals.draws import WeightedDraws, balance_heuristic
from xrayflow.inference.proposals.laplace import laplace_mixture
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.weights import log_mean_weight
from xrayflow.prior import log_standard_normal


def test_pooled_weights_estimate_the_same_evidence_as_each_round() -> None:
    problem = Bent(bend=0.2, width=0.3)
    generators = seeded(4)
    laplace = plain(laplace_mixture(problem.modes()))
    wide = plain(replace(laplace.mixture, scale_tril=1.5 * laplace.mixture.scale_tril))
    rounds = [draw(problem, laplace, 4000, generators), draw(problem, wide, 2000, generators)]
    # 6000 draws at ess > 2000: the error is below 0.02, so 0.08 fails by chance in less than 1e-4
    assert abs(float(log_mean_weight(balance_heuristic(rounds).log_weight)) - problem.log_evidence()) < 0.08


def test_the_parts_of_a_weight_are_target_and_proposal() -> None:
    problem = Bent(bend=0.2, width=0.3)
    one = draw(problem, plain(laplace_mixture(problem.modes())), 50, seeded(1))
    torch.testing.assert_close(one.log_weight, problem.log_target(one.v) - one.proposal.log_density(one.v))
    torch.testing.assert_close(one.log_likelihood, one.log_target - log_standard_normal(one.v))
    assert 1.0 < one.ess <= 50.0


def test_blocks_end_to_end_are_one_block() -> None:
    problem = Bent(bend=0.2, width=0.3)
    proposal = plain(laplace_mixture(problem.modes()))
    blocks = [draw(problem, proposal, count, seeded(count)) for count in (30, 20)]
    whole = WeightedDraws.chain(blocks)
    again = WeightedDraws.of(proposal, whole.v, problem.log_target(whole.v))
    torch.testing.assert_close(whole.log_weight, again.log_weight)
    assert (whole.v.shape, whole.log_parts[0].shape) == ((1, 50, 3), (50, 1))


def test_selected_draws_are_those_of_their_sources() -> None:
    v = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    both = Proposal.stack([plain(laplace_mixture(modes_at(v + place, [0.0]))) for place in (0.0, 1.0)])
    drawn = both.sample(40, seeded(3, 2))
    one = WeightedDraws.of(both, drawn, log_standard_normal(drawn))
    second = one.select(torch.tensor([1]))
    assert torch.equal(second.log_weight[0], one.log_weight[1])
    torch.testing.assert_close(second.proposal.log_density(second.v), second.log_proposal)


def test_a_single_round_of_the_balance_heuristic_is_itself() -> None:
    problem = Bent(bend=0.2, width=0.3)
    one = draw(problem, plain(laplace_mixture(problem.modes())), 100, seeded(2))
    torch.testing.assert_close(balance_heuristic([one]).log_weight, one.log_weight)


def test_the_balance_heuristic_weighs_by_the_mixture_of_the_proposals() -> None:
    problem, generators = Bent(bend=0.2, width=0.3), seeded(12)
    narrow = plain(laplace_mixture(problem.modes()))
    wide = plain(replace(narrow.mixture, scale_tril=2.0 * narrow.mixture.scale_tril))
    together = balance_heuristic([draw(problem, narrow, 30, generators), draw(problem, wide, 10, generators)])
    density = 0.75 * narrow.log_density(together.v).exp() + 0.25 * wide.log_density(together.v).exp()
    torch.testing.assert_close(together.log_proposal, density.log())
    torch.testing.assert_close(together.log_weight, problem.log_target(together.v) - density.log())
    assert together.proposal is wide
