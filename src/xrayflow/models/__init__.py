"""PHYSICS: spectral components and their combination, as pure functions of tensors."""

from __future__ import annotations

from xrayflow.models.edges import TOLERANCE
from xrayflow.models.features import Feature, features_of
from xrayflow.models.flux import Flux, NativeFlux
from xrayflow.models.growing import Written, acted_on, added, enlarged, multiplied
from xrayflow.models.jacobian import flux_and_jacobian
from xrayflow.models.model import Model, PhotonFlux, parse_model
from xrayflow.models.parameter import Parameter
from xrayflow.models.parts import (
    absorbers,
    additive_components,
    component_alone,
    find_additive,
    without_absorbers,
    without_component,
)

__all__ = [
    "TOLERANCE",
    "Feature",
    "Flux",
    "Model",
    "NativeFlux",
    "Parameter",
    "PhotonFlux",
    "Written",
    "absorbers",
    "acted_on",
    "added",
    "additive_components",
    "component_alone",
    "enlarged",
    "features_of",
    "find_additive",
    "flux_and_jacobian",
    "multiplied",
    "parse_model",
    "without_absorbers",
    "without_component",
]
