"""The first guess: every mode keeps a share, and where there is none the prior is left."""

from __future__ import annotations

import math

import torch

from proposal_zoo import modes_at, plain, seeded
from xrayflow.inference.proposals.laplace import laplace_mixture
from xrayflow.prior import log_standard_normal


def test_a_mode_without_a_finite_likelihood_leaves_the_prior() -> None:
    mixture = plain(laplace_mixture(modes_at(torch.zeros((1, 2), dtype=torch.float64), [math.inf])))
    v = torch.randn((1, 4000, 2), generator=seeded(1)[0], dtype=torch.float64)
    # unit t-components: within 1 nat of the prior for 90 % of its draws
    assert (mixture.log_density(v) - log_standard_normal(v)).abs().quantile(0.9) < 1.0


def test_every_mode_keeps_a_share_of_the_proposal() -> None:
    """The worse mode is 18 in -2 log posterior above: 1e-4 by Laplace, at least 5 % of the best in ours."""
    v = torch.tensor([[0.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    mixture = plain(laplace_mixture(modes_at(v, [0.0, 18.0])))
    near = (mixture.sample(20_000, seeded(2)) - v[1]).norm(dim=-1) < 0.5
    assert 0.03 < near.double().mean() < 0.08


def test_a_mode_has_the_width_of_its_curvature_and_a_twin_twice_as_wide() -> None:
    mixture = laplace_mixture(modes_at(torch.tensor([[0.3, -0.2]], dtype=torch.float64), [5.0], precision=25.0))
    eye = torch.eye(2, dtype=torch.float64)
    assert mixture.mean[0].tolist() == [[0.3, -0.2], [0.3, -0.2]]
    torch.testing.assert_close(mixture.scale_tril[0], torch.stack([0.2 * eye, 0.4 * eye]))
    torch.testing.assert_close(mixture.log_share[0].exp(), torch.tensor([0.85, 0.15]).double())
