"""Features -> context: what the flow is conditioned on.

`Residual`: layers over all features at once. `Convolutional`: the paper's, six unpadded convolutions, downscaling
first, then linear layers with a skip connection.

Source: Redmen et al. 2025 and Tregidga et al. 2024, MNRAS 529, 1654 (the convolutional one).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from xrayflow.errors import RecipeError


class Residual(nn.Module):
    """A wide layer, then blocks of two layers with a skip connection around each."""

    def __init__(self, channels: int, bins: int, numbers: int, hidden: int, blocks: int) -> None:
        """Sizes.

        Args:
            channels: Features of a bin.
            bins: Length of a spectrum.
            numbers: Globals beside the features.
            hidden: Width, also of the context.
            blocks: Blocks after the first layer.
        """
        super().__init__()
        self.first = nn.Linear(channels * bins + numbers, hidden)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, hidden))
            for _ in range(blocks)
        )
        self.last = nn.LayerNorm(hidden)
        self.context = hidden

    def forward(
        self, features: Float[Tensor, "source channel bin"], numbers: Float[Tensor, "source number"]
    ) -> Float[Tensor, "source context"]:
        """The context of each source."""
        h = self.first(torch.cat([features.flatten(1), numbers], dim=1))
        for block in self.blocks:
            h = h + block(h)
        context: Tensor = functional.gelu(self.last(h))
        return context


class Convolutional(nn.Module):
    """The paper's: convolutions as (kernel, stride, channels out), flattened, and three linear layers of one width."""

    def __init__(
        self, channels: int, bins: int, numbers: int, convolutions: Sequence[tuple[int, int, int]], width: int
    ) -> None:
        """Sizes.

        Args:
            channels: Features of a bin.
            bins: Length of a spectrum.
            numbers: Globals beside the features.
            convolutions: Each (kernel, stride, channels out).
            width: Length of the linear layers and the context.

        Raises:
            RecipeError: A kernel is wider than what is left of the bins.
        """
        super().__init__()
        layers: list[nn.Module] = []
        for number, (kernel, stride, out) in enumerate(convolutions, start=1):
            if bins < kernel:
                raise RecipeError(
                    f"network.convolutions: number {number} is {kernel} wide, and {bins} bins are left; give fewer"
                )
            layers += [nn.Conv1d(channels, out, kernel, stride), nn.GELU()]
            channels, bins = out, (bins - kernel) // stride + 1
        self.convolutions = nn.Sequential(*layers)
        self.first = nn.Linear(channels * bins + numbers, width)
        self.second = nn.Linear(width, width)
        self.third = nn.Linear(width, width)
        self.context = width

    def forward(
        self, features: Float[Tensor, "source channel bin"], numbers: Float[Tensor, "source number"]
    ) -> Float[Tensor, "source context"]:
        """The context of each source."""
        h = torch.cat([self.convolutions(features).flatten(1), numbers], dim=1)
        h = functional.gelu(self.first(h))
        context: Tensor = h + self.third(functional.gelu(self.second(h)))
        return context
