"""`optimise` against Levenberg-Marquardt as XSPEC's users know it: the same minimum? how many fits per second?

    OMP_NUM_THREADS=1 XRAYFLOW_TEST_DATA=... python benchmarks/optimiser.py [--simulated 200] [--real 30] [--timed 12]

The rival is written here from its published description (XSPEC manual, `fit` and `method leven`; Bevington's CURFIT):
parameters in their own units, derivatives by differences of 1 % of each parameter, a parameter that passes a
limit is pegged there, damping up and down by 10, stop when the statistic falls by less than 0.01. It gets the same cold
starts as ours. Its minima are found with our model function (all rows at once, which changes no number); its time is
measured on a subset, one start at a time, with the models of the compiled library on the same energy grid and on 1000
bins. Time is CPU time, ours and that of the library's process; wall time stands beside it.

Writes benchmarks/results/optimiser.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from provenance import provenance
from xrayflow.data import bundled_pha
from xrayflow.errors import XrayflowWarning
from xrayflow.fitting import optimise_problem, starting_points
from xrayflow.folding import Fold, Grid
from xrayflow.models import parse_model
from xrayflow.models.xspec import XspecLibrary
from xrayflow.ogip import Observation, read_observation, read_rmf
from xrayflow.prior import Prior
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate
from xrayflow.statistics import FitStatistic

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("XRAYFLOW_TEST_DATA", HERE.parents[1] / "shared" / "data"))
MODEL = "TBabs*simpl*ezdiskbb"
STARTS = 8
SAME = 0.1
OTHERS = (
    "nicer_4U1820-30_1050300108_preburst/pre_burst_spectrum_opt.pha",
    "nicer_4U1820-30_1050300108_burst/b_008_0.25s_raw_opt.pha",
)

Expected = Callable[[Tensor, Tensor], Tensor]
"""(rows, theta of each) -> expected counts of each row."""


def pegged_lm(
    expected: Expected, statistic: FitStatistic, theta: Tensor, lo: Tensor, hi: Tensor, iterations: int = 100
) -> tuple[Tensor, Tensor, Tensor]:
    """The rival, for many rows that do not know of each other.

    Returns:
        (row, parameter) where it stops, (row,) the statistic and the evaluations.
    """
    rows, parameters = theta.shape
    theta = theta.clone()
    damping = torch.full((rows,), 1e-3, dtype=theta.dtype)
    spent = torch.zeros(rows)
    every = torch.arange(rows)
    now = expected(every, theta)
    value = statistic.value(now[:, None])[:, 0]
    spent += 1
    active = every[torch.isfinite(value)]
    gradient, hessian = torch.zeros(rows, parameters).double(), torch.zeros(rows, parameters, parameters).double()
    fresh = active
    for _ in range(iterations):
        if active.numel() == 0:
            break
        if fresh.numel():
            step = 0.01 * theta[fresh].abs()
            step = torch.where(theta[fresh] + step > hi, -step, step)
            columns = []
            for i in range(parameters):
                moved = theta[fresh].clone()
                moved[:, i] += step[:, i]
                columns.append((expected(fresh, moved) - now[fresh]) / step[:, i : i + 1])
                spent[fresh] += 1
            found = statistic.select(fresh).curvature(now[fresh][:, None], torch.stack(columns, dim=-1)[:, None])
            gradient[fresh], hessian[fresh] = -found.gradient[:, 0], found.information[:, 0]
        x, g, h = theta[active], gradient[active], hessian[active]
        free = ~(((x <= lo) & (g > 0)) | ((x >= hi) & (g < 0)))
        scale = torch.sqrt(h.diagonal(dim1=-2, dim2=-1).clamp(min=1e-300))
        matrix = h / (scale[:, :, None] * scale[:, None, :]) + torch.diag_embed(damping[active, None].expand_as(x))
        matrix = matrix * free[:, :, None] * free[:, None, :] + torch.diag_embed((~free).to(x.dtype))
        move = -torch.linalg.solve_ex(matrix, (g / scale * free)[..., None])[0][..., 0] / scale
        trial = torch.minimum(torch.maximum(x + torch.where(free, move, 0.0), lo), hi)
        ahead = expected(active, trial)
        spent[active] += 1
        tried = statistic.select(active).value(ahead[:, None])[:, 0]
        gain = value[active] - tried
        better = torch.isfinite(tried) & (gain > 0)
        fresh = active[better]
        theta[fresh], now[fresh], value[fresh] = trial[better], ahead[better], tried[better]
        damping[active] = torch.where(better, damping[active] / 10.0, damping[active] * 10.0)
        done = (better & (gain < 0.01)) | (damping[active] > 1e7)
        active = active[~done]
        fresh = fresh[torch.isin(fresh, active)]
    return theta, value, spent


def simulated_spectra(count: int) -> list[Observation]:
    """Draws of the box with 0.1 .. 1e5 counts/s, 50 .. 50 000 s and at least 50 counts, NICER's response."""
    template = read_observation(bundled_pha())
    model = parse_model(MODEL)
    problem = build_problem([template], FitSetup(systematic=0.0, model=model, grid=Grid.log(1e-3, 1e3, 900)))
    generator = torch.Generator().manual_seed(2024)
    theta = problem.prior.sample((1, 20 * count), generator)
    rate = problem.expected(theta)[0].sum(-1) / template.pha.exposure
    exposure = 50.0 * 1000.0 ** torch.rand(rate.shape, generator=generator, dtype=torch.float64)
    good = ((rate > 0.1) & (rate < 1e5) & (rate * exposure > 50.0)).nonzero()[:count, 0].tolist()
    return [
        simulate(template, model, dict(zip(model.names, theta[0, i].tolist(), strict=True)), float(exposure[i]), i)
        for i in good
    ]


