"""A recurrent unit of one number, against torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from xrayflow.networks.nn.recurrence import recurred


@pytest.mark.parametrize(("layers", "inputs", "bins"), [(2, 1, 40), (1, 3, 7), (3, 1, 1)])
def test_values_and_gradients_are_those_of_torch(layers: int, inputs: int, bins: int) -> None:
    torch.manual_seed(layers)
    unit = nn.GRU(inputs, 1, layers, batch_first=True, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        for weight in unit.parameters():
            weight.mul_(3.0)
    along = torch.randn((5, bins, inputs), dtype=torch.float64, requires_grad=True)
    pull = torch.randn((5, bins, 2), dtype=torch.float64)
    known, _ = unit(along)
    found = recurred(unit, along)
    torch.testing.assert_close(found, known, rtol=1e-12, atol=1e-14)
    wanted = torch.autograd.grad((known * pull).sum(), [along, *unit.parameters()])
    own = torch.autograd.grad((found * pull).sum(), [along, *unit.parameters()])
    for one, other in zip(own, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_float32_is_as_near_to_float64_as_torch_is() -> None:
    """Over the paper's 240 bins and two layers."""
    torch.manual_seed(1)
    unit = nn.GRU(1, 1, 2, batch_first=True, bidirectional=True)
    along = torch.randn((64, 240, 1))
    with torch.no_grad():
        known, found = unit(along)[0], recurred(unit, along)
        exact = recurred(unit.double(), along.double())
    assert float((found - exact).abs().max()) < 2.0 * float((known - exact).abs().max())
