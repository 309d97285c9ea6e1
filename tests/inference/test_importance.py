"""Weights tell what they are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from xrayflow.inference.importance import (
    Round,
    effective_sample_size,
    log_evidence_error,
    log_mean_weight,
    most_pareto_k,
    pareto_k,
)
from xrayflow.inference.parts import Parts
from xrayflow.inference.proposal import Mixture, Proposal
from xrayflow.prior import log_standard_normal


def test_the_evidence_of_a_gaussian_likelihood_is_its_closed_form() -> None:
    """ln integral N(d; v, s^2) N(v; 0, 1) dv = ln N(d; 0, 1 + s^2); within 4 standard errors (1 in 16 000 seeds)."""
    d, s = torch.tensor([0.7, -1.2], dtype=torch.float64), 0.4
    mean = torch.tensor([[[0.0, 0.0], [2.0, -1.0]]], dtype=torch.float64)
    scale = torch.eye(2, dtype=torch.float64).expand(1, 2, -1, -1)
    proposal = Proposal(
        Mixture(torch.full((1, 2), -math.log(2.0)).double(), mean, scale), (Parts.prior(mean.shape[-1]),)
    )
    v = proposal.sample(20_000, [torch.Generator().manual_seed(7)])
    log_likelihood = -0.5 * ((v - d) / s).square().sum(-1) - 2 * math.log(s * math.sqrt(2 * math.pi))
    one = Round.of(proposal, v, log_likelihood + log_standard_normal(v))
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
