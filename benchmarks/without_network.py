"""What an answer costs without a network: real spectra of other instruments and models, one by one.

    OMP_NUM_THREADS=1 XRAYFLOW_TEST_DATA=... python benchmarks/without_network.py

Each is answered once to warm up and then three times with other seeds; CPU seconds of one thread, reading left out, the
least of the three. XMM's ULX and EXOSAT's pulsar in the bands and with the abundances of their published fits.

Writes benchmarks/results/without-network.json.
"""

from __future__ import annotations

import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import infer
from xrayflow.ogip import read_observation

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("XRAYFLOW_TEST_DATA", HERE.parents[1] / "shared" / "data"))
SEEDS = 1, 2, 3
CASES: tuple[tuple[str, str, str | None, str, dict[str, Any]], ...] = (
    (
        "xmm_pn_NGC7793-ULX4_0693760101",
        "PN_spectrum_grp20.fits",
        None,
        "TBabs*(bbodyrad+powerlaw)",
        {"energies": [(0.5, 10.0)], "abund": "angr"},
    ),
    (
        "swift_xrt_2M0259+3855_00092220001",
        "target_sr.pha",
        "swxpc0to12s6_20130101v014.rmf.gz",
        "TBabs*powerlaw",
        {},
    ),
    (
        "exosat_me_1E1048-5937_s54405",
        "s54405.pha",
        None,
        "phabs*powerlaw",
        {"energies": [(1.0, 15.0)], "abund": "angr"},
    ),
    (
        "nicer_4U1820-30_1050300108_preburst",
        "pre_burst_spectrum_opt.pha",
        "../nicer_response/nicer.rmf.gz",
        "TBabs*(bbodyrad+powerlaw)",
        {},
    ),
)
"""Folder, spectrum, response where the header names none, model, settings."""


def row_of(folder: str, pha: str, rmf: str | None, model: str, settings: dict[str, Any]) -> dict[str, Any]:
    """One spectrum."""
    place = DATA / folder
    observation = read_observation(place / pha, rmf=None if rmf is None else place / rmf)
    infer(observation, model, network="none", systematic=0.0, **settings)
    seconds = []
    for seed in SEEDS:
        started = time.process_time()
        answer = infer(observation, model, network="none", seed=seed, systematic=0.0, **settings)
        seconds.append(time.process_time() - started)
    return {
        "spectrum": f"{folder}/{pha}",
        "model": model,
        "counts": float(answer.data[0].counts.sum()),
        "cpu_seconds": min(seconds),
        "computation": answer.computation.status,
        "reasons": list(answer.computation.reasons),
        "ess": answer.ess,
        "medians": dict(zip(answer.prior.names, answer.quantile(0.5).tolist(), strict=True)),
    }


def main() -> None:
    """Measure and write."""
    warnings.simplefilter("ignore", XrayflowWarning)
    torch.set_num_threads(1)
    rows = []
    for case in CASES:
        rows.append(row_of(*case))
        print(json.dumps(rows[-1]), flush=True)
    mean = sum(row["cpu_seconds"] for row in rows) / len(rows)
    found = {**provenance(__file__), "cpu_seconds_mean": mean, "rows": rows}
    (HERE / "results" / "without-network.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
