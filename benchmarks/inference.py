"""What a certified answer costs, beside rivals, in one run: simulated spectra over the whole prior box.

    OMP_NUM_THREADS=1 python benchmarks/inference.py [--spectra 400] [--rivals 6] [--seed 7] [--batch 64]

Spectra of NICER's bundled response come from the training prior of the shipped network, without background and without
systematic error, Poisson in all native channels. Ours answers them in batches, as they are (`ungrouped`) and in the 239
bins of the paper (`grouped`); an answer's seconds are its own share of what a batch did together. Rivals answer a few
of the grouped ones, evenly over the counts, one by one:

* laplace: our optimiser from 8 cold starts on the exact grid, importance sampling from a Student-t at the best fit;
* ultranest: nested sampling of our exact likelihood, as many rows in a call as it asks for;
* emcee on the compiled library: an ensemble that starts at the truth, autocorrelation as the chain itself says;
* zuko: draws of the paper's network by zuko's own flow: what an answer without a certificate costs.

Wall seconds of one thread per 1000 effective draws. What is not installed is left out, with a line.

Writes benchmarks/results/inference.json and docs/images/inference-cost.png.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch

from network import coverage_deviation
from provenance import provenance
from simulated_set import grouping_of
from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.errors import XrayflowWarning
from xrayflow.fitting import optimise_problem
from xrayflow.inference import Posterior, SamplingBudget, find_network, infer_batch
from xrayflow.inference.ladder import State, climb
from xrayflow.inference.proposals.student import DOF, StudentMixture
from xrayflow.inference.rungs import Direct, Refine, find_modes, first_proposal
from xrayflow.inference.weights import effective_sample_size
from xrayflow.models import parse_model
from xrayflow.networks import load_network
from xrayflow.ogip import Observation, read_arf, read_observation, read_rmf
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import Layout, Simulator, simulate

HERE = Path(__file__).resolve().parent
MODEL, NETWORK = "TBabs*simpl*ezdiskbb", "nicer-bhb"
SETS = {"ungrouped": "none", "grouped": "file"}
LAPLACE_BLOCK, LAPLACE_MOST, WANTED = 1000, 50_000, 1000.0
WALKERS, STEPS = 20, 400
NOWHERE = -1e300
PILOTS = 96


def spectra(count: int, seed: int) -> tuple[list[Observation], np.ndarray]:
    """Observations of native channels, grouped in their files as the paper's bins, and the truths."""
    prior = replace(load_network(NETWORK).training_prior, without_background=1.0, without_systematic=1.0)
    rmf, arf, layout, model = read_rmf(bundled_rmf()), read_arf(bundled_arf()), Layout.paper(), parse_model(MODEL)
    generator = torch.Generator().manual_seed(seed)
    theta, _ = Simulator.of(model, rmf, arf, layout, prior).draw_theta(count, generator)
    exposure = prior.draw_exposure(count, generator)
    template = read_observation(bundled_pha(), rmf, arf, "none")
    grouping, quality, _ = grouping_of(template, layout)
    template = replace(template, pha=replace(template.pha, grouping=grouping, quality=quality))
    found = []
    for i in range(count):
        values = dict(zip(model.names, theta[i].tolist(), strict=True))
        one = simulate(template, model, values, float(exposure[i]), seed * 100_000 + i, f"inference-{i}.pha")
        if not one.pha.counts.any():  # nothing to fit: one count
            one = replace(one, pha=replace(one.pha, counts=np.eye(1, one.pha.counts.size, 200)[0]))
        found.append(one)
    return found, theta.numpy()


