"""Do answers hang on the seed? Real spectra, several models, no network, several seeds each.

    OMP_NUM_THREADS=1 XRAYFLOW_TEST_DATA=... python benchmarks/seeds.py [--seeds 3] [--out FILE]

The same data and model answered with other random numbers must have the same evidence; where two certified answers
differ by more than `APART`, in natural log, one of them missed something and was certified. Medians are compared in
half 68 % intervals.

Writes benchmarks/results/seeds.json after each spectrum.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import Posterior, infer
from xrayflow.ogip import read_observation

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("XRAYFLOW_TEST_DATA", HERE.parents[1] / "shared" / "data"))
APART = 0.3

NICER = "nicer_response/nicer.rmf.gz"
HOLES = ("TBabs*(diskbb+powerlaw)", "TBabs*simpl*ezdiskbb", "TBabs*(TBabs*diskbb+powerlaw)")
FILES: tuple[tuple[str, str | None, str | None, tuple[str, ...]], ...] = (
    (
        "nicer_MAXIJ1820+070_1200120194/nicer_unbinned.pha",
        NICER,
        "nicer_MAXIJ1820+070_1200120194/nicer.arf",
        (*HOLES, "TBabs*(diskbb+powerlaw+gaussian)"),
    ),
    (
        "nicer_4U1820-30_1050300108_preburst/pre_burst_spectrum_opt.pha",
        NICER,
        None,
        ("TBabs*(bbodyrad+powerlaw)", "TBabs*(diskbb+bbodyrad)", "TBabs*(bbodyrad+nthComp)"),
    ),
    ("xmm_pn_NGC7793-ULX4_0693760101/PN_spectrum_grp20.fits", None, None, ("TBabs*(bbodyrad+powerlaw)", HOLES[0])),
    ("rxte_pca_GROJ1655-40_91702-01-06-01_d4094b_a", None, None, ("TBabs*(diskbb+powerlaw+gaussian)",)),
    ("rxte_pca_XTEJ1550-564_40401-01-01-00_day1826_a", None, None, ("TBabs*(diskbb+powerlaw)",)),
)
"""Spectrum (or a folder with one), response and area where the header names none, models."""

BRIGHT = ("1050360104", "1050360105", "1130360106", "1130360208")
"""MAXI J1535-571: the first spectrum of each."""


def cases() -> list[tuple[Path, Path | None, Path | None, tuple[str, ...]]]:
    """Files that are there."""
    found = []
    for pha, rmf, arf, models in FILES:
        place = DATA / pha
        if place.is_dir():
            place = next(one for one in sorted(place.iterdir()) if one.suffix in (".pha", ".pi"))
        found.append((place, None if rmf is None else DATA / rmf, None if arf is None else DATA / arf, models))
    for folder in BRIGHT:
        spectra = sorted((DATA / "nicer_MAXIJ1535-571" / folder).glob("*.jsgrp*"))
        found += [(one, DATA / NICER, None, HOLES[:2]) for one in spectra[:1]]
    return found


def row_of(answers: list[Posterior], model: str, cpu: float) -> dict[str, Any]:
    """Of one spectrum and model."""
    sure = [one for one in answers if one.computation.status == "certified"]
    evidence = [one.log_evidence for one in answers]
    width = 0.5 * (answers[0].quantile(0.84) - answers[0].quantile(0.16))
    medians = np.stack([one.quantile(0.5) for one in answers])
    return {
        "spectrum": answers[0].data[0].pha.name,
        "counts": float(answers[0].data[0].counts.sum()),
        "model": model,
        "log_evidence": evidence,
        "computation": [one.computation.status for one in answers],
        "fit": [one.fit.status for one in answers],
        "apart": float(np.ptp([one.log_evidence for one in sure])) if sure else 0.0,
        "medians_apart": float((np.ptp(medians, axis=0) / width).max()),
        "cpu_seconds": cpu / len(answers),
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "seeds.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    rows: list[dict[str, Any]] = []
    for pha, rmf, arf, models in cases():
        observation = read_observation(pha, rmf=rmf, arf=arf)
        for model in models:
            started = time.process_time()
            grouping = "optimal" if pha.name == "nicer_unbinned.pha" else None
            answers = [
                infer(observation, model, network="none", seed=seed, grouping=grouping) for seed in range(options.seeds)
            ]
            rows.append(row_of(answers, model, time.process_time() - started))
            print(json.dumps(rows[-1]), flush=True)
            result = {
                **provenance(__file__),
                "seeds": options.seeds,
                "certified_and_apart": sum(row["apart"] > APART for row in rows),
                "of": len(rows),
                "rows": rows,
            }
            options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
