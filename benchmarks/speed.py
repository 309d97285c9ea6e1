"""Folded spectra per second: ours against the compiled library, on the same grid, with the same response, in one run.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/speed.py [--seconds 0.3] [--out FILE]

`TBabs*simpl*ezdiskbb` at draws of the prior, folded to the bins of the bundled NICER spectrum, on 1000 logarithmic bins
(1 eV - 1 MeV) and on our default grid of that response. The library runs one spectrum after another in one process
(asked for many at once, so that the pipe costs nothing), and in a pool of two such processes; its photons are folded by
one matrix product of numpy. Ours runs in batches, in float64 and float32, with and without the Jacobian, with one
thread, two threads, and two processes of one thread. Each rate is the best of several repeats, in wall time and in CPU
time (user + system, of all processes and threads that take part): on a busy machine the CPU time is the steadier one,
and `two_free_cores` is what two processes would give with a core each, by their CPU time.

Writes benchmarks/results/speed.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from provenance import provenance
from xrayflow.data import bundled_pha
from xrayflow.errors import XrayflowWarning
from xrayflow.folding import PIECE, Fidelity, Forward, Grid
from xrayflow.models import NativeFlux
from xrayflow.models.xspec import XspecLibrary
from xrayflow.ogip import read_observation
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem

HERE = Path(__file__).resolve().parent
MODEL = "TBabs*simpl*ezdiskbb"
GRIDS = ("1000_log_bins", "default_grid")
BATCHES = (1, 100, 10_000)
LIBRARY_ROWS = {"1000_log_bins": 600, "default_grid": 150}
PRECISIONS = {"float64": torch.float64, "float32": torch.float32}
TASKS = ("spectra", "with_jacobian")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Setting:
    """One thing to time, with `rows` spectra in a call."""

    grid: str
    precision: str
    task: str
    rows: int


@dataclass(frozen=True)
class Took:
    """Seconds of one repeat."""

    wall: float
    cpu: float


def problems() -> dict[tuple[str, str], Problem]:
    """By grid and precision."""
    warnings.simplefilter("ignore", XrayflowWarning)
    default = build_problem([read_observation(bundled_pha())], FitSetup(systematic=0.0, model=MODEL))
    found = {}
    for name, grid in zip(GRIDS, (Grid.log(1e-3, 1e3, 1000), forward_of(default).grid), strict=True):
        for precision, dtype in PRECISIONS.items():
            found[name, precision] = default.on(grid).at(Fidelity(precision, dtype=dtype))
    return found


def forward_of(problem: Problem) -> Forward:
    """What makes expected counts."""
    return problem.data.sets[0].forward


def draws(problem: Problem, rows: int) -> Tensor:
    """(1, rows, parameter) of the prior, always the same ones."""
    return problem.prior.sample((1, rows), torch.Generator().manual_seed(4))


def cpu_of(pids: Sequence[int]) -> float:
    """CPU seconds of other processes, in steps of 10 ms."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def clock(work: Callable[[], object], pids: Sequence[int] = ()) -> Took:
    """Wall and CPU time of one call, other processes included."""
    wall, cpu = time.perf_counter(), time.process_time() + cpu_of(pids)
    work()
    return Took(time.perf_counter() - wall, time.process_time() + cpu_of(pids) - cpu)


def summary(spectra: int, repeats: Sequence[Took]) -> dict[str, float]:
    """The best of the repeats."""
    wall, cpu = min(one.wall for one in repeats), min(one.cpu for one in repeats)
    return {"spectra_per_second": spectra / wall, "spectra_per_cpu_second": spectra / cpu, "repeats": len(repeats)}


def run(problem: Problem, task: str, theta: Tensor) -> object:
    """What is timed of ours."""
    return problem.expected(theta) if task == "spectra" else jacobian(problem, theta)


