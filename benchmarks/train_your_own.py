"""The network of the tutorial "Train your own", with and without: the real spectrum, and fresh simulated ones.

    OMP_NUM_THREADS=1 python benchmarks/train_your_own.py NETWORK PHA --rmf FILE --arf FILE [--each 2] [--seed 5]
        [--passport FILE] [--out FILE]

PHA is NGC 7793 ULX-4's pn spectrum, fitted in 0.5-10 keV as the tutorial does. The fresh spectra are those of a
passport of another seed, so many in every decade of counts without a background and with a modelled one that is off.
Of each answer: part of the final draws that counts, effective draws over all evaluations of draws, certified, CPU
seconds. What a passport (`xrayflow check`) says is copied. Writes benchmarks/results/train-your-own.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import infer_batch
from xrayflow.networks import Network, load_network, read_response
from xrayflow.ogip import Observation, read_observation
from xrayflow.setup import FitSetup
from xrayflow.studies.validation.fresh import MODELLED, NONE, fresh_spectra

HERE = Path(__file__).resolve().parent
BAND = [(0.5, 10.0)]
TOGETHER = 8
COPIED = "date", "spectra", "seed", "all", "network_alone", "exact"
"""Of a passport."""


def answered(observations: Sequence[Observation], setup: FitSetup, network: Network | str) -> list[dict[str, Any]]:
    """One row for each spectrum."""
    rows: list[dict[str, Any]] = []
    for begin in range(0, len(observations), TOGETHER):
        some = observations[begin : begin + TOGETHER]
        started = time.process_time()
        answers = infer_batch(some, setup, network)
        price = (time.process_time() - started) / len(some)
        rows += [
            {
                "final_efficiency": one.ess / one.draws.shape[0],
                "efficiency": one.efficiency,
                "certified": one.computation.status == "certified",
                "log_evidence": [one.log_evidence, one.log_evidence_error],
                "cpu_s": price,
            }
            for one in answers
        ]
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of fresh spectra."""
    return {
        "spectra": len(rows),
        "certified": float(np.mean([row["certified"] for row in rows])),
        "final_efficiency_10_50_90": np.quantile([row["final_efficiency"] for row in rows], [0.1, 0.5, 0.9]).tolist(),
        "efficiency_10_50_90": np.quantile([row["efficiency"] for row in rows], [0.1, 0.5, 0.9]).tolist(),
        "cpu_s_mean": float(np.mean([row["cpu_s"] for row in rows])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network")
    parser.add_argument("pha")
    parser.add_argument("--rmf", required=True)
    parser.add_argument("--arf", required=True)
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--passport", type=Path)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "train-your-own.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    network = load_network(options.network)
    response = read_response(network, options.rmf, options.arf)
    found: dict[str, Any] = {**provenance(__file__), "settings": {"each": options.each, "seed": options.seed}}
    found |= {"network": network.name, "trained": network.trained, "weights": network.weights}
    found["bytes"] = Path(options.network).stat().st_size
    real = read_observation(options.pha, options.rmf, options.arf)
    setup = FitSetup(model=network.model, energies=BAND)
    ways: dict[str, Network | str] = {"with": network, "without": "none"}
    found["real"] = {name: answered([real], setup, way)[0] for name, way in ways.items()}
    print(json.dumps(found["real"]), flush=True)
    fresh = [fresh_spectra(network, response, mode, 0.0, options.each, options.seed) for mode in (NONE, MODELLED)]
    found["fresh"] = {}
    for name, way in ways.items():
        rows = [row for one in fresh for row in answered(one.observations, one.setup, way)]
        found["fresh"][name] = {"summary": summary(rows), "rows": rows}
        print(name, json.dumps(summary(rows)), flush=True)
    if options.passport is not None:
        passport = json.loads(options.passport.read_text(encoding="utf-8"))
        found["passport"] = {key: passport[key] for key in COPIED}
    options.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
