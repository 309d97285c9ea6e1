"""What more training of the paper's network buys: how well its draws describe spectra of an archive, against hours.

    OMP_NUM_THREADS=1 python benchmarks/paper_hours.py ARCHIVE LABEL=NETWORK ... [--spectra 500] [--exact 60]

ARCHIVE is the folder of `archive_like.py` with its targets; spectra are of the five sources that no training saw, as in
`paper_table.py` and `paper_ablation.py`. NETWORK is a name or a file; cpu_minutes and trained_on are of its own stages,
without those of a network that it began from. Of one draw of each spectrum:

* reduced_pgstat_median: of all, and of the spectra that have exact posteriors (the first `--exact`);
* over_exact: the latter over that of a draw of those exact posteriors. What a right network reaches is 1.

Writes benchmarks/results/paper-hours.json. A network that it holds already and is not asked for stays, so that a longer
one can be put beside it.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

import torch

from paper_network import rounded
from paper_table import named
from provenance import provenance
from xrayflow.errors import XrayflowWarning
from xrayflow.studies.running.sources import read_list
from xrayflow.studies.validation.evaluation import EXACT, EvaluationConfig, evaluate

RESULTS = Path(__file__).resolve().parent / "results" / "paper-hours.json"
DRAWS, SEED = 20, 6


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", type=Path)
    parser.add_argument("networks", nargs="+")
    parser.add_argument("--spectra", type=int, default=500)
    parser.add_argument("--exact", type=int, default=60)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", XrayflowWarning)
    networks = [named(Path(file), label) for label, file in (one.split("=", 1) for one in options.networks)]
    asked = EvaluationConfig(draws=DRAWS, spectra=options.spectra, exact=options.exact, repeats=0, seed=SEED)
    sources, library = read_list(options.archive / "list.txt"), options.archive / "targets.safetensors"
    found = evaluate(library, sources, str(options.archive / "nicer.rmf.gz"), networks, asked).summary()
    exact = next(row for row in found["rows"] if row["name"] == EXACT)["reduced_pgstat_median"]
    rows: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))["rows"] if RESULTS.exists() else {}
    for row in found["rows"]:
        own = row.get("of_exact_spectra", {}).get("reduced_pgstat_median", exact)
        told = {
            "reduced_pgstat_median": row["reduced_pgstat_median"],
            "of_exact_spectra": own,
            "over_exact": own / exact,
            "by_counts": {k: v["reduced_pgstat_median"] for k, v in row.get("by_counts", {}).items()},
        }
        network = next((one for one in networks if one.name == row["name"]), None)
        if network is not None:
            trained = network.trained
            told |= {"cpu_minutes": trained["cpu_seconds"] / 60.0, "trained_on": trained["spectra"]}
        rows[row["name"]] = told
        print(row["name"], told, flush=True)
    settings = {"spectra": options.spectra, "exact": options.exact, "draws": DRAWS, "seed": SEED}
    document = {**provenance(__file__), "settings": settings, "rows": rows}
    RESULTS.write_text(json.dumps(rounded(document), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
