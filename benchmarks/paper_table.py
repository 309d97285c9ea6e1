"""The paper's Table 1 and its Figures 2 and 3, in one run: real spectra, an archive-like set, a clean set.

    OMP_NUM_THREADS=1 python benchmarks/paper_table.py --archive FOLDER --real TARGETS LIST RMF --runs FOLDER
        --real-network FILE --work FOLDER [--exact 60] [--fits 30]

* real: the spectra of `LIST` and their best fits. Few: what is held apart are some ObsIDs of one source.
* archive-like: benchmarks/archive_like.py, named for what it is. 2160 spectra of five sources that no network has seen.
* clean: expected counts, rounded, of spectra of the whole box (`paper_spectra.py`), which suit the synthetic training.

Rows: the targets; 130 iterations of Levenberg-Marquardt with the compiled XSPEC library and its chain
(`xspec_rival.py`); the shipped network as it is (stages 1 and 2); and after the third stage on the archive-like
set (`paper_ablation.py`): the flow in an autoencoder, the flow without the decoder, the vanilla autoencoder, the point
head; ours with exact weights. `reduced_pgstat_median` is of one draw for each spectrum, XSPEC's variant of PGStat.

seconds_1, seconds_1000: for one draw, and a thousand, of all spectra of the set, from spectra in memory, on one core;
of networks five repeats (a thousand draws of eight spectra, extrapolated to all), of fits and exact posteriors a part,
extrapolated, of the chain by the paper's formula with the measured autocorrelation length.

Writes benchmarks/results/paper-table.json and the figures of docs/discussion/paper.md.
"""

from __future__ import annotations

import argparse
import json
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paper_claims import claims
from paper_network import rounded
from paper_spectra import MODEL, inputs_of, paper_set
from provenance import provenance
from xrayflow.data import bundled_rmf
from xrayflow.errors import XrayflowWarning
from xrayflow.models.xspec import XspecLibrary
from xrayflow.networks import Network, load_network
from xrayflow.ogip import Origin, write_pha
from xrayflow.setup import FitSetup
from xrayflow.studies.running.sources import Reader, Source, read_list
from xrayflow.studies.targets.library import write_targets
from xrayflow.studies.targets.targets import GroupBy, TargetsConfig, find_targets
from xrayflow.studies.validation import pearson
from xrayflow.studies.validation.evaluation import EXACT, TARGETS, Evaluation, EvaluationConfig, evaluate, exact_row
from xrayflow.studies.validation.pictures import BEST_FIT, coverage_picture, recovery_picture
from xrayflow.studies.validation.refold import reduced_statistic, with_xspecs_statistic
from xspec_rival import ITERATIONS, Rival

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "paper-table.json"
FIGURES = HERE.parent / "docs" / "discussion" / "images"
RECIPE = HERE.parent / "recipes" / "paper" / "reduced.toml"
SEED = 5
ROWS = {
    "NF in AE": "table-headline-1",
    "NF without decoder": "table-flow-alone-1",
    "vanilla VAE": "table-vanilla-1",
    "point": "table-point-1",
}
"""Name of a row: run of `paper_ablation.py`."""
DRAWN = ("NF in AE", EXACT)
"""Rows whose figures the page shows."""
PAPER = {"1 draw, over 130 iterations": 640, "1000 draws, over chains": 2000}
"""Ratios that the paper quotes, of its own machine and archive."""


def named(path: Path, name: str) -> Network:
    """A network under the name of its row."""
    found = load_network(path)
    return replace(found, recipe=found.recipe.model_copy(update={"name": name}))