def jacobian(problem: Problem, theta: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Expected counts and their Jacobian, in pieces that stay in the cache."""
    rows = max(PIECE // (problem.energies * (theta.shape[-1] + 1)), 1)
    return [forward_of(problem).linearised(part) for part in torch.split(theta, rows, dim=1)]


def time_setting(problem: Problem, setting: Setting, seconds: float) -> tuple[int, int, list[Took]]:
    """Rows of a batch, spectra per repeat, and the repeats, at least two.

    One call of a small batch is too short to time, one of a large batch may be too long (two threads on a machine that
    has not two cores free crawl): a batch is work in pieces of a hundred rows and more, so a part of it tells the rate.
    """
    few = draws(problem, min(setting.rows, 100))
    run(problem, setting.task, few)
    probe = clock(lambda: run(problem, setting.task, few)).wall / few.shape[1]
    rows = min(setting.rows, max(100, int(2.0 * seconds / probe)))
    calls = max(1, min(100 // rows, int(0.3 * seconds / (probe * rows))))
    theta = draws(problem, rows)

    def work() -> None:
        for _ in range(calls):
            run(problem, setting.task, theta)

    end = time.perf_counter() + seconds
    repeats = [clock(work), clock(work)]
    while time.perf_counter() < end:
        repeats.append(clock(work))
    return rows, calls * rows, repeats


def worker(connection: Connection) -> None:
    """A process of one thread: gets settings, answers with spectra, wall and CPU seconds since the common start."""
    torch.set_num_threads(1)
    known = problems()
    connection.send(None)
    while True:
        job = connection.recv()
        if job is None:
            return
        setting, calls, repeats = job
        problem = known[setting.grid, setting.precision]
        theta = draws(problem, setting.rows)
        run(problem, setting.task, theta[:, :50])
        for _ in range(repeats):
            connection.send("ready")
            connection.recv()
            cpu = time.process_time()
            for _ in range(calls):
                run(problem, setting.task, theta)
            connection.send(time.process_time() - cpu)


def time_pool(pool: Sequence[Connection], setting: Setting, rate: float, seconds: float) -> tuple[int, list[Took]]:
    """As `time_setting` for all workers at once, from a common start until the last has finished."""
    calls = max(1, int(0.3 * seconds * rate / setting.rows))
    repeats = max(2, round(seconds * rate / (setting.rows * calls)))
    for connection in pool:
        connection.send((setting, calls, repeats))
    found = []
    for _ in range(repeats):
        for connection in pool:
            connection.recv()
        start = time.perf_counter()
        for connection in pool:
            connection.send("go")
        cpu = sum(connection.recv() for connection in pool)
        found.append(Took(time.perf_counter() - start, cpu))
    return len(pool) * calls * setting.rows, found


def ours(known: dict[tuple[str, str], Problem], grid: str, seconds: float) -> list[dict[str, Any]]:
    """All settings of one grid."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(2)]
    workers = [context.Process(target=worker, args=(theirs,), daemon=True) for _, theirs in pipes]
    for process in workers:
        process.start()
    pool = [mine for mine, _ in pipes]
    for connection in pool:
        connection.recv()
    rows = []
    for precision in PRECISIONS:
        for task in TASKS:
            for batch in BATCHES:
                setting = Setting(grid, precision, task, batch)
                problem = known[grid, precision]
                timed: dict[str, dict[str, float]] = {}
                for threads in (1, 2):
                    torch.set_num_threads(threads)
                    rows_timed, spectra, repeats = time_setting(problem, setting, seconds)
                    mode = f"{threads}_thread" + "s" * (threads > 1)
                    timed[mode] = {"timed_with_batch": rows_timed, **summary(spectra, repeats)}
                torch.set_num_threads(1)
                rate = timed["1_thread"]["spectra_per_second"]
                setting = replace(setting, rows=int(timed["1_thread"]["timed_with_batch"]))
                pooled = summary(*time_pool(pool, setting, rate, seconds))
                timed["2_processes"] = {"timed_with_batch": setting.rows, **pooled}
                row: dict[str, Any] = {"precision": precision, "task": task, "batch": batch, **timed}
                rows.append(row)
                print(grid, precision, task, batch, rounded(timed), flush=True)
    for connection in pool:
        connection.send(None)
    for process in workers:
        process.join()
    return rows


def library(problem: Problem, rows: int) -> dict[str, Any]:
    """The compiled library, one process and a pool of two, and how well the two sides agree."""
    theta = draws(problem, rows)[0]
    parameters = problem.model.values(theta).numpy()
    fold, edges = forward_of(problem).fold, forward_of(problem).grid.energy_edges
    matrix, first = fold.matrices[0].values.numpy(), fold.matrices[0].first
    scale = float(fold.area[0, 0])

    def work(one: XspecLibrary) -> np.ndarray:
        photons = one.evaluate(MODEL, parameters, edges)
        folded: np.ndarray = scale * (photons[:, first : first + matrix.shape[0]] @ matrix)
        return folded

    with XspecLibrary() as one, XspecLibrary() as two, ThreadPoolExecutor(2) as threads:
        both = (one, two)
        counts = work(one)
        work(two)
        alone = [clock(lambda: work(one), [one.pid]) for _ in range(4)]
        together = [clock(lambda: list(threads.map(work, both)), [one.pid, two.pid]) for _ in range(4)]
    expected = problem.expected(theta[None])[0].numpy()
    seen = counts > 1e-6 * counts.max(axis=1, keepdims=True)
    difference = (np.abs(expected - counts)[seen]) / counts[seen]
    return {
        "one_process": summary(rows, alone),
        "pool_of_2": summary(2 * rows, together),
        "difference_of_counts": {"max": float(difference.max()), "p99": float(np.quantile(difference, 0.99))},
    }


def microseconds(work: Callable[[], object], rows: int, seconds: float = 0.25) -> float:
    """CPU time per row, the best of many."""
    work()
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, clock(work).cpu)
    return 1e6 * best / rows


