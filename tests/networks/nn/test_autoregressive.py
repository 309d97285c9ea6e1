"""Our way to draw from zuko's flow gives zuko's draws, and their slopes."""

from __future__ import annotations

import pytest
import torch

from xrayflow.networks.nn.autoregressive import Autoregressive


@pytest.mark.parametrize("hidden", [(12, 12), (3,), (7, 2, 20)])
@pytest.mark.parametrize("parameters", [1, 2, 5, 8])
def test_draws_and_slopes_are_zukos(parameters: int, hidden: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        flow = Autoregressive(parameters, 6, 4, 5, hidden)
    with torch.no_grad():
        for weight in flow.parameters():
            weight += weight.abs().mean() * torch.randn(weight.shape, generator=generator)
    context = torch.randn((3, 6), generator=generator).requires_grad_()
    base = torch.randn((3, 7, parameters), generator=generator)
    ours, zukos = flow.draw(base, context), flow.flow(context[:, None, :]).transform.inv(base)
    assert torch.allclose(ours, zukos, atol=1e-4)
    weights = [context, *flow.parameters()]
    slopes = (torch.autograd.grad(one.square().sum(), weights, allow_unused=True) for one in (ours, zukos))
    for own, zuko in zip(*slopes, strict=True):
        assert (own is None) == (zuko is None)
        assert own is None or torch.allclose(own, zuko, atol=1e-3 * max(1.0, float(zuko.abs().max())))
