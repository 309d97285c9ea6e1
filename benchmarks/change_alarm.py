"""How often does an alarm of change cry wolf, and what change does it find?

Spectra of a source whose parameter does not change, but scatters by `scatter` times the typical error about its mean;
errors differ by a factor of ten. Each is compared with the 5 or 20 before it, at a rate of 1e-3. Then the parameter of
the last one is moved by so many widths (error and scatter in squares), up and down, and alarms are counted again. The
posteriors are

* normal: known exactly, or from 400 draws;
* lognormal: what is normal is the logarithm, with errors of 9 to 95 % (or a third of that), and the prior is flat in
  the parameter itself;
* cut: normal likelihoods under a prior that is flat above an edge, 1 or 5 typical errors below the source's value.

For the skewed ones the same is told of an alarm that knows half of the 68 % interval alone.

    python benchmarks/change_alarm.py [--trials 10000]

Writes benchmarks/results/change-alarm.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from provenance import provenance
from xrayflow.files import to_json, write_file
from xrayflow.studies.catalogue.alarm import LEAST, RATE, WINDOW, Forecast

Numbers = NDArray[np.float64]
Posteriors = Callable[[Numbers, Numbers], Numbers]
LEVELS = np.array([0.05, 0.16, 0.5, 0.84, 0.95])
DRAWS = 400
RATE_OF_MOVES = 20
"""Trials without a move for one with it."""


def normal(value: Numbers, error: Numbers) -> Numbers:
    """(..., quantile)."""
    return value[..., None] + error[..., None] * ndtri(LEVELS)


def from_draws(value: Numbers, error: Numbers) -> Numbers:
    """The same, as so many draws tell it."""
    generator = np.random.default_rng(value.shape[1])
    drawn = np.array(
        [np.quantile(generator.standard_normal((value.shape[1], DRAWS)), LEVELS, axis=-1).T for _ in value]
    )
    return value[..., None] + error[..., None] * drawn


def lognormal(unit: float) -> Posteriors:
    """In units of the parameter's value; an error of 1 is so much of it."""
    return lambda value, error: np.exp(normal(unit * value + (unit * error) ** 2, unit * error))


def cut(edge: float) -> Posteriors:
    """Above an edge."""

    def posteriors(value: Numbers, error: Numbers) -> Numbers:
        above = ndtr((value - edge) / error)[..., None]
        return value[..., None] - error[..., None] * ndtri(above * (1.0 - LEVELS))

    return posteriors


CASES: list[tuple[str, Posteriors, tuple[float, ...], tuple[int, ...]]] = [
    ("normal", normal, (0.0, 1.0, 10.0), (LEAST, WINDOW)),
    (f"normal, from {DRAWS} draws", from_draws, (0.0, 1.0), (WINDOW,)),
    ("lognormal, 10 %", lognormal(0.1), (0.0, 1.0), (WINDOW,)),
    ("lognormal, 30 %", lognormal(0.3), (0.0, 1.0), (WINDOW,)),
    ("cut 1 error below", cut(-1.0), (0.0,), (WINDOW,)),
    ("cut 5 errors below", cut(-5.0), (0.0, 1.0), (WINDOW,)),
]
"""Posteriors, scatters in errors, and numbers of spectra before."""

MOVES = (5.0, -5.0, 10.0)
"""In widths."""


def chances(posteriors: Posteriors, before: int, scatter: float, move: float, trials: int, symmetric: bool) -> Numbers:
    """(trial,) chance of the last spectrum."""
    generator = np.random.default_rng([before, int(10 * scatter), int(abs(move)), int(move < 0)])
    error = 10.0 ** generator.uniform(-0.5, 0.5, (trials, before + 1))
    value = scatter * generator.standard_normal(error.shape) + error * generator.standard_normal(error.shape)
    value[:, -1] += move * np.hypot(error[:, -1], scatter)
    given = posteriors(value, error)
    if symmetric:
        given = normal(given[..., 2], 0.5 * (given[..., 3] - given[..., 1]))
    found = np.empty(trials)
    for i, one in enumerate(given):
        forecast = Forecast.of(one[:-1])
        assert forecast is not None
        found[i] = forecast.chance(one[-1])
    return found


def told(posteriors: Posteriors, before: int, scatter: float, trials: int, symmetric: bool = False) -> dict[str, Any]:
    """Rate and power."""
    still = chances(posteriors, before, scatter, 0.0, trials, symmetric)
    row = {"false_alarms": float((still < RATE).mean()), "below_0.05": float((still < 0.05).mean())}
    for move in MOVES:
        moved = chances(posteriors, before, scatter, move, trials // RATE_OF_MOVES, symmetric)
        row[f"found_of_moves_by_{move:g}"] = float((moved < RATE).mean())
    return row


def main() -> None:
    """All cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name, posteriors, scatters, befores in CASES:
        for before, scatter in product(befores, scatters):
            row: dict[str, Any] = {"posteriors": name, "before": before, "scatter_in_errors": scatter}
            row |= told(posteriors, before, scatter, asked.trials)
            if posteriors is not normal:
                row["with_half_of_68_%_alone"] = told(posteriors, before, scatter, asked.trials, symmetric=True)
            rows.append(row)
            print(row, flush=True)
    document = {**provenance(__file__), "rate": RATE, "trials": asked.trials, "rows": rows}
    write_file(Path(__file__).parent / "results" / "change-alarm.json", to_json(document).encode() + b"\n")


if __name__ == "__main__":
    main()
