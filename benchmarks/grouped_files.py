"""Made files of every grouping: which are taken for grouped by their counts?

    OMP_NUM_THREADS=1 python benchmarks/grouped_files.py [--files 20] [--out FILE]

Poisson counts in the 1501 channels of the bundled NICER response, of 30 to 1e7 counts: flat, falling by e in 800
channels, and in 80. Each is grouped to a number of counts (`min N`), to a number of counts and of channels (`min N,
width W`, as specgroup does), optimally, and to constant widths. Of each kind, the share of files whose groups
`least_counts` says were decided by the counts, and how many files had three groups or more that the counts had ended,
fewer of which tell nothing.

Writes benchmarks/results/grouped-files.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from provenance import provenance
from xrayflow.data import bundled_rmf
from xrayflow.ogip import read_rmf
from xrayflow.ogip.grouping import least_counts
from xrayflow.ogip.regroup import group_min, group_optimal, resolution

RESULTS = Path(__file__).resolve().parent / "results" / "grouped-files.json"
Counts = NDArray[np.float64]
Columns = tuple[NDArray[np.int64], NDArray[np.int64]]
CHANNELS = 1501
GOOD = np.zeros(CHANNELS, dtype=np.int64)
TOTALS = (30.0, 100.0, 300.0, 1e3, 1e4, 1e5, 1e6, 1e7)
SHAPES = {"flat": np.inf, "falls in 800 channels": 800.0, "falls in 80 channels": 80.0}
FEWEST = 3


def to_least(minimum: int, width: int) -> Callable[[Counts], Columns]:
    """So many counts and so many channels at least."""

    def group(counts: Counts) -> Columns:
        grouping, quality = np.full(CHANNELS, -1), GOOD.copy()
        first, total = 0, 0.0
        for index, value in enumerate(counts):
            total += value
            if index == first:
                grouping[index] = 1
            if total >= minimum and index - first + 1 >= width:
                first, total = index + 1, 0.0
        quality[first:] = 2
        return grouping, quality

    return group


def kinds() -> dict[str, tuple[int | None, Callable[[Counts], Columns]]]:
    """The number of counts of each kind, None where they have no part in it, and how it groups."""
    fwhm = resolution(read_rmf(bundled_rmf()))
    row = np.arange(CHANNELS)
    found: dict[str, tuple[int | None, Callable[[Counts], Columns]]] = {}
    for least in (1, 5, 20, 25, 100):
        found[f"min {least}"] = least, lambda counts, least=least: group_min(GOOD, counts, least)
    for least, width in ((20, 7), (25, 3)):
        found[f"min {least}, width {width}"] = least, to_least(least, width)
    found["optimal"] = None, lambda counts: (group_optimal(GOOD, counts, fwhm), GOOD)
    for width in (2, 5, 10, 20):
        found[f"width {width}"] = None, lambda counts, width=width: (np.where(row % width == 0, 1, -1), GOOD)
    return found


def ended(columns: Columns, counts: Counts, least: int) -> int:
    """How many groups have the counts with their last channel, and without it have not."""
    starts = np.flatnonzero(columns[0] == 1)
    ends = np.append(starts[1:], CHANNELS)
    total = np.add.reduceat(counts, starts)
    return int(np.sum((ends - starts > 1) & (total >= least) & (total - counts[ends - 1] < least)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=20, help="of each kind, shape and number of counts")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    random, rows, spent = np.random.default_rng(options.seed), {}, 0.0
    for name, (least, group) in kinds().items():
        taken, telling, told, all_files = 0, 0, 0, 0
        for scale in SHAPES.values():
            mean = np.exp(-np.arange(CHANNELS) / scale)
            for total in TOTALS:
                for _ in range(options.files):
                    counts = random.poisson(mean * total / mean.sum()).astype(np.float64)
                    columns = group(counts)
                    started = time.process_time()
                    known = least_counts(*columns, counts) is not None
                    spent += time.process_time() - started
                    tells = least is not None and ended(columns, counts, least) >= FEWEST
                    all_files, taken = all_files + 1, taken + known
                    telling, told = telling + tells, told + (known and tells)
        row: dict[str, Any] = {"files": all_files, "taken_for_grouped_by_counts": taken}
        if least is not None:
            row |= {"three_groups_ended_by_counts": telling, "taken_of_those": told}
        rows[name] = row
        print(name, json.dumps(row), flush=True)
    every = sum(row["files"] for row in rows.values())
    result = {**provenance(__file__), "seed": options.seed, "milliseconds_per_file": round(1e3 * spent / every, 2)}
    options.out.write_text(json.dumps({**result, "kinds": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
