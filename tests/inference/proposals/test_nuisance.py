"""A density with nuisances: normalised, drawn from as it says, and the posterior's own where that is normal."""

from __future__ import annotations

import torch

from xrayflow.inference.proposals.density import PriorDensity
from xrayflow.inference.proposals.nuisance import FARTHEST, WithNuisances


def density() -> tuple[WithNuisances, torch.Tensor, torch.Tensor]:
    place = torch.tensor([0.3, -0.5, 1.0], dtype=torch.float64)
    information = torch.tensor([[4.0, 1.0, 3.0], [1.0, 3.0, -2.0], [3.0, -2.0, 9.0]], dtype=torch.float64)
    return WithNuisances.of(PriorDensity(2), place, information, 1), place, information


def test_the_nuisance_follows_as_the_curvature_says() -> None:
    """Conditional mean and variance of a normal."""
    one, place, information = density()
    v = one.sample(200_000, torch.Generator().manual_seed(0))
    near = ((v[:, :2] - place[:2]).abs() < 0.6).all(-1)
    middle = place[2] - (v[near, :2] - place[:2]) @ information[2, :2] / information[2, 2]
    away = v[near, 2] - middle
    assert abs(float(away.mean())) < 0.01
    # Student-t with 8 degrees of freedom
    torch.testing.assert_close(away.var(), torch.tensor(8.0 / 6.0 / 9.0).double(), rtol=0.03, atol=0.0)


def test_it_is_normalised_and_its_draws_have_its_density() -> None:
    one, _, _ = density()
    grid = torch.linspace(-6.0, 6.0, 4001, dtype=torch.float64)
    for at in ([0.0, 0.0], [2.0, -3.0]):
        v = torch.cat([torch.tensor(at).double().expand(grid.numel(), 2), grid[:, None]], dim=1)
        total = torch.trapezoid(torch.exp(one.log_density(v) - PriorDensity(2).log_density(v[:, :2])), grid)
        torch.testing.assert_close(total, torch.tensor(1.0).double(), rtol=1e-3, atol=0.0)


def test_far_from_the_mode_the_nuisance_is_held() -> None:
    one, place, _ = density()
    far = place + torch.tensor([100.0, 0.0, 0.0], dtype=torch.float64)
    assert float((one._middle(far[None, :2]) - place[2:]).abs()) <= FARTHEST * float(one.width) + 1e-12