def ours(observations: Sequence[Observation], truths: np.ndarray, grouping: str, batch: int) -> dict[str, Any]:
    """All answers, and what they cost."""
    setup, answers, wall, cpu = FitSetup(systematic=0.0, model=MODEL, grouping=grouping), list[Posterior](), 0.0, 0.0
    infer_batch(observations[:1], setup)  # what a process does once
    for first in range(0, len(observations), batch):
        started, used = time.perf_counter(), time.process_time()
        answers += infer_batch(observations[first : first + batch], setup)
        wall, cpu = wall + time.perf_counter() - started, cpu + time.process_time() - used
        print(grouping, len(answers), f"{1e3 * cpu / len(answers):.0f} ms", flush=True)
    rows = [
        {
            "counts": float(one.data[0].counts.sum()),
            "seconds": one.provenance.seconds["total"],
            "computation": one.computation.status,
            "reasons": list(one.computation.reasons),
            "ess": one.ess,
            "draws": int(one.draws.shape[0]),
            "evaluations": dict(one.weighing.evaluations),
            "rank": [float(one.weights @ (column < value)) for column, value in zip(one.draws.T, truth, strict=True)],
        }
        for one, truth in zip(answers, truths, strict=True)
    ]
    own = np.array([row["seconds"] for row in rows]) * cpu / wall
    per_draw = np.array([row["ess"] / row["draws"] for row in rows])
    per_evaluation = np.array([row["ess"] / sum(row["evaluations"].values()) for row in rows])
    return {
        "spectra": len(rows),
        "bins": int(setup.bin(observations[0]).counts.size),
        "cpu_ms_mean": 1e3 * cpu / len(rows),
        "cpu_ms_median": 1e3 * float(np.median(own)),
        "cpu_ms_90_percent": 1e3 * float(np.quantile(own, 0.9)),
        "certified": float(np.mean([row["computation"] == "certified" for row in rows])),
        "why_not": Counter(row["reasons"][0].split(" (")[0] for row in rows if row["computation"] != "certified"),
        "coverage_deviation": coverage_deviation(np.array([row["rank"] for row in rows])).tolist(),
        "efficiency_per_draw_10_50_90": np.quantile(per_draw, [0.1, 0.5, 0.9]).tolist(),
        "efficiency_per_evaluation_10_50_90": np.quantile(per_evaluation, [0.1, 0.5, 0.9]).tolist(),
        "rows": rows,
    }


def optimism(observations: Sequence[Observation]) -> dict[str, float]:
    """Efficiency of first pilots over that of the fresh draws that follow, where no further round was asked for."""
    problem = build_problem(observations, FitSetup(systematic=0.0, model=MODEL))
    guide = find_network(None, problem, problem.data.sets[0].spectra).posterior
    generators, budget = problem.generators(0), SamplingBudget()
    modes, corrected = find_modes(problem, budget.starts, generators, guide)
    first, guided = first_proposal(corrected, modes, guide)
    state = State(corrected, budget, generators, modes, first, guided)
    for _ in climb(state, (Direct(), Refine())):
        pass
    ratio = []
    for history, fresh in zip(state.history, state.fresh, strict=True):
        fresh_draws = 0 if fresh is None else fresh.v.shape[1]
        pilot, left = [], sum(one.v.shape[1] for one in history) - fresh_draws
        if fresh is None or left > budget.pilot * budget.draws:
            continue
        for one in history:
            if left > 0:
                pilot.append(one.log_weight[0])
                left -= one.v.shape[1]
        said = torch.cat(pilot)
        ratio.append(float(effective_sample_size(said)) / said.numel() / (fresh.ess / fresh_draws))
    return {"answers": len(ratio), **dict(zip(("10", "50", "90"), np.quantile(ratio, [0.1, 0.5, 0.9]), strict=True))}


