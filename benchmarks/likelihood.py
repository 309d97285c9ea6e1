"""What a background that is integrated over costs, per bin and draw, beside plain Poisson, and how exact it is.

    OMP_NUM_THREADS=1 python benchmarks/likelihood.py

1000 draws about the truth of one source and of 64, in 239 and in 969 bins, on backgrounds that were counted in a region
as large as the source's. In turns with `CountLikelihood.log_density` of the same counts, the plain Poisson density
without background or systematic error that this code has, source by source, which is quicker than all at once: it then
stays within the processor's cache. And, of one source, with the integral over the background
that serves where no series does, and with the negative binomial of a systematic error without a background. The median
of the rounds, in CPU time.

`worst` is the largest error of ln p of all bins together, of draws, against the integral with more nodes.

`modelled`: the same of one source on a background of a model whose error is .6 of it, a normal that is cut at zero, by
its series and by the integral that a series replaces (and which `worst` is against).

Writes benchmarks/results/likelihood.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from provenance import provenance
from xrayflow.memory import keep_freed_memory
from xrayflow.statistics import CountLikelihood, MarginalisedCounts
from xrayflow.statistics.background import BackgroundPrior
from xrayflow.statistics.background_cut import CutNormals
from xrayflow.statistics.background_cut_table import CutTable
from xrayflow.statistics.background_integral import Bins, finest
from xrayflow.statistics.background_polynomial import Polynomial
from xrayflow.statistics.background_sum import pieces
from xrayflow.statistics.background_way import Integral

HERE = Path(__file__).resolve().parent
DRAWS, CHECKED = 1000, 20
LEVELS = ((1, 0.3), (5, 3), (10, 2), (20, 10), (40, 5), (300, 3), (300, 100), (3000, 10), (3000, 1000), (1e6, 100))
"""Mean source and background counts of a bin."""

FEW_LEVELS = ((5, 3), (300, 100), (3000, 1000))
"""Those of the other shapes."""

SHAPES = ((1, 239, LEVELS, 7), (1, 969, FEW_LEVELS, 7), (64, 239, FEW_LEVELS, 3), (64, 969, FEW_LEVELS, 2))
"""Sources, bins, levels, rounds."""

SYSTEMATIC = 0.0, 0.02
MODELLED = (1, 0.3), (5, 3), (40, 5), (300, 100), (3000, 1000)
RELATIVE_ERROR, SPREAD = 0.6, 0.1
"""Of a modelled background, and of its level (in ln A)."""


def seconds(of: Callable[[], Any]) -> float:
    """CPU time."""
    started = time.process_time()
    of()
    return time.process_time() - started


def prior(background: float, bins: int, generator: torch.Generator) -> BackgroundPrior:
    """Of counts of a region as large as the source's, about a mean that is right."""
    mean, shape = np.full(bins, float(background)), 100.0
    counts = torch.poisson(torch.from_numpy(mean), generator=generator).numpy()
    one = np.ones(bins)
    return BackgroundPrior(
        alpha=counts + shape,
        fixed=one,
        scaled=shape * one / mean,
        counts=counts,
        mean=mean,
        shape=shape,
        sd=1.0,
        basis=np.stack([one, np.linspace(-1.0, 1.0, bins)]),
        middle=0.0 * one,
        error=0.0 * one,
    )


def worst(ours: MarginalisedCounts, of: BackgroundPrior, mu: Tensor, nuisance: Tensor, systematic: float) -> float:
    """Of one source."""
    bins = Bins(ours.counts[0, 0], torch.from_numpy(of.alpha), systematic**2)
    rate = torch.from_numpy(of.fixed) + torch.from_numpy(of.scaled) / torch.exp(nuisance @ torch.from_numpy(of.basis))
    return float((ours.sums[0].value(mu, rate) - finest(bins, mu, rate)).sum(-1).abs().max())


