"""The networks that come with xrayflow, for people and for machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xrayflow.files import SCHEMA_VERSION
from xrayflow.networks.store import load_network, shipped_networks


def describe_networks() -> dict[str, Any]:
    """Every shipped network: what it was made for, and on what it was trained."""
    found = []
    for path in shipped_networks().values():
        network = load_network(path)
        prior, recipe = network.training_prior, network.recipe
        found.append(
            {
                "name": network.name,
                "description": recipe.description,
                "model": network.model.text,
                "abund": network.model.abund,
                "parameters": {m.name: str(m) for m in prior.prior.marginals},
                "instrument": recipe.instrument.rmf,
                "energies": list(recipe.layout.energies),
                "bins": network.bins,
                "rate": list(prior.rate),
                "exposure": list(prior.exposure),
                "systematic": [0.0, prior.systematic[1] if prior.without_systematic < 1 else 0.0],
                "calibration": prior.calibration or None,
                "amplitude": list(prior.amplitude) if prior.calibration else None,
                "weights": network.weights,
                "trained": network.trained,
                "seed": recipe.seed,
                "versions": network.versions,
                "path": str(path),
            }
        )
    return {"schema_version": SCHEMA_VERSION, "networks": found}


def list_network_lines() -> list[str]:
    """The same as lines of text."""
    lines = []
    for one in describe_networks()["networks"]:
        exposure, rate = one["exposure"], one["rate"]
        lines += [
            f"{one['name']}  {one['model']}  ({one['weights']} weights)",
            f"  {one['description']}",
            f"  trained on {one['trained'].get('spectra', 0)} spectra of {exposure[0]:g}-{exposure[1]:g} s, "
            f"{rate[0]:g}-{rate[1]:g} counts/s, systematic up to {one['systematic'][1]:g}{_calibration(one)}",
        ]
        lines += [f"    {name:<20} {box}" for name, box in one["parameters"].items()]
    lines.append("use one with: xrayflow fit PHA --network NAME   (fit takes the one that fits by itself)")
    return lines


def _calibration(one: Mapping[str, Any]) -> str:
    """The modes of a network's training, in words; "" without."""
    return f", calibration modes {one['calibration']} up to {one['amplitude'][1]:g}" if one["calibration"] else ""
