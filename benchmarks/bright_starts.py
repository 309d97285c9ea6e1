"""Where the starts of bright spectra end: as they are, and led on a likelihood that is not so sure at first.

    OMP_NUM_THREADS=1 python benchmarks/bright_starts.py [--spectra 8] [--seed 3]

Spectra of `TBabs*simpl*ezdiskbb` and of `TBabs*(diskbb+powerlaw)` seen by the bundled NICER response, at four levels of
counts; the detector of each is drawn anew, and the likelihood has calibration modes. 32 starts from the prior each, no
network, on the search's grid. `arrived` is the share of starts that end within 1 of the best end that either
way found (-2 log posterior); `missed` the share of spectra of which none does, and `worst` by how much. CPU time of one
thread.

Writes benchmarks/results/bright-starts.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from calibration import Detector
from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.fitting import Objective, first_ends, starting_points
from xrayflow.folding import SEARCH
from xrayflow.models import parse_model
from xrayflow.ogip import Observation
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate.detector import OtherDetector

HERE = Path(__file__).resolve().parent
LEVELS = (1e5, 1e6, 1e7, 1e8)
STARTS, EXPOSURE = 32, 1e4
WAYS = {"as they are": 1, "led": first_ends.DIRECT}


def two_components(random: np.random.Generator) -> np.ndarray:
    """A disc and a power law of comparable counts, norm 1 of the brighter."""
    nh, tin = np.exp(random.uniform(np.log(0.05), np.log(2.0))), np.exp(random.uniform(np.log(0.3), np.log(1.5)))
    return np.array([nh, tin, 1000.0 / tin**4, random.uniform(1.5, 3.0), np.exp(random.uniform(np.log(0.3), 1.0))])


def spectrum(detector: Detector, model: str, counts: float, key: list[int]) -> Observation:
    """One spectrum of so many counts."""
    random, parsed = np.random.default_rng(key), parse_model(model)
    theta = two_components(random) if "powerlaw" in model else detector.theta(random)
    expected = detector.expected(theta, parsed)
    expected *= counts / expected[detector._band].sum()
    generator = torch.Generator().manual_seed(int(random.integers(2**62)))
    expected *= OtherDetector.drawn(detector.modes, 1.0, generator).bends(detector.whole).numpy()
    found = detector.observed(expected, f"bright-{'-'.join(map(str, key))}.pha", random)
    # one second would put norms outside the prior
    return replace(found, pha=replace(found.pha, exposure=EXPOSURE))


def ends(observation: Observation, model: str, seed: int) -> dict[str, tuple[Any, int, float]]:
    """Values of the goal, evaluations and CPU seconds, by way."""
    problem = build_problem([observation], FitSetup(model=model, grouping="optimal", systematic="modes:1"))
    goal = Objective.of(problem.at(SEARCH), "probit")
    v, _ = starting_points(problem, STARTS, problem.generators(seed))
    x, found = goal.from_theta(problem.prior.to_theta(v)), {}
    for way, direct in WAYS.items():
        first_ends.DIRECT = direct
        started = time.process_time()
        one = first_ends.first_ends(goal, x)
        found[way] = one.value[0].numpy(), int(one.evaluations[0]), time.process_time() - started
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=8)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    torch.set_num_threads(1)
    detector, rows = Detector(), []
    for model in ("TBabs*simpl*ezdiskbb", "TBabs*(diskbb+powerlaw)"):
        for counts in LEVELS:
            found = []
            for i in range(options.spectra):
                found.append(ends(spectrum(detector, model, counts, [options.seed, i]), model, options.seed))
            best = np.array([min(values.min() for values, _, _ in one.values()) for one in found])
            row: dict[str, Any] = {"model": model, "counts": counts}
            for way in WAYS:
                above = np.stack([one[way][0] for one in found]) - best[:, None]
                row[way] = {
                    "arrived": float((above < 1.0).mean()),
                    "missed": float((above.min(1) > 1.0).mean()),
                    "worst": float(above.min(1).max()),
                    "evaluations": float(np.mean([one[way][1] for one in found])),
                    "cpu_seconds": float(np.mean([one[way][2] for one in found])),
                }
            rows.append(row)
            print(json.dumps(row), flush=True)
    settings = {"spectra": options.spectra, "starts": STARTS, "soft": first_ends.SOFT}
    result = {**provenance(__file__), **settings, "rows": rows}
    (HERE / "results" / "bright-starts.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
