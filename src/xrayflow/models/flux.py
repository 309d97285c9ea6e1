"""The seam between models and folding: photons per bin of a grid, with derivatives, whatever computes them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.models.edges import TOLERANCE
from xrayflow.models.jacobian import flux_and_jacobian
from xrayflow.models.model import Model, PhotonFlux
from xrayflow.models.parts import component_alone

MOST_BOUND = 8
"""Models on grids that a process keeps: spectra of one instrument ask for the same few, again and again."""


class Flux(Protocol):
    """Photons of a model on one grid; a table model or a compiled library offers the same."""

    @property
    def parameters(self) -> int:
        """How many columns theta has."""
        ...

    def __call__(self, theta: Float[Tensor, "*batch parameter"]) -> Float[Tensor, "*batch energy"]:
        """Photons/cm^2/s per bin.

        Args:
            theta: Free parameters in the model's order and their units.
        """
        ...

    def with_jacobian(
        self, theta: Float[Tensor, "*batch parameter"]
    ) -> tuple[Float[Tensor, "*batch energy"], Float[Tensor, "parameter *batch energy"]]:
        """Photons and d photons / d theta.

        Args:
            theta: Likewise.
        """
        ...

    def component(self, name: str) -> Flux:
        """The photons of one additive component alone, of the same theta.

        Args:
            name: As `additive_components` has it.
        """
        ...


@dataclass(frozen=True)
class NativeFlux:
    """The components of this package.

    Attributes:
        photon_flux: The model bound to the grid.
    """

    photon_flux: PhotonFlux

    @classmethod
    def of(
        cls, model: Model, energy_edges: Tensor, dtype: torch.dtype = torch.float64, tolerance: float = TOLERANCE
    ) -> NativeFlux:
        """Bind a model to a grid.

        Args:
            model: The spectral model.
            energy_edges: (edge,) keV.
            dtype: Precision of the photons.
            tolerance: Relative error allowed in their integral over a bin.
        """
        key = model.text, model.parameters, model.abund, model.xsect, energy_edges.numpy().tobytes(), dtype, tolerance
        if key not in _BOUND:
            _BOUND[key] = cls(model.on(energy_edges, dtype, tolerance))
            if len(_BOUND) > MOST_BOUND:
                _BOUND.popitem(last=False)
        return _BOUND[key]

    @property
    def parameters(self) -> int:
        """How many columns theta has."""
        return len(self.photon_flux.model.names)

    def __call__(self, theta: Float[Tensor, "*batch parameter"]) -> Float[Tensor, "*batch energy"]:
        """Photons/cm^2/s per bin."""
        return self.photon_flux(theta)

    def with_jacobian(
        self, theta: Float[Tensor, "*batch parameter"]
    ) -> tuple[Float[Tensor, "*batch energy"], Float[Tensor, "parameter *batch energy"]]:
        """Photons and d photons / d theta, by the structure of the model (`jacobian`)."""
        return flux_and_jacobian(self.photon_flux, theta)

    def component(self, name: str) -> NativeFlux:
        """The photons of one additive component alone, of the same theta."""
        return NativeFlux(component_alone(self.photon_flux, name))


_BOUND: OrderedDict[Hashable, NativeFlux] = OrderedDict()
