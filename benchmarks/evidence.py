"""Evidence against an independent sampler: ln Z of fresh spectra by xrayflow and by ultranest's nested sampling.

    OMP_NUM_THREADS=1 python benchmarks/evidence.py [--each 2] [--seed 30] [--live 100] [--out FILE] [--into PASSPORT]

Spectra as those of a network's passport, of another seed, from 1e1 to 1e5 counts: `each` in every decade without a
background and with a modelled one that is integrated over. Both samplers have the same likelihood, prior and energy
grid, and nothing else in common. The difference of ln Z is told in units of its error (both samplers' own). A spectrum
that is done is kept in the file, so the same command goes on where it was stopped; `--into` only copies the summary of
what is done into a passport. Writes benchmarks/results/evidence.json.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.files import to_json, write_file
from xrayflow.inference import Posterior, infer_batch
from xrayflow.networks import load_network, read_response
from xrayflow.problem import Problem
from xrayflow.setup import build_problem
from xrayflow.studies.validation.fresh import MODELLED, NONE, fresh_spectra

HERE = Path(__file__).resolve().parent
NOWHERE = -1e100
"""ln L where the model gives no number: ultranest takes no infinity."""
MOST_DECADE = 5
MOST_CALLS, MOST_SLICES, SLICES, WALKERS = 150_000, 20_000_000, 8, 50
"""Calls of the sampler by regions and by slices, at most; slices of a point for each parameter; points together."""


def nested(problem: Problem, live: int) -> dict[str, Any]:
    """ultranest's answer for a batch of one: by regions, or where a bent posterior makes them useless, by slices."""
    from ultranest import ReactiveNestedSampler
    from ultranest.popstepsampler import PopulationSimpleSliceSampler, generate_mixture_random_direction

    def likelihood(rows: np.ndarray) -> np.ndarray:
        value = problem.log_likelihood(torch.from_numpy(rows)[None])[0].numpy()
        return np.where(np.isfinite(value), value, NOWHERE)

    def transform(cube: np.ndarray) -> np.ndarray:
        v = torch.special.ndtri(torch.from_numpy(cube).clamp(1e-15, 1.0 - 1e-15))
        return problem.prior.to_theta(v).numpy()

    def sampled(most: int, steps: int = 0) -> dict[str, Any]:
        sampler = ReactiveNestedSampler(
            list(problem.prior.names), likelihood, transform, vectorized=True, ndraw_min=1024, ndraw_max=8192
        )
        if steps:
            sampler.stepsampler = PopulationSimpleSliceSampler(WALKERS, steps, generate_mixture_random_direction)
        found: dict[str, Any] = sampler.run(
            show_status=False, viz_callback=False, min_num_live_points=live, max_ncalls=most
        )
        return found

    started = time.process_time()
    found, method = sampled(MOST_CALLS), "regions"
    if found["ncall"] >= MOST_CALLS:  # it was stopped on its way: what it says then is no evidence
        found, method = sampled(MOST_SLICES, SLICES * problem.parameters), "slices"
    return {
        "log_evidence": float(found["logz"]),
        "error": float(found["logzerr"]),
        "calls": int(found["ncall"]),
        "finished": bool(method == "regions" or found["ncall"] < MOST_SLICES),
        "method": method,
        "cpu_s": time.process_time() - started,
    }


def row_of(answer: Posterior, problem: Problem, live: int) -> dict[str, Any]:
    """One spectrum."""
    rival = nested(problem, live)
    difference = answer.log_evidence - rival["log_evidence"]
    return {
        "ours": {"log_evidence": answer.log_evidence, "error": answer.log_evidence_error},
        "ultranest": rival,
        "difference": difference,
        "in_errors": difference / float(np.hypot(answer.log_evidence_error, rival["error"])),
    }


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of what is done."""
    away = np.array([row["in_errors"] for row in rows])
    return {
        "sampler": "ultranest",
        "spectra": len(rows),
        "finished": sum(row["ultranest"]["finished"] for row in rows),
        "by_slices": sum(row["ultranest"]["method"] == "slices" for row in rows),
        "mean_in_errors": float(away.mean()),
        "rms_in_errors": float(np.sqrt(np.mean(away**2))),
        "largest_in_errors": float(np.abs(away).max()),
        "largest_difference": float(max(abs(row["difference"]) for row in rows)),
        "median_error": float(np.median([np.hypot(row["ours"]["error"], row["ultranest"]["error"]) for row in rows])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="nicer-bhb")
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--seed", type=int, default=30)
    parser.add_argument("--live", type=int, default=100)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "evidence.json")
    parser.add_argument("--into", type=Path)
    options = parser.parse_args()
    settings = {"network": options.network, "each": options.each, "seed": options.seed, "live": options.live}
    before = json.loads(options.out.read_text()) if options.out.exists() else {}
    rows: list[dict[str, Any]] = before.get("rows", []) if before.get("settings") == settings else []
    if options.into is not None:
        passport = json.loads(options.into.read_text(encoding="utf-8"))
        passport["evidence"] = summary(rows)
        write_file(options.into, to_json(passport).encode() + b"\n")
        return
    warnings.simplefilter("ignore", XrayflowWarning)
    logging.getLogger("ultranest").setLevel(logging.ERROR)
    network = load_network(options.network)
    response = read_response(network, None, None)
    made = provenance(__file__)  # of the code that runs, whatever is committed meanwhile
    done = {(row["background"], row["source"]) for row in rows}
    for background in (NONE, MODELLED):
        fresh = fresh_spectra(network, response, background, 0.0, options.each, options.seed)
        for source in (fresh.decade <= MOST_DECADE).nonzero()[:, 0].tolist():
            if (background, source) in done:
                continue
            np.random.seed(source)  # noqa: NPY002 (ultranest's own)
            given = fresh.observations[source]
            (answer,) = infer_batch([given], fresh.setup, network, seed=options.seed)
            problem = build_problem([given], fresh.setup)
            own = {"background": background, "source": source, "counts": float(fresh.counts[source])}
            rows.append(own | row_of(answer, problem, options.live))
            print(json.dumps(rows[-1]), flush=True)
            found = {**made, "settings": settings, "summary": summary(rows), "rows": rows}
            write_file(options.out, (json.dumps(found, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
