"""Numbers that come with errors: normal, with their log-determinant."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from likelihood_zoo import errors_of, score_of


def test_score_of_gaussian_data_is_the_slope_of_the_likelihood() -> None:
    likelihood = errors_of([3.0, -2.0], [1.0, 2.0], 0.1)
    mu = torch.tensor([[[4.0, 0.5]]], dtype=torch.float64)
    step = 1e-5
    up, down = likelihood.log_density_per_bin(mu + step), likelihood.log_density_per_bin(mu - step)
    torch.testing.assert_close(score_of(likelihood, mu), (up - down) / (2 * step), rtol=1e-6, atol=1e-8)


# False-alarm probability 1e-4.
def test_sampled_gaussian_data_are_normal_with_the_stated_variance() -> None:
    likelihood = errors_of([0.0], [3.0], 0.1)
    expected = torch.full((1, 20_000, 1), 40.0, dtype=torch.float64)
    sample = likelihood.replicate(expected, torch.Generator().manual_seed(2)).counts[0, :, 0].numpy()
    assert likelihood.variance(expected)[0, 0, 0].item() == pytest.approx(25.0)
    assert scipy.stats.kstest(sample, scipy.stats.norm(40.0, 5.0).cdf).pvalue > 1e-4


def test_gaussian_likelihood_keeps_its_determinant() -> None:
    likelihood = errors_of([3.0, -2.0], [1.0, 2.0], 0.1)
    mu = torch.tensor([[[4.0, 0.5]]], dtype=torch.float64)
    sd = np.sqrt([1.0 + 0.16, 4.0 + 0.0025])
    assert likelihood.log_density(mu).item() == pytest.approx(
        scipy.stats.norm.logpdf([3.0, -2.0], [4.0, 0.5], sd).sum()
    )
    assert errors_of([3.0, -2.0], [1.0, 2.0]).deviance(mu).item() == pytest.approx(1.0 + 2.5**2 / 4.0)


def test_a_replica_has_one_data_set_per_draw_and_the_errors_that_came_with_the_data() -> None:
    likelihood = errors_of([3.0, -2.0], [1.0, 2.0], 0.1)
    expected = torch.tensor([[[4.0, 0.5], [8.0, 0.1]]], dtype=torch.float64)
    again = likelihood.replicate(expected, torch.Generator().manual_seed(1))
    assert again.counts.shape == expected.shape
    assert torch.equal(again.data_variance, likelihood.data_variance)
    by_hand = ((again.counts - expected) ** 2 / likelihood.variance(expected)).sum(-1)
    saturated, model = likelihood.variance(again.counts).log().sum(-1), likelihood.variance(expected).log().sum(-1)
    torch.testing.assert_close(again.deviance(expected), by_hand + model - saturated)