def measured(
    sources: int, bins: int, level: tuple[float, float], systematic: float, rounds: int, generator: torch.Generator
) -> dict[str, Any]:
    """One level in one shape."""
    source, background = level
    mean = torch.full((sources, bins), float(source + background), dtype=torch.float64)
    counts, every = torch.poisson(mean, generator=generator), [prior(background, bins, generator) for _ in mean]
    parts = list(counts.numpy())
    started = time.process_time()
    ours = MarginalisedCounts.of(parts, every, [systematic] * sources)
    made = time.process_time() - started

    def without(s: float) -> list[CountLikelihood]:
        of, none = torch.full((1,), s).double(), torch.zeros_like(counts[:1])
        return [CountLikelihood.of(one[None], none, of, torch.ones_like(none)) for one in counts]

    plain, scattered = without(0.0), without(systematic)
    mu = source * (1.0 + 0.1 * torch.rand((sources, DRAWS, bins), generator=generator, dtype=torch.float64))
    nuisance = 0.1 * torch.randn((sources, DRAWS, 2), generator=generator, dtype=torch.float64)
    rivals: dict[str, Callable[[], Any]] = {
        "ns": lambda: ours.log_density(mu, nuisance),
        "plain_ns": lambda: [one.log_density(at[None]) for one, at in zip(plain, mu, strict=True)],
    }
    if sources == 1:
        integral = Integral(Bins(counts[0], torch.from_numpy(every[0].alpha), systematic**2), ours.sums[0].rate)
        rate = ours.sums[0].rate.expand(DRAWS, -1)
        rivals["integral_ns"] = lambda: [integral.bare(mu[0, of], rate[of]) for of in pieces(DRAWS, bins)]
        if systematic > 0:
            rivals["systematic_ns"] = lambda: scattered[0].log_density(mu)
    for of in rivals.values():
        of()
    taken = np.median([[seconds(of) for of in rivals.values()] for _ in range(rounds)], axis=0)
    ns = {name: float(1e9 * one / mu.numel()) for name, one in zip(rivals, taken, strict=True)}
    series = 0 if ours.sums[0].table is None else int((ours.sums[0].table.bend > 0).sum())
    return {
        "sources": sources,
        "bins": bins,
        "source": source,
        "background": background,
        "systematic": systematic,
        **ns,
        "ratio": ns["ns"] / ns["plain_ns"],
        "made_us": 1e6 * made / (sources * bins),
        "worst": worst(ours, every[0], mu[0, :CHECKED], nuisance[0, :CHECKED], systematic),
        "series": series,
        "polynomial": sum(int(at.numel()) for at, way in ours.sums[0].others if isinstance(way, Polynomial)),
    }


def modelled(bins: int, level: tuple[float, float], systematic: float, generator: torch.Generator) -> dict[str, Any]:
    """One level of a background of a model."""
    source, background = level
    middle = torch.full((bins,), float(background), dtype=torch.float64)
    error = RELATIVE_ERROR * middle
    counts = torch.poisson(source + middle, generator=generator)
    normals = CutNormals(counts, middle, error, (middle / error**2), systematic**2)
    started = time.process_time()
    table = CutTable.of(normals, middle, SPREAD)
    made = time.process_time() - started
    none = torch.zeros((1, bins), dtype=torch.float64)
    plain = CountLikelihood.of(counts[None], none, torch.zeros(1).double(), torch.ones_like(none))
    mu = source * (1.0 + 0.1 * torch.rand((DRAWS, bins), generator=generator, dtype=torch.float64))
    a = SPREAD * torch.randn((DRAWS, 1), generator=generator, dtype=torch.float64)
    rate = normals.rate * torch.exp(-a)
    rivals: dict[str, tuple[Callable[[], Any], int]] = {
        "ns": (lambda: [table.value(mu[of], rate[of]) for of in pieces(DRAWS, bins)], DRAWS),
        "plain_ns": (lambda: plain.log_density(mu[None]), DRAWS),
        "integral_ns": (lambda: normals.value(mu[:CHECKED], rate[:CHECKED]), CHECKED),
    }
    for of, _ in rivals.values():
        of()
    taken = np.median([[seconds(of) / draws for of, draws in rivals.values()] for _ in range(5)], axis=0)
    ns = {name: float(1e9 * one / bins) for name, one in zip(rivals, taken, strict=True)}
    error_of = (table.value(mu[:CHECKED], rate[:CHECKED]) - normals.value(mu[:CHECKED], rate[:CHECKED])).sum(-1)
    return {
        "bins": bins,
        "source": source,
        "background": background,
        "systematic": systematic,
        **ns,
        "ratio": ns["ns"] / ns["plain_ns"],
        "made_us": 1e6 * made / bins,
        "worst": float(error_of.abs().max()),
        "series": bins - int(table.rest.numel()),
    }


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    rows = []
    for sources, bins, levels, rounds in SHAPES:
        for systematic in SYSTEMATIC:
            for level in levels:
                rows.append(measured(sources, bins, level, systematic, rounds, generator))
                print({key: float(f"{value:.3g}") for key, value in rows[-1].items()}, flush=True)
    of_models = []
    for systematic in SYSTEMATIC:
        for level in MODELLED:
            of_models.append(modelled(239, level, systematic, generator))
            print({key: float(f"{value:.3g}") for key, value in of_models[-1].items()}, flush=True)
    result = {**provenance(__file__), "draws": DRAWS, "rows": rows, "modelled": of_models}
    (HERE / "results" / "likelihood.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
