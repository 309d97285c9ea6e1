"""Train the cells of recipes/paper/ablation.toml on a library of targets.

    OMP_NUM_THREADS=1 python benchmarks/paper_ablation.py TARGETS.safetensors --work FOLDER
        [--networks FOLDER] [--only NAME ...]

TARGETS is what `xrayflow targets` made of an archive (of benchmarks/archive_like.py, or of your own). A cell named
NAME of seed S trains in FOLDER/NAME-S and goes on where it was stopped; what is finished is not trained again. Two of
these commands with different --only use two cores. --networks holds the networks that cells begin from, beside the
shipped one: nicer-bhb-paper-noise-free, nicer-bhb-vanilla, nicer-bhb-point.

`benchmarks/paper_table.py` measures what comes out.
"""

from __future__ import annotations

import argparse
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from xrayflow.networks import Recipe, train
from xrayflow.networks.recipe import parse_recipe

ABLATION = Path(__file__).resolve().parents[1] / "recipes" / "paper" / "ablation.toml"
ABOUT = ("about", "seeds")


def joined(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A table with changes; tables inside are joined likewise."""
    found = dict(table)
    for name, value in changes.items():
        found[name] = joined(found[name], value) if isinstance(value, dict) and name in found else value
    return found


def runs(library: Path, networks: Path) -> Iterator[tuple[str, str, Recipe]]:
    """The name of each run, what it is about, and its recipe."""
    table = tomllib.loads(ABLATION.read_text(encoding="utf-8"))
    for cell in (*table["cell"], *table["row"]):
        for seed in cell.get("seeds", [table["base"]["seed"]]):
            changes = {key: value for key, value in cell.items() if key not in ABOUT}
            whole = joined(table["base"], changes)
            name = f"{cell['name']}-{seed}"
            whole |= {"name": name, "seed": seed, "stage": [whole["stage"] | {"spectra": str(library)}]}
            if whole["start"].endswith(".safetensors"):
                whole["start"] = str(networks / whole["start"])
            yield name, cell["about"], parse_recipe(whole, f"{ABLATION.name}, {name}")


def main() -> None:
    """Train what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--networks", type=Path, default=Path("runs"))
    parser.add_argument("--only", nargs="+", default=None, help="names of cells, as headline-2")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, _, recipe in runs(options.library.resolve(), options.networks.resolve()):
        if options.only is not None and name not in options.only:
            continue
        for progress in train(recipe, options.work / name):
            if progress.validation is not None:
                told = ", ".join(f"{term} {value:.4g}" for term, value in progress.validation.items())
                print(f"{name} {progress.epoch}/{progress.epochs}: {told}", flush=True)


if __name__ == "__main__":
    main()
