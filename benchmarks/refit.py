"""The misfit microscope's linear ln B beside that of whole fits, on real and simulated spectra.

*MAXI J1820+070*: the bundled spectrum, where a broad iron line is missing, under calibration modes and with the
response nearly at its word. *MAXI J1535-571*: a bright spectrum of the archive that `XRAYFLOW_TEST_DATA` names.
*Simulated*: the bundled response, `TBabs*powerlaw` with 3.5e4 counts in 0.3-10 keV, one thing added, or nothing. It is
what `xrayflow misfit RESULT --refit 3` says.

    XRAYFLOW_TEST_DATA=... OMP_NUM_THREADS=1 python benchmarks/refit.py [--out benchmarks/results/refit.json]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from provenance import provenance
from xrayflow.data import bundled_pha
from xrayflow.files import to_json, write_file
from xrayflow.inference import Posterior, infer
from xrayflow.models import parse_model
from xrayflow.ogip import read_observation
from xrayflow.products import look_closely
from xrayflow.simulate import Instrument, write_fake

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("XRAYFLOW_TEST_DATA", HERE.parents[1] / "shared" / "data"))
J1535 = DATA / "nicer_MAXIJ1535-571"
BASE, TRUTH = "TBabs*powerlaw", {"TBabs.nH": 0.2, "powerlaw.PhoIndex": 1.8, "powerlaw.norm": 0.1}
EXPOSURE, SIMULATED, REFIT = 200.0, 400, 3
PLANTS: dict[str, tuple[str, Mapping[str, float], Mapping[str, float]]] = {
    "simulated, nothing added": (BASE, {}, {}),
    "simulated, narrow line of 240 eV at 6.4 keV": (
        "TBabs*(powerlaw+gaussian)",
        {"gaussian.LineE": 6.4, "gaussian.norm": 8.5e-4},
        {"gaussian.Sigma": 0.01},
    ),
    "simulated, broad line of 400 eV at 6.4 keV": (
        "TBabs*(powerlaw+gaussian)",
        {"gaussian.LineE": 6.4, "gaussian.norm": 1.4e-3},
        {"gaussian.Sigma": 0.3},
    ),
    "simulated, edge of tau 0.2 at 0.87 keV": ("edge*TBabs*powerlaw", {"edge.edgeE": 0.87, "edge.MaxTau": 0.2}, {}),
    "simulated, 3e22 cm^-2 over 0.4": ("TBabs*TBpcf*powerlaw", {"TBpcf.nH": 3.0, "TBpcf.pcf": 0.4}, {}),
}


def simulated(name: str, seed: int, folder: Path) -> Posterior:
    """The answer of a simulated spectrum to the model that lacks what was added."""
    text, values, frozen = PLANTS[name]
    model = parse_model(text).freeze(frozen)
    instrument = Instrument(None, None, None, bundled_pha())
    faked = write_fake(folder / f"{seed}.pha", model, {**TRUTH, **values}, instrument, EXPOSURE, seed=seed)
    return infer(read_observation(faked.pha), BASE, systematic=0.0, grouping="optimal")


def answers(folder: Path) -> Iterator[tuple[str, Posterior]]:
    """All spectra with their models."""
    bundled = read_observation(bundled_pha())
    yield (
        "MAXI J1820+070, 0.5-10 keV, calibration modes",
        infer(bundled, "TBabs*(diskbb+powerlaw)", energies=[(0.5, 10.0)], grouping="optimal"),
    )
    words: dict[str, Any] = {"freeze": {"TBabs.nH": 0.12}, "systematic": 0.005, "grouping": "optimal"}
    yield (
        "MAXI J1820+070, 2-10 keV, systematic error 0.5 %",
        infer(bundled, "TBabs*simpl*ezdiskbb", energies=[(2.0, 10.0)], **words),
    )
    found = sorted(J1535.glob("1050360104/*GTI0.jsgrp.gz"))
    if found:
        rmf = DATA / "nicer_response" / "nicer.rmf.gz"
        observation = read_observation(found[0], rmf, J1535 / "nicer_d49_55575341.arf")
        yield f"MAXI J1535-571, {found[0].name}", infer(observation, "TBabs*simpl*diskbb", energies=[(0.5, 10.0)])
    for seed, name in enumerate(PLANTS):
        yield name, simulated(name, seed + 4, folder)


def one(name: str, answer: Posterior) -> dict[str, Any]:
    """What the microscope and the fits say of one."""
    begun = time.process_time()
    found = look_closely(answer, SIMULATED, refit=REFIT)
    return {
        "spectrum": name,
        "model": answer.model.text,
        "counts": float(answer.data[0].counts.sum()),
        "verdict": answer.verdict,
        "cpu_seconds": time.process_time() - begun,
        "missing": [asdict(row) for row in found.missing],
    }


def main() -> None:
    """All of them, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "refit.json")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, answer in answers(Path(folder)):
            rows.append(json.loads(to_json(one(name, answer))))
            print(f"{name}: {answer.model.text}, {answer.verdict}, {rows[-1]['cpu_seconds']:.0f} CPU s")
            for row in rows[-1]["missing"]:
                fit = row["refit"]
                exact = "" if fit is None else f"{fit['log_bayes']:+.2f} +- {fit['error']:.2f}, {fit['computation']}"
                said = exact or row["why_not"]
                print(f"  {row['kind']:<22} {row['log_bayes']:+8.2f}  {said}  {row['where']}", flush=True)
            write_file(asked.out, to_json({**provenance(__file__), "rows": rows}).encode() + b"\n")


if __name__ == "__main__":
    main()