def laplace(problem: Problem) -> dict[str, float]:
    """Optimiser and importance sampling, without a network, without a search for what was missed."""
    started = time.perf_counter()
    fit = optimise_problem(problem, starts=8)[0]
    v = problem.prior.to_probit(torch.from_numpy(fit.theta)[None, None]).clamp(-8.0, 8.0)
    information = problem.target_curvature(v).information
    scale = torch.linalg.cholesky(torch.linalg.inv(information))
    proposal = StudentMixture(torch.zeros((1, 1), dtype=torch.float64), v[:, :1], scale)
    generator, log_weight = torch.Generator().manual_seed(0), torch.empty(0, dtype=torch.float64)
    while log_weight.numel() < LAPLACE_MOST and not _enough(log_weight):
        z = torch.randn((LAPLACE_BLOCK, v.shape[-1]), generator=generator, dtype=torch.float64)
        chi2 = torch.randn((LAPLACE_BLOCK, DOF), generator=generator, dtype=torch.float64).square().sum(-1)
        drawn = v + (z * torch.sqrt(DOF / chi2)[:, None] @ scale[0, 0].T)[None]
        found = problem.log_target(drawn) - proposal.log_density(drawn)
        log_weight = torch.cat([log_weight, found[0]])
    ess = float(effective_sample_size(log_weight))
    return {"seconds": time.perf_counter() - started, "ess": ess, "draws": log_weight.numel()}


def _enough(log_weight: torch.Tensor) -> bool:
    """Whether the weights have the effective draws that are wanted."""
    return log_weight.numel() > 0 and float(effective_sample_size(log_weight)) >= WANTED


def ultranest(problem: Problem) -> dict[str, float]:
    """Nested sampling of the same target in the prior's unit cube."""
    from ultranest import ReactiveNestedSampler

    def likelihood(rows: np.ndarray) -> np.ndarray:
        value = problem.log_likelihood(torch.from_numpy(rows)[None])[0].numpy()
        # ultranest takes no infinity; where the model gives no number there is no posterior, as in `log_target`
        return np.where(np.isfinite(value), value, NOWHERE)

    def transform(cube: np.ndarray) -> np.ndarray:
        v = torch.special.ndtri(torch.from_numpy(cube).clamp(1e-15, 1.0 - 1e-15))
        return problem.prior.to_theta(v).numpy()

    started = time.perf_counter()
    sampler = ReactiveNestedSampler(list(problem.prior.names), likelihood, transform, vectorized=True)
    found = sampler.run(show_status=False, viz_callback=False, min_num_live_points=200, max_ncalls=200_000)
    return {"seconds": time.perf_counter() - started, "ess": float(found["ess"]), "draws": int(found["ncall"])}


