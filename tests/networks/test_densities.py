"""Flows of single sources, computed together: every digit is what the source has alone, at the size that ships."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from xrayflow.networks import AmortisedPosterior, FlowDensity, LocalPosterior, draws_of, load_network, log_densities_of
from xrayflow.networks.inputs import ModeFeatures
from xrayflow.networks.level import Level, Remembered
from xrayflow.networks.nn.flow import Coupling, Gaussian

DRAWS = 3, 16, 0, 100, 777, 2100, 49


@pytest.fixture(scope="module")
def shipped() -> list[FlowDensity]:
    """What both flows of the shipped network say of several spectra."""
    network = load_network("nicer-bhb")
    core, prior = network.core, network.training_prior.prior
    size = len(prior.marginals)
    generator = torch.Generator().manual_seed(5)
    found: list[FlowDensity] = []
    assert core.local is not None
    for number in range(len(DRAWS)):
        if number % 2:
            context = torch.randn((1, network.recipe.network.context), generator=generator)
            with torch.no_grad():
                told = core.flow.told(context)
            other = prior if number % 3 == 0 else None
            found.append(AmortisedPosterior(core.flow, told, size, core.coordinates, other))
        else:
            root = 5.0 * torch.randn((1, size, size), generator=generator, dtype=torch.float64)
            information = root @ root.mT + torch.eye(size, dtype=torch.float64)
            place = 0.5 * torch.randn((1, size), generator=generator, dtype=torch.float64)
            mode = ModeFeatures(place, information, torch.zeros((1, 3), dtype=torch.float64)).frames()
            with torch.no_grad():
                told = core.local.told(mode)
            level = Level(prior, (), lambda theta: theta[..., 0])
            found.append(LocalPosterior(core.local, told, size, Remembered(level)))
    return found


def numbers(parts: Sequence[FlowDensity]) -> list[Tensor]:
    return [
        part.numbers(draws, torch.Generator().manual_seed(number))
        for number, (part, draws) in enumerate(zip(parts, DRAWS, strict=True))
    ]


def test_a_source_has_the_same_digits_in_any_company(shipped: list[FlowDensity]) -> None:
    together = draws_of(shipped, numbers(shipped))
    densities = log_densities_of(shipped, together)
    for number, (part, v, density) in enumerate(zip(shipped, together, densities, strict=True)):
        assert v.shape == (DRAWS[number], part.parameters)
        assert torch.equal(part.sample(DRAWS[number], torch.Generator().manual_seed(number)), v)
        assert torch.equal(part.log_density(v), density)
        assert torch.equal(part.log_density(v[:7]), density[:7])
    for start in (1, 2, 4):  # other neighbours, other places in the blocks
        some = shipped[start:]
        again = draws_of(some, numbers(shipped)[start:])
        assert all(torch.equal(*pair) for pair in zip(again, together[start:], strict=True))
        seen = log_densities_of(some, together[start:])
        assert all(torch.equal(*pair) for pair in zip(seen, densities[start:], strict=True))


def test_densities_are_those_of_the_flow(shipped: list[FlowDensity]) -> None:
    """Both sides of the change of variables, the flow asked directly for all rows of one source."""
    for part, v in zip(shipped, draws_of(shipped, numbers(shipped)), strict=True):
        x, slope = part.into(v)
        with torch.no_grad():
            wanted = part.flow.log_density_told(x[None], part.told)[0].double() + slope
        torch.testing.assert_close(part.log_density(v), wanted, rtol=0.0, atol=2e-4)


def test_a_flow_that_does_not_mix_is_asked_source_by_source() -> None:
    torch.manual_seed(3)
    flow = Gaussian(2, 5)
    assert not flow.mixes
    assert Coupling.mixes
    asked = []

    class Counted(Gaussian):
        def log_density(self, x: Tensor, context: Tensor) -> Tensor:
            asked.append(len(set(map(tuple, context.tolist()))))
            return super().log_density(x, context)

    counted = Counted(2, 5)
    parts = [AmortisedPosterior(counted, counted.told(torch.randn(1, 5)), 2, None, None) for _ in range(3)]  # type: ignore[arg-type]
    v = [torch.randn((size, 2), dtype=torch.float64) for size in (3, 40, 16)]
    found = log_densities_of(parts, v)
    assert asked == [1, 1, 1]
    for part, places, density in zip(parts, v, found, strict=True):
        mean, log_sd = counted.head(part.told[0])[0].detach().double().chunk(2)
        wanted = torch.distributions.Normal(mean, log_sd.exp()).log_prob(places).sum(-1)
        torch.testing.assert_close(density, wanted, rtol=0.0, atol=1e-5)


def test_nothing_is_asked_of_nobody() -> None:
    assert draws_of([], []) == []
    assert log_densities_of([], []) == []