def real_spectra(count: int) -> list[Observation]:
    """NICER spectra of the data folder, with their backgrounds."""
    rmf = read_rmf(DATA / "nicer_response" / "nicer.rmf.gz")
    burst = sorted((DATA / "nicer_MAXIJ1535-571").glob("*/*.jsgrp*"))
    chosen = [burst[i] for i in np.linspace(0, len(burst) - 1, max(count - len(OTHERS) - 1, 1)).astype(int)]
    found = [read_observation(path, rmf=rmf) for path in [*chosen, *(DATA / other for other in OTHERS)]]
    native = DATA / "nicer_MAXIJ1820+070_1200120194"
    return [*found, read_observation(native / "nicer_unbinned.pha", rmf=rmf, arf=native / "nicer.arf")]


def cold_starts(problem: Problem, seed: int = 0) -> Tensor:
    """(source, start, parameter) the starts that `optimise_problem` takes with this seed."""
    return problem.prior.to_theta(starting_points(problem, STARTS, problem.generators(seed))[0])


def box_of(prior: Prior) -> tuple[Tensor, Tensor]:
    """Limits of the parameters."""
    lo, hi = ([getattr(m, edge) for m in prior.marginals] for edge in ("lo", "hi"))
    return torch.tensor(lo, dtype=torch.float64), torch.tensor(hi, dtype=torch.float64)


def statistic_of(problem: Problem) -> FitStatistic:
    """XSPEC's, of all sources."""
    (data,) = problem.data.sets
    return FitStatistic.of(data.spectra, data.choices)


def rival_minima(problem: Problem) -> tuple[Tensor, Tensor]:
    """(source, start) the rival's minima and evaluations, by our model function."""
    theta = cold_starts(problem)
    row = torch.arange(problem.sources).repeat_interleave(STARTS)
    statistic = statistic_of(problem)
    values, spent = [], []
    for part, start in zip(torch.split(row, 128), torch.split(theta.reshape(row.numel(), -1), 128), strict=True):
        own = problem.select(part)
        result = pegged_lm(
            lambda rows, at, own=own: own.select(rows).expected(at[:, None])[:, 0],  # type: ignore[misc]
            statistic.select(part),
            start,
            *box_of(problem.prior),
        )
        values.append(torch.where(torch.isfinite(result[1]), result[1], torch.inf))
        spent.append(result[2])
    shape = (problem.sources, STARTS)
    return torch.cat(values).reshape(shape), torch.cat(spent).reshape(shape)


def compare(problems: list[Problem]) -> dict[str, object]:
    """Ours and the rival's minima of all sources, and our time."""
    ours: list[float] = []
    evaluations: list[float] = []
    cpu, wall = time.process_time(), time.perf_counter()
    for problem in problems:
        fits = optimise_problem(problem, "statistic", STARTS)
        ours += [fit.value for fit in fits]
        evaluations += [fit.evaluations for fit in fits]
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    found = [rival_minima(one) for one in problems]
    theirs = torch.cat([one[0] for one in found]).numpy()
    spent = torch.cat([one[1] for one in found]).numpy()
    mine, best = np.array(ours), theirs.min(axis=1)
    return {
        "spectra": len(ours),
        "ours_the_same_minimum_or_better": float((mine <= best + SAME).mean()),
        "ours_better_than_8_starts_of_the_rival": float((mine < best - SAME).mean()),
        "rival_the_same_minimum_or_better_8_starts": float((best <= mine + SAME).mean()),
        "rival_the_same_minimum_or_better_1_start": float((theirs <= mine[:, None] + SAME).mean()),
        "ours_worst_excess": float((mine - best).max()),
        "ours_evaluations_median": float(np.median(evaluations)),
        "rival_evaluations_per_start_median": float(np.median(spent)),
        "ours_cpu_seconds_per_fit": cpu / len(ours),
        "ours_wall_seconds_per_fit": wall / len(ours),
    }


