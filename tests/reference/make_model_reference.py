"""Makes `models.npz` and `components.npz`: what the compiled XSPEC library says about our models.

    python tests/reference/make_model_reference.py         (needs `pip install 'xrayflow[xspec]'`, about a minute)

`models.npz`: 1000 prior draws of each model of the walking skeleton, on one energy grid, folded through `toy_response`.
`components.npz`: 1000 draws of each component from its prior box, a few bins of its grid for each; of simplcutx, which
the library does not have, the shape of nthComp.
The draws are stored, rounded to single precision, so that the test needs no random numbers and no library.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from xrayflow.models import parse_model, xspec
from xrayflow.models.component import Component
from xrayflow.models.components import COMPONENTS
from xrayflow.models.xspec import XspecLibrary

HERE = Path(__file__).resolve().parent
DRAWS = 1000
MODELS = ("TBabs*simpl*ezdiskbb", "TBabs*powerlaw")
BINS_PER_DRAW = 2
# bins below this share of the largest are left out; the library cuts a Gaussian off at 5.5 sigma
FLOOR = {"gaussian": 1e-5}
# kinder boxes than the priors where a random draw would nearly always miss the grid
BOXES = {
    "bbody.kT": (0.02, 100.0),
    "bbodyrad.kT": (0.02, 100.0),
    "gaussian.Sigma": (0.01, 3.0),
    "gabs.Sigma": (0.02, 3.0),
    "gabs.Strength": (1e-3, 3.0),
}
ORDER = (
    *("powerlaw", "cutoffpl", "bbody", "bbodyrad", "diskbb", "gaussian", "ezdiskbb", "TBabs", "phabs", "constant"),
    *("edge", "gabs", "highecut", "pcfabs", "TBpcf", "simpl", "simplcutx", "nthComp", "vphabs"),
)
"""Seeds are places in this row: a new component stands last, wherever it is listed, and the others keep their draws."""


def energy_edges() -> np.ndarray:
    """The grid of `models.npz` [keV]: a convolution needs it wide."""
    return np.geomspace(1e-3, 1e3, 4001)


def component_edges(name: str) -> np.ndarray:
    """The grid of a component in `components.npz` [keV]."""
    return np.geomspace(1e-2, 1e3, 4001) if name == "simpl" else np.geomspace(0.1, 20.0, 2001)


def seed_photons(edges: np.ndarray) -> np.ndarray:
    """What the convolutions of `components.npz` act on: a hump at 1 keV."""
    middle = np.sqrt(edges[1:] * edges[:-1])
    return np.diff(edges) * middle * np.exp(-middle)


def toy_response(edges: np.ndarray) -> np.ndarray:
    """An analytic response `(energy, channel)` [cm^2]: Gaussian lines of 0.1 (E / keV)^0.5 keV FWHM, 32 channels."""
    channels = np.geomspace(0.3, 10.0, 33)
    middle = 0.5 * (edges[1:] + edges[:-1])
    sigma = 0.1 * np.sqrt(np.clip(middle, 0.05, 20.0)) / 2.3548
    area = 2000.0 * (1.0 - np.exp(-middle)) * np.exp(-middle / 5.0)
    return area[:, None] * np.diff(ndtr((channels - middle[:, None]) / sigma[:, None]), axis=1)


def in_order(component: Component, columns: Sequence[Any]) -> list[Any]:
    """All parameters but the norm, in XSPEC's order.

    Args:
        component: The component.
        columns: Of those that were drawn; switches are at their defaults.
    """
    drawn = iter(columns)
    return [p.value if p.is_switch else next(drawn) for p in component.parameters if not p.is_norm]


def draw(boxes: list[tuple[float, float, str]], seed: int) -> np.ndarray:
    """Draws from boxes, uniform in the scale of each, rounded to single precision."""
    unit = np.random.default_rng(seed).uniform(size=(DRAWS, len(boxes)))
    columns = [
        lo * (hi / lo) ** column if scale == "log" else lo + (hi - lo) * column
        for (lo, hi, scale), column in zip(boxes, unit.T, strict=True)
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def make_models(library: XspecLibrary) -> dict[str, np.ndarray]:
    """Folded counts of each model."""
    edges, table = energy_edges(), {}
    response = toy_response(edges)
    for number, text in enumerate(MODELS):
        model = parse_model(text)
        theta = draw([(*parameter.box, parameter.scale) for parameter in model.free], number)
        full = np.empty((DRAWS, len(model.parameters)))
        full[:, [not parameter.frozen for parameter in model.parameters]] = theta
        full[:, [parameter.frozen for parameter in model.parameters]] = [p.value for p in model.parameters if p.frozen]
        folded = library.evaluate(text, full, edges) @ response
        table[f"{text} theta"], table[f"{text} counts"] = theta, folded.astype(np.float32)
    return table


def make_components(library: XspecLibrary) -> dict[str, np.ndarray]:
    """A few bins of each component for each draw, never below `FLOOR` (1e-12) of its largest."""
    table = {}
    for number, name in enumerate(ORDER):
        component = next(component for component in COMPONENTS if component.name == name)
        if name not in xspec.COMPONENTS:
            continue
        edges = component_edges(component.name)
        boxes = [
            (*BOXES.get(f"{component.name}.{parameter.name}", parameter.box), parameter.scale)
            for parameter in component.parameters
            if not parameter.is_norm and not parameter.is_switch
        ]
        theta = draw(boxes, 100 + number)
        full = np.column_stack(np.broadcast_arrays(*in_order(component, theta.T))).astype(np.float64)
        photons = seed_photons(edges) if component.kind == "convolution" else None
        values = library.call(component.name, full, edges, photons)
        known = values > FLOOR.get(component.name, 1e-12) * values.max(axis=1, keepdims=True)
        generator = np.random.default_rng(number)
        bins = np.argsort(np.where(known, generator.uniform(size=values.shape), 2.0), axis=1)[:, :BINS_PER_DRAW]
        table[f"{component.name} theta"] = theta
        table[f"{component.name} bins"] = bins.astype(np.uint16)
        table[f"{component.name} values"] = np.take_along_axis(values, bins, axis=1)
    return table | make_nthcomp(library)


def make_nthcomp(library: XspecLibrary) -> dict[str, np.ndarray]:
    """Ratios of nthComp at three bins to the bin at 0.1 keV, far above its seed, for 200 draws of Gamma and kT_e."""
    edges = np.geomspace(1e-2, 1e3, 4001)
    energy = np.sqrt(edges[1:] * edges[:-1])
    theta = draw([(1.1, 5.0, "linear"), (1.0, 1000.0, "log")], 300)[:200]
    full = np.column_stack([theta, np.tile([1e-3, 0.0, 0.0], (200, 1))]).astype(np.float64)
    values = library.call("nthComp", full, edges)
    base = int(np.searchsorted(energy, 0.1))
    generator, bins = np.random.default_rng(300), []
    for row, gamma in zip(values, full[:, 0], strict=True):
        power_law = row[base] * (energy / energy[base]) ** (1.0 - gamma)
        bins.append([base, *generator.choice(np.flatnonzero((row > np.exp(-6.0) * power_law) & (energy > 0.1)), 3)])
    picked = np.array(bins)
    ratios = np.take_along_axis(values, picked[:, 1:], axis=1) / values[:, base : base + 1]
    return {"simplcutx theta": theta, "simplcutx bins": picked.astype(np.uint16), "simplcutx ratios": ratios}


def provenance() -> np.ndarray:
    """Where the numbers come from, as JSON text."""
    facts = {
        "command": "python tests/reference/make_model_reference.py",
        "date": datetime.date.today().isoformat(),
        "xspectrampoline": importlib.metadata.version("xspectrampoline"),
        "library": "LibXSPEC 6.35.1",
        "abund": "wilm",
        "xsect": "vern",
        "numpy": np.__version__,
        "python": sys.version.split()[0],
    }
    return np.array(json.dumps(facts))


def main() -> None:
    """Writes both files."""
    with XspecLibrary(abund="wilm") as library:
        for name, make in (("models", make_models), ("components", make_components)):
            path = HERE / f"{name}.npz"
            np.savez_compressed(path, provenance=provenance(), **make(library))
            print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
