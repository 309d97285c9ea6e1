"""A network alone: does what it says cover, over the whole law of its training, by decade of counts and noise?

    OMP_NUM_THREADS=1 python benchmarks/amortised.py [--network nicer-bhb] [--spectra 4000] [--sets 2] [--out FILE]

Fresh spectra of the training prior, folded on the answer's own grid, with all that the training had: calibration modes
(each response with errors of its own), backgrounds whose files are off, systematic errors. 300 draws of each. What is
off stands beside the largest that a right system reaches once in a hundred such sets. Writes
benchmarks/results/amortised.json.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from provenance import provenance
from xrayflow.calibration import find_mode_set
from xrayflow.folding import EXACT
from xrayflow.networks import Network, NetworkInput, load_network, read_response
from xrayflow.simulate import Simulator
from xrayflow.studies.validation import coverage, coverage_deviation, largest_deviation, ranks
from xrayflow.studies.validation.network_draws import answers_of, sample

HERE = Path(__file__).resolve().parent
DRAWS, TOGETHER = 300, 250
LEVELS = np.array([0.68, 0.9])


def fresh(network: Network, spectra: int, seed: int) -> tuple[NetworkInput, torch.Tensor]:
    """Spectra and their truths."""
    law = network.training_prior
    modes = find_mode_set(law.calibration) if law.calibration else None
    rmf, arf = read_response(network, None, None)
    simulator = Simulator.of(network.model, rmf, arf, network.layout, law, fidelity=EXACT, modes=modes)
    generator = torch.Generator().manual_seed(seed)
    parts = [simulator.sample(TOGETHER, generator) for _ in range(spectra // TOGETHER)]
    return NetworkInput.stack([NetworkInput.of(one) for one in parts]), torch.cat([one.theta for one in parts])


def told(rank: np.ndarray) -> dict[str, Any]:
    """Of some spectra."""
    return {
        "spectra": len(rank),
        "coverage_off_by": coverage_deviation(rank).tolist(),
        "limit": largest_deviation(len(rank), rank.shape[1]),
        "held_by_68": coverage(rank, LEVELS)[0].tolist(),
        "held_by_90": coverage(rank, LEVELS)[1].tolist(),
    }


def parts_of(inputs: NetworkInput, rank: np.ndarray) -> dict[str, Any]:
    """All spectra, and by decade of counts and kinds of noise."""
    decade = np.floor(np.log10(inputs.counts.sum(-1).numpy() + 1.0)).clip(0, 8)
    modes, behind = inputs.amplitude.numpy() > 0, inputs.background.sum(-1).numpy() > 0
    chosen = {"all": np.ones(len(rank), dtype=bool), "calibration modes": modes, "none": ~modes}
    chosen |= {"background": behind, "no background": ~behind, "systematic": inputs.systematic.numpy() > 0}
    chosen |= {f"1e{k}": decade == k for k in range(1, 9)}
    chosen |= {f"calibration modes, 1e{k}": modes & (decade == k) for k in range(5, 9)}
    return {name: told(rank[some]) for name, some in chosen.items() if some.sum() > 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="nicer-bhb")
    parser.add_argument("--spectra", type=int, default=4000)
    parser.add_argument("--sets", type=int, default=2)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "amortised.json")
    options = parser.parse_args()
    network = load_network(options.network)
    found: list[dict[str, Any]] = []
    for number in range(options.sets):
        started = time.process_time()
        inputs, theta = fresh(network, options.spectra, options.seed + number)
        drawn = sample(network, inputs, DRAWS, options.seed)
        answers, _ = answers_of(network.training_prior.prior, theta, drawn)
        rank = ranks(answers, np.random.default_rng(options.seed))
        found.append({"seed": options.seed + number, "cpu_s": time.process_time() - started, **parts_of(inputs, rank)})
        print(json.dumps(found[-1]["all"]), flush=True)
    settings = {"network": network.name, "spectra": options.spectra, "draws": DRAWS}
    made = {**provenance(__file__), "settings": settings, "parameters": network.model.names, "sets": found}
    options.out.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
