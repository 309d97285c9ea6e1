"""Context -> a distribution of the parameters' coordinates x, with draws and their density.

Every one offers `log_density(x, context)` and `draw(base, context)`, where `base` are standard normal numbers: the
caller owns the randomness, and a draw carries its gradient to the encoder.

* `Coupling`: a full-covariance affine layer that whitens x, then coupling layers of rational-quadratic splines. What
  the context says to a conditioner is computed once per spectrum and shared by all of its draws.
* `Autoregressive` (autoregressive.py): the paper's.
* `Gaussian`: independent normals, the latent space of a plain variational autoencoder.
* `Point`: a single value, the paper's deterministic predecessor. It has no density.

Source: Durkan et al. 2019, arXiv 1906.04032 (neural spline flows).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from xrayflow.networks.nn.spline import Spline

X = Float[Tensor, "source draw parameter"]
Context = Float[Tensor, "source context"]

BOUND = 8.0
"""The splines act within +-this of the whitened x; beyond, they are the identity."""


def log_normal(z: X) -> Float[Tensor, "source draw"]:
    """ln N(z; 0, I)."""
    return -0.5 * (z * z).sum(-1) - 0.5 * z.shape[-1] * math.log(2.0 * math.pi)


Told = tuple[Tensor, ...]
"""What contexts say to a flow, a row for each source: it is the same for all draws of a spectrum."""


class Flow(nn.Module):
    """A distribution of x given a context."""

    has_density = True
    mixes = False
    """Whether sources can be computed together without a digit of one hanging on the others, once they are told."""

    def told(self, context: Context) -> Told:
        """What the contexts say, for `log_density_told` and `draw_told`.

        Args:
            context: What each source's spectrum was encoded to.
        """
        return (context,)

    def log_density_told(self, x: X, told: Told) -> Float[Tensor, "source draw"]:
        """`log_density` where `told` is known.

        Args:
            x: Coordinates.
            told: Of the same sources.
        """
        return self.log_density(x, *told)

    def draw_told(self, base: X, told: Told) -> X:
        """`draw` where `told` is known.

        Args:
            base: The numbers.
            told: Of the same sources.
        """
        return self.draw(base, *told)

    def log_density(self, x: X, context: Context) -> Float[Tensor, "source draw"]:
        """ln q(x | context).

        Args:
            x: Coordinates.
            context: What each source's spectrum was encoded to.
        """
        raise NotImplementedError

    def draw(self, base: X, context: Context) -> X:
        """Standard normal numbers -> draws of x, in their precision; differentiable in the context.

        Args:
            base: The numbers.
            context: What each source's spectrum was encoded to.
        """
        raise NotImplementedError


class Whitening(nn.Module):
    """x = mean(context) + L(context) z, L lower triangular."""

    def __init__(self, parameters: int, context: int) -> None:
        super().__init__()
        self.size = parameters
        self.below = torch.tril_indices(parameters, parameters, -1)
        self.head = nn.Linear(context, 2 * parameters + self.below.shape[1])
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.weight.mul_(0.1)

    def forward(self, context: Context) -> tuple[Tensor, Tensor, Tensor]:
        """mean (source, parameter), L (source, parameter, parameter) and ln det L (source,)."""
        raw = self.head(context)
        mean, log_diagonal, rest = raw.split([self.size, self.size, self.below.shape[1]], dim=-1)
        diagonal = torch.exp(log_diagonal)
        unit: Tensor = torch.diag_embed(torch.ones_like(diagonal))
        unit = unit.index_put((torch.arange(raw.shape[0])[:, None], self.below[0], self.below[1]), rest)
        scale = torch.mul(unit, diagonal[:, None, :])
        return mean, scale, log_diagonal.sum(-1)


class Conditioner(nn.Module):
    """The unmoved half of x and the context -> the splines of the other half."""

    def __init__(self, kept: int, moved: int, context: int, hidden: int, bins: int) -> None:
        super().__init__()
        self.shape = (moved, 3 * bins - 1)
        self.bins = bins
        self.context = nn.Linear(context, hidden)
        self.first = nn.Linear(kept, hidden, bias=False) if kept else None
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, moved * (3 * bins - 1))
        with torch.no_grad():
            self.last.weight.mul_(0.1)
            self.last.bias.mul_(0.1)

    def forward(self, kept: Float[Tensor, "kept row"], context: Float[Tensor, "hidden row"]) -> Spline:
        """The splines of the moved half.

        Args:
            kept: The other half.
            context: What `self.context` made of it, one column or one for each row.
        """
        h = context if self.first is None else self.first.weight @ kept + context
        h = functional.gelu(h)
        h = functional.gelu(self.second.weight @ h + self.second.bias[:, None])
        raw = self.last.weight @ h + self.last.bias[:, None]
        return Spline(raw.reshape(*self.shape, -1).expand(-1, -1, kept.shape[-1]), BOUND)


class Coupling(Flow):
    """Whitening, then coupling layers that move one half of z given the other, the halves dealt anew each time."""

    mixes = True

    def __init__(self, parameters: int, context: int, layers: int, bins: int, hidden: int) -> None:
        super().__init__()
        self.whitening = Whitening(parameters, context)
        self.moved = [_half(parameters, layer) for layer in range(layers)]
        self.kept = [sorted(set(range(parameters)) - set(moved)) for moved in self.moved]
        self.layers = nn.ModuleList(
            Conditioner(len(kept), len(moved), context, hidden, bins)
            for kept, moved in zip(self.kept, self.moved, strict=True)
        )

    def told(self, context: Context) -> Told:
        """Mean, scale and ln det of the whitening, and what each layer takes from the contexts."""
        layers = cast(Iterable[Conditioner], self.layers)
        return *self.whitening(context), *(layer.context(context) for layer in layers)

    def log_density(self, x: X, context: Context) -> Float[Tensor, "source draw"]:
        """Whitened in the precision of x, the rest in float32."""
        return self.log_density_told(x, self.told(context))

    def log_density_told(self, x: X, told: Told) -> Float[Tensor, "source draw"]:
        """Likewise."""
        mean, scale, log_determinant, *said = told
        difference = x - mean.to(x.dtype)[:, None, :]
        z = rows_of(torch.linalg.solve_triangular(scale.to(x.dtype), difference.mT, upper=False).mT.float())
        total = torch.zeros_like(z[0])
        for (layer, kept, moved), one in zip(self._steps(), said, strict=True):
            y, slope = layer(z[kept], for_draws(one, x.shape[1]))(z[moved])
            z = _put(z, moved, y)
            total = total + _added(slope)
        log_z = -0.5 * _added(z * z) - 0.5 * z.shape[0] * math.log(2.0 * math.pi)
        density: Tensor = (log_z + total).reshape(x.shape[:2]) - log_determinant[:, None]
        return density

    def draw(self, base: X, context: Context) -> X:
        """The layers' inverses, in turn."""
        return self.draw_told(base, self.told(context))

    def draw_told(self, base: X, told: Told) -> X:
        """Likewise."""
        mean, scale, _, *said = told
        z = rows_of(base.float())
        for (layer, kept, moved), one in reversed(list(zip(self._steps(), said, strict=True))):
            z = _put(z, moved, layer(z[kept], for_draws(one, base.shape[1])).inverse(z[moved]))
        z = z.T.reshape(base.shape)
        x: Tensor = z.to(base.dtype) @ scale.to(base.dtype).mT + mean.to(base.dtype)[:, None, :]
        return x

    def _steps(self) -> list[tuple[Conditioner, list[int], list[int]]]:
        """Each layer with the coordinates that it keeps and moves, from x to z."""
        layers = cast(Iterable[Conditioner], self.layers)
        return list(zip(layers, self.kept, self.moved, strict=True))


