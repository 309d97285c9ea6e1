"""Noisy spectra per second: ours against the compiled library; and what the training grid costs in accuracy.

    OMP_NUM_THREADS=1 python benchmarks/simulator.py [--seconds 3] [--out FILE]

Ours: `Simulator.sample` of `TBabs*simpl*ezdiskbb` with the bundled NICER response, 240 bins, one thread: sources of
the training prior, exposure, detector number, background, systematic error, noise. Rival: the same sources by the
compiled XSPEC library in one process, on the same photon grid, folded by one matrix product of numpy, with numpy's
Poisson and gamma noise. Rates are the best of several repeats, in wall and in CPU time.

Accuracy: expected counts in those bins of draws of the training prior, for 1 ks, against the default grid: relative
error of the bins with more than 10 counts, and the shift of chi^2, sum (mu - mu_ref)^2 / mu_ref.

Writes benchmarks/results/simulator.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from provenance import provenance
from speed import clock, rounded, summary
from xrayflow.data import bundled_arf, bundled_rmf
from xrayflow.folding import EXACT, TRAINING, Fidelity, Grid
from xrayflow.models import parse_model
from xrayflow.models.xspec import XspecLibrary
from xrayflow.ogip import read_arf, read_rmf
from xrayflow.prior import Prior
from xrayflow.simulate import Layout, Simulator, TrainingPrior
from xrayflow.simulate.simulator import sample_counts

RESULTS = Path(__file__).resolve().parent / "results" / "simulator.json"
MODEL = "TBabs*simpl*ezdiskbb"
BATCHES = (512, 2048)
SINGLE = Fidelity("single", dtype=torch.float32)
RIVAL_ROWS, EXPOSURE, FEWEST_COUNTS, WANTED = 512, 1000.0, 10.0, 10_000


def simulator_on(grid: Grid | None, fidelity: Fidelity) -> Simulator:
    """On another photon grid or at another fidelity."""
    model = parse_model(MODEL)
    rmf, arf = read_rmf(bundled_rmf()), read_arf(bundled_arf())
    return Simulator.of(model, rmf, arf, Layout.paper(), TrainingPrior(Prior.of(model)), grid, fidelity)


def repeat(work: Callable[[], object], rows: int, seconds: float) -> dict[str, float]:
    """The best of the repeats that fit into some seconds, at least three."""
    work()
    end, took = time.perf_counter() + seconds, [clock(work) for _ in range(3)]
    while time.perf_counter() < end:
        took.append(clock(work))
    return summary(rows, took)


def ours(simulator: Simulator, seconds: float) -> dict[str, Any]:
    """All of it, and its parts."""
    generator, found = torch.Generator().manual_seed(1), {}
    for rows in BATCHES:
        batch = simulator.sample(rows, generator)
        given = batch.expected, batch.background, batch.systematic, generator
        found[f"batch_{rows}"] = {
            "noisy_spectra": repeat(lambda rows=rows: simulator.sample(rows, generator), rows, seconds),
            "sources_alone": repeat(lambda rows=rows: simulator.draw_theta(rows, generator), rows, seconds / 3),
            "noise_alone": repeat(lambda given=given: sample_counts(*given), rows, seconds / 3),
        }
        print(rows, json.dumps(rounded(found[f"batch_{rows}"])), flush=True)
    return found


def rival(simulator: Simulator, seconds: float) -> dict[str, Any]:
    """The same spectra by the compiled library."""
    batch = simulator.sample(RIVAL_ROWS, torch.Generator().manual_seed(2))
    parameters = simulator.model.values(batch.theta).numpy()
    edges, folding = simulator.forward.grid.energy_edges, simulator.forward.fold.matrices[0]
    matrix, first = folding.values.double().numpy(), folding.first
    scale = (batch.exposure * batch.area)[:, None].numpy() * batch.noticed.numpy()
    background, errors = batch.background.numpy(), batch.systematic.numpy()[:, None]
    shape = np.where(errors > 0, errors, 1.0) ** -2
    random = np.random.default_rng(3)

    with XspecLibrary() as library:

        def expected() -> np.ndarray:
            photons = library.evaluate(MODEL, parameters, edges)
            folded: np.ndarray = scale * (photons[:, first : first + matrix.shape[0]] @ matrix)
            return folded

        def work() -> np.ndarray:
            factor = np.where(errors > 0, random.gamma(np.broadcast_to(shape, scale.shape)) / shape, 1.0)
            return random.poisson(expected() * factor + background)

        counts = expected()
        repeats, end = [], time.perf_counter() + seconds
        while len(repeats) < 3 or time.perf_counter() < end:
            repeats.append(clock(work, [library.pid]))
    wanted = batch.expected.numpy()
    seen = counts > FEWEST_COUNTS
    apart = np.abs(wanted - counts)[seen] / counts[seen]
    return {
        "rows": RIVAL_ROWS,
        "noisy_spectra": summary(RIVAL_ROWS, repeats),
        "difference_of_expected_counts": {q: float(np.quantile(apart, float(q))) for q in ("0.5", "0.99", "1.0")},
    }


def accuracy(rows: int) -> dict[str, Any]:
    """Of grids and precisions against the default grid in float64."""
    default = Grid.of_response(read_rmf(bundled_rmf()).energy_edges)
    reference = simulator_on(default, EXACT)
    theta, _ = reference.draw_theta(rows, torch.Generator().manual_seed(3))
    wanted = EXPOSURE * reference.rates(theta)
    grids = {
        "default": default,
        "training": TRAINING.grid(default),
        **{f"training, one edge in {every}": replace(TRAINING, every=every).grid(default) for every in (4, 8)},
        "plain: every 5th edge of the default": Grid(default.energy_edges[::5], "every 5th edge"),
        **{f"0.001-1000 keV, {bins} log": Grid.log(1e-3, 1e3, bins) for bins in (1000, 2000, 4000)},
    }
    found = {}
    for name, grid in grids.items():
        counts = EXPOSURE * simulator_on(grid, SINGLE).rates(theta)
        seen = wanted > FEWEST_COUNTS
        error = (counts / wanted - 1.0).abs()[seen].numpy()
        shift = ((counts - wanted) ** 2 / wanted.clamp(min=1e-300)).sum(-1).numpy()
        found[name] = {
            "bins": grid.energy_edges.size - 1,
            "relative_error": {q: float(np.quantile(error, float(q))) for q in ("0.5", "0.99", "1.0")},
            "chi2_shift": {q: float(np.quantile(shift, float(q))) for q in ("0.5", "0.9", "0.99", "1.0")},
        }
        print(name, json.dumps(rounded(found[name])), flush=True)
    return {"draws": rows, "exposure_s": EXPOSURE, "precision": "float32", "against_default_in_float64": found}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0, help="for each rate")
    parser.add_argument("--draws", type=int, default=400, help="for the accuracy")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    simulator = simulator_on(None, TRAINING)
    document: dict[str, Any] = {
        **provenance(__file__),
        "model": MODEL,
        "bins": simulator.bins,
        "grid": {"description": simulator.forward.grid.description, "bins": simulator.forward.energies - 1},
        "ours_float32_1_thread": ours(simulator, options.seconds),
        "rival_compiled_library_1_process": rival(simulator, options.seconds),
    }
    slowest = min(row["noisy_spectra"]["spectra_per_cpu_second"] for row in document["ours_float32_1_thread"].values())
    other = document["rival_compiled_library_1_process"]["noisy_spectra"]["spectra_per_cpu_second"]
    document["reached"] = {"spectra_per_cpu_second": slowest, "wanted": WANTED, "times_the_rival": slowest / other}
    print(json.dumps(rounded(document["reached"])), flush=True)
    document["accuracy"] = accuracy(options.draws)
    options.out.write_text(json.dumps(rounded(document), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
