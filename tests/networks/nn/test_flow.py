"""Every flow is a normalised density whose draws it knows, and whose draws reach back to the context."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from xrayflow.networks.nn.autoregressive import Autoregressive
from xrayflow.networks.nn.flow import Coupling, Flow, Gaussian, Point, _half

CONTEXT = 6
KINDS = ("coupling", "autoregressive", "gaussian")


def flow_of(kind: str, parameters: int, seed: int = 0) -> Flow:
    """A flow whose weights are pushed away from their start, so that it is no normal."""
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    flow: Flow
    if kind == "coupling":
        flow = Coupling(parameters, CONTEXT, 6, 5, 12)
    elif kind == "autoregressive":
        flow = Autoregressive(parameters, CONTEXT, 3, 5, (12, 12))
    else:
        flow = Gaussian(parameters, CONTEXT)
    with torch.no_grad():
        for weight in flow.parameters():
            weight += 0.5 * weight.abs().mean() * torch.randn(weight.shape)
    torch.random.set_rng_state(state)
    return flow


def context_of(sources: int, seed: int = 3) -> Tensor:
    return torch.randn((sources, CONTEXT), generator=torch.Generator().manual_seed(seed))


def base_of(sources: int, draws: int, parameters: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn((sources, draws, parameters), generator=torch.Generator().manual_seed(5), dtype=dtype)


@pytest.mark.parametrize("kind", KINDS)
def test_a_density_of_one_parameter_integrates_to_one(kind: str) -> None:
    x = torch.linspace(-40.0, 40.0, 40_001, dtype=torch.float64)
    with torch.no_grad():
        density = flow_of(kind, 1).log_density(x[None, :, None].expand(2, -1, 1), context_of(2)).double().exp()
    assert torch.trapezoid(density, x).tolist() == pytest.approx([1.0, 1.0], abs=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_density_of_two_parameters_integrates_to_one(kind: str) -> None:
    x = torch.linspace(-16.0, 16.0, 401, dtype=torch.float64)
    grid = torch.cartesian_prod(x, x)[None]
    with torch.no_grad():
        density = flow_of(kind, 2).log_density(grid, context_of(1)).double().exp()
    assert float(density.sum()) * float(x[1] - x[0]) ** 2 == pytest.approx(1.0, abs=3e-3)


@pytest.mark.parametrize("parameters", [1, 2, 5, 8])
@pytest.mark.parametrize("kind", KINDS)
def test_the_density_of_a_draw_is_that_of_its_numbers_over_the_jacobian(kind: str, parameters: int) -> None:
    flow, context, base = flow_of(kind, parameters), context_of(1), base_of(1, 12, parameters)
    for number in base[0]:
        jacobian = torch.autograd.functional.jacobian(
            lambda one: flow.draw(one[None, None], context)[0, 0], number, vectorize=False
        )
        with torch.no_grad():
            x = flow.draw(number[None, None], context)
            found = float(flow.log_density(x, context))
        log_normal = -0.5 * float(number @ number) - 0.5 * parameters * math.log(2.0 * math.pi)
        assert found == pytest.approx(log_normal - float(torch.linalg.slogdet(jacobian.double())[1]), abs=0.01)


@pytest.mark.parametrize("parameters", [1, 2, 5, 8])
@pytest.mark.parametrize("kind", [*KINDS, "point"])
def test_a_draw_carries_its_gradient_to_the_context(kind: str, parameters: int) -> None:
    flow = Point(parameters, CONTEXT) if kind == "point" else flow_of(kind, parameters)
    context = context_of(3).requires_grad_(True)
    flow.draw(base_of(3, 2, parameters, torch.float32), context).square().sum().backward()
    assert context.grad is not None
    assert bool(torch.isfinite(context.grad).all())
    assert bool((context.grad.abs().sum(1) > 0).all())


@pytest.mark.parametrize("kind", KINDS)
def test_draws_are_distributed_as_the_density_says(kind: str) -> None:
    # the mean of exp(ln p - ln q) over draws of q is 1 for any normalised p that q covers; 5 standard errors, 6e-7
    flow, context = flow_of(kind, 2), context_of(1)
    with torch.no_grad():
        x = flow.draw(base_of(1, 20_000, 2), context)
        narrow = torch.distributions.Normal(x.mean((0, 1)), 0.5 * x.std((0, 1)))
        ratio = (narrow.log_prob(x).sum(-1) - flow.log_density(x, context).double()).exp()
    assert float(ratio.mean()) == pytest.approx(1.0, abs=5.0 * float(ratio.std()) / math.sqrt(ratio.numel()))


@pytest.mark.parametrize("kind", KINDS)
def test_draws_come_in_the_precision_of_their_numbers(kind: str) -> None:
    flow, context = flow_of(kind, 3), context_of(1)
    with torch.no_grad():
        for dtype in (torch.float32, torch.float64):
            assert flow.draw(base_of(1, 4, 3, dtype), context).dtype == dtype
            assert flow.log_density(base_of(1, 4, 3, dtype), context).shape == (1, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_has_its_own_distribution(kind: str) -> None:
    flow, context, base = flow_of(kind, 3), context_of(4), base_of(4, 5, 3)
    with torch.no_grad():
        together = flow.log_density(base, context)
        for source in range(4):
            alone = flow.log_density(base[source : source + 1], context[source : source + 1])
            torch.testing.assert_close(together[source], alone[0], rtol=1e-4, atol=1e-4)
    assert together.std(0).min() > 1e-3


def test_a_gaussian_is_pytorchs_normal() -> None:
    flow, context, x = flow_of("gaussian", 3), context_of(2), base_of(2, 7, 3, torch.float32)
    assert isinstance(flow, Gaussian)
    with torch.no_grad():
        mean, log_sd = flow.head(context)[:, None].chunk(2, dim=-1)
        wanted = torch.distributions.Normal(mean, log_sd.exp()).log_prob(x).sum(-1)
        torch.testing.assert_close(flow.log_density(x, context), wanted, rtol=1e-5, atol=1e-5)


def test_a_point_has_one_value_and_no_density() -> None:
    flow = Point(2, CONTEXT)
    with torch.no_grad():
        x = flow.draw(base_of(1, 5, 2), context_of(1))
    assert bool((x == x[:, :1]).all())
    assert not flow.has_density
    with pytest.raises(NotImplementedError):
        flow.log_density(x, context_of(1))


@pytest.mark.parametrize("parameters", range(2, 9))
def test_six_layers_of_a_coupling_flow_mix_every_pair_both_ways(parameters: int) -> None:
    halves = [set(_half(parameters, layer)) for layer in range(6)]
    for moved, kept in itertools.permutations(range(parameters), 2):
        assert any(moved in half and kept not in half for half in halves), (moved, kept)


@pytest.mark.parametrize("parameters", [12, 20])
def test_some_layers_more_mix_many_parameters(parameters: int) -> None:
    halves = [set(_half(parameters, layer)) for layer in range(10)]
    for moved, kept in itertools.permutations(range(parameters), 2):
        assert any(moved in half and kept not in half for half in halves), (moved, kept)


def test_the_halves_of_five_parameters_stay_those_of_the_trained_networks() -> None:
    assert [_half(5, layer) for layer in range(6)] == [[0, 1, 2], [3, 4], [0, 1, 3], [2, 4], [0, 2, 3], [1, 4]]