def parts(problem: Problem) -> dict[str, Any]:
    """Where the time of one piece of work goes, one thread, CPU microseconds per spectrum."""
    rows = PIECE // problem.energies
    full, forward = draws(problem, rows), forward_of(problem)
    theta = forward.fold.cast(full)[0]
    if not isinstance(forward.flux, NativeFlux):
        raise TypeError("the components are our own")
    tbabs, simpl, disk = forward.flux.photon_flux.bound
    nh, gamma, fraction, temperature, norm = theta.unbind(-1)
    seed = disk(temperature, norm)
    scattered, factor = simpl(seed, gamma, fraction, 1.0), tbabs(nh)
    photons = factor * scattered
    matrix, first = forward.fold.matrices[0].values, forward.fold.matrices[0].first
    energies, bins = matrix.shape
    # the same shape with numbers far from the smallest: what the matrix product can be
    plain, other = torch.rand(rows, energies, dtype=matrix.dtype), torch.rand(energies, bins, dtype=matrix.dtype)
    square = torch.rand(1024, 1024, dtype=matrix.dtype)
    took = {
        "TBabs": microseconds(lambda: tbabs(nh), rows),
        "simpl": microseconds(lambda: simpl(seed, gamma, fraction, 1.0), rows),
        "ezdiskbb": microseconds(lambda: disk(temperature, norm), rows),
        "product": microseconds(lambda: factor * scattered, rows),
        "fold": microseconds(lambda: forward.fold(photons[None]), rows),
        "its_matrix_product": microseconds(lambda: photons[:, first : first + energies] @ matrix, rows),
        "a_matrix_product_of_that_shape": microseconds(lambda: plain @ other, rows),
        "all": microseconds(lambda: problem.expected(full), rows),
        "all_with_jacobian": microseconds(lambda: jacobian(problem, full), rows),
    }
    work = 2e-3 * energies * bins  # GFLOP per spectrum x 1e6, so that / us gives GFLOP/s
    limit = took["a_matrix_product_of_that_shape"]
    return {
        "rows": rows,
        "energies_that_reach": energies,
        "bins": bins,
        "cpu_microseconds": took,
        "share_of_matrix_product": took["its_matrix_product"] / took["all"],
        "times_the_matrix_limit": took["all"] / limit,
        "gflops_of_the_fold": work / took["its_matrix_product"],
        "gflops_of_that_shape": work / limit,
        "gflops_of_a_square_product": 2e-9 * 1024**3 / (1e-6 * microseconds(lambda: square @ square, 1)),
    }


def with_ratios(rows: list[dict[str, Any]], rival: dict[str, Any]) -> None:
    """Add to each rate its ratio to the library's, in place: by wall time, and by CPU time per spectrum."""
    for row in rows:
        for mode in ("1_thread", "2_threads", "2_processes"):
            for other in ("one_process", "pool_of_2"):
                for unit in ("second", "cpu_second"):
                    ratio = row[mode][f"spectra_per_{unit}"] / rival[other][f"spectra_per_{unit}"]
                    row[mode][f"ratio_to_{other}_per_{unit}"] = ratio


def rounded(value: Any) -> Any:
    """Four digits are more than was measured."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def reached(rows: list[dict[str, Any]], rival: dict[str, Any]) -> dict[str, Any]:
    """The issue's number: the fastest in float32 on two cores, without the Jacobian, against one library process."""
    fast = [row for row in rows if row["precision"] == "float32" and row["task"] == "spectra"]
    tried = [(row["batch"], mode, row[mode]) for row in fast for mode in ("2_threads", "2_processes")]
    batch, mode, best = max(tried, key=lambda one: one[2]["spectra_per_second"])
    quickest = max(row["2_processes"]["spectra_per_cpu_second"] for row in fast)
    alone, pool = (rival[name]["spectra_per_cpu_second"] for name in ("one_process", "pool_of_2"))
    free = {
        "spectra_per_second": 2 * quickest,
        "ratio_to_one_process": 2 * quickest / alone,
        "ratio_to_pool_of_2": quickest / pool,
    }
    return {"measured": {"batch": batch, "mode": mode, **best}, "two_free_cores": free, "wanted": 60}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0.3, help="for each setting and mode")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "speed.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    known = problems()
    results: dict[str, Any] = {
        **provenance(__file__),
        "load_before": os.getloadavg()[0],
        "model": MODEL,
        "grids": {},
    }
    start = time.perf_counter()
    for grid in GRIDS:
        rival = library(known[grid, "float64"], LIBRARY_ROWS[grid])
        print(grid, "library", json.dumps(rounded(rival)), flush=True)
        rows = ours(known, grid, options.seconds)
        with_ratios(rows, rival)
        results["grids"][grid] = {
            "energy_bins": known[grid, "float64"].energies - 1,
            "reached_in_float32_on_2_cores": reached(rows, rival),
            "library": rival,
            "ours": rows,
            "parts": {precision: parts(known[grid, precision]) for precision in PRECISIONS},
        }
        print(json.dumps(rounded(results["grids"][grid]["reached_in_float32_on_2_cores"])), flush=True)
        print(json.dumps(rounded(results["grids"][grid]["parts"])), flush=True)
    results["load_after"], results["seconds"] = os.getloadavg()[0], time.perf_counter() - start
    options.out.write_text(json.dumps(rounded(results), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
