"""What a batch costs against its members, one by one: real spectra with groupings of their own, and simulated ones.

    OMP_NUM_THREADS=1 XRAYFLOW_TEST_DATA=... python benchmarks/batches.py [--real 32] [--simulated 8]

* real: NICER spectra of MAXI J1535-571, evenly spaced over the archive, with the groupings and backgrounds of their
  files; left out, with a line, where the folder is not there.
* simulated: `TBabs*simpl*ezdiskbb` with 2e5 .. 1.5e6 counts, `--grouping optimal`, which differs from one to the other.

`infer_batch` answers all of a set together, and `infer_batch` of one spectrum answers each alone. Each way has a
process of its own, one thread, warmed up by one answer, so that neither uses folding matrices that the other has made.
They take turns: half of the members, the batch, the other half. Times are CPU seconds, reading files left out.

Writes benchmarks/results/batches.json.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch

from provenance import provenance
from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import infer_batch
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_arf, read_observation, read_rmf
from xrayflow.setup import FitSetup
from xrayflow.simulate import simulate

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("XRAYFLOW_TEST_DATA", HERE.parents[1] / "shared" / "data"))
ARCHIVE = DATA / "nicer_MAXIJ1535-571"
MODEL = "TBabs*simpl*ezdiskbb"
TRUTH = {"TBabs.nH": 0.5, "simpl.Gamma": 2.3, "simpl.FracSctr": 0.1, "ezdiskbb.T_max": 0.8, "ezdiskbb.norm": 300.0}
COUNTS = 2e5, 1.5e6
"""The fewest and the most of a simulated spectrum."""


@dataclass(frozen=True)
class Took:
    """CPU seconds of some answers, and what they say.

    Attributes:
        seconds: All of them together.
        log_evidence: Of each.
        ess: Of each.
    """

    seconds: float
    log_evidence: tuple[float, ...]
    ess: tuple[float, ...]


def real_spectra(count: int) -> list[Observation]:
    """Spectra of the archive, evenly spaced."""
    rmf = read_rmf(DATA / "nicer_response" / "nicer.rmf.gz")
    paths = sorted(ARCHIVE.glob("*/*.jsgrp.gz"))
    rows = np.linspace(0, len(paths) - 1, count).astype(int)
    return [read_observation(paths[row], rmf=rmf) for row in rows]


def simulated_spectra(count: int) -> list[Observation]:
    """Spectra of one source, with exposures that differ."""
    template = read_observation(bundled_pha(), read_rmf(bundled_rmf()), read_arf(bundled_arf()), "none")
    model = parse_model(MODEL)
    each_second = float(simulate(template, model, TRUTH, 1.0, 0, noisy=False).pha.counts.sum())
    exposures = np.geomspace(*COUNTS, count) / each_second
    return [
        simulate(template, model, TRUTH, float(exposure), seed, f"batches-{seed}.pha")
        for seed, exposure in enumerate(exposures)
    ]


SETS = {
    "real": (real_spectra, FitSetup(systematic=0.0, model=MODEL)),
    "simulated": (simulated_spectra, FitSetup(systematic=0.0, model=MODEL, grouping="optimal")),
}
"""How the spectra of a set are made, and what is asked of them."""


def start() -> None:
    """Make a worker ready: one thread, and the first answer of a process, which costs more than others."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", XrayflowWarning)
    infer_batch(simulated_spectra(1), FitSetup(systematic=0.0, model=MODEL))


def answer(name: str, count: int, rows: range, together: bool) -> Took:
    """Some spectra of a set, in a worker."""
    make, setup = SETS[name]
    observations = make(count)[rows.start : rows.stop]
    batches = [observations] if together else [[one] for one in observations]
    started = time.process_time()
    answers = [found for batch in batches for found in infer_batch(batch, setup)]
    seconds = time.process_time() - started
    return Took(seconds, tuple(one.log_evidence for one in answers), tuple(one.ess for one in answers))


def compare(name: str, count: int, pools: tuple[Pool, Pool]) -> dict[str, Any]:
    """Both ways, in turn."""
    half = count // 2
    of = partial(answer, name, count)
    first = pools[0].apply(of, (range(half), False))
    batch = pools[1].apply(of, (range(count), True))
    second = pools[0].apply(of, (range(half, count), False))
    make, setup = SETS[name]
    binnings = {setup.bin(one).bin_of_channel.tobytes() for one in make(count)}
    alone = first.seconds + second.seconds
    evidence = np.array(first.log_evidence + second.log_evidence)
    return {
        "spectra": count,
        "binnings": len(binnings),
        "cpu_seconds_together": batch.seconds,
        "cpu_seconds_one_by_one": alone,
        "together_over_one_by_one": batch.seconds / alone,
        "cpu_seconds_per_spectrum": {"together": batch.seconds / count, "one_by_one": alone / count},
        "median_ess": {"together": float(np.median(batch.ess)), "one_by_one": float(np.median(first.ess + second.ess))},
        "largest_difference_of_log_evidence": float(np.abs(evidence - np.array(batch.log_evidence)).max()),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=int, default=32)
    parser.add_argument("--simulated", type=int, default=8)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "batches.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    torch.set_num_threads(1)
    counts = {"real": options.real, "simulated": options.simulated}
    if not ARCHIVE.is_dir():
        print(f"real: skipped, no spectra at {ARCHIVE.name} of XRAYFLOW_TEST_DATA", flush=True)
        del counts["real"]
    document: dict[str, Any] = {**provenance(__file__), "model": MODEL, "sets": {}}
    context = get_context("spawn")
    with context.Pool(1, start) as alone, context.Pool(1, start) as together:
        for name, count in counts.items():
            if count < 2:
                continue
            document["sets"][name] = compare(name, count, (alone, together))
            print(name, json.dumps(document["sets"][name], indent=1), flush=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
