"""What a background that is integrated over costs, per bin and draw, beside plain Poisson.

    OMP_NUM_THREADS=1 python benchmarks/likelihood.py

240 bins, 1000 draws about the truth, backgrounds that were counted in a region as large as the source's, in turns with
the normalised Poisson density of the same bins; the median of 7 rounds.

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

from provenance import provenance
from xrayflow.memory import keep_freed_memory
from xrayflow.statistics import CountLikelihood, MarginalisedCounts
from xrayflow.statistics.background import BackgroundPrior

HERE = Path(__file__).resolve().parent
BINS, DRAWS, ROUNDS = 240, 1000, 7
LEVELS = ((1, 0.3), (5, 3), (10, 2), (20, 10), (40, 5), (300, 3), (300, 100), (3000, 10), (3000, 1000), (1e6, 100))
"""Mean source and background counts of a bin."""


def nanoseconds(of: Callable[[], Any]) -> float:
    """Per bin and draw."""
    started = time.process_time()
    of()
    return 1e9 * (time.process_time() - started) / (BINS * DRAWS)


def measured(source: float, background: float, systematic: float, generator: torch.Generator) -> dict[str, float]:
    """One level."""
    mean = torch.full((BINS,), source + background, dtype=torch.float64)
    counts = torch.poisson(mean, generator=generator)
    b, a = torch.poisson(torch.full_like(mean, background), generator=generator).numpy(), 100.0
    one, expected = np.ones(BINS), np.full(BINS, background)
    prior = BackgroundPrior(
        alpha=b + a,
        fixed=one,
        scaled=a * one / expected,
        counts=b,
        mean=expected,
        shape=a,
        sd=1.0,
        basis=np.stack([one, np.linspace(-1.0, 1.0, BINS)]),
        middle=0.0 * one,
        error=0.0 * one,
    )
    ours = MarginalisedCounts.of([counts.numpy()], [prior], [systematic])
    s = torch.full((1,), systematic, dtype=torch.float64)
    plain = CountLikelihood.of(counts[None], torch.zeros((1, BINS)).double(), s, torch.ones((1, BINS)).double())
    mu = source * (1.0 + 0.1 * torch.rand((1, DRAWS, BINS), generator=generator, dtype=torch.float64))
    scale = 0.1 * torch.randn((1, DRAWS, 2), generator=generator, dtype=torch.float64)
    rounds = []
    for _ in range(ROUNDS):
        rounds.append(
            (nanoseconds(lambda: ours.log_density(mu, scale)), nanoseconds(lambda: plain.log_density_per_bin(mu)))
        )
    here, there = np.median(np.array(rounds), axis=0)
    (sums,) = ours.sums
    return {
        "source": source,
        "background": background,
        "systematic": systematic,
        "ns": float(here),
        "plain_ns": float(there),
        "ratio": float(here / there),
        "polynomial": sum(int(at.numel()) for at, _ in sums.few),
        "matched": int(sums.alike[0].numel()),
        "near_normal": sum(int(at.numel()) for at, _ in sums.known),
        "quadrature": int(sums.rest[0].numel()),
    }


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    keep_freed_memory()
    generator = torch.Generator().manual_seed(0)
    rows = [measured(*level, s, generator) for s in (0.0, 0.02) for level in LEVELS]
    for row in rows:
        print({key: round(value, 2) for key, value in row.items()})
    result = {**provenance(__file__), "bins": BINS, "draws": DRAWS, "rows": rows}
    (HERE / "results" / "likelihood.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
