"""Spectra with a background that is integrated over: what part of the draws counts, and what an answer costs.

    OMP_NUM_THREADS=1 python benchmarks/behind.py LABEL [--each 4] [--seed 777] [--network NAME] [--out FILE]

The spectra are those of a network's passport (`fresh_spectra`, modelled backgrounds whose files are off), with another
seed; half of them have a systematic error. Of each: the efficiency of 1000 draws of the first proposal, CPU us
for a draw of it and for its weight, then the whole answer. The file keeps what stands under other labels, so that two
states of the code can be compared: run the script of one with the other on PYTHONPATH. Writes
benchmarks/results/behind.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import find_network, infer_batch
from xrayflow.inference.rungs import find_modes, first_proposal
from xrayflow.inference.weights import effective_sample_size
from xrayflow.networks import Network, load_network, read_response
from xrayflow.setup import problem_of
from xrayflow.studies.validation.fresh import MODELLED, FreshSpectra, fresh_spectra

HERE = Path(__file__).resolve().parent
DRAWS, TOGETHER = 1000, 8
ERRORS = 0.0, 0.012


def first_rows(network: Network, fresh: FreshSpectra) -> list[dict[str, float]]:
    """The first proposal of every spectrum."""
    model, prior = fresh.setup.model_and_prior()
    spectra = [fresh.setup.bin(one) for one in fresh.observations]
    problem = problem_of(spectra, model, prior, fresh.setup)
    said = find_network(network, problem, spectra).posterior
    modes, corrected = find_modes(problem, 32, problem.generators(0), said)
    first, *_ = first_proposal(corrected, modes, said)
    rows = []
    for source in range(problem.sources):
        own, at = corrected.select(torch.tensor([source])), first.select(torch.tensor([source]))
        started = time.process_time()
        v = at.sample(DRAWS, own.generators(1))
        density = at.log_density(v)
        drawn = time.process_time()
        target = own.log_target(v)
        weighed = time.process_time()
        rows.append(
            {
                "counts": float(fresh.counts[source]),
                "behind": float(corrected.data.facts.background[source] / fresh.counts[source].clamp(min=1.0)),
                "systematic": fresh.setup.believed.fraction,
                "first": float(effective_sample_size(target - density)) / DRAWS,
                "draw_us": 1e6 * (drawn - started) / DRAWS,
                "weight_us": 1e6 * (weighed - drawn) / DRAWS,
            }
        )
    return rows


def answer_rows(network: Network, fresh: FreshSpectra) -> list[dict[str, Any]]:
    """The answer of every spectrum, some together; CPU time is shared evenly among those."""
    rows: list[dict[str, Any]] = []
    for begin in range(0, fresh.sources, TOGETHER):
        some = fresh.observations[begin : begin + TOGETHER]
        started = time.process_time()
        answers = infer_batch(some, fresh.setup, network)
        price = (time.process_time() - started) / len(some)
        rows += [
            {
                "final": one.ess / one.draws.shape[0],
                "certified": one.computation.status == "certified",
                "draws": one.weighing.evaluations["draws"],
                "tails": one.weighing.evaluations["tails"],
                "optimise": one.weighing.evaluations["optimise"],
                "cpu_s": price,
                "log_evidence": one.log_evidence,
            }
            for one in answers
        ]
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Quantiles and means."""
    found: dict[str, Any] = {"spectra": len(rows), "certified": float(np.mean([row["certified"] for row in rows]))}
    for key in ("first", "final"):
        found[f"{key}_10_25_50_75_90"] = np.quantile([row[key] for row in rows], [0.1, 0.25, 0.5, 0.75, 0.9]).tolist()
    for key in ("draw_us", "weight_us", "draws", "tails", "optimise", "cpu_s"):
        found[f"{key}_mean"] = float(np.mean([row[key] for row in rows]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("label")
    parser.add_argument("--each", type=int, default=4)
    parser.add_argument("--seed", type=int, default=777)
    parser.add_argument("--network", default="nicer-bhb")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "behind.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    network = load_network(options.network)
    response = read_response(network, None, None)
    rows: list[dict[str, Any]] = []
    for error in ERRORS:
        fresh = fresh_spectra(network, response, MODELLED, error, options.each, options.seed)
        pairs = zip(first_rows(network, fresh), answer_rows(network, fresh), strict=True)
        rows += [first | answer for first, answer in pairs]
        print(len(rows), json.dumps(summary(rows)), flush=True)
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    made = {**provenance(__file__), "settings": {"each": options.each, "seed": options.seed, "network": network.name}}
    options.out.write_text(
        json.dumps({**before, options.label: {**made, "summary": summary(rows), "rows": rows}}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
