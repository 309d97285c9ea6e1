"""Faint sources on counted backgrounds, by slope: which part of what is believed of a background makes intervals short?

    OMP_NUM_THREADS=1 python benchmarks/faint_on_background.py [--spectra 200] [--check 20] [--seed 5] [--out FILE]

The spectra are those of `backgrounds.py`: an absorbed power law in NICER's native channels (0.5-2.9 keV), a region as
large as the source's. Slopes are drawn from the prior at 48 source counts on 480 of background (`drawn`); three
brighter cases have one slope, and a quarter as many spectra. Each on a background with a line and on one without, which
the neighbours' mean can follow.

`TREATMENTS` are what may be believed of the background: `now` is the library's; `bend` has a third nuisance, the second
Legendre polynomial over the band; `true mean` has the true background as the mean, with level, tilt and a free, and
says what better smoothing could give; `known` knows the background, and says what slopes from such a prior give at all:
central intervals hold a truth near the end of a prior less often than one in its middle, whatever the background.

An answer is a grid over slope and counts, with the nuisances by Laplace's method at every node: less than a tenth of
what the pipeline takes. `--check` answers the first spectra by the pipeline too and says how far the ranks of the
truths are apart.

Of slope and norm: the share of the central intervals that hold the truth, how often the truth is below and above the
68 % interval, mean and standard deviation of (median - truth) / sd. Writes benchmarks/results/faint-on-background.json
after each batch; what is done is kept in a file beside it, from which a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.interpolate import RectBivariateSpline

from backgrounds import BAND, BUDGET, FREEZE, INTERVALS, MODEL, PRIOR, SLOPES, TRUTH, Source, row
from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import infer_batch
from xrayflow.prior import Marginal
from xrayflow.setup import FitSetup
from xrayflow.statistics.background import (
    SHAPES,
    WIDEST_SCALE,
    BackgroundPrior,
    _log_predictive,
    counted,
)
from xrayflow.statistics.marginalised import MarginalisedCounts

HERE = Path(__file__).resolve().parent
NAMES = "powerlaw.PhoIndex", "powerlaw.norm"
LINES = (1.2, 0.0)
"""Heights of the line in the true background."""

TREATMENTS = ("now", "bend", "true mean", "known")
CASES = (
    ("drawn", (0.2, 2.0), TREATMENTS, 1),
    ("counted", (1.0, 1.0), TREATMENTS[:2], 4),
    ("counted", (5.0, 3.0), TREATMENTS[:2], 4),
    ("counted", (20.0, 20.0), TREATMENTS[:2], 4),
)
"""Kind, mean source and background counts of a channel, what is tried, and of which part of the spectra."""

EDGES = (-1.0, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Of the breakdown by slope."""

COARSE, FINE, FINEST = (13, 12), (25, 22), (97, 85)
"""Nodes of slope and root of the counts: where it is, where ln p is evaluated, where it is interpolated."""

NOTHING = 11.0
"""ln p below the peak that is left out."""

STEPS = 4
"""Newton's, to the nuisances' peak, from nothing."""

LARGEST_STEP = 0.7


@dataclass(frozen=True)
class Wider(BackgroundPrior):
    """A prior of as many nuisances as its basis has rows."""

    @property
    def scale(self) -> tuple[Marginal, ...]:
        """One prior for all."""
        edge = min(WIDEST_SCALE, 10.0 * self.sd)
        return tuple(Marginal(f"n{k}", "", -edge, edge, "linear", 0.0, self.sd) for k in range(len(self.basis)))


