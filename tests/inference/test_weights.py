"""Weights tell what they are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.student import StudentMixture
from xrayflow.inference.weights import (
    effective_sample_size,
    log_evidence_error,
    log_mean_weight,
    most_pareto_k,
    pareto_k,
    systematic_rows,
    tempered,
    weighted_quantile,
)
from xrayflow.prior import log_standard_normal


def test_the_evidence_of_a_gaussian_likelihood_is_its_closed_form() -> None:
    """ln integral N(d; v, s^2) N(v; 0, 1) dv = ln N(d; 0, 1 + s^2); within 4 standard errors (1 in 16 000 seeds)."""
    d, s = torch.tensor([0.7, -1.2], dtype=torch.float64), 0.4
    mean = torch.tensor([[[0.0, 0.0], [2.0, -1.0]]], dtype=torch.float64)
    scale = torch.eye(2, dtype=torch.float64).expand(1, 2, -1, -1)
    proposal = Proposal(
        StudentMixture(torch.full((1, 2), -math.log(2.0)).double(), mean, scale), (Components.prior(mean.shape[-1]),)
    )
    v = proposal.sample(20_000, [torch.Generator().manual_seed(7)])
    log_likelihood = -0.5 * ((v - d) / s).square().sum(-1) - 2 * math.log(s * math.sqrt(2 * math.pi))
    one = WeightedDraws.of(proposal, v, log_likelihood + log_standard_normal(v))
    known = float(stats.norm(0, math.sqrt(1 + s * s)).logpdf(d.numpy()).sum())
    ess = float(effective_sample_size(one.log_weight))
    error = log_evidence_error(ess, 20_000)
    assert abs(float(log_mean_weight(one.log_weight)) - known) < 4 * error
    assert 0.002 < error < 0.05
    torch.testing.assert_close(one.log_likelihood, log_likelihood)


def test_the_ess_of_known_weights() -> None:
    equal = torch.zeros(2, 50, dtype=torch.float64)
    assert effective_sample_size(equal + 700.0).tolist() == [50.0, 50.0]
    weights = torch.tensor([1.0, 2.0, 3.0, 0.0], dtype=torch.float64)
    assert float(effective_sample_size(torch.log(weights))) == pytest.approx(36 / 14)
    assert float(effective_sample_size(torch.full((5,), -torch.inf, dtype=torch.float64))) == 0.0
    # lognormal weights of variance s^2 in the log: ess / n -> exp(-s^2)
    z = 0.5 * torch.randn(400_000, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    assert float(effective_sample_size(z)) / 400_000 == pytest.approx(math.exp(-0.25), rel=0.01)


def test_the_error_of_the_evidence_at_its_ends() -> None:
    assert log_evidence_error(1000.0, 1000) == 0.0
    assert log_evidence_error(0.0, 1000) == math.inf
    assert log_evidence_error(100.0, 1000) == pytest.approx(math.sqrt(0.009))


@pytest.mark.parametrize("shape", [0.2, 0.5, 0.9])
def test_pareto_k_finds_the_shape_of_generalised_pareto_weights(shape: float) -> None:
    """The mean of 20 estimates from 424 tail weights each scatters by (1 + k) / sqrt(424 x 20) = .015 .. .02."""
    random = np.random.default_rng(9)
    weights = 1.0 + ((1.0 - random.random((20, 20_000))) ** -shape - 1.0) / shape
    found = np.array([pareto_k(np.log(row)) for row in weights])
    assert found.mean() == pytest.approx(shape, abs=0.06)
    assert found.std() == pytest.approx((1 + shape) / math.sqrt(424), rel=0.5)


def test_pareto_k_does_not_change_with_the_scale_of_the_weights() -> None:
    log_weight = np.random.default_rng(10).standard_normal(4000)
    assert pareto_k(log_weight + 300.0) == pytest.approx(pareto_k(log_weight), abs=1e-9)


def test_pareto_k_of_weights_that_tell_nothing() -> None:
    assert pareto_k(np.zeros(1000)) == -math.inf
    assert pareto_k(np.full(1000, -math.inf)) == math.inf
    assert pareto_k(np.zeros(10)) == math.inf


def test_a_weight_that_rules_alone_is_a_heavy_tail() -> None:
    one_rules = np.full(1000, -800.0)
    one_rules[0] = 0.0
    assert not pareto_k(one_rules) < most_pareto_k(1000)


def test_the_limit_of_pareto_k_follows_the_number_of_draws() -> None:
    assert most_pareto_k(100) == pytest.approx(0.5)
    assert most_pareto_k(1000) == pytest.approx(2 / 3)
    assert most_pareto_k(100_000) == 0.7
    assert most_pareto_k(1) < 0.05


def test_tempered_weights_reach_the_wanted_ess_and_even_ones_are_left_alone() -> None:
    uneven = torch.linspace(0.0, 300.0, 1000, dtype=torch.float64)[None]
    assert abs(float(1.0 / tempered(uneven, 100.0).square().sum()) - 100.0) < 1.0
    even = 0.1 * torch.randn((1, 1000), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(tempered(even, 100.0), torch.softmax(even, 1))


def test_rows_without_weight_are_never_picked() -> None:
    weight = torch.tensor([0.0, 1.0, 0.0, 2.0, 0.0], dtype=torch.float64)
    for seed in range(50):
        rows = systematic_rows(weight, 30, torch.Generator().manual_seed(seed))
        assert torch.bincount(rows, minlength=5).tolist() == [0, 10, 0, 20, 0]


def test_weighted_quantiles_are_those_of_repeated_draws() -> None:
    random = np.random.default_rng(1)
    values, repeats = random.standard_normal(500), random.integers(0, 5, 500)
    q = np.linspace(0.05, 0.95, 19)
    weighted = weighted_quantile(values, repeats / repeats.sum(), q)
    repeated = np.quantile(np.repeat(values, repeats), q, method="hazen")
    np.testing.assert_allclose(weighted, repeated, atol=0.03)
    equal = weighted_quantile(values, np.full(500, 0.002), q)
    np.testing.assert_allclose(equal, np.quantile(values, q, method="hazen"), atol=1e-12)


def test_systematic_resampling_takes_each_row_its_share() -> None:
    weights = np.random.default_rng(4).random(200)
    rows = systematic_rows(torch.from_numpy(weights), 5000, torch.Generator().manual_seed(5)).numpy()
    share = 5000 * weights / weights.sum()
    counts = np.bincount(rows, minlength=200)
    assert (np.abs(counts - share) < 1.0 + 1e-9).all()
    assert rows.size == 5000
    assert (np.diff(rows) < 0).any(), "in random order"
