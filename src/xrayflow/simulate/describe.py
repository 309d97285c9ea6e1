"""What a header says about how its numbers were made."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from xrayflow.models import Model

SCHEMA_VERSION = 1


def describe_model(model: Model) -> dict[str, Any]:
    """What makes a model, in words of JSON."""
    return {
        "model": model.text,
        "abund": model.abund,
        "xsect": model.xsect,
        "parameters": list(model.names),
        "frozen": {p.name: p.value for p in model.parameters if p.frozen},
        "links": {p.name: p.link.text for p in model.parameters if p.link is not None},
    }


def versions() -> dict[str, str]:
    """Of what draws the numbers."""
    return {"xrayflow": version("xrayflow"), "torch": torch.__version__, "numpy": np.__version__}
