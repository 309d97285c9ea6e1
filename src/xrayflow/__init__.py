"""xrayflow: from an X-ray spectrum file to a certified posterior.

The public names are found on first use (PEP 562), so that `xrayflow --help` need not load PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xrayflow.errors import XrayflowError as XrayflowError
    from xrayflow.fitting import optimise as optimise
    from xrayflow.folding import Fold as Fold
    from xrayflow.folding import Grid as Grid
    from xrayflow.inference import Posterior as Posterior
    from xrayflow.inference import infer as infer
    from xrayflow.models import parse_model as parse_model
    from xrayflow.networks import Network as Network
    from xrayflow.networks import load_network as load_network
    from xrayflow.networks import train as train
    from xrayflow.ogip import Observation as Observation
    from xrayflow.ogip import read_observation as read_observation
    from xrayflow.prior import Prior as Prior
    from xrayflow.problem import Problem as Problem
    from xrayflow.products import load_result as load_result
    from xrayflow.products import write_products as write_products
    from xrayflow.simulate import Simulator as Simulator
    from xrayflow.studies.catalogue import fit_catalogue as fit_catalogue

_HOMES = {
    "Fold": "folding",
    "Grid": "folding",
    "Network": "networks",
    "Observation": "ogip",
    "Posterior": "inference",
    "Prior": "prior",
    "Problem": "problem",
    "Simulator": "simulate",
    "XrayflowError": "errors",
    "fit_catalogue": "studies.catalogue",
    "infer": "inference",
    "load_network": "networks",
    "load_result": "products",
    "optimise": "fitting",
    "parse_model": "models",
    "read_observation": "ogip",
    "train": "networks",
    "write_products": "products",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Import the room of a public name when it is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module 'xrayflow' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"xrayflow.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
