"""What a header says about how its numbers were made."""

from __future__ import annotations

from typing import Any

from xrayflow.models import Model

MAKERS = ("torch", "numpy")
"""Packages that draw a simulation's numbers."""


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
