"""Parts of many sources at once: the same draws and densities as one by one, random numbers in the order of parts."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from guide_zoo import Fake
from xrayflow.inference.proposals.density import Density, PriorDensity
from xrayflow.inference.proposals.nuisance import Nuisances, WithNuisances
from xrayflow.inference.proposals.together import Wanted, log_densities, samples_of
from xrayflow.networks import AmortisedPosterior, log_densities_of
from xrayflow.networks.nn.flow import Coupling


def following() -> Nuisances:
    """Two nuisances that follow the first parameter."""
    factor = torch.tensor([[0.5, 0.0], [0.2, 0.4]], dtype=torch.float64)
    place = torch.tensor([0.3, -0.1], dtype=torch.float64)
    width = torch.full((2,), 1.5, dtype=torch.float64)
    return Nuisances(place, factor, width, lambda v: torch.stack([0.4 * v[:, 0], -0.3 * v[:, 0]], dim=-1))


@pytest.fixture
def parts() -> list[Density]:
    """A flow's, a flow's with nuisances, and others with and without."""
    torch.manual_seed(2)
    flow = Coupling(2, 4, 4, 6, 12)
    told = [flow.told(torch.randn(1, 4)) for _ in range(2)]
    plain, other = (AmortisedPosterior(flow, one, 2, None, None) for one in told)  # type: ignore[arg-type]
    prior = PriorDensity(2)
    normal = Fake(torch.tensor([[1.0, -1.0]], dtype=torch.float64), 0.5, torch.tensor([True])).seen(0)
    return [plain, prior, WithNuisances(other, following()), WithNuisances(prior, following()), normal]


def seeds(parts: Sequence[Density]) -> list[torch.Generator]:
    """The first three are of one source."""
    first = torch.Generator().manual_seed(1)
    return [first, first, first, *(torch.Generator().manual_seed(7 + i) for i in range(len(parts) - 3))]


def test_draws_are_those_of_each_part_in_turn(parts: list[Density]) -> None:
    sizes = 5, 40, 18, 3, 9
    wanted = [Wanted(*one) for one in zip(parts, sizes, seeds(parts), strict=True)]
    together = samples_of(wanted)
    for part, size, generator, found in zip(parts, sizes, seeds_in_turn := seeds(parts), together, strict=True):
        assert torch.equal(part.sample(size, generator), found)
    assert len(set(map(id, seeds_in_turn))) == 3


def test_densities_are_those_of_each_part(parts: list[Density]) -> None:
    sizes = 5, 40, 18, 3, 9
    v = samples_of([Wanted(*one) for one in zip(parts, sizes, seeds(parts), strict=True)])
    for part, places, found in zip(parts, v, log_densities(parts, v), strict=True):
        assert torch.equal(part.log_density(places), found)
        assert bool(torch.isfinite(found).all())


def test_flows_are_asked_once(parts: list[Density], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def counted(asked: Sequence[AmortisedPosterior], v: Sequence[Tensor]) -> list[Tensor]:
        calls.append(len(asked))
        return log_densities_of(asked, v)

    v = samples_of([Wanted(part, 6, one) for part, one in zip(parts, seeds(parts), strict=True)])
    monkeypatch.setattr("xrayflow.inference.proposals.together.log_densities_of", counted)
    log_densities(parts, v)
    assert calls == [2]
