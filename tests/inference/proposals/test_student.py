"""Student-t mixtures of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from proposal_zoo import mixture
from xrayflow.inference.proposals.student import (
    DOF,
    StudentMixture,
    cholesky,
    log_student,
    mahalanobis,
    root_of_inverse,
    student_scale,
)


def test_one_component_is_scipys_student() -> None:
    one = mixture()
    v = torch.randn((1, 50, 2), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    own = log_student(mahalanobis(v, one.mean[:1, :1], one.scale_tril[:1, :1]), one.scale_tril[:1, :1])[0, :, 0]
    tril = one.scale_tril[0, 0].numpy()
    known = stats.multivariate_t(one.mean[0, 0].numpy(), tril @ tril.T, df=DOF).logpdf(v[0].numpy())
    np.testing.assert_allclose(own, known, rtol=1e-12)


def test_the_score_is_the_gradient_of_the_log_density() -> None:
    one, v = mixture(), torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    at = v.clone().requires_grad_(True)
    (known,) = torch.autograd.grad(one.log_density(at).sum(), at)
    density, score = one.with_score(v)
    torch.testing.assert_close(density, one.log_density(v))
    torch.testing.assert_close(score, known)


def test_joined_mixtures_share_as_told() -> None:
    one, v = mixture(), torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    other = StudentMixture(one.log_share.roll(1, 1), one.mean + 1.0, one.scale_tril)
    both = torch.exp(one.joined(other, 0.25).log_density(v))
    torch.testing.assert_close(both, 0.75 * torch.exp(one.log_density(v)) + 0.25 * torch.exp(other.log_density(v)))


def test_stacked_mixtures_of_other_lengths_keep_their_densities() -> None:
    one = mixture()
    short = StudentMixture(one.log_share[1:, :1], one.mean[1:, :1], one.scale_tril[1:, :1])
    v = torch.randn((2, 20, 2), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    both = StudentMixture.stack([one.select(torch.tensor([0])), short])
    torch.testing.assert_close(both.log_density(v), one.log_density(v))


def test_the_root_of_the_inverse_survives_what_cholesky_does_not() -> None:
    root = torch.tensor([[3.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(root_of_inverse(torch.linalg.inv(root @ root.T))[None], root[None])
    singular = torch.tensor([[1e12, 1e12], [1e12, 1e12]], dtype=torch.float64)
    with pytest.raises(torch.linalg.LinAlgError):
        torch.linalg.cholesky(torch.linalg.inv(singular))
    assert torch.isfinite(root_of_inverse(singular)).all()


def test_stretched_normal_numbers_are_students() -> None:
    """Kolmogorov-Smirnov of 20 000 draws; a false alarm once in 10 000 seeds."""
    generator = torch.Generator().manual_seed(11)
    z = torch.randn(20_000, generator=generator, dtype=torch.float64)
    assert stats.kstest((z * student_scale(20_000, generator)).numpy(), stats.t(DOF).cdf).pvalue > 1e-4


def test_a_singular_covariance_has_a_factor() -> None:
    flat = torch.tensor([[1.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    factor = cholesky(flat)
    torch.testing.assert_close(factor @ factor.T, flat, rtol=1e-8, atol=1e-8)
