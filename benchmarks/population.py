"""Planted populations found again: coverage over repetitions, beside an independent sampler of the closed form.

200 sources whose measurements are normal, so that the posterior of each under a prior that is flat (or normal) is
known exactly, and so is the likelihood of a population of normals with the sources' own values integrated out. From
draws of the former `find_population` finds the population; emcee samples the latter under the same priors.

    python benchmarks/population.py [--repetitions 50] [--out benchmarks/results/population.json]

A stopped run goes on from what it has written.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import emcee
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm

from provenance import provenance
from xrayflow.files import to_json, write_file
from xrayflow.prior import Marginal
from xrayflow.studies.population import Axis, Population, PopulationConfig, SourceDraws, find_population, shape_named

Numbers = NDArray[np.float64]

SOURCES, DRAWS = 200, 500
INDEX = Axis(Marginal("powerlaw.PhoIndex", "", -1.0, 5.0, "linear"))
TOLD = Axis(Marginal("powerlaw.PhoIndex", "", -1.0, 5.0, "linear", 2.0, 0.5))
NORM = Axis(Marginal("powerlaw.norm", "ph/cm^2/s/keV", 1e-5, 1e1, "log"))

PLANTED: dict[str, dict[str, float]] = {
    "normal": {"mean": 1.7, "sd": 0.2},
    "normal, draws under a normal prior": {"mean": 1.7, "sd": 0.2},
    "two-normals": {"mean_1": 1.6, "sd_1": 0.12, "mean_2": 2.4, "sd_2": 0.2, "share_2": 0.3},
    "histogram": {"mean_1": 1.6, "sd_1": 0.12, "mean_2": 2.4, "sd_2": 0.2, "share_2": 0.3},
    "correlated": {"mean_1": 1.7, "sd_1": 0.2, "mean_2": -2.0, "sd_2": 0.4, "rho": 0.6},
}
LEAST_SHARE = 0.01
"""Planted, of a bin that counts: two of the sources. An interval that begins above zero never holds next to nothing."""

RUNS = 1
"""Repetitions of each that emcee samples too."""


def truths(kind: str, generator: np.random.Generator) -> Numbers:
    """(source, axis) in x."""
    h = PLANTED[kind]
    if kind == "correlated":
        cross = h["rho"] * h["sd_1"] * h["sd_2"]
        covariance = [[h["sd_1"] ** 2, cross], [cross, h["sd_2"] ** 2]]
        return generator.multivariate_normal([h["mean_1"], h["mean_2"]], covariance, SOURCES)
    if "mean" in h:
        return h["mean"] + h["sd"] * generator.standard_normal((SOURCES, 1))
    upper = generator.random(SOURCES) < h["share_2"]
    mean, sd = (np.where(upper, h[f"{name}_2"], h[f"{name}_1"]) for name in ("mean", "sd"))
    return (mean + sd * generator.standard_normal(SOURCES))[:, None]


def measured(kind: str, generator: np.random.Generator) -> tuple[SourceDraws, Numbers, Numbers]:
    """Draws of the sources' posteriors; what was measured, and its errors."""
    truth = truths(kind, generator)
    error = 10.0 ** generator.uniform(-1.5, -0.5, truth.shape)
    middle = truth + error * generator.standard_normal(truth.shape)
    axes = [INDEX, NORM] if kind == "correlated" else [TOLD if "prior" in kind else INDEX]
    centre, spread = middle, error
    if "prior" in kind:  # the draws are of the measurement times that
        precision = 1.0 / error**2 + 1.0 / 0.5**2
        centre, spread = (middle / error**2 + 2.0 / 0.5**2) / precision, precision**-0.5
    x = centre[:, None] + spread[:, None] * generator.standard_normal((SOURCES, DRAWS, truth.shape[1]))
    theta = np.stack([10.0 ** x[..., i] if axis.is_log else x[..., i] for i, axis in enumerate(axes)], axis=-1)
    kept = [
        np.all([(one[:, i] > axis.marginal.lo) & (one[:, i] < axis.marginal.hi) for i, axis in enumerate(axes)], 0)
        for one in theta
    ]
    sources = []
    for number, (one, keep) in enumerate(zip(theta, kept, strict=True)):
        sources.append((f"{number}.pha", one[keep], np.zeros(keep.sum())))
    return SourceDraws.of(axes, sources), middle, error