def clean_set(folder: Path, count: int) -> tuple[Path, list[Source], str]:
    """Targets, spectra and matrix of the clean set."""
    spectra = paper_set(count, SEED)
    (folder / "pha").mkdir(parents=True, exist_ok=True)
    network = load_network("nicer-bhb-paper")
    counts = inputs_of(spectra, network)["clean"].counts
    sources = []
    for number, spectrum in enumerate(spectra.problem.data.sets[0].spectra):
        pha, arf = spectrum.observation.pha, spectrum.observation.arf
        first = np.flatnonzero((pha.grouping == 1) & (pha.quality == 0))
        whole = np.zeros(pha.channel.size)
        whole[first] = np.round(counts[number].numpy())
        path = folder / "pha" / f"clean-{number:04d}.pha"
        origin = Origin("NICER", "XTI", f"clean {number}")
        kinds = {"quality": pha.quality, "grouping": pha.grouping}
        write_pha(path, pha.channel, whole, pha.exposure, origin=origin, **kinds)
        sources.append(Source(path, None if arf is None else str(arf.path), "none"))
    targets = folder / "targets.safetensors"
    wanted = TargetsConfig(starts=4, network="nicer-bhb-paper", group_by=GroupBy.object)
    found = find_targets(RECIPE, sources, str(bundled_rmf()), wanted)
    return write_targets(targets, found), sources, str(bundled_rmf())


