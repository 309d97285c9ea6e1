"""A frozen proposal with a tail's kernels beside it."""

from __future__ import annotations

import math

import pytest
import torch

from sheet_zoo import BEGIN, PROBITS, Tailed, drawn_of, proposal
from xrayflow.inference.checks.tails import look_for_tails
from xrayflow.inference.proposals.draws import WeightedDraws, balance_heuristic
from xrayflow.inference.proposals.em import refined
from xrayflow.inference.proposals.widening import FLOOR, LEAST, MOST, Widening
from xrayflow.inference.weights import log_mean_weight, most_pareto_k, pareto_k

MASS = 0.3


def widened(seed: int) -> tuple[Widening, WeightedDraws, torch.Generator]:
    generator = torch.Generator().manual_seed(seed)
    target = Tailed(MASS)
    drawn = drawn_of(target, proposal(False), generator)
    (found,) = look_for_tails(target, PROBITS, [drawn], [generator])
    assert found.kernels is not None
    return Widening.of(drawn, found.kernels, found.missing, drawn.proposal.mixture), drawn, generator


def test_the_draws_before_keep_their_densities_and_know_the_kernels_too() -> None:
    widening, drawn, _ = widened(1)
    earlier = widening.earlier
    torch.testing.assert_close(earlier.proposal.log_density(drawn.v, earlier.log_parts), drawn.log_proposal)
    kernels = widening.kernels.log_density(drawn.v, earlier.log_parts)[0]
    own = earlier.log_parts[0][:, -1]
    there = own > -5.0  # elsewhere the 1e-9 that the others keep is more
    assert int(there.sum()) > 10
    torch.testing.assert_close(kernels[there], own[there], rtol=1e-4, atol=1e-4)


def test_the_kernels_alone_draw_the_tail() -> None:
    widening, _, generator = widened(2)
    v = widening.kernels.sample(500, [generator])[0]
    assert float((v[:, 0] > BEGIN).double().mean()) > 0.9


@pytest.mark.parametrize(("missing", "share"), [(0.02, LEAST), (0.25, 0.3), (5.0, MOST)])
def test_the_kernels_get_what_is_missing_and_keep_a_floor(missing: float, share: float) -> None:
    first, drawn, _ = widened(3)
    density = first.proposal.parts[0].parts[-1]
    parts = Widening.of(drawn, density, missing, drawn.proposal.mixture).proposal.parts[0]
    assert float(parts.above[-1]) == pytest.approx(share)
    assert float(parts.floor[-1]) == FLOOR
    before, after = drawn.proposal.parts[0].above, parts.above[:-1]
    torch.testing.assert_close(after, (1.0 - share) * before)


def test_a_proposal_fitted_to_all_draws_knows_the_tail() -> None:
    """The target is normalised: ln Z = 0 within four standard errors, where most draws before said ln(1 - mass). The
    proposal is fitted three times at most, as the ladder does where weights have a heavy tail; with five of six
    seeds at least none is left."""
    target = Tailed(MASS)
    light = 0
    for seed in range(6):
        widening, _, generator = widened(seed)
        v = widening.kernels.sample(1200, [generator])
        history = [widening.earlier, WeightedDraws.of(widening.kernels, v, target.log_target(v))]
        for _ in range(3):
            fitted = refined(balance_heuristic(history), widening.proposal, generator)
            fresh = drawn_of(target, fitted, generator, 4000)
            history.append(fresh)
            if pareto_k(fresh.log_weight[0].numpy()) < most_pareto_k(4000):
                break
        error = math.sqrt(1.0 / fresh.ess - 1.0 / 4000)
        assert abs(float(log_mean_weight(fresh.log_weight))) < 4.0 * error + 0.02
        light += pareto_k(fresh.log_weight[0].numpy()) < most_pareto_k(4000)
    assert light >= 5