def bins_inside(found: Population, kind: str) -> dict[str, float]:
    """The planted part of each bin of a histogram."""
    h, edges = PLANTED[kind], found.edges
    assert edges is not None
    low, high = (norm.cdf(edges, h[f"mean_{i}"], h[f"sd_{i}"]) for i in (1, 2))
    return dict(zip(found.names, np.diff((1 - h["share_2"]) * low + h["share_2"] * high), strict=True))


def inside(rows: dict[str, dict[str, float]], planted: dict[str, float], level: int) -> dict[str, bool]:
    """Whether each planted number lies in its interval."""
    return {name: bool(row[f"lower{level}"] <= planted[name] <= row[f"upper{level}"]) for name, row in rows.items()}


def one(kind: str, repetition: int) -> dict[str, Any]:
    """One planted population, found again."""
    generator = np.random.default_rng([repetition, list(PLANTED).index(kind)])
    draws, middle, error = measured(kind, generator)
    shape = {"correlated": "normal"}.get(kind, kind.partition(",")[0])
    begun = time.process_time()
    found = find_population(draws, PopulationConfig(shape, seed=repetition))
    spent = time.process_time() - begun
    planted = bins_inside(found, kind) if kind == "histogram" else PLANTED[kind]
    rows = {name: row for name, row in found.quantiles().items() if kind != "histogram" or planted[name] > LEAST_SHARE}
    told: dict[str, Any] = {
        "kind": kind,
        "repetition": repetition,
        "status": found.computation.status,
        "ess": found.facts["ess"],
        "noise": found.facts["noise"],
        "cpu_seconds": spent,
        "inside": {level: inside(rows, planted, level) for level in (68, 90)},
    }
    if repetition < RUNS and kind != "histogram":
        told["emcee"] = beside(found, kind, middle, error, repetition)
    return told


def beside(found: Population, kind: str, middle: Numbers, error: Numbers, seed: int) -> dict[str, Any]:
    """What emcee says of the same measurements, with the sources' values integrated out in closed form."""
    axes = [INDEX, NORM] if kind == "correlated" else [INDEX]
    shape = shape_named(kind.partition(",")[0], axes)
    density = integrated(kind, middle, error)

    def log_posterior(v: Numbers) -> Numbers:
        return density(shape.from_probit(v)) - 0.5 * np.square(v).sum(-1)

    walkers, size = 64, len(shape.names)
    rows = np.random.default_rng(seed).choice(found.weights.size, 1, p=found.weights)
    generator = np.random.default_rng(seed)
    middle_v = find_start(shape.from_probit, found.values[rows[0]], size)
    start = middle_v + 0.05 * generator.standard_normal((walkers, size))
    sampler = emcee.EnsembleSampler(walkers, size, log_posterior, vectorize=True)
    sampler.random_state = np.random.RandomState(seed).get_state()
    sampler.run_mcmc(start, 4000)
    time_ = float(sampler.get_autocorr_time(quiet=True).max())
    values = shape.from_probit(sampler.get_chain(discard=1000, flat=True))
    sd = values.std(0)
    mean = np.average(found.values, axis=0, weights=found.weights)
    spread = np.sqrt(np.average((found.values - mean) ** 2, axis=0, weights=found.weights))
    return {
        "autocorrelation_steps": time_,
        "shift_of_means_in_sd": dict(zip(shape.names, ((mean - values.mean(0)) / sd).tolist(), strict=True)),
        "ratio_of_sd": dict(zip(shape.names, (spread / sd).tolist(), strict=True)),
    }


