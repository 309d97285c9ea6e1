"""What every likelihood offers: a curvature that its density has, nuisances none, bins that pad counted nowhere."""

from __future__ import annotations

import pytest
import torch

from likelihood_zoo import counts_of, errors_of
from xrayflow.statistics import Likelihood
from xrayflow.statistics.likelihood import bin_by_bin, trimmed

LIKELIHOODS = [
    counts_of([3.0, 100.0, 0.0]),
    counts_of([3.0, 100.0, 0.0], [2.0, 40.0, 0.0], 0.1),
    errors_of([3.0, 100.0, 0.0], [2.0, 9.0, 1.0], 0.1),
]
MU = torch.tensor([[[4.0, 70.0, 0.5], [2.0, 120.0, 0.1]]], dtype=torch.float64)
SLOPES = torch.tensor([[1.0, 0.5], [20.0, -3.0], [0.2, 0.1]], dtype=torch.float64)
"""(bin, parameter)"""


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda one: one.name)
def test_the_gradient_is_the_slope_of_the_density(likelihood: Likelihood) -> None:
    found = likelihood.curvature(MU, SLOPES.expand(1, 2, -1, -1))
    for parameter in range(2):
        step = 1e-6 * SLOPES[:, parameter]
        slope = (likelihood.log_density(MU + step) - likelihood.log_density(MU - step)) / 2e-6
        torch.testing.assert_close(found.gradient[..., parameter], slope, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda one: one.name)
def test_the_information_is_that_of_independent_bins(likelihood: Likelihood) -> None:
    found = likelihood.curvature(MU, SLOPES.expand(1, 2, -1, -1)).information
    weight = 1.0 / likelihood.variance(MU)
    by_hand = torch.einsum("sdb,bi,bj->sdij", weight, SLOPES, SLOPES)
    torch.testing.assert_close(found, by_hand)
    assert bool((torch.linalg.eigvalsh(found) > 0).all())


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=lambda one: one.name)
def test_the_density_is_the_sum_of_its_bins_and_no_nuisance_is_asked_for(likelihood: Likelihood) -> None:
    torch.testing.assert_close(likelihood.log_density(MU), likelihood.log_density_per_bin(MU).sum(-1))
    torch.testing.assert_close(likelihood.deviance(MU), 2.0 * (likelihood.log_saturated() - likelihood.log_density(MU)))
    assert likelihood.nuisances == ()
    assert bool(likelihood.why) == (likelihood.kind != "exact")


def test_a_model_of_nothing_has_no_weight_and_no_score() -> None:
    likelihood = counts_of([0.0, 5.0])
    found = likelihood.curvature(torch.tensor([[[0.0, 4.0]]]).double(), torch.eye(2).double().expand(1, 1, 2, 2))
    assert found.gradient[0, 0].tolist() == pytest.approx([0.0, 0.25])
    assert found.information[0, 0].diagonal().tolist() == pytest.approx([0.0, 0.25])


def test_bin_by_bin_is_a_product_of_matrices() -> None:
    score, weight = torch.tensor([[[1.0, -2.0]]]), torch.tensor([[[0.5, 3.0]]])
    jacobian = torch.tensor([[[[1.0, 0.0], [2.0, 1.0]]]])
    found = bin_by_bin(score, weight, jacobian)
    assert found.gradient.tolist() == [[[-3.0, -2.0]]]
    assert found.information.tolist() == [[[[12.5, 6.0], [6.0, 3.0]]]]


def test_some_sources_need_as_many_bins_as_the_longest_of_them() -> None:
    used = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    assert [trimmed(used, torch.tensor(rows)) for rows in ([1], [1, 2], [0, 1], [])] == [1, 2, 4, 4]
