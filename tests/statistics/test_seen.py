"""Spectra as errors of their response see them: weight and pull of the counts, and of what is behind the source."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calibration_zoo import bright
from ogip_zoo import toy_observation
from xrayflow.setup import FitSetup, build_problem
from xrayflow.statistics import CountLikelihood
from xrayflow.statistics.seen import Seen, behind_slopes


def known_background() -> CountLikelihood:
    """Counts over a background of 30 in every bin; the last bin is not there."""
    counts = torch.tensor([[50.0, 31.0, 80.0, 30.0, 7.0]], dtype=torch.float64)
    used = torch.tensor([[1.0, 1.0, 1.0, 1.0, 0.0]], dtype=torch.float64)
    return CountLikelihood.of(counts, 30.0 * used, torch.zeros(1, dtype=torch.float64), used)


def test_poissons_slope_and_weight_are_those_of_counts_over_a_background() -> None:
    likelihood = known_background()
    seen, counts = Seen.of(likelihood), likelihood.counts
    expected = torch.tensor([[[20.0, 1.0, 45.0, 3.0, 2.0], [0.5, 2.0, 60.0, 9.0, 2.0]]], dtype=torch.float64)
    mean, there = expected + 30.0, slice(0, 4)
    torch.testing.assert_close(seen.by_eta(expected)[..., there], (expected * (counts / mean - 1.0))[..., there])
    torch.testing.assert_close(seen.weight(expected)[..., there], (expected**2 / mean)[..., there])
    assert not seen.by_eta(expected)[..., 4].any()
    assert not seen.weight(expected)[..., 4].any()
    assert seen.counted[0, 0, there].tolist() == [1.0] * 4


def test_what_a_search_asks_for_is_what_stands_apart() -> None:
    """With a background and without, and a logarithm to the third order."""
    for likelihood in (known_background(), bright(1e5).inner):
        seen = Seen.of(likelihood)
        mu = seen.net.clamp(min=1.0) * torch.linspace(0.9, 1.1, 3, dtype=torch.float64)[:, None] * seen.used
        slope, weight = seen.slope_and_weight(mu)
        torch.testing.assert_close(slope, seen.by_eta(mu))
        torch.testing.assert_close(weight, seen.weight(mu))
        smooth = seen.net.clamp(min=1.0) * seen.used
        eta, weight = torch.full_like(mu, 0.01), seen.weight(smooth)
        wanted = seen.by_eta(smooth) + weight * (torch.log(smooth / mu) - eta)
        off = (seen.pull(mu, eta, weight) - wanted) / weight
        assert off[:, :, seen.used[0, 0] > 0].abs().max() < 0.11**3 / 12.0


def test_what_is_behind_follows_the_nuisances_of_each_draw(tmp_path: Path) -> None:
    """Its slope, found with small steps, is that of large ones."""
    observation = toy_observation(tmp_path, background=True)
    problem = build_problem([observation], FitSetup(model="powerlaw", energies=[(1.0, 6.0)]))
    likelihood = problem.data.sets[0].likelihood
    count = len(likelihood.nuisances)
    assert count > 0
    generator = torch.Generator().manual_seed(4)
    nuisance = 0.1 * torch.randn((1, 3, count), generator=generator, dtype=torch.float64)
    slopes = behind_slopes(likelihood, nuisance)
    for number, step in enumerate(0.01 * torch.eye(count, dtype=torch.float64)):
        up, down = (Seen.of(likelihood, nuisance + sign * step).net for sign in (1.0, -1.0))
        torch.testing.assert_close(slopes[..., number], (down - up) / 0.02, rtol=1e-4, atol=1e-9)


def test_some_draws_of_some_sources_see_what_they_saw() -> None:
    likelihood = known_background().select(torch.tensor([0, 0]))
    mean = torch.full((2, 4, 4), 10.0, dtype=torch.float64)
    seen = Seen.of(likelihood.replicate(mean, torch.Generator().manual_seed(0)))  # counts for every draw
    some = seen.at(torch.tensor([1]), torch.tensor([[3, 0]]))
    assert torch.equal(some.net, seen.net[1:, [3, 0]])
    assert torch.equal(some.weight(mean[:1, :2]), seen.weight(mean)[1:, :2])


@pytest.mark.parametrize("total", [1e4, 1e6])
def test_where_a_count_adds_itself_the_weight_is_the_source(total: float) -> None:
    one = bright(total)
    torch.testing.assert_close(Seen.of(one.inner).weight(one.expected()), one.expected())