def rival_row(evaluation: Evaluation, rmf: str | None, fits: int) -> dict[str, Any]:
    """Fits of the first spectra with the compiled library, and a chain of the one with the median of their counts."""
    files = evaluation.files[:fits]
    reduced, seconds = [], []
    setup = FitSetup(systematic=0.0, model=MODEL)
    targets = evaluation.row(TARGETS).theta
    reader = Reader(rmf)
    with XspecLibrary() as library:
        for at, (source, _) in enumerate(files):
            problem = with_xspecs_statistic([reader.read(source)], setup)
            theta, took = Rival(library, problem).fit()
            reduced.append(float(reduced_statistic(problem, torch.from_numpy(theta)[None, None])[0, 0]))
            seconds.append(took)
            print(f"fit {at + 1} of {len(files)}: {reduced[-1]:.4g}, {took:.2g} s", flush=True)
        middle = int(np.argsort(evaluation.counts[: len(files)])[len(files) // 2])
        problem = with_xspecs_statistic([reader.read(files[middle][0])], setup)
        chain = Rival(library, problem).chain(targets[middle].numpy(), SEED)
    spectra, best = evaluation.counts.size, evaluation.row(TARGETS).reduced[: len(files)]
    return {
        "name": f"XSPEC's components, {ITERATIONS} iterations",
        "fitted": len(files),
        "reduced_pgstat_median": float(np.median(reduced)),
        "targets_of_the_same": float(np.median(best)),
        "within_0.1_of_the_target": float(np.mean(np.array(reduced) < best + 0.1)),
        "seconds_1": float(np.mean(seconds)) * spectra,
        "seconds_1_sd": float(np.std(seconds, ddof=1) / np.sqrt(len(seconds))) * spectra,
        "seconds_1000": chain.seconds_for(1000, spectra),
        "seconds_1000_sd": None,
        "chain": asdict(chain),
    }


def measure(label: str, evaluation: Evaluation, rmf: str | None, fits: int) -> dict[str, Any]:
    """The table of one set, and its figures."""
    found = evaluation.summary()
    for row in found["rows"]:
        own = evaluation.row(row["name"])
        if own.answers is None:
            continue
        row["claims"] = claims(own.answers, evaluation.rate)
        if row["name"] not in DRAWN:
            continue
        name = f"paper-{label}-{row['name'].lower().replace(' ', '-')}"
        title = f"{row['name']}, {label} spectra"
        recovery = recovery_picture(evaluation.prior, own.answers, evaluation.rate, title, BEST_FIT)
        (FIGURES / f"{name}-recovery.png").write_bytes(recovery)
        (FIGURES / f"{name}-coverage.png").write_bytes(coverage_picture(own.answers, title))
    if fits:
        rival, flow = rival_row(evaluation, rmf, fits), next(row for row in found["rows"] if row["name"] == "NF in AE")
        found["rows"].append(rival)
        found["ratios"] = {
            "1 draw, over 130 iterations": rival["seconds_1"] / flow["seconds_1"],
            "1000 draws, over chains": rival["seconds_1000"] / flow["seconds_1000"],
        }
    if evaluation.asked.exact:
        found["against_exact"] = against_exact(found) | {"without a network": without_network(evaluation, rmf)}
    return found


def without_network(evaluation: Evaluation, rmf: str | None) -> dict[str, Any]:
    """Our answers over those that start from no network, with another seed: how much the way changes the answer."""
    setup = FitSetup(systematic=0.0, model=MODEL, prior=evaluation.prior)
    asked = replace(evaluation.asked, seed=evaluation.asked.seed + 1)
    ours, targets = evaluation.row(EXACT), evaluation.row(TARGETS).theta
    row, computation = exact_row(evaluation.files, rmf, setup, targets, asked, network="none")
    if ours.answers is None or row.answers is None:
        raise TypeError("exact rows have answers")
    r = pearson(ours.answers) - pearson(row.answers)
    return {
        "computation": computation,
        "reduced_pgstat": float(np.median(ours.reduced) / np.median(row.reduced)),
        "r_less_exact": dict(zip(ours.answers.names, r.tolist(), strict=True)),
    }


def against_exact(found: dict[str, Any]) -> dict[str, Any]:
    """Draws of each network over draws of the exact posterior, on the same spectra."""
    exact = next(row for row in found["rows"] if row["name"] == EXACT)
    told = {}
    for row in found["rows"]:
        same = row.get("of_exact_spectra")
        if same is None:
            continue
        told[row["name"]] = {"reduced_pgstat": same["reduced_pgstat_median"] / exact["reduced_pgstat_median"]}
        if "parameters" in same:
            told[row["name"]]["r_less_exact"] = {
                name: values["pearson_r"] - exact["parameters"][name]["pearson_r"]
                for name, values in same["parameters"].items()
            }
    return told


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, required=True)
    parser.add_argument("--real", nargs=3, metavar=("TARGETS", "LIST", "RMF"), required=True)
    parser.add_argument("--runs", type=Path, required=True, help="of paper_ablation.py on the archive-like set")
    parser.add_argument("--real-network", type=Path, required=True, help="after the third stage on the real set")
    parser.add_argument("--work", type=Path, required=True, help="for the clean set")
    parser.add_argument("--exact", type=int, default=60)
    parser.add_argument("--fits", type=int, default=30)
    parser.add_argument("--clean", type=int, default=200)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--only", nargs="+", default=None, help="sets")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    torch.set_num_threads(1)
    shipped = load_network("nicer-bhb-paper")
    taught = [named(options.runs / run / f"{run}.safetensors", name) for name, run in ROWS.items()]
    asked = EvaluationConfig(draws=options.draws, exact=options.exact, seed=SEED)
    archive = options.archive
    real_targets, real_list, real_rmf = options.real
    sets: dict[str, Any] = {
        "archive-like": lambda: (
            archive / "targets.safetensors",
            read_list(archive / "list.txt"),
            str(archive / "nicer.rmf.gz"),
        ),
        "real": lambda: (Path(real_targets), read_list(Path(real_list)), real_rmf),
        "clean": lambda: clean_set(options.work / "clean", options.clean),
    }
    document: dict[str, Any] = {**provenance(__file__), "the paper's ratios": PAPER, "sets": {}}
    for label, make in sets.items():
        if options.only and label not in options.only:
            continue
        library, sources, rmf = make()
        networks = [shipped, *taught]
        if label == "real":
            networks.append(named(options.real_network, "NF in AE, third stage on real spectra"))
        here = replace(asked, every=label == "clean")
        found = evaluate(library, sources, rmf, networks, here)
        table = measure(label, found, rmf, options.fits if label == "archive-like" else 0)
        # sets may be measured by two processes: what the other has written stays
        others = json.loads(RESULTS.read_text(encoding="utf-8"))["sets"] if RESULTS.exists() and options.only else {}
        document["sets"] = others | document["sets"] | {label: table}
        RESULTS.write_text(json.dumps(rounded(document), indent=1) + "\n", encoding="utf-8")
        print(label, [(row["name"], row["reduced_pgstat_median"]) for row in table["rows"]], flush=True)


if __name__ == "__main__":
    main()
