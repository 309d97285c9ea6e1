"""A gated recurrent unit of one number, along the bins and back: torch's own, in a third to a seventh of its time.

torch runs a unit of one number as it runs one of a thousand: some ten calls a bin, direction and layer, and as many
again for the gradient. Here both directions go together, a bin takes seven calls, and the gradient one: with respect to
the hidden number the unit is a product, so that what comes back along the bins is dh[t-1] = own[t-1] + k[t] dh[t], with
all k at once.

Source: Cho et al. 2014, arXiv 1406.1078, in torch's form (the reset gate acts behind the hidden weight).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def recurred(unit: nn.GRU, along: Float[Tensor, "source bin number"]) -> Float[Tensor, "source bin direction"]:
    """What a unit says to a sequence.

    Args:
        unit: Bidirectional, of one hidden number, sequences first, without dropout.
        along: Its input.
    """
    rows = along.transpose(0, 1)
    for layer in range(unit.num_layers):
        gates, kept, inner = [], [], []
        for direction in ("", "_reverse"):
            weight, kept_weight, bias, kept_bias = (
                getattr(unit, f"{name}_l{layer}{direction}")
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            told = bias + torch.cat([kept_bias[:2], torch.zeros_like(kept_bias[2:])])
            raw = nn.functional.linear(rows, weight, told).permute(0, 2, 1)
            gates.append(raw.flip(0) if direction else raw)
            kept.append(kept_weight[:, 0])
            inner.append(kept_bias[2])
        hidden = _Scan.apply(  # type: ignore[no-untyped-call]
            torch.stack(gates, dim=2), torch.stack(kept, dim=1), torch.stack(inner)
        )
        rows = torch.stack([hidden[:, 0], hidden[:, 1].flip(0)], dim=-1)
    return rows.transpose(0, 1)


class _Scan(torch.autograd.Function):
    """The hidden number of both directions of a layer."""

    @staticmethod
    def forward(
        ctx: Any,
        gates: Float[Tensor, "bin 3 direction source"],
        weight: Float[Tensor, "3 direction"],
        bias: Float[Tensor, " direction"],
    ) -> Float[Tensor, "bin direction source"]:
        """Along the bins.

        Args:
            ctx: Keeps what the gradient needs.
            gates: What the input says to the reset gate, the update gate and the new number.
            weight: Of the hidden number in each.
            bias: Of the hidden number's part in the new one.
        """
        bins, _, directions, sources = gates.shape
        before = gates.new_zeros((bins + 1, directions, sources))
        opened, inner, new = (
            torch.empty_like(gates[:, :2]),
            torch.empty_like(gates[:, 2]),
            torch.empty_like(gates[:, 2]),
        )
        # as large as what they act on: a sum over strides is three times as slow
        for_gates, for_new = weight[:2, :, None].repeat(1, 1, sources), weight[2, :, None].repeat(1, sources)
        bias = bias[:, None].repeat(1, sources)
        for at in range(bins):
            hidden, gate = before[at], opened[at]
            torch.addcmul(gates[at, :2], for_gates, hidden, out=gate).sigmoid_()
            torch.addcmul(bias, for_new, hidden, out=inner[at])
            torch.addcmul(gates[at, 2], gate[0], inner[at], out=new[at]).tanh_()
            torch.addcmul(new[at], gate[1], hidden - new[at], out=before[at + 1])
        ctx.save_for_backward(before, opened, inner, new, weight)
        return before[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Back along the bins.

        Args:
            ctx: What `forward` kept.
            own: (bin, direction, source) the gradient of each hidden number from elsewhere.
        """
        after, opened, inner, new, weight = ctx.saved_tensors
        before, (reset, update) = after[:-1], opened.unbind(1)
        to_new = (1.0 - update) * (1.0 - new.square())
        to_inner = to_new * reset
        slopes = torch.stack(
            [to_inner * inner * (1.0 - reset), (before - new) * update * (1.0 - update), to_new], dim=1
        )
        passed = update + slopes[:, 0] * weight[0, :, None] + slopes[:, 1] * weight[1, :, None]
        passed += to_inner * weight[2, :, None]
        whole = own.clone()
        for at in range(own.shape[0] - 1, 0, -1):
            whole[at - 1].addcmul_(passed[at], whole[at])
        of_gates, of_inner = slopes * whole[:, None], to_inner * whole
        of_weight = torch.stack(
            [
                (of_gates[:, 0] * before).sum((0, 2)),
                (of_gates[:, 1] * before).sum((0, 2)),
                (of_inner * before).sum((0, 2)),
            ]
        )
        return of_gates, of_weight, of_inner.sum((0, 2))
