"""Train the cells of recipes/paper/ablation.toml on a library of targets, and measure them.

    OMP_NUM_THREADS=1 python benchmarks/paper_ablation.py ARCHIVE --work FOLDER
        [--networks FOLDER] [--only NAME ...] [--measure]

ARCHIVE is the folder of benchmarks/archive_like.py, with the targets that `xrayflow targets` made of it. A cell named
NAME of seed S trains in FOLDER/NAME-S and goes on where it was stopped; what is finished is not trained again. Two of
these commands with different --only use two cores. --networks holds the networks that cells begin from:
nicer-bhb-paper-reduced, nicer-bhb-paper-noise-free, nicer-bhb-vanilla, nicer-bhb-point.

With --measure nothing is trained: 500 spectra of the sources that were held apart go through every finished cell, into
benchmarks/results/paper-ablation.json: one draw's PGStat / dof, r, coverage, errors (`paper_claims.py`), last losses.
"""

from __future__ import annotations

import argparse
import json
import tomllib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from paper_claims import claims
from paper_network import rounded
from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.networks import Recipe, load_network, train
from xrayflow.networks.recipe import parse_recipe
from xrayflow.studies.running.sources import read_list
from xrayflow.studies.validation.evaluation import EvaluationConfig, evaluate

HERE = Path(__file__).resolve().parent
ABLATION = HERE.parent / "recipes" / "paper" / "ablation.toml"
RESULTS = HERE / "results" / "paper-ablation.json"
SPECTRA, DRAWS, SEED = 500, 20, 6
ABOUT = ("about", "seeds")


def joined(table: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A table with changes; tables inside are joined likewise."""
    found = dict(table)
    for name, value in changes.items():
        found[name] = joined(found[name], value) if isinstance(value, dict) and name in found else value
    return found


def runs(archive: Path, networks: Path) -> Iterator[tuple[str, str, Recipe]]:
    """The name of each run, what it is about, and its recipe."""
    table = tomllib.loads(ABLATION.read_text(encoding="utf-8"))
    for cell in (*table["cell"], *table["row"]):
        for seed in cell.get("seeds", [table["base"]["seed"]]):
            changes = {key: value for key, value in cell.items() if key not in ABOUT}
            whole = joined(table["base"], changes)
            name = f"{cell['name']}-{seed}"
            whole |= {
                "name": name,
                "seed": seed,
                "stage": [whole["stage"] | {"spectra": str(archive / "targets.safetensors")}],
            }
            if whole["start"].endswith(".safetensors"):
                whole["start"] = str(networks / whole["start"])
            yield name, cell["about"], parse_recipe(whole, f"{ABLATION.name}, {name}")


def measure(archive: Path, work: Path, networks: Path) -> dict[str, Any]:
    """A row for each finished cell."""
    about = {
        name: words for name, words, _ in runs(archive, networks) if (work / name / f"{name}.safetensors").exists()
    }
    cells = [load_network(work / name / f"{name}.safetensors") for name in about]
    asked = EvaluationConfig(draws=DRAWS, spectra=SPECTRA, repeats=0, seed=SEED)
    sources = read_list(archive / "list.txt")
    found = evaluate(archive / "targets.safetensors", sources, str(archive / "nicer.rmf.gz"), cells, asked)
    document = {**provenance(__file__), **found.summary()}
    for row in document["rows"]:
        own = found.row(row["name"])
        if own.answers is None:
            continue
        cell = next(one for one in cells if one.name == row["name"])
        losses = {key: value for key, value in cell.trained["last_epoch"].items() if key.startswith("validation")}
        row |= {"about": about[cell.name], "validation": losses, "cpu_seconds": cell.trained["cpu_seconds"]}
        row["claims"] = claims(own.answers, found.rate)
    return document


def main() -> None:
    """Train what is asked for, or measure what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--networks", type=Path, default=Path("runs"))
    parser.add_argument("--only", nargs="+", default=None, help="names of cells, as headline-2")
    parser.add_argument("--measure", action="store_true", help="what there is, instead of training")
    options = parser.parse_args()
    torch.set_num_threads(1)
    archive, networks = options.archive.resolve(), options.networks.resolve()
    if options.measure:
        warnings.simplefilter("ignore", XrayflowWarning)
        document = rounded(measure(archive, options.work, networks))
        RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return
    for name, _, recipe in runs(archive, networks):
        if options.only is not None and name not in options.only:
            continue
        for progress in train(recipe, options.work / name):
            if progress.validation is not None:
                told = ", ".join(f"{term} {value:.4g}" for term, value in progress.validation.items())
                print(f"{name} {progress.epoch}/{progress.epochs}: {told}", flush=True)


if __name__ == "__main__":
    main()
