"""A planted population through the whole way: fake spectra -> `fit_catalogue` -> draws on disk -> `find_population`.

Absorbed power laws of some hundred counts each, whose index and norm go together, seen through the bundled NICER
response. What is found is compared with what was planted and with what the true values of these very sources say.

    python benchmarks/population_catalogue.py [--sources 80]

Writes benchmarks/results/population-catalogue.json.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from provenance import provenance
from xrayflow.data import bundled_arf, bundled_rmf
from xrayflow.files import to_json, write_file
from xrayflow.models import parse_model
from xrayflow.simulate import Instrument, write_fake
from xrayflow.studies.catalogue import fit_catalogue, read_catalogue, read_draws, read_model
from xrayflow.studies.population import SourceDraws, axis_of, find_population

MODEL = "TBabs*powerlaw"
INDEX, NORM = "powerlaw.PhoIndex", "powerlaw.norm"
PLANTED = {"mean_1": 1.8, "sd_1": 0.25, "mean_2": -2.6, "sd_2": 0.35, "rho": 0.5}
"""Of the index, and of log10 of the norm."""

HELD = 0.3
"""TBabs.nH."""

EXPOSURE = 60.0


def main() -> None:
    """Plant, fit, find."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=80)
    number = parser.parse_args().sources
    cross = PLANTED["rho"] * PLANTED["sd_1"] * PLANTED["sd_2"]
    covariance = [[PLANTED["sd_1"] ** 2, cross], [cross, PLANTED["sd_2"] ** 2]]
    truth = np.random.default_rng(1).multivariate_normal([PLANTED["mean_1"], PLANTED["mean_2"]], covariance, number)
    model = parse_model(MODEL).freeze({"TBabs.nH": HELD})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        instrument = Instrument(str(bundled_rmf()), str(bundled_arf()))
        for i, (index, norm) in enumerate(truth):
            values = {INDEX: float(index), NORM: float(10.0**norm)}
            write_fake(folder / f"s{i:03d}.pha", model, values, instrument, EXPOSURE, seed=i)
        begun = time.perf_counter()
        made = fit_catalogue(
            str(folder / "*.pha"), folder / "table.fits", MODEL, freeze={"TBabs.nH": HELD}, draws_dir=folder / "draws",
            network="none", systematic=0.0, grouping="none",
        )  # fmt: skip
        fitting = time.perf_counter() - begun
        table = read_catalogue(made.table)
        _, priors = read_model(table)
        rows: dict[str, Any] = {}
        for names in ((INDEX,), (NORM,), (INDEX, NORM)):
            axes = [axis_of(priors, one) for one in names]
            read = read_draws(table, names, folder / "draws")
            draws = SourceDraws.of(axes, [(Path(path).name, theta, weight) for path, theta, weight in read])
            found = find_population(draws)
            rows[f"{' '.join(names)}: {found.kind}"] = found.summary()
    correlation = float(np.corrcoef(truth.T)[0, 1])
    sample = {"mean": truth.mean(0).tolist(), "sd": truth.std(0, ddof=1).tolist(), "rho": correlation}
    counts = table.number("counts")
    document = {
        **provenance(__file__),
        "planted": PLANTED,
        "true_values_of_these_sources": sample,
        "sources": number,
        "counts_min_median_max": [float(q) for q in np.quantile(counts, [0, 0.5, 1])],
        "outcomes": dict(made.outcomes),
        "seconds_fitting": fitting,
        "populations": rows,
    }
    place = Path(__file__).parent / "results" / "population-catalogue.json"
    write_file(place, to_json(document).encode() + b"\n")
    print(sample, document["counts_min_median_max"], document["outcomes"], f"{fitting:.0f} s")
    for name, row in rows.items():
        found_rows = row["hyperparameters"].items()
        told = {key: [round(one[end], 3) for end in ("lower90", "median", "upper90")] for key, one in found_rows}
        print(name, row["computation"]["status"], told, flush=True)


if __name__ == "__main__":
    main()
