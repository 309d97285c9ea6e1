"""The paper's flow: masked autoregressive rational-quadratic splines, built and trained by zuko.

Drawing inverts a transform one coordinate after the other. zuko runs the whole conditioner once for each; here a
hidden unit is computed once, when every coordinate that it looks at is known, and what the context says to a transform
once for all draws of a spectrum. All coordinates together then cost about as much as one call.

Source: Papamakarios et al. 2017 (autoregressive flows); Durkan et al. 2019, arXiv 1906.04032 (neural spline flows).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import zuko
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.nn import MaskedLinear

from xrayflow.networks.nn.flow import Context, Flow, X, for_draws, rows_of
from xrayflow.networks.nn.spline import Spline

BOUND = 5.0
"""The splines act within +-this, as zuko has it; beyond, they are the identity."""


class Autoregressive(Flow):
    """Masked autoregressive rational-quadratic splines."""

    def __init__(self, parameters: int, context: int, transforms: int, bins: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.flow = zuko.flows.NSF(parameters, context, transforms=transforms, bins=bins, hidden_features=tuple(hidden))

    def log_density(self, x: X, context: Context) -> Float[Tensor, "source draw"]:
        """ln q by one forward call."""
        density: Tensor = self.flow(context[:, None, :]).log_prob(x.float())
        return density

    def draw(self, base: X, context: Context) -> X:
        """The transforms' inverses, in turn; float32 errs by up to 5e-3 where splines are steep."""
        z = rows_of(base.float())
        for transform in reversed(self.flow.transform.transforms):
            if isinstance(transform, MaskedAutoregressiveTransform):
                z = _inverse(transform, z, context)
            else:  # a single parameter, which depends on no other
                z = rows_of(transform(context[:, None, :]).inv(z.T.reshape(base.shape)))
        return z.T.reshape(base.shape).to(base.dtype)


def _inverse(
    transform: MaskedAutoregressiveTransform, y: Float[Tensor, "parameter row"], context: Context
) -> Float[Tensor, "parameter row"]:
    """x of y, as many rows of each source. Coordinates go by rank, their place in the transform's order; a unit's is
    the last it looks at, plus one.

    The units of a layer are sorted by rank, so that those which are known when a coordinate's turn comes are the first.
    """
    first, *others = [layer for layer in transform.hyper if isinstance(layer, MaskedLinear)]
    order = torch.argsort(transform.order)
    size = order.numel()
    weight, mask = first.weight * first.mask, first.mask[:, :size][:, order]
    rank = mask.sum(-1)
    units = torch.argsort(rank, stable=True)
    rank = rank[units]
    told = for_draws(
        functional.linear(context, weight[units, size:], first.bias[units]), y.shape[1] // context.shape[0]
    )
    layers = [(weight[:, :size][units][:, order], told, rank)]
    for layer in others[:-1]:
        weight, mask = (layer.weight * layer.mask)[:, units], layer.mask[:, units]
        rank = torch.where(mask, rank, 0).amax(-1)
        following = torch.argsort(rank, stable=True)
        layers.append((weight[following], layer.bias[following, None], rank[following]))
        units, rank = following, rank[following]
    last = (others[-1].weight * others[-1].mask)[:, units].unflatten(0, (size, -1))
    bias = others[-1].bias.unflatten(0, (size, -1))

    x = y[:0]
    known = [x for _ in layers]
    for turn, coordinate in enumerate(order.tolist()):
        below = x
        for at, (weight, given, rank) in enumerate(layers):
            fresh = slice(known[at].shape[0], int((rank <= turn).sum()))
            unit = functional.relu(torch.addmm(given[fresh], weight[fresh, : below.shape[0]], below))
            known[at] = below = torch.cat([known[at], unit])
        raw = torch.addmm(bias[coordinate, :, None], last[coordinate, :, : below.shape[0]], below)
        x = torch.cat([x, Spline(raw[None], BOUND).inverse(y[coordinate][None])])
    return x[transform.order]