def compiled(problem: Problem, theta: np.ndarray) -> dict[str, float]:
    """emcee with the compiled library's photons, folded by our matrix."""
    from emcee import EnsembleSampler

    from xrayflow.models.xspec import XspecLibrary

    data = problem.data.sets[0]
    edges, fold = data.forward.grid.energy_edges, data.forward.fold
    with XspecLibrary() as library:

        def target(rows: np.ndarray) -> np.ndarray:
            v = torch.from_numpy(rows)
            inside = (v.abs() < 8.0).all(-1)
            values = problem.prior.to_theta(v.clamp(-8.0, 8.0)).numpy()
            parameters = np.column_stack([values[:, :3], np.ones(len(values)), values[:, 3:]])
            photons = library.evaluate(MODEL, parameters, edges)
            value = data.likelihood.log_density(fold(torch.from_numpy(photons)[None]))[0] - 0.5 * v.square().sum(-1)
            return np.where(inside & torch.isfinite(value), value, -np.inf)

        rng = np.random.default_rng(0)
        centre = problem.prior.to_probit(torch.from_numpy(theta)).clamp(-7.0, 7.0)
        information = problem.target_curvature(centre[None, None]).information[0, 0]
        scale = torch.linalg.cholesky(torch.linalg.inv(information)).numpy()
        first = centre.numpy() + rng.standard_normal((WALKERS, centre.numel())) @ scale.T
        sampler = EnsembleSampler(WALKERS, centre.numel(), target, vectorize=True)
        started = time.perf_counter()
        sampler.run_mcmc(np.clip(first, -7.5, 7.5), STEPS)
        seconds = time.perf_counter() - started
        tau = float(np.max(sampler.get_autocorr_time(discard=STEPS // 4, tol=0)))
    return {"seconds": seconds, "ess": 0.75 * STEPS * WALKERS / max(tau, 1.0), "draws": STEPS * WALKERS, "tau": tau}


def zuko_draws() -> float:
    """Seconds of 1000 draws of the paper's network, encoder left out."""
    paper = load_network("nicer-bhb-paper")
    flow: Any = paper.core.flow
    context = torch.zeros((1, paper.recipe.network.context))
    with torch.no_grad():
        flow.flow(context).sample((1000,))
        started = time.perf_counter()
        flow.flow(context).sample((1000,))
    return time.perf_counter() - started


def rivals(observations: Sequence[Observation], truths: np.ndarray, count: int) -> list[dict[str, Any]]:
    """Rows of a few spectra."""
    counts = np.array([one.pha.counts.sum() for one in observations])
    chosen = np.argsort(counts)[np.linspace(0, len(counts) - 1, count + 2).astype(int)[1:-1]]
    rows = []
    for i in chosen.tolist():
        problem = build_problem([observations[i]], FitSetup(systematic=0.0, model=MODEL))
        row: dict[str, Any] = {"counts": float(problem.data.facts.counts[0])}
        for name, work in (
            ("laplace", partial(laplace, problem)),
            ("ultranest", partial(ultranest, problem)),
            ("emcee_on_the_compiled_library", partial(compiled, problem, truths[i])),
        ):
            try:
                row[name] = work()
            except ImportError as error:
                print(f"{name} is left out: {error}")
                continue
            print(row["counts"], name, row[name], flush=True)
        rows.append(row)
    return rows


def draw(found: dict[str, Any], place: Path) -> None:
    """Seconds per 1000 effective draws against counts."""
    figure, axes = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
    for name in SETS:
        rows = [row for row in found[name]["rows"] if row["ess"] > 0]
        seconds = [1e3 * row["seconds"] / row["ess"] for row in rows]
        axes.plot([row["counts"] for row in rows], seconds, ".", ms=3, alpha=0.6, label=f"xrayflow, {name}, certified")
    for name in ("laplace", "ultranest", "emcee_on_the_compiled_library"):
        rows = [row for row in found["rivals"] if name in row]
        seconds = [1e3 * row[name]["seconds"] / max(row[name]["ess"], 1.0) for row in rows]
        axes.plot([row["counts"] for row in rows], seconds, "s", ms=5, label=name.replace("_", " "))
    axes.axhline(found["zuko_seconds_per_1000_draws"], color="0.6", lw=1, label="zuko's flow, no certificate")
    axes.set(xscale="log", yscale="log", xlabel="counts", ylabel="seconds per 1000 effective draws")
    axes.legend(fontsize=7)
    figure.savefig(place, dpi=150)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=400)
    parser.add_argument("--rivals", type=int, default=6)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "inference.json")
    parser.add_argument("--figure", type=Path, default=HERE.parent / "docs" / "images" / "inference-cost.png")
    asked = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    torch.set_num_threads(1)
    observations, truths = spectra(asked.spectra, asked.seed)
    found: dict[str, Any] = {
        **provenance(__file__),
        "settings": {name: getattr(asked, name) for name in ("spectra", "rivals", "seed", "batch")},
    }
    found |= {name: ours(observations, truths, grouping, asked.batch) for name, grouping in SETS.items()}
    found["pilots_over_fresh_draws"] = optimism(observations[:PILOTS])
    found["zuko_seconds_per_1000_draws"] = zuko_draws()
    found["rivals"] = rivals(observations, truths, asked.rivals)
    for name in ("laplace", "ultranest", "emcee_on_the_compiled_library"):
        ratios = [
            1e3 * row[name]["seconds"] / row[name]["ess"]
            for row in found["rivals"]
            if name in row and row[name]["ess"] > 0
        ]
        mine = [1e3 * row["seconds"] / row["ess"] for row in found["grouped"]["rows"]]
        found[f"{name}_over_ours"] = float(np.median(ratios) / np.median(mine)) if ratios else math.nan
    asked.out.write_text(json.dumps(found, indent=1) + "\n")
    draw(found, asked.figure)
    print(
        json.dumps(
            {key: value for key, value in found.items() if key != "rivals"}
            | {name: {key: value for key, value in found[name].items() if key != "rows"} for name in SETS},
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
