"""Every real NICER spectrum at hand through `infer_batch`: verdicts, effective draws and time.

    XRAYFLOW_TEST_DATA=... python benchmarks/real_spectra.py [--batch 20] [--systematic modes]

Writes benchmarks/results/real-spectra.json. One thread (OMP_NUM_THREADS=1): torch's threads wait for each other on a
shared machine.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import Posterior, infer_batch
from xrayflow.ogip import RMF, read_observation, read_rmf
from xrayflow.setup import FitSetup

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("XRAYFLOW_TEST_DATA", HERE.parents[1] / "shared" / "data"))
OTHERS = {
    "nicer_4U1820-30_1050300108_preburst/pre_burst_spectrum_opt.pha": None,
    "nicer_4U1820-30_1050300108_burst/b_008_0.25s_raw_opt.pha": None,
    "nicer_MAXIJ1820+070_1200120194/nicer_unbinned.pha": "nicer_MAXIJ1820+070_1200120194/nicer.arf",
}
"""Spectrum: its ARF, where the header does not name it."""


def row(answer: Posterior) -> dict[str, object]:
    """What the benchmark keeps of an answer."""
    data = answer.data[0]
    return {
        "path": data.pha.name,
        "counts": float(data.counts.sum()),
        "exposure": data.exposure,
        "statistic": answer.statistic.name,
        "deviance_per_dof": answer.deviance.value / answer.deviance.dof,
        "ess": answer.ess,
        "efficiency": answer.efficiency,
        "pareto_k": answer.pareto_k,
        "draws_evaluated": answer.weighing.evaluations["draws"],
        "computation": answer.computation.status,
        "computation_reasons": list(answer.computation.reasons),
        "fit": answer.fit.status,
        "p_value": answer.fit.p_value,
        "fit_reasons": list(answer.fit.reasons),
        "verdict": answer.verdict,
        "flags": list(answer.flags),
        "seconds": answer.provenance.seconds["total"],
        "searched": answer.weighing.evaluations["tails"],
        "log_evidence": answer.log_evidence,
        "quantiles_5_50_95": answer.quantile([0.05, 0.5, 0.95]).T.tolist(),
    }


def run(
    paths: list[Path], rmf: RMF, arf: Path | None, batch: int, systematic: str, seed: int = 0
) -> list[dict[str, object]]:
    """All spectra, a batch at a time."""
    rows: list[dict[str, object]] = []
    for start in range(0, len(paths), batch):
        observations = [read_observation(path, rmf=rmf, arf=arf) for path in paths[start : start + batch]]
        rows += [row(answer) for answer in infer_batch(observations, FitSetup(systematic=systematic), seed=seed)]
        print(f"{len(rows)} / {len(paths)}", flush=True)
    return rows


def summary(rows: list[dict[str, object]]) -> dict[str, object]:
    """Numbers over all spectra."""
    ess, k = (np.array([one[name] for one in rows], dtype=float) for name in ("ess", "pareto_k"))
    seconds, efficiency = (np.array([one[name] for one in rows], dtype=float) for name in ("seconds", "efficiency"))
    numbers_good = [good_numbers(one) for one in rows]
    return {
        "spectra": len(rows),
        "computation": Counter(str(one["computation"]) for one in rows),
        "fit": Counter(str(one["fit"]) for one in rows),
        "verdict": Counter(str(one["verdict"]) for one in rows),
        "ess_at_least_400": float((ess >= 400).mean()),
        "pareto_k_below_0.7": float((k < 0.7).mean()),
        "certified_or_held_back_by_the_background_alone": float(
            np.mean([one["computation"] == "certified" or good for one, good in zip(rows, numbers_good, strict=True)])
        ),
        "efficiency_10_50_90": np.quantile(efficiency, [0.1, 0.5, 0.9]).tolist(),
        "seconds_per_spectrum_10_50_90": np.quantile(seconds, [0.1, 0.5, 0.9]).tolist(),
    }


def repeated(first: list[dict[str, object]], second: list[dict[str, object]]) -> dict[str, object]:
    """Two seeds of the same spectra: the evidence within .15, the ends of 90 % intervals within
    a quarter of their width.

    Answers that the background alone keeps from `certified` count as certified: their numbers are claimed to be right.
    """
    rows = []
    for one, other in zip(first, second, strict=True):
        a, b = (np.asarray(row["quantiles_5_50_95"], dtype=float) for row in (one, other))
        width = 0.5 * (a[:, 2] - a[:, 0] + b[:, 2] - b[:, 0])
        rows.append(
            {
                "path": one["path"],
                "claimed": good_numbers(one) and good_numbers(other),
                "log_evidence_change": abs(float(one["log_evidence"]) - float(other["log_evidence"])),  # type: ignore[arg-type]
                "quantile_change": float((np.abs(a - b)[:, [0, 2]] / width[:, None]).max()),
            }
        )
    wrong = [
        row for row in rows if row["claimed"] and (row["log_evidence_change"] > 0.15 or row["quantile_change"] > 0.25)
    ]
    return {
        "spectra": len(rows),
        "claimed": sum(bool(row["claimed"]) for row in rows),
        "claimed_and_beyond": wrong,
        "log_evidence_change_50_90_max": np.quantile(
            [row["log_evidence_change"] for row in rows], [0.5, 0.9, 1]
        ).tolist(),
        "quantile_change_50_90_max": np.quantile([row["quantile_change"] for row in rows], [0.5, 0.9, 1]).tolist(),
        "rows": rows,
    }


def good_numbers(row: dict[str, object]) -> bool:
    """Whether nothing but the background's own error keeps an answer from `certified`."""
    reasons = row["computation_reasons"]
    assert isinstance(reasons, list)
    return row["computation"] == "certified" or all("the background's own error" in reason for reason in reasons)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--systematic", default="0", help="as `xrayflow fit`: 0, 0.015, modes, modes:1")
    parser.add_argument("--again", type=int, default=0, help="so many spectra get a second seed")
    parser.add_argument("--every", type=int, default=1, help="take every n-th spectrum")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "real-spectra.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    rmf = read_rmf(DATA / "nicer_response" / "nicer.rmf.gz")
    archive = sorted((DATA / "nicer_MAXIJ1535-571").glob("*/*.jsgrp.gz"))[:: options.every]
    started, cpu = time.perf_counter(), time.process_time()
    rows = run(archive, rmf, None, options.batch, options.systematic)
    again = archive[:: max(len(archive) // options.again, 1)][: options.again] if options.again else []
    names = [path.name for path in again]
    second = run(again, rmf, None, options.batch, options.systematic, seed=1)
    chosen = [one for one in rows if one["path"] in names]
    for path, arf in OTHERS.items():
        rows += run([DATA / path], rmf, None if arf is None else DATA / arf, 1, options.systematic)
    found = {
        **provenance(__file__),
        "settings": {"batch": options.batch, "systematic": options.systematic},
        "wall_seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - cpu,
        "summary": summary(rows),
        "two_seeds": repeated(chosen, second) if again else None,
        "rows": rows,
    }
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found["summary"], indent=1))


if __name__ == "__main__":
    main()
