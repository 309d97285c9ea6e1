"""PHYSICS: spectral components and their combination, as pure functions of tensors."""

from __future__ import annotations

from xrayflow.models.edges import TOLERANCE
from xrayflow.models.flux import Flux, NativeFlux
from xrayflow.models.jacobian import flux_and_jacobian
from xrayflow.models.model import Model, PhotonFlux, parse_model
from xrayflow.models.parameter import Parameter

__all__ = ["TOLERANCE", "Flux", "Model", "NativeFlux", "Parameter", "PhotonFlux", "flux_and_jacobian", "parse_model"]
