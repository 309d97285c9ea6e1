"""Published parameters of two black holes beside ours, with and without errors of the response.

    XRAYFLOW_TEST_DATA=... OMP_NUM_THREADS=1 python benchmarks/real_agreement.py [--every 5]

*MAXI J1535-571*: the XSPEC fits that came with the spectra (`tbabs*(simpl*diskbb)`, angr, nH 3.2107 frozen, 0.5-1.5 and
2.3-10 keV, pgstat), of the 99 whose response is at hand. *MAXI J1820+070*: the bundled spectrum beside what was
published of its hard state.

Writes benchmarks/results/real-agreement.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from provenance import provenance
from xrayflow.data import bundled_pha
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import Posterior, infer, infer_batch
from xrayflow.ogip import read_observation, read_rmf
from xrayflow.setup import FitSetup

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("XRAYFLOW_TEST_DATA", HERE.parents[1] / "shared" / "data"))
LOG = DATA / "tables" / "maxij1535_simpl_diskbb_xspec_fits.csv"
MODEL = "tbabs*(simpl*diskbb)"
NAMES = {"simpl.Gamma": "Gamma", "simpl.FracSctr": "FracSctr", "diskbb.Tin": "Tin"}
TREATMENTS = ("0", "modes")
PUBLISHED = {
    "TBabs.nH": "0.15 (NICER, March 2018: Uttley et al. 2018, ATel 11423)",
    "iron": "broad line and narrow core at 6.4 keV (the same)",
}


def logged() -> list[dict[str, str]]:
    """Fits whose response is at hand."""
    with LOG.open() as file:
        return [row for row in csv.DictReader(file) if "_u" not in row["rmf"]]


def path_of(name: str) -> Path | None:
    """The spectrum of a row: ObsID and number of its interval."""
    obsid, number = name.split("_")
    found = sorted((DATA / "nicer_MAXIJ1535-571" / obsid).glob(f"*GTI{number}.jsgrp.gz"))
    return found[0] if found else None


def kept(answer: Posterior) -> dict[str, Any]:
    """Quantiles and verdict."""
    q = answer.quantile([0.16, 0.5, 0.84])
    names = list(answer.prior.names)
    return {
        "quantiles": {name: q[:, i].tolist() for i, name in enumerate(names)},
        "fit": answer.fit.status,
        "p_value": answer.fit.p_value,
        "deviance_per_dof": answer.deviance.value / answer.deviance.dof,
        "reasons": list(answer.fit.reasons),
        "flags": list(answer.flags),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "real-agreement.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    rmf = read_rmf(DATA / "nicer_response" / "nicer.rmf.gz")
    chosen = [(row, path) for row in logged() if (path := path_of(row["id"])) is not None][:: options.every]
    observations = [read_observation(path, rmf=rmf) for _, path in chosen]
    rows: list[dict[str, Any]] = [
        {"id": row["id"], "counts": float(one.pha.counts.sum()), "xspec": {k: float(row[v]) for k, v in NAMES.items()}}
        for (row, _), one in zip(chosen, observations, strict=True)
    ]
    for treatment in TREATMENTS:
        setup = FitSetup(
            model=MODEL,
            abund="angr",
            freeze={"TBabs.nH": 3.2107},
            energies=[(0.5, 1.5), (2.3, 10.0)],
            systematic=treatment,
        )
        for row, answer in zip(rows, infer_batch(observations, setup, "none"), strict=True):
            row[treatment] = kept(answer)
        print(treatment, [row[treatment]["fit"] for row in rows], flush=True)
    apart = {}
    for treatment in TREATMENTS:
        of = {}
        for name in NAMES:
            q = np.array([row[treatment]["quantiles"][name] for row in rows])
            away = np.array([row["xspec"][name] for row in rows]) - q[:, 1]
            half = 0.5 * (q[:, 2] - q[:, 0])
            of[name] = {
                "median_difference": float(np.median(np.abs(away))),
                "in_half_widths_median": float(np.median(np.abs(away) / half)),
                "half_width_median": float(np.median(half)),
            }
        apart[treatment] = of
    j1820 = {treatment: kept(infer(read_observation(bundled_pha()), systematic=treatment)) for treatment in TREATMENTS}
    statuses = ("acceptable", "poor", "bad")
    fits = {t: {one: sum(row[t]["fit"] == one for row in rows) for one in statuses} for t in TREATMENTS}
    result = {
        **provenance(__file__),
        "model": MODEL,
        "spectra": len(rows),
        "fit": fits,
        "apart_from_xspec": apart,
        "rows": rows,
        "maxi_j1820": {"published": PUBLISHED, **j1820},
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: result[k] for k in ("spectra", "fit", "apart_from_xspec")}, indent=1))


if __name__ == "__main__":
    main()
