"""Mixtures have the density that they say, and weights tell what they are worth."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from xrayflow.inference.importance import (
    DOF,
    Mixture,
    Round,
    effective_sample_size,
    log_evidence_error,
    log_mean_weight,
    log_student,
    mahalanobis,
    most_pareto_k,
    pareto_k,
)
from xrayflow.prior import log_standard_normal


def mixture(prior_share: float = 0.1) -> Mixture:
    """Two sources: three components in two parameters, and one that is padded."""
    share = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]], dtype=torch.float64)
    mean = torch.tensor(
        [[[0.0, 0.0], [2.0, -1.0], [-3.0, 1.5]], [[1.0, 1.0], [0.0, 0.0], [0.0, 0.0]]], dtype=torch.float64
    )
    scale = torch.eye(2, dtype=torch.float64).expand(2, 3, -1, -1).clone()
    scale[0, 0] = torch.tensor([[0.5, 0.0], [0.4, 0.3]])
    scale[0, 1] = torch.tensor([[1.0, 0.0], [-0.6, 0.8]])
    scale[0, 2] = torch.tensor([[0.1, 0.0], [0.0, 1.2]])
    return Mixture(torch.log(share), mean, scale, prior_share)


def stretched(cells: int = 901) -> tuple[np.ndarray, np.ndarray]:
    """Points from -2e3 to 2e3, dense in the middle, and their weights."""
    t = np.linspace(-10.5, 10.5, cells)
    return 0.1 * np.sinh(t), 0.1 * np.cosh(t) * (t[1] - t[0])


@pytest.mark.parametrize("prior_share", [0.0, 0.1])
def test_the_density_integrates_to_one(prior_share: float) -> None:
    x, w = stretched()
    grid = torch.from_numpy(np.stack(np.meshgrid(x, x, indexing="ij"), -1).reshape(1, -1, 2)).expand(2, -1, -1)
    density = torch.exp(mixture(prior_share).log_density(grid)).numpy().reshape(2, x.size, x.size)
    np.testing.assert_allclose(np.einsum("sij,i,j->s", density, w, w), 1.0, atol=1e-5)


def test_one_component_is_scipys_student() -> None:
    one = mixture(0.0)
    v = torch.randn((1, 50, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = log_student(mahalanobis(v, one.mean[:1, :1], one.scale_tril[:1, :1]), one.scale_tril[:1, :1])[0, :, 0]
    tril = one.scale_tril[0, 0].numpy()
    known = stats.multivariate_t(one.mean[0, 0].numpy(), tril @ tril.T, df=DOF).logpdf(v[0].numpy())
    np.testing.assert_allclose(own, known, rtol=1e-12)


def test_draws_follow_the_density() -> None:
    """Chi-square of 40 000 draws in 14 x 14 cells and outside; a false alarm once in 10 000 seeds."""
    one = mixture()
    draws = one.sample(40_000, [torch.Generator().manual_seed(2), torch.Generator().manual_seed(3)]).numpy()
    edges = np.linspace(-5.0, 4.0, 15)
    fine, parts = 0.5 * (edges[1] - edges[0]), 12
    nodes = (edges[:-1, None] + 2 * fine * (np.arange(parts) + 0.5) / parts).reshape(-1)
    grid = torch.from_numpy(np.stack(np.meshgrid(nodes, nodes, indexing="ij"), -1).reshape(1, -1, 2)).expand(2, -1, -1)
    density = (
        torch.exp(one.log_density(grid)).numpy().reshape(2, 14, parts, 14, parts).mean(axis=(2, 4)) * (2 * fine) ** 2
    )
    for source in range(2):
        counts, _, _ = np.histogram2d(draws[source, :, 0], draws[source, :, 1], bins=[edges, edges])
        expected = 40_000 * density[source]
        observed = np.append(counts[expected > 8], counts[expected <= 8].sum() + 40_000 - counts.sum())
        wanted = np.append(expected[expected > 8], 40_000 - expected[expected > 8].sum())
        assert stats.chisquare(observed, wanted).pvalue > 1e-4


def test_padded_components_are_never_drawn() -> None:
    one = mixture(0.0).select(torch.tensor([1]))
    far = Mixture(one.log_share, torch.tensor([[[1.0, 1.0], [1e6, 1e6], [1e6, 1e6]]]).double(), one.scale_tril, 0.0)
    assert float(far.sample(20_000, [torch.Generator().manual_seed(4)]).abs().max()) < 1e5


def test_joined_mixtures_share_as_told() -> None:
    one, v = mixture(0.1), torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    other = Mixture(one.log_share.roll(1, 1), one.mean + 1.0, one.scale_tril, 0.1)
    both = torch.exp(one.joined(other, 0.25).log_density(v))
    torch.testing.assert_close(both, 0.75 * torch.exp(one.log_density(v)) + 0.25 * torch.exp(other.log_density(v)))


def test_stacked_mixtures_of_other_lengths_keep_their_densities() -> None:
    one = mixture()
    short = Mixture(one.log_share[1:, :1], one.mean[1:, :1], one.scale_tril[1:, :1], 0.1)
    v = torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    both = Mixture.stack([one.select(torch.tensor([0])), short])
    torch.testing.assert_close(both.log_density(v), one.log_density(v))


def test_the_evidence_of_a_gaussian_likelihood_is_its_closed_form() -> None:
    """ln integral N(d; v, s^2) N(v; 0, 1) dv = ln N(d; 0, 1 + s^2); within 4 standard errors (1 in 16 000 seeds)."""
    d, s = torch.tensor([0.7, -1.2], dtype=torch.float64), 0.4
    proposal = mixture().select(torch.tensor([0]))
    v = proposal.sample(20_000, [torch.Generator().manual_seed(7)])
    log_likelihood = -0.5 * ((v - d) / s).square().sum(-1) - 2 * math.log(s * math.sqrt(2 * math.pi))
    one = Round(proposal, v, log_likelihood + log_standard_normal(v))
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
