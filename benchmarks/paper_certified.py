"""The row "certified" of the paper's table: its first archive-like spectra answered by `infer`, and what that costs.

    OMP_NUM_THREADS=1 python benchmarks/paper_certified.py --work FOLDER [--spectra 40]
        [--networks nicer-bhb-cutoff none]

The spectra are the first of the 2160 that `paper_table.py` takes, in its order, so their medians stand beside its own;
only they are written and fitted, since targets of all are an hour. Each batch is answered with each network in turn,
and the process's CPU seconds count; the background files, 31 % off in every channel, are integrated over.

* certified: of the computation. The model lacks a line and a hump, and the response is off, so the fit of a bright
  spectrum is rightly called bad: `fit` counts those.
* shift: of a parameter's mean against the answer of the last network, in its standard deviations: the median and the
  95th percentile over spectra and parameters. By chance they are 0.04 and 0.10 at 700 effective draws.

Writes benchmarks/results/paper-certified.json. What is answered is kept in the work folder; the same call goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from archive_like import SEED as ARCHIVE_SEED
from archive_like import SOURCES, SPECTRA, write_archive
from paper_network import rounded
from paper_table import RECIPE, SEED
from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import Posterior, infer_batch
from xrayflow.networks import load_network
from xrayflow.networks.training import VALIDATION_SHARE, held_apart
from xrayflow.ogip import Observation
from xrayflow.setup import FitSetup
from xrayflow.studies.running.sources import Reader, Source, read_list
from xrayflow.studies.targets.library import Targets
from xrayflow.studies.targets.targets import GroupBy, TargetsConfig, find_targets
from xrayflow.studies.validation.refold import reduced_statistic, with_xspecs_statistic

RESULTS = Path(__file__).resolve().parent / "results" / "paper-certified.json"
TOGETHER = 20
"""Spectra of a batch."""

Files = Sequence[tuple[Source, str]]


def in_the_tables_order(count: int) -> tuple[list[int], int]:
    """Numbers of the first spectra that the table takes, and how many it has."""
    source = torch.arange(SPECTRA) * SOURCES // SPECTRA
    rows = held_apart(source, int(VALIDATION_SHARE * SPECTRA))[0]
    order = torch.randperm(rows.numel(), generator=torch.Generator().manual_seed(SEED))
    return rows[order][:count].tolist(), rows.numel()


def make_targets(folder: Path, numbers: list[int]) -> tuple[Files, Targets]:
    """Write the spectra, and find their best fits as the table's were found."""
    listed = write_archive(folder, SPECTRA, ARCHIVE_SEED, set(numbers))
    found = {int(source.pha.stem): source for source in read_list(listed)}
    sources = [found[number] for number in numbers]
    wanted = TargetsConfig(starts=4, group_by=GroupBy.object)
    targets = find_targets(RECIPE, sources, str(folder / "nicer.rmf.gz"), wanted)
    return [(source, row.sha256) for source, row in zip(sources, targets.rows, strict=True)], targets


def row_of(answer: Posterior, cpu: float) -> dict[str, Any]:
    """What is kept of an answer."""
    draws = answer.draws[:, : len(answer.model.names)]  # nuisances stand behind
    mean = answer.weights @ draws
    return {
        "pha": answer.data[0].pha.name,
        "counts": float(answer.data[0].counts.sum()),
        "computation": answer.computation.status,
        "reasons": list(answer.computation.reasons),
        "fit": answer.fit.status,
        "network": answer.network,
        "ess": answer.ess,
        "final_efficiency": answer.ess / draws.shape[0],
        "efficiency": answer.efficiency,
        "cpu_seconds": cpu,
        "draw": answer.resample(1, seed=SEED)[0, : draws.shape[1]].tolist(),
        "mean": mean.tolist(),
        "sd": np.sqrt(answer.weights @ (draws - mean) ** 2).tolist(),
    }


def read(files: Files, rmf: str) -> list[Observation]:
    """The spectra, of one matrix."""
    reader = Reader(rmf)
    return [reader.read(source) for source, _ in files]