class Shapes:
    """The source's counts by slope."""

    def __init__(self, source: Source) -> None:
        norm = source.model.names.index(NAMES[1])
        self.slopes = np.linspace(*SLOPES, 121)
        found = [source.expected({**TRUTH, NAMES[0]: one}, 1.0) for one in self.slopes]
        self.shapes = np.log([one for one, _ in found])
        self.norms = np.log([values[norm] for _, values in found])

    def at(self, slopes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(slope, channel) counts of mean 1, and (slope,) the norm that gives them."""
        place = np.clip(np.searchsorted(self.slopes, slopes) - 1, 0, self.slopes.size - 2)
        part = (slopes - self.slopes[place]) / (self.slopes[1] - self.slopes[0])
        log = self.shapes[place] * (1 - part[:, None]) + self.shapes[place + 1] * part[:, None]
        return np.exp(log), np.exp(self.norms[place] * (1 - part) + self.norms[place + 1] * part)


def believed(prior: BackgroundPrior, treatment: str, truth: np.ndarray) -> Wider:
    """What a treatment makes of the library's prior.

    Args:
        prior: The library's.
        treatment: Of `TREATMENTS`.
        truth: (channel,) mean counts of the background region.
    """
    x = prior.basis[1]
    basis, mean, shape, sd = prior.basis, prior.mean, prior.shape, prior.sd
    if treatment == "bend":
        basis = np.concatenate([basis, [1.5 * x**2 - 0.5]])
    if treatment == "true mean":
        mean = truth
        shape = max(SHAPES, key=lambda a: float(_log_predictive(prior.counts, a, mean).sum()))
    if treatment == "known":
        mean, shape, sd, basis = truth, 1e7, 1e-4, basis[:1]
    return Wider(
        **{
            **vars(prior),
            "alpha": prior.counts + shape,
            "scaled": shape * prior.fixed / mean,
            "mean": mean,
            "shape": shape,
            "basis": basis,
            "sd": sd,
        }
    )


def laplace(
    prior: BackgroundPrior, likelihood: MarginalisedCounts, mu: torch.Tensor, start: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """ln of the integral over the nuisances, and where they peak.

    Args:
        prior: Of the background.
        likelihood: Of the one source.
        mu: (node, channel) source counts.
        start: (node, nuisance)
        steps: Newton's, before the last one.
    """
    bins, n, precision = likelihood.sums[0], start, 1.0 / prior.sd**2
    basis, counts, mean = (torch.from_numpy(one) for one in (prior.basis, prior.counts, prior.mean))
    alpha, fixed, scaled = (torch.from_numpy(one) for one in (prior.alpha, prior.fixed, prior.scaled))
    for step in range(steps + 1):
        scale = torch.exp(n @ basis)
        rate = fixed + scaled / scale
        found, beta, expected = bins(mu, rate), alpha / rate, mean * scale
        part = expected / (prior.shape + expected)
        by_level = -found.by_rate * scaled / scale + counts * (1.0 - part) - prior.shape * part
        gradient = by_level @ basis.mT - n * precision
        slope = beta * scaled / scale / rate
        known = slope**2 / (mu + beta * (1.0 + 1.0 / rate)) + expected * (1.0 - part)
        information = (known[:, None] * basis) @ basis.mT + precision * torch.eye(len(basis), dtype=torch.float64)
        move = torch.linalg.solve(information, gradient[..., None])[..., 0]
        if step < steps:
            n = n + move.clamp(-LARGEST_STEP, LARGEST_STEP)
    behind = (n @ basis) @ counts - torch.log1p(expected / prior.shape) @ alpha - 0.5 * precision * (n**2).sum(-1)
    value = found.value.sum(-1) + behind + 0.5 * (gradient * move).sum(-1) - 0.5 * torch.logdet(information)
    return value, n + move


def around(grid: np.ndarray, is_in: np.ndarray, nodes: int) -> np.ndarray:
    """A grid over what counts of another, and one node more on either side."""
    at = np.nonzero(is_in)[0]
    return np.linspace(grid[max(at[0] - 1, 0)], grid[min(at[-1] + 1, grid.size - 1)], nodes)


def answer(
    shapes: Shapes, prior: BackgroundPrior, counts: np.ndarray, level: tuple[float, float], truth: Sequence[float]
) -> dict[str, Any]:
    """What is kept of the posterior of one spectrum.

    Args:
        shapes: The source's.
        prior: Of the background.
        counts: (channel,) in the source region.
        level: Mean source and background counts of a channel.
        truth: Slope and norm.
    """
    likelihood = MarginalisedCounts.of([counts], [prior], [0.0])
    rest = 6.0 * np.sqrt((level[0] + 3.0 * level[1]) / counts.size) + 8.0 / counts.size
    slopes = np.linspace(*SLOPES, COARSE[0])
    root = np.linspace(0.02 if level[0] < rest else np.sqrt(1.0 - rest / level[0]), 1.0, COARSE[1])
    root = (
        root * np.sqrt(level[0] + rest)
        if level[0] < rest
        else np.sqrt(level[0]) * np.linspace(root[0], np.sqrt(1.0 + rest / level[0]), COARSE[1])
    )

    def evaluate(slopes: np.ndarray, root: np.ndarray, start: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        each, norms = shapes.at(slopes)
        mu = torch.from_numpy((root[None, :, None] ** 2 * each[:, None]).reshape(-1, counts.size))
        value, peak = laplace(prior, likelihood, mu, torch.from_numpy(start.reshape(len(mu), -1)), steps)
        # flat in norm
        value = value.reshape(slopes.size, root.size) + torch.from_numpy(np.log(norms))[:, None]
        return value.numpy(), peak.numpy().reshape(*value.shape, -1)

    for _ in range(3):
        nothing = np.zeros((slopes.size, root.size, len(prior.basis)))
        value, peak = evaluate(slopes, root, nothing, STEPS)
        is_in = value > value.max() - NOTHING
        some = is_in.any(1), is_in.any(0)
        if all(3 * one.sum() >= one.size for one in some):
            break
        slopes, root = (around(*one) for one in zip((slopes, root), some, COARSE, strict=True))
        some = np.ones(COARSE[0], bool), np.ones(COARSE[1], bool)
    fine = [around(*one) for one in zip((slopes, root), some, FINE, strict=True)]
    start = np.stack([RectBivariateSpline(slopes, root, one)(*fine) for one in np.moveaxis(peak, -1, 0)], -1)
    value, _ = evaluate(*fine, start, 0)
    slopes, root = (np.linspace(one[0], one[-1], nodes) for one, nodes in zip(fine, FINEST, strict=True))
    value = RectBivariateSpline(*fine, value)(slopes, root)
    return figures_of(shapes, slopes, root**2, np.exp(value - value.max()), truth)


def figures_of(
    shapes: Shapes, slopes: np.ndarray, totals: np.ndarray, p: np.ndarray, truth: Sequence[float]
) -> dict[str, Any]:
    """Ranks, biases and sds of slope and norm of a posterior on a grid."""
    within = _integral(totals, p)
    along = _integral(slopes, within[:, -1])
    norms = shapes.at(slopes)[1]
    rank = [np.interp(truth[0], slopes, along / along[-1])]
    below = [np.interp(truth[1] / norm, totals, one) for norm, one in zip(norms, within, strict=True)]
    rank.append(_integral(slopes, np.array(below))[-1] / along[-1])
    median = np.interp(0.5, along / along[-1], slopes)
    weight = np.gradient(slopes)[:, None] * np.gradient(totals) * p
    weight /= weight.sum()
    every = np.broadcast_to(slopes[:, None], p.shape), norms[:, None] * totals
    mean = [float((weight * one).sum()) for one in every]
    sd = [float(np.sqrt((weight * (one - m) ** 2).sum())) for one, m in zip(every, mean, strict=True)]
    return {
        "slope": float(truth[0]),
        "rank": [float(one) for one in rank],
        "bias": [(float(median) - truth[0]) / sd[0], (mean[1] - truth[1]) / sd[1]],
        "sd": sd[0],
    }


def _integral(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Of the last axis from the first x to each."""
    parts = 0.5 * (values[..., 1:] + values[..., :-1]) * np.diff(x)
    return np.concatenate([np.zeros_like(values[..., :1]), np.cumsum(parts, -1)], -1)


def figures(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all answers of one kind."""
    rank, bias = (np.array([one[key] for one in rows]) for key in ("rank", "bias"))

    def of(values: np.ndarray) -> dict[str, float]:
        return dict(zip(NAMES, np.round(values, 3).tolist(), strict=True))

    lo, hi = INTERVALS["68"]
    return {
        "spectra": len(rows),
        "coverage": {level: of(((rank > a) & (rank < b)).mean(0)) for level, (a, b) in INTERVALS.items()},
        "truth_below": of((rank < lo).mean(0)),
        "truth_above": of((rank > hi).mean(0)),
        "bias_in_sd": of(bias.mean(0)),
        "scatter_in_sd": of(bias.std(0)),
        "sd_of_slope": round(float(np.mean([one["sd"] for one in rows])), 3),
    }


def by_slope(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The same for slopes between `EDGES`."""
    parts = {}
    for lo, hi in pairwise(EDGES):
        some = [one for one in rows if lo <= one["slope"] < hi + (hi == EDGES[-1])]
        if some:
            parts[f"{lo:g} to {hi:g}"] = figures(some)
    return parts


def write(state: dict[str, Any], out: Path) -> None:
    """Figures of what is done."""
    cases = {
        key: {
            name: {**figures(rows), **({"by_slope": by_slope(rows)} if key.startswith("drawn") else {})}
            for name, rows in treatments.items()
        }
        for key, treatments in state["rows"].items()
    }
    head = {**provenance(__file__), "model": MODEL, "prior": PRIOR, "seed": state["seed"], "cpu_seconds": state["cpu"]}
    out.write_text(json.dumps({**head, "pipeline": state["pipeline"], "cases": cases}, indent=1) + "\n")


def checked(source: Source, rows: Sequence[dict[str, Any]], count: int, seed: int) -> dict[str, Any]:
    """The pipeline's answers to the first spectra, against rows of `now`."""
    kind, level, *_ = CASES[0]
    observations, truths = zip(*source.spectra(kind, level, 1.0, count, seed), strict=True)
    setup = FitSetup(model=MODEL, prior=PRIOR, freeze=FREEZE, energies=BAND, grouping="none")
    answers = infer_batch(observations, setup, "none", budget=BUDGET, seed=0)
    order = [source.model.names.index(name) for name in NAMES]
    theirs = np.array([row(*pair)["rank"] for pair in zip(answers, truths, strict=True)])[:, order]
    apart = theirs - np.array([one["rank"] for one in rows[:count]])
    return {
        "spectra": count,
        "rank_apart_rms": dict(zip(NAMES, np.sqrt((apart**2).mean(0)).round(4).tolist(), strict=True)),
        "rank_apart_mean": dict(zip(NAMES, apart.mean(0).round(4).tolist(), strict=True)),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=200)
    parser.add_argument("--check", type=int, default=20)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "faint-on-background.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    saved = options.out.with_suffix(".partial.json")
    state: dict[str, Any] = {"seed": options.seed, "cpu": 0.0, "rows": {}, "pipeline": None}
    if saved.exists() and (before := json.loads(saved.read_text()))["seed"] == options.seed:
        state = before
    sources = {line: Source(line) for line in LINES}
    shapes = Shapes(sources[LINES[0]])
    for kind, level, treatments, part in CASES:
        for start in range(0, options.spectra // part, options.batch):
            last = min(start + options.batch, options.spectra // part)
            for line, source in sources.items():
                key = f"{kind} {level[0]:g}+{level[1]:g}, line {line:g}"
                rows = state["rows"].setdefault(key, {name: [] for name in treatments})
                if all(len(one) >= last for one in rows.values()):
                    continue
                started = time.process_time()
                for name in treatments:
                    del rows[name][start:]
                order = [source.model.names.index(name) for name in NAMES]
                for observation, truth in source.spectra(kind, level, 1.0, last, options.seed)[start:]:
                    spectrum = observation.bin(energies=BAND, grouping="none")
                    prior = counted(spectrum)
                    for name in treatments:
                        own = believed(prior, name, level[1] * source.background)
                        rows[name].append(answer(shapes, own, spectrum.counts, level, truth[order].tolist()))
                state["cpu"] += time.process_time() - started
                saved.write_text(json.dumps(state))
                for name in treatments:
                    one = figures(rows[name])
                    print(key, name, one["spectra"], one["coverage"]["68"], one["scatter_in_sd"], flush=True)
                write(state, options.out)
    if options.check:
        rows = state["rows"][f"drawn 0.2+2, line {LINES[0]:g}"]["now"]
        state["pipeline"] = checked(sources[LINES[0]], rows, options.check, options.seed)
        write(state, options.out)
    saved.unlink()


if __name__ == "__main__":
    main()
