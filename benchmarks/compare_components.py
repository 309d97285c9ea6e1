"""How far every component is from the compiled XSPEC library: makes `results/components.json`.

    python benchmarks/compare_components.py          (ten seconds, one core; needs no library)

The library's numbers are those of `tests/reference/components.npz` and `models.npz` (`make_model_reference.py`): 1000
draws of each component from its prior box, some bins for each; and 1000 prior draws of whole models, folded.
"""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xrayflow.models import parse_model, xspec
from xrayflow.models.component import Component
from xrayflow.models.components import COMPONENTS
from xrayflow.models.edges import EnergyBins

HERE = Path(__file__).resolve().parent
REFERENCE = HERE.parent / "tests" / "reference"
MODELS = ("TBabs*simpl*ezdiskbb", "TBabs*powerlaw")
WHO_IS_RIGHT = {
    "TBabs": "Both, to the digits of the table: it keeps 3e-6 of the optical depth, which shows at depths near 28.",
    "TBpcf": "Both, to the digits of the table: 3e-6 of the optical depth, as for TBabs, and 3e-7 of the factor.",
    "pcfabs": "Ours: the library works in single precision, 1e-7 of the uncovered source.",
    "phabs": "Ours: the library works in single precision, 1e-7 of the factor times the exponential of its depth.",
    "bbody": "Ours: the integral over the bin. The library takes the mean of the two edges and bin widths in single "
    "precision; by its own rule we agree to 5e-5.",
    "bbodyrad": "Ours, as for bbody.",
    "cutoffpl": "Ours: the library loses digits in its incomplete gamma functions.",
    "diskbb": "Ours: the library is 1.00075 times the exact integral (its constant), with a scatter of 1e-4.",
    "ezdiskbb": "Ours: the library interpolates a table of the spectrum. Ours is the published integral to 1e-8. The "
    "library's table was made by us from the same integral, so this compares the interpolation, not the physics.",
    "gaussian": "Ours: the integral by complementary error functions. The library loses digits in the wings of narrow "
    "lines.",
    "highecut": "Ours: below cutoffE the factor is 1; the library gives exp(-0.001 keV / foldE). Above, the library "
    "works in single precision.",
    "nthComp": "Ours: the integral of the library's own spectrum, straight between its nodes. The library takes the "
    "mean of a bin's two edges, which misses corners inside; by that rule we agree to the single precision of its bin "
    "widths, 4e-5.",
    "vphabs": "Ours, as for phabs.",
    "simplcutx": "Not known: the library does not have it and its code is not public. Ours is a smooth fit to nthComp, "
    "which interpolates a coarse grid of its own.",
}
AGREE = "Both: they agree to rounding."


def ours(component: Component, table: dict[str, np.ndarray], maker: dict[str, Any], dtype: torch.dtype) -> np.ndarray:
    """Our values in all bins `(draw, energy)`."""
    edges = torch.as_tensor(maker["component_edges"](component.name))
    theta = torch.as_tensor(table[f"{component.name} theta"]).to(dtype)
    arguments: list[Any] = maker["in_order"](component, theta.T)
    if component.kind == "additive":
        arguments.append(torch.ones(len(theta), dtype=dtype))
    if component.kind == "convolution":
        arguments.insert(0, torch.as_tensor(maker["seed_photons"](edges.numpy())).to(dtype))
    return component.bind(EnergyBins(edges, dtype), "wilm")(*arguments).double().numpy()


def statistics(difference: np.ndarray) -> dict[str, float]:
    """Median, 99th percentile and maximum of absolute values."""
    size = np.abs(difference)
    figures = {"median": np.median(size), "p99": np.quantile(size, 0.99), "max": size.max()}
    return {name: float(f"{value:.2g}") for name, value in figures.items()}