def answers(files: Files, rmf: str, setup: FitSetup, ways: list[str], kept: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of each network, batch by batch, each batch by all networks in turn."""
    rows = json.loads(kept.read_text()) if kept.exists() else {}
    for first in range(0, len(files), TOGETHER):
        batch = files[first : first + TOGETHER]
        for way in ways:
            done = rows.setdefault(way, [])
            if len(done) >= first + len(batch):
                continue
            observations = read(batch, rmf)
            cpu = time.process_time()
            found = infer_batch(observations, setup, way, seed=SEED)
            cpu = (time.process_time() - cpu) / len(batch)
            rows[way] = [*done[:first], *(row_of(one, cpu) for one in found)]
            kept.write_text(json.dumps(rows))
            print(way, len(rows[way]), told(rows[way]), flush=True)
    return {way: rows[way][: len(files)] for way in ways}


def told(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of one network's answers."""
    certified = sum(row["computation"] == "certified" for row in rows)
    spent = sum(row["cpu_seconds"] for row in rows)
    return {
        "spectra": len(rows),
        "certified": certified,
        "computation": Counter(row["computation"] for row in rows),
        "fit": Counter(row["fit"] for row in rows),
        "cpu_seconds_per_spectrum": spent / len(rows),
        "cpu_seconds_per_certified": spent / certified if certified else None,
        **{
            f"{name}_10_50_90": np.quantile([row[name] for row in rows], [0.1, 0.5, 0.9]).tolist()
            for name in ("final_efficiency", "efficiency")
        },
    }


def shift(rows: list[dict[str, Any]], others: list[dict[str, Any]]) -> dict[str, float]:
    """How far the means of two answers lie apart, in standard deviations."""
    mean, other, sd = (
        np.array([row[name] for row in some]) for some, name in ((rows, "mean"), (others, "mean"), (others, "sd"))
    )
    apart = np.abs(mean - other) / sd
    return {"median": float(np.median(apart)), "95 %": float(np.quantile(apart, 0.95)), "largest": float(apart.max())}


def main() -> None:
    """Make, answer, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--spectra", type=int, default=40)
    parser.add_argument("--networks", nargs="+", default=["nicer-bhb-cutoff", "none"], help="names, paths, or none")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    torch.set_num_threads(1)
    numbers, whole = in_the_tables_order(options.spectra)
    files, targets = make_targets(options.work, numbers)
    rmf = str(options.work / "nicer.rmf.gz")
    paper = load_network("nicer-bhb-paper")
    energies = [paper.recipe.layout.energies]
    setup = FitSetup(model=paper.model, prior=paper.training_prior.prior, energies=energies, systematic=0.0)
    found = answers(files, rmf, setup, options.networks, options.work / "answers.json")
    draws = [torch.tensor([row["draw"] for row in rows], dtype=torch.float64) for rows in found.values()]
    together, values = torch.stack([targets.theta, *draws], dim=1), []
    for first in range(0, len(files), TOGETHER):
        problem = with_xspecs_statistic(read(files[first : first + TOGETHER], rmf), setup)
        values.append(reduced_statistic(problem, together[first : first + TOGETHER]))
    best, *reduced = np.concatenate(values).T
    ways: dict[str, Any] = {}
    for (way, rows), values in zip(found.items(), reduced, strict=True):
        ways[Path(way).stem] = {
            **told(rows),
            "reduced_pgstat_median": float(np.median(values)),
            "shift": shift(rows, found[options.networks[-1]]),
            "rows": [{**row, "reduced_pgstat": float(value)} for row, value in zip(rows, values, strict=True)],
        }
    document = {
        **provenance(__file__),
        "set": "archive-like",
        "spectra": len(files),
        "of": whole,
        "targets": {"reduced_pgstat_median": float(np.median(best))},
        "networks": ways,
    }
    RESULTS.write_text(json.dumps(rounded(document), indent=1) + "\n", encoding="utf-8")
    print(json.dumps({name: {k: v for k, v in one.items() if k != "rows"} for name, one in ways.items()}, indent=1))


if __name__ == "__main__":
    main()