def child_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def time_library(problem: Problem, sources: list[int], grid: Grid) -> dict[str, float]:
    """The rival with the compiled models, one start of each of some sources, one evaluation at a time."""
    lo, hi = box_of(problem.prior)
    theta = cold_starts(problem)
    ends, spent = [], 0.0
    with XspecLibrary("wilm") as library:

        def photons(at: NDArray[np.float64]) -> NDArray[np.float64]:
            return library.evaluate(MODEL, np.insert(at, 3, 1.0)[None], grid.energy_edges)

        photons(theta[0, 0].numpy())
        cpu, child, wall = time.process_time(), child_seconds(library.pid), time.perf_counter()
        for source in sources:
            own = problem.select(torch.tensor([source]))
            fold = Fold.of(own.data.sets[0].spectra, grid)
            result = pegged_lm(
                lambda rows, at, fold=fold: fold(torch.from_numpy(photons(at[0].numpy()))[None])[:, 0],  # type: ignore[misc]
                statistic_of(own),
                theta[source, :1],
                lo,
                hi,
            )
            ends.append(float(result[1][0]))
            spent += float(result[2][0])
        child = child_seconds(library.pid) - child
        cpu = time.process_time() - cpu + child
        wall = time.perf_counter() - wall
    return {
        "fits": len(sources),
        "bins": grid.energy_edges.size - 1,
        "evaluations_per_start": spent / len(sources),
        "cpu_seconds_per_start": cpu / len(sources),
        "cpu_seconds_per_start_of_the_library_alone": child / len(sources),
        "wall_seconds_per_start": wall / len(sources),
        "cpu_milliseconds_per_evaluation": 1e3 * cpu / spent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", type=int, default=200)
    parser.add_argument("--real", type=int, default=30)
    parser.add_argument("--timed", type=int, default=12)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "optimiser.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    problem = build_problem(simulated_spectra(options.simulated), FitSetup(systematic=0.0, model=MODEL))
    results: dict[str, object] = {
        **provenance(__file__),
        "model": MODEL,
        "starts": STARTS,
        "goal": "XSPEC's statistic; cold starts, the same for both",
    }
    results["simulated"] = simulated = compare([problem])
    print(json.dumps(simulated, indent=1), flush=True)
    timed = np.linspace(0, problem.sources - 1, options.timed).astype(int).tolist()
    few = problem.select(torch.tensor(timed))
    cpu = time.process_time()
    for i in range(few.sources):
        optimise_problem(few.select(torch.tensor([i])), "statistic", STARTS)
    alone = (time.process_time() - cpu) / few.sources
    library = {}
    for name, grid in (("same_grid", problem.data.sets[0].forward.grid), ("1000_bins", Grid.log(0.01, 200.0, 1000))):
        own = time_library(problem, timed, grid)
        batched = float(str(simulated["ours_cpu_seconds_per_fit"]))
        # the library alone: what its models cost, without fold and loop, the most that can be said for it
        for which in ("cpu_seconds_per_start", "cpu_seconds_per_start_of_the_library_alone"):
            part = "_library_alone" if which.endswith("alone") else ""
            for ours, seconds in (("batched", batched), ("one_by_one", alone)):
                own[f"fits_per_second_ratio_{ours}{part}"] = STARTS * own[which] / seconds
                own[f"fits_per_second_ratio_{ours}{part}_rival_1_start"] = own[which] / seconds
        library[name] = own
        print(name, json.dumps(own, indent=1), flush=True)
    results["ours_cpu_seconds_per_fit_one_by_one"] = alone
    results["rival_on_the_compiled_library"] = library
    if options.real and DATA.is_dir():
        real = [build_problem([one], FitSetup(systematic=0.0, model=MODEL)) for one in real_spectra(options.real)]
        results["real_nicer"] = compare(real)
        print(json.dumps(results["real_nicer"], indent=1), flush=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
