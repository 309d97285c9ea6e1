"""Small networks: recipes of a few bins and narrow layers on the toy detector, trained or not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ogip_zoo import write_arf, write_rmf
from xrayflow.networks import Network, Progress, Recipe, train
from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.network import prepare
from xrayflow.networks.nn.core import PosteriorEstimator
from xrayflow.networks.recipe import parse_recipe
from xrayflow.seeds import generator_for
from xrayflow.simulate import Simulator

Table = dict[str, Any]

SMALL = {"context": 16, "blocks": 1, "hidden": [16], "transforms": 2, "splines": 4}
PAPER = {
    "scaling": "paper-centred",
    "coordinates": "standardised",
    "encoder": "convolutional",
    "convolutions": [[2, 2, 4], [3, 1, 4]],
    "decoder_widths": [8],
}
STAGE: Table = {"name": "flow", "trains": ["encoder", "flow"], "flow": 1.0, "epochs": 2, "steps": 3, "batch": 32}
TOY_RUN = """
training_prior = { rate = [1.0, 1000.0], exposure = [100.0, 1000.0] }
model = { expression = "powerlaw", prior = ["powerlaw.PhoIndex=1:3", "powerlaw.norm=0.001:10"] }
instrument = { rmf = "toy.rmf", arf = "toy.arf" }
layout = { starts = [0, 40], widths = [4, 10], energies = [0.5, 8.5] }
network = { context = 16, blocks = 1, hidden = [16], transforms = 2, splines = 4 }
"""
"""The run file of `toy_table`, to which a name, [data] and stages are added."""
WHOLE = {"partial": 0.0, "grouped": 0.0}
"""A training prior whose spectra are all noticed from end to end."""
CALIBRATED = {"calibration": "nicer-v1", "amplitude": [0.5, 2.0], "without_calibration": 0.2}
"""A training prior whose responses have errors."""


def toy_table(*stages: Table, **changes: Any) -> Table:
    """A run file's table: a power law of two free parameters, 14 bins of the toy detector.

    Args:
        stages: Changes of the stage that trains encoder and flow, one table for each stage; none: that one.
        changes: Of the top level; tables are joined with those here.
    """
    table: Table = {
        "name": "toy",
        "seed": 7,
        "model": {"expression": "powerlaw", "prior": ["powerlaw.PhoIndex=1:3", "powerlaw.norm=0.001:10"]},
        "instrument": {"rmf": "toy.rmf", "arf": "toy.arf"},
        "layout": {"starts": [0, 40], "widths": [4, 10], "energies": [0.5, 8.5]},
        "training_prior": {"rate": [1.0, 1000.0], "exposure": [100.0, 1000.0]},
        "data": {"validation": 64},
        "network": SMALL,
        "stage": [STAGE | stage for stage in stages or ({},)],
    }
    for name, value in changes.items():
        table[name] = {**table.get(name, {}), **value} if isinstance(value, dict) else value
    return table


def toy_recipe(*stages: Table, **changes: Any) -> Recipe:
    """The recipe of `toy_table`."""
    return parse_recipe(toy_table(*stages, **changes), "toy.toml")


def write_toy(folder: Path) -> Path:
    """The response that toy recipes name; returns the folder."""
    folder.mkdir(exist_ok=True)
    write_rmf(folder / "toy.rmf")
    write_arf(folder / "toy.arf")
    return folder


def toy_network(folder: Path, recipe: Recipe | None = None) -> tuple[Network, Simulator]:
    """A network with random weights and fitted scalings, and its simulator."""
    write_toy(folder)
    network, simulator = prepare(recipe or toy_recipe(), folder)
    drawn = simulator.sample(500, generator_for(1, "toy scaling"))
    network.core.scaling.fit(NetworkInput.of(drawn))
    network.core.coordinates.fit(drawn.theta)
    return network, simulator


def stirred(core: PosteriorEstimator, seed: int = 0, size: float = 0.5) -> PosteriorEstimator:
    """The parts with weights pushed away from their quiet start, so that a density has a shape."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in core.flow.parameters():
            weight += size * weight.abs().mean() * torch.randn(weight.shape, generator=generator)
    return core


def trained(recipe: Recipe, folder: Path, out: Path) -> list[Progress]:
    """Train to the end."""
    return list(train(recipe, out, folder))


def whole_inputs(counts: Iterable[Iterable[float]], /, **changes: Any) -> NetworkInput:
    """Spectra of given counts, all noticed, without background, 100 s, the reference area, no errors."""
    table = torch.tensor([list(row) for row in counts], dtype=torch.float64)
    one = torch.ones(table.shape[0], dtype=torch.float64)
    inputs = NetworkInput(
        table, torch.zeros_like(table), torch.ones_like(table), 100.0 * one, one, 0.0 * one, 0.0 * one
    )
    return replace(inputs, **{name: torch.as_tensor(value, dtype=torch.float64) for name, value in changes.items()})