class Gaussian(Flow):
    """Independent normals."""

    def __init__(self, parameters: int, context: int) -> None:
        super().__init__()
        self.head = nn.Linear(context, 2 * parameters)

    def log_density(self, x: X, context: Context) -> Float[Tensor, "source draw"]:
        """ln N."""
        mean, log_sd = self.head(context)[:, None, :].chunk(2, dim=-1)
        density: Tensor = log_normal((x.float() - mean) * torch.exp(-log_sd)) - log_sd.sum(-1)
        return density

    def draw(self, base: X, context: Context) -> X:
        """mean + sd base."""
        mean, log_sd = self.head(context)[:, None, :].chunk(2, dim=-1)
        x: Tensor = mean + torch.exp(log_sd) * base
        return x


class Point(Flow):
    """One value per source."""

    has_density = False

    def __init__(self, parameters: int, context: int) -> None:
        super().__init__()
        self.head = nn.Linear(context, parameters)

    def draw(self, base: X, context: Context) -> X:
        """The value, whatever the numbers."""
        x: Tensor = self.head(context)[:, None, :] + 0.0 * base
        return x


TURNED = 6
"""Up to so many parameters the halves come from an order that turns, as of the networks that exist."""


def _half(parameters: int, layer: int) -> list[int]:
    """Which coordinates a layer moves. Layers go in pairs that move one half and then the other.

    The halves are dealt anew for each pair, so that any two coordinates soon stand in different ones: three pairs of
    layers do for 8 coordinates, four for 16.
    """
    if parameters == 1:
        return [0]
    pair = layer // 2
    if parameters <= TURNED:
        turned = [(i * (1 + pair) + pair) % parameters for i in range(parameters)]
        if len(set(turned)) < parameters:
            turned = [(i + pair) % parameters for i in range(parameters)]
        half = turned[: (parameters + 1) // 2]
    else:
        digit = pair % (parameters - 1).bit_length()
        half = [i for i in range(parameters) if not i >> digit & 1]
    return sorted(half) if layer % 2 == 0 else sorted(set(range(parameters)) - set(half))


def for_draws(said: Float[Tensor, "source hidden"], draws: int) -> Float[Tensor, "hidden row"]:
    """What was said to each source, for all of its draws; one column where there is one source."""
    return said.T if said.shape[0] == 1 else said.T.repeat_interleave(draws, dim=1)


def rows_of(x: X) -> Float[Tensor, "parameter row"]:
    """The draws of all sources side by side."""
    return x.flatten(0, 1).T.contiguous()


def _added(x: Float[Tensor, "parameter row"]) -> Float[Tensor, " row"]:
    """The sum over parameters, in their order: torch's own takes another for few columns."""
    first, *others = x.unbind(0)
    for other in others:
        first = first + other
    return first


def _put(z: Float[Tensor, "parameter row"], moved: list[int], y: Float[Tensor, "moved row"]) -> Tensor:
    """z with some coordinates replaced."""
    rows = list(z.unbind(0))
    for place, row in zip(moved, y.unbind(0), strict=True):
        rows[place] = row
    return torch.stack(rows)
