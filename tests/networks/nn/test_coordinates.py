"""Coordinates of the parameters: there and back, with the slope that they say."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xrayflow.networks.nn.coordinates import Coordinates, Probit, Standardised
from xrayflow.prior import Marginal, Prior

PRIOR = Prior(
    (
        Marginal("a.norm", "", 1e-3, 1e2, "log"),
        Marginal("a.Gamma", "", 1.0, 3.0, "linear"),
        Marginal("a.kT", "keV", 0.1, 5.0, "log", 1.0, 0.5),
    )
)


def coordinates_of(kind: str) -> Coordinates:
    coordinates = Probit(PRIOR) if kind == "probit" else Standardised(PRIOR)
    coordinates.fit(PRIOR.sample((2000,), torch.Generator().manual_seed(0)))
    return coordinates


def draws(rows: int = 40) -> Tensor:
    return PRIOR.sample((rows,), torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", ["probit", "standardised"])
def test_coordinates_go_there_and_back(kind: str) -> None:
    coordinates, theta = coordinates_of(kind), draws()
    torch.testing.assert_close(coordinates.to_theta(coordinates.from_theta(theta)), theta, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("kind", ["probit", "standardised"])
def test_the_slope_of_coordinates_is_their_derivative(kind: str) -> None:
    coordinates, theta = coordinates_of(kind), draws()
    for row in theta:
        jacobian = torch.autograd.functional.jacobian(coordinates.to_theta, coordinates.from_theta(row))
        wanted = -torch.linalg.slogdet(jacobian)[1]
        assert float(coordinates.log_slope(row)) == pytest.approx(float(wanted), abs=1e-8)


def test_standardised_draws_of_the_prior_are_z_scores() -> None:
    x = coordinates_of("standardised").from_theta(draws(4000))
    assert x.mean(0).tolist() == pytest.approx([0.0] * 3, abs=0.1)
    assert x.std(0).tolist() == pytest.approx([1.0] * 3, abs=0.1)


def test_no_probit_coordinate_leads_outside_the_box() -> None:
    outside = torch.tensor([[1e3, 2.0, 1.0], [1.0, 0.5, 1.0], [1.0, 2.0, 6.0]], dtype=torch.float64)
    assert coordinates_of("probit").log_slope(outside).tolist() == [-math.inf] * 3
    assert bool(torch.isfinite(coordinates_of("standardised").log_slope(outside)).all())