def find_start(from_probit: Callable[[Numbers], Numbers], wanted: Numbers, size: int) -> Numbers:
    """The probit coordinates nearest to a draw, by trial."""
    trials = np.random.default_rng(0).standard_normal((200_000, size))
    values = from_probit(trials)
    return trials[np.argmin(np.square((values - wanted) / values.std(0)).sum(-1))]


def integrated(kind: str, middle: Numbers, error: Numbers) -> Callable[[Numbers], Numbers]:
    """(hyper, parameter) -> ln likelihood, uncut normals: the box is far away."""

    def normal(h: Numbers) -> Numbers:
        return norm.logpdf(middle[:, 0], h[:, :1], np.hypot(h[:, 1:2], error[:, 0])).sum(-1)

    def two(h: Numbers) -> Numbers:
        parts = [norm.logpdf(middle[:, 0], h[:, i, None], np.hypot(h[:, i + 1, None], error[:, 0])) for i in (0, 2)]
        with np.errstate(divide="ignore"):
            return np.logaddexp(np.log1p(-h[:, 4:5]) + parts[0], np.log(h[:, 4:5]) + parts[1]).sum(-1)

    def correlated(h: Numbers) -> Numbers:
        a, b = (h[:, i, None] ** 2 + error[:, k] ** 2 for k, i in enumerate((1, 3)))
        cross = (h[:, 4] * h[:, 1] * h[:, 3])[:, None]
        x, y = (middle[:, k] - h[:, i, None] for k, i in enumerate((0, 2)))
        determinant = a * b - cross**2
        return (-0.5 * (x * x * b - 2 * x * y * cross + y * y * a) / determinant - 0.5 * np.log(determinant)).sum(-1)

    return {"two-normals": two, "correlated": correlated}.get(kind, normal)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Coverage of each kind."""
    told = {}
    for kind in PLANTED:
        own = [row for row in rows if row["kind"] == kind]
        if not own:
            continue
        shares = {}
        for level in ("68", "90"):
            every = [[row["inside"][level][name] for name in row["inside"][level]] for row in own]
            shares[level] = float(np.mean([np.mean(one) for one in every]))
        count = len(own)
        told[kind] = {
            "repetitions": count,
            "inside_68": shares["68"],
            "inside_90": shares["90"],
            "standard_error_68_if_one_parameter": float(np.sqrt(0.68 * 0.32 / count)),
            "by_parameter_90": {}
            if kind == "histogram"
            else {n: float(np.mean([row["inside"]["90"][n] for row in own])) for n in own[0]["inside"]["90"]},
            "certified": int(sum(row["status"] == "certified" for row in own)),
            "noise_median": float(np.median([row["noise"] for row in own])),
            "cpu_seconds_median": float(np.median([row["cpu_seconds"] for row in own])),
            "emcee": [row["emcee"] for row in own if "emcee" in row],
        }
    return told


def main() -> None:
    """All repetitions of all kinds, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "population.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    before = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    rows = list(before.get("rows", []))
    known = {(row["kind"], row["repetition"]) for row in rows}
    setup = {"sources": SOURCES, "draws": DRAWS, "planted": PLANTED, "errors": "10^U(-1.5, -0.5), each axis"}
    for kind in PLANTED:
        for repetition in range(asked.repetitions):
            if (kind, repetition) in known:
                continue
            rows.append(json.loads(to_json(one(kind, repetition))))  # as it reads when it comes back from the file
            document = {**provenance(__file__), **setup, "summary": summary(rows), "rows": rows}
            write_file(asked.out, to_json(document).encode() + b"\n")
        told = summary(rows).get(kind, {})
        print(kind, told.get("inside_68"), told.get("inside_90"), told.get("certified"), flush=True)


if __name__ == "__main__":
    main()