def compare(component: Component, table: dict[str, np.ndarray], maker: dict[str, Any]) -> dict[str, Any]:
    """One component: relative differences, and where the largest is."""
    exact = ours(component, table, maker, torch.float64)
    bins = table[f"{component.name} bins"].astype(np.int64)
    difference = np.take_along_axis(exact, bins, axis=1) / table[f"{component.name} values"] - 1.0
    row, column = np.unravel_index(np.abs(difference).argmax(), difference.shape)
    edges = maker["component_edges"](component.name)
    names = [p.name for p in component.parameters if not p.is_norm and not p.is_switch]
    rough = ours(component, {name: values[:300] for name, values in table.items()}, maker, torch.float32)
    seen = exact[:300] > 1e-6 * exact[:300].max(axis=1, keepdims=True)
    return {
        "compared": "Relative difference in single bins of one energy grid",
        "draws": len(exact),
        "float64": statistics(difference),
        "float32_from_float64": statistics((rough / np.where(seen, exact[:300], 1.0) - 1.0)[seen]),
        "largest_at": {
            "energy": float(f"{edges[bins[row, column]]:.4g}"),
            **{n: float(f"{v:.4g}") for n, v in zip(names, table[f"{component.name} theta"][row], strict=True)},
        },
    }


def compare_nthcomp(table: dict[str, np.ndarray]) -> dict[str, Any]:
    """simplcutx: the logarithm of its shape against that of nthComp."""
    component = next(component for component in COMPONENTS if component.name == "simplcutx")
    edges = torch.logspace(-2, 3, 4001, dtype=torch.float64)
    line = torch.zeros(4000, dtype=torch.float64)
    line[100] = 1.0
    one, results = torch.ones((), dtype=torch.float64), {}
    for dtype in (torch.float64, torch.float32):
        bound, difference = component.bind(EnergyBins(edges, dtype), "wilm"), []
        for theta, bins, ratios in zip(*(table[f"simplcutx {n}"] for n in ("theta", "bins", "ratios")), strict=True):
            gamma = torch.as_tensor(theta[0], dtype=dtype)
            found = bound(line.to(dtype), gamma, one.to(dtype), 0.0, float(theta[1])).double().numpy()
            difference.append(np.log(found[bins[1:].astype(int)] / found[bins[0]]) - np.log(ratios))
        results[dtype] = np.array(difference)
    return {
        "compared": "Logarithm of the ratio of a scattered line's shape to that of the library's nthComp",
        "draws": 200,
        "float64": statistics(results[torch.float64]),
        "float32_from_float64": statistics(results[torch.float32] - results[torch.float64]),
    }


def compare_folded(maker: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Whole models: relative differences of folded counts."""
    edges, found = maker["energy_edges"](), {}
    response = maker["toy_response"](edges)
    with np.load(REFERENCE / "models.npz") as table:
        for text in MODELS:
            theta, counts = table[f"{text} theta"], table[f"{text} counts"].astype(np.float64)
            folded = parse_model(text).on(torch.as_tensor(edges))(torch.as_tensor(theta, dtype=torch.float64)).numpy()
            seen = counts > 1e-12 * counts.max(axis=1, keepdims=True)
            found[text] = statistics(((folded @ response) / np.where(seen, counts, 1.0) - 1.0)[seen])
    return found


def main() -> None:
    """Writes the results."""
    maker = runpy.run_path(str(REFERENCE / "make_model_reference.py"))
    with np.load(REFERENCE / "components.npz") as stored:
        table = {name: stored[name] for name in stored}
    provenance = json.loads(str(table.pop("provenance")))
    found = {c.name: compare(c, table, maker) for c in COMPONENTS if c.name in xspec.COMPONENTS}
    found["simplcutx"] = compare_nthcomp(table)
    for name, row in found.items():
        row["who_is_right"] = WHO_IS_RIGHT.get(name, AGREE)
    result = {
        "command": "python benchmarks/compare_components.py",
        "library": {name: provenance[name] for name in ("library", "xspectrampoline", "abund", "xsect", "date")},
        "versions": {"torch": torch.__version__.split("+")[0], "numpy": np.__version__},
        "components": found,
        "folded": compare_folded(maker),
    }
    (HERE / "results" / "components.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
