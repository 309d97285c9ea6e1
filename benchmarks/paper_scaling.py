"""What the input's scaling is worth: the paper's min-max values, or each spectrum less its mean and bins z-scored.

    OMP_NUM_THREADS=1 python benchmarks/paper_scaling.py --work FOLDER [--epochs 4]

Encoder and flow of recipes/paper/reduced.toml learn alone, its second stage cut short, with one scaling and with the
other: same seed, same spectra, same steps. What counts is -ln q on spectra that train nothing, and r between draws and
truths of the noisy set of `paper_spectra.py`. A stopped run goes on.

Writes benchmarks/results/paper-scaling.json.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import torch

from paper_network import rounded
from paper_spectra import inputs_of, paper_set
from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.networks import load_network, read_recipe, train
from xrayflow.networks.recipe import parse_recipe
from xrayflow.studies.validation.evaluation import parameter_rows
from xrayflow.studies.validation.network_draws import answers_of, sample

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "paper-scaling.json"
RECIPE = HERE.parent / "recipes" / "paper" / "reduced.toml"
SCALINGS = ("paper", "paper-centred")
SPECTRA, DRAWS, SEED = 1000, 100, 20262


def main() -> None:
    """Train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    torch.set_num_threads(1)
    table = read_recipe(RECIPE).model_dump(exclude_none=True)
    (flow,) = (stage for stage in table["stage"] if stage["name"] == "flow")
    spectra = paper_set(SPECTRA, SEED)
    document: dict[str, Any] = {
        **provenance(__file__),
        "epochs": options.epochs,
        "steps": flow["steps"],
        "scalings": {},
    }
    for scaling in SCALINGS:
        changes = {"name": f"scaling-{scaling}", "stage": [flow | {"epochs": options.epochs}]}
        network = table["network"] | {"scaling": scaling, "decoder": "none"}
        recipe = parse_recipe(table | changes | {"network": network}, f"{RECIPE.name}, {scaling}")
        for progress in train(recipe, options.work / scaling):
            if progress.validation is not None:
                print(scaling, progress.epoch, progress.validation, flush=True)
        found = load_network(options.work / scaling / f"{recipe.name}.safetensors")
        drawn = sample(found, inputs_of(spectra, found)["noisy"], DRAWS, SEED)
        answers, _ = answers_of(found.training_prior.prior, spectra.theta, drawn)
        rows = parameter_rows(answers, SEED)
        document["scalings"][scaling] = {
            "validation_flow": found.trained["last_epoch"]["validation_flow"],
            "cpu_seconds": found.trained["cpu_seconds"],
            "pearson_r": {name: row["pearson_r"] for name, row in rows.items()},
            "coverage_deviation": {name: row["coverage_deviation"] for name, row in rows.items()},
        }
        RESULTS.write_text(json.dumps(rounded(document), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
