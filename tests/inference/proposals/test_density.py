"""A density of one source: the prior is one, and what a proposal is mixed of offers the same."""

from __future__ import annotations

import inspect

import pytest
import torch
from scipy import stats

from guide_zoo import OneOfFake
from proposal_zoo import bow, fake
from xrayflow.inference.proposals.counts_coordinates import MixtureInCoordinates
from xrayflow.inference.proposals.density import Density, PriorDensity
from xrayflow.inference.proposals.nuisance import WithNuisances
from xrayflow.inference.proposals.ridge import Ridge
from xrayflow.networks import FlowDensity


def test_the_prior_is_standard_normal_in_its_own_coordinates() -> None:
    """Kolmogorov-Smirnov of 15 000 numbers; a false alarm once in 10 000 seeds."""
    v = PriorDensity(3).sample(5000, torch.Generator().manual_seed(1))
    assert stats.kstest(v.flatten().numpy(), stats.norm.cdf).pvalue > 1e-4
    known = stats.norm.logpdf(v.numpy()).sum(-1)
    torch.testing.assert_close(PriorDensity(3).log_density(v), torch.from_numpy(known))


@pytest.mark.parametrize("density", [PriorDensity(2), bow(), OneOfFake(fake().select(torch.tensor([0])))])
def test_a_part_draws_where_its_density_is(density: Density) -> None:
    v = density.sample(300, torch.Generator().manual_seed(2))
    assert (v.shape, v.dtype) == ((300, 2), torch.float64)
    assert bool(torch.isfinite(density.log_density(v)).all())
    again = density.sample(300, torch.Generator().manual_seed(2))
    assert torch.equal(v, again)


@pytest.mark.parametrize("kind", [PriorDensity, Ridge, FlowDensity, WithNuisances, MixtureInCoordinates])
def test_every_part_offers_what_the_protocol_asks(kind: type) -> None:
    for name in ("sample", "log_density"):
        asked, offered = (inspect.signature(getattr(one, name)) for one in (Density, kind))
        assert list(offered.parameters) == list(asked.parameters), (kind, name)
