"""What a posterior looks like from its mode: a flow in coordinates that the likelihood's own curvature whitens.

With H the curvature at the mode w0 and L its Cholesky factor,

    z = asinh(L' (w - w0)),

in which a posterior that is a normal is a unit normal in its bulk, and one that bends stays within reach (asinh: places
a thousand standard deviations out are at 8). A small network sees where the mode lies, how wide and how correlated the
parameters are and how many counts there were, and says how the posterior parts from a normal: a degeneracy that bends,
a tail that ends at an edge. A start that is amortised over all spectra cannot be as narrow as a bright spectrum's
posterior; this is, since the optimiser did the narrowing.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xrayflow.networks.inputs import NUMBERS, ModeFrames
from xrayflow.networks.nn.flow import Coupling, Told
from xrayflow.networks.nn.scaling import LEAST_SPREAD

FARTHEST = 4.0
"""Standard deviations to which a feature is cut: beyond, the network would guess."""


class Local(nn.Module):
    """q(w | mode, curvature, a few numbers); w are the probits of the training prior, or those of `level.Level`."""

    mean: Tensor
    spread: Tensor
    mixes = Coupling.mixes

    def __init__(self, parameters: int, width: int, transforms: int, splines: int, hidden: int) -> None:
        """Args:
        parameters: Free parameters.
        width: Width of the network that reads the features.
        transforms, splines, hidden: Sizes of the coupling flow.
        """
        super().__init__()
        self.below = torch.tril_indices(parameters, parameters, -1)
        features = 3 * parameters + self.below.shape[1] + NUMBERS
        self.register_buffer("mean", torch.zeros(features, dtype=torch.float64))
        self.register_buffer("spread", torch.ones(features, dtype=torch.float64))
        self.context = nn.Sequential(
            nn.Linear(features, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
        )
        self.flow = Coupling(parameters, width, transforms, splines, hidden)

    def fit(self, modes: ModeFrames) -> None:
        """Means and spreads of the features, from modes of the training."""
        features = self._features(modes)
        self.mean, self.spread = features.mean(0), features.std(0).clamp(min=LEAST_SPREAD)

    def read(self, modes: ModeFrames) -> Float[Tensor, "source context"]:
        """What the flow is conditioned on."""
        scaled = ((self._features(modes) - self.mean) / self.spread).clamp(-FARTHEST, FARTHEST)
        context: Tensor = self.context(scaled.float())
        return context

    def told(self, modes: ModeFrames) -> Told:
        """The modes' places and the factors of their information, and what they say to the flow.

        Args:
            modes: A mode of each source.
        """
        return modes.place, torch.linalg.cholesky(modes.information), *self.flow.told(self.read(modes))

    def log_density_told(self, w: Float[Tensor, "source draw parameter"], told: Told) -> Float[Tensor, "source draw"]:
        """ln q(w).

        Args:
            w: Coordinates.
            told: Of the same sources.
        """
        place, factor, *said = told
        y = (w - place[:, None, :]) @ factor
        slope = torch.log(factor.diagonal(dim1=-2, dim2=-1)).sum(-1)[:, None] - 0.5 * torch.log1p(y * y).sum(-1)
        density: Tensor = self.flow.log_density_told(torch.asinh(y), tuple(said)).to(w.dtype) + slope
        return density

    def draw_told(
        self, base: Float[Tensor, "source draw parameter"], told: Told
    ) -> Float[Tensor, "source draw parameter"]:
        """Standard normal numbers -> draws of w.

        Args:
            base: The numbers.
            told: Of the same sources.
        """
        place, factor, *said = told
        y = torch.sinh(self.flow.draw_told(base, tuple(said)).to(place.dtype))
        w: Tensor = place[:, None, :] + torch.linalg.solve_triangular(factor.mT, y.mT, upper=True).mT
        return w

    def _features(self, modes: ModeFrames) -> Float[Tensor, "source feature"]:
        """Mode, log widths, correlations, log curvatures, and the numbers."""
        covariance = torch.linalg.inv(modes.information)
        width = covariance.diagonal(dim1=-2, dim2=-1).clamp(min=1e-30).sqrt()
        correlation = covariance / (width[:, :, None] * width[:, None, :])
        lower = correlation[:, self.below[0], self.below[1]].clamp(-1.0 + 1e-9, 1.0 - 1e-9)
        curvature = 0.5 * torch.log(modes.information.diagonal(dim1=-2, dim2=-1))
        return torch.cat([modes.v, torch.log(width), torch.atanh(lower) / math.pi, curvature, modes.numbers], dim=-1)
