"""How often does an alarm of change cry wolf, and what change does it find?

Spectra of a source whose parameter does not change, but scatters by `scatter` times the typical error about its mean;
errors differ by a factor of ten. Each is compared with the 5 or 20 before it, at a rate of 1e-3. Then the parameter of
the last one is moved by so many widths (error and scatter in squares), and alarms are counted again.

    python benchmarks/change_alarm.py [--trials 20000]

Writes benchmarks/results/change-alarm.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance import provenance
from xrayflow.files import to_json, write_file
from xrayflow.studies.catalogue.alarm import LEAST, RATE, WINDOW, Forecast

Numbers = NDArray[np.float64]
SCATTERS = (0.0, 1.0, 10.0)
MOVES = (5.0, 10.0)


def chances(before: int, scatter: float, move: float, trials: int) -> Numbers:
    """(trial,) chance of the last spectrum."""
    generator = np.random.default_rng([before, int(10 * scatter), int(move)])
    error = 10.0 ** generator.uniform(-0.5, 0.5, (trials, before + 1))
    value = scatter * generator.standard_normal(error.shape) + error * generator.standard_normal(error.shape)
    value[:, -1] += move * np.hypot(error[:, -1], scatter)
    found = np.empty(trials)
    for i, (v, e) in enumerate(zip(value, error, strict=True)):
        forecast = Forecast.of(v[:-1], e[:-1], e[-1])
        assert forecast is not None
        found[i] = forecast.chance(v[-1])
    return found


def main() -> None:
    """All cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20_000)
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for before in (LEAST, WINDOW):
        for scatter in SCATTERS:
            still = chances(before, scatter, 0.0, asked.trials)
            row: dict[str, Any] = {
                "before": before,
                "scatter_in_errors": scatter,
                "false_alarms": float((still < RATE).mean()),
                "below_0.05": float((still < 0.05).mean()),
            }
            for move in MOVES:
                moved = chances(before, scatter, move, asked.trials // 20)
                row[f"found_of_moves_by_{move:g}"] = float((moved < RATE).mean())
            rows.append(row)
            print(row, flush=True)
    document = {**provenance(__file__), "rate": RATE, "trials": asked.trials, "rows": rows}
    write_file(Path(__file__).parent / "results" / "change-alarm.json", to_json(document).encode() + b"\n")


if __name__ == "__main__":
    main()
