"""The networks that come with xrayflow, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xrayflow.files import SCHEMA_VERSION
from xrayflow.networks.store import SUFFIX, load_network, shipped_networks

PASSPORT = ".passport.json"
"""Beside the weights, what `xrayflow check` found."""


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
                "passport": _passport(path),
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
        if one["passport"] is not None:
            lines.append(_checked(one["passport"]))
        lines += [f"    {name:<20} {box}" for name, box in one["parameters"].items()]
    lines.append("use one with: xrayflow fit PHA --network NAME   (fit takes the one that fits by itself)")
    return lines


def _calibration(one: Mapping[str, Any]) -> str:
    """The modes of a network's training, in words; "" without."""
    return f", calibration modes {one['calibration']} up to {one['amplitude'][1]:g}" if one["calibration"] else ""


def _passport(path: Path) -> dict[str, Any] | None:
    """The passport of a network without its rows; None where none ships with it."""
    beside = path.with_name(path.name.removesuffix(SUFFIX) + PASSPORT)
    if not beside.is_file():
        return None
    found = json.loads(beside.read_text(encoding="utf-8"))
    return {key: value for key, value in found.items() if key not in ("rows", "trained", "description")}


def _checked(passport: Mapping[str, Any]) -> str:
    """What a passport says, in a line."""
    whole = passport["all"]
    return (
        f"  checked on {passport['spectra']} fresh spectra: {100.0 * whole['certified']:.3g} % certified, "
        f"{100.0 * whole['final_efficiency_10_50_90'][1]:.0f} % of the draws count (median); alone, its intervals are "
        f"{whole['width_ratio_median']:.1f} times as wide as exact ones"
    )
