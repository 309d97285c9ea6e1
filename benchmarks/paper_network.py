"""The paper's network on spectra that it has not seen: does it find the truth, and are its posteriors right?

    OMP_NUM_THREADS=1 python benchmarks/paper_network.py runs/paper/nicer-bhb-paper.safetensors [more networks ...]
        [--spectra 1000] [--draws 300] [--exact 200] [--work FOLDER] [--keep]

Two test sets (`paper_spectra.py`): clean and noisy spectra of 1 ks and up to 1e5 counts/s. For each network, set and
parameter, over all spectra and by decade of counts:

* pearson_r: between truths and draws, log10 where the prior is logarithmic; slope, slope_sd: of the least-squares lines
  through 50 sets of draws; pearson_r_exact: r of draws of the exact posterior (importance weights, no network) of the
  first spectra of the noisy set, and pearson_r_same of the network on those. Gamma is not constrained where little is
  scattered, so exact draws do not reach 1 either.
* coverage_deviation: largest difference between the level of a central interval and the share of truths inside; a
  perfect system reaches 0.051 at 1000 spectra in one case of a hundred. rank_p: of the ranks being uniform (SBC).

Draws that leave the prior's box count as they do in `fit --amortised`: they are drawn anew; `outside_box` is their
share. reduced_pgstat: medians of PGStat / dof of one draw of each spectrum and of the truths; without a background
PGStat is the C statistic. decoder: its spectrum of the truth against the expected counts, in bins of at least 10.

Writes benchmarks/results/paper-network.json and the figures of docs/discussion/network.md. `--work` keeps the exact
posteriors (11 minutes of one core), from which a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from paper_figures import draw_figures, draw_tarp
from paper_spectra import EXPOSURE, RATE, Exact, exact_posteriors, inputs_of, paper_set
from provenance import provenance
from simulated_set import SimulatedSet
from xrayflow.errors import XrayflowWarning
from xrayflow.networks import Network, load_network
from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.nn.scaling import LogRateScaler
from xrayflow.statistics.statistic import cstat
from xrayflow.studies.validation import Calibration, TruthAndDraws, calibrate
from xrayflow.studies.validation.evaluation import decades_of, parameter_rows
from xrayflow.studies.validation.network_draws import answers_of, inside_box, on_axes, sample

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "paper-network.json"
SEED = 20261
FEWEST_ESS = 100.0
"""Exact posteriors with fewer effective draws are not compared with."""
FEWEST_COUNTS = 10.0
"""Expected in a bin in which the decoder is judged."""
WANTED_R = {
    "TBabs.nH": 0.9,
    "simplcutx.Gamma": 0.8,
    "simplcutx.FracSctr": 0.8,
    "ezdiskbb.T_max": 0.9,
    "ezdiskbb.norm": 0.9,
}
"""r over that of exact draws."""
WANTED_COVERAGE = 0.1


def compare_exact(
    network: Network, answers: TruthAndDraws, exact: Exact, counts: NDArray[np.float64]
) -> dict[str, Any]:
    """r and coverage of the network and of exact draws, on the spectra that have such draws."""
    prior, good = network.training_prior.prior, np.flatnonzero(exact.ess >= FEWEST_ESS)
    own = answers.select(good)
    right = TruthAndDraws.of(answers.names, own.truth, on_axes(prior, exact.draws[good]))
    slices = {"all": np.ones(good.size, dtype=bool), **decades_of(counts[good])}
    found: dict[str, Any] = {}
    for label, rows in slices.items():
        mine, theirs = parameter_rows(own.select(rows), SEED), parameter_rows(right.select(rows), SEED)
        found[label] = {"spectra": int(rows.sum()), "parameters": {}}
        for name in answers.names:
            found[label]["parameters"][name] = {
                "pearson_r_same": mine[name]["pearson_r"],
                "pearson_r_exact": theirs[name]["pearson_r"],
                "slope_exact": theirs[name]["slope"],
                "coverage_deviation_exact": theirs[name]["coverage_deviation"],
            }
    return found


def pgstat(spectra: SimulatedSet, counts: torch.Tensor, theta: torch.Tensor, exists: torch.Tensor) -> torch.Tensor:
    """(source,) C / dof of one theta each; nan where there is none."""
    expected = spectra.problem.expected(torch.where(exists[:, None], theta, spectra.theta)[:, None])[:, 0]
    dof = counts.shape[1] - theta.shape[1]
    return torch.where(exists, cstat(counts, expected).sum(-1) / dof, torch.nan)


def decoder_error(
    network: Network, inputs: NetworkInput, theta: torch.Tensor, expected: torch.Tensor
) -> dict[str, float]:
    """Its spectrum of the truth against the expected counts, in bins that are noticed."""
    core = network.core
    if core.decoder is None or not isinstance(core.scaling, LogRateScaler):
        return {}
    with torch.no_grad():
        made = core.scaling.to_counts(core.decoder(core.coordinates.from_theta(theta), inputs), inputs)
    made = made[:, inputs.noticed[0] > 0]
    bright = expected >= FEWEST_COUNTS
    error = (made / expected - 1.0).abs()[bright].numpy()
    pull = torch.where(bright, (made - expected).square() / expected, 0.0).sum(-1) / bright.sum(-1)
    return {
        "relative_error_50_90": np.quantile(error, [0.5, 0.9]).tolist(),
        "chi2_per_bin_median": median(pull[bright.any(-1)]),
    }


def measure(
    network: Network, spectra: SimulatedSet, exact: Exact | None, draws: int
) -> tuple[dict[str, Any], dict[str, tuple[TruthAndDraws, Calibration]]]:
    """Everything of one network; and answers and calibrations by test set, for the figures."""
    expected = spectra.problem.expected(spectra.theta[:, None])[:, 0]
    keep: dict[str, tuple[TruthAndDraws, Calibration]] = {}
    found: dict[str, Any] = {
        "trained": network.trained,
        "weights": network.weights,
        "noise_in_training": network.recipe.data.noise,
        "sets": {},
    }
    for label, inputs in inputs_of(spectra, network).items():
        started = time.perf_counter()
        drawn = sample(network, inputs, draws, SEED)
        seconds = time.perf_counter() - started
        prior = network.training_prior.prior
        inside, (answers, first) = inside_box(prior, drawn), answers_of(prior, spectra.theta, drawn)
        calibration = calibrate(answers, SEED)
        keep[label] = answers, calibration
        total = inputs.counts.sum(-1).numpy()
        counts = inputs.counts[:, inputs.noticed[0] > 0]
        of_draws = pgstat(spectra, counts, first, inside.any(1))
        of_truths = pgstat(spectra, counts, spectra.theta, torch.ones(inputs.size, dtype=torch.bool))
        row: dict[str, Any] = {
            "spectra": inputs.size,
            "draws": draws,
            "seconds": round(seconds, 2),
            "outside_box": float(1.0 - inside.double().mean()),
            "spectra_all_outside": int((~inside.any(1)).sum()),
            "reduced_pgstat": {"draws": median(of_draws), "targets": median(of_truths)},
            "parameters": parameter_rows(answers, SEED, calibration),
            "tarp_deviation": calibration.tarp_deviation,
            "tarp_p": calibration.tarp_p,
            "decoder": decoder_error(network, inputs, spectra.theta, expected),
            "by_counts": {},
        }
        for decade, rows in decades_of(total).items():
            chosen = torch.from_numpy(rows)
            row["by_counts"][decade] = {
                "spectra": int(rows.sum()),
                "outside_box": float(1.0 - inside[chosen].double().mean()),
                "reduced_pgstat": {"draws": median(of_draws[chosen]), "targets": median(of_truths[chosen])},
                "parameters": parameter_rows(answers.select(rows), SEED),
                "decoder": decoder_error(network, inputs.select(chosen), spectra.theta[chosen], expected[chosen]),
            }
        if label == "noisy" and exact is not None:
            merge_exact(row, compare_exact(network, answers, exact, total))
        found["sets"][label] = row
    return found, keep


def merge_exact(row: dict[str, Any], compared: dict[str, Any]) -> None:
    """Put what exact draws reach beside what the network reaches."""
    for label, one in compared.items():
        target = row if label == "all" else row["by_counts"].get(label, {})
        if target:
            target["spectra_exact"] = one["spectra"]
            for name, values in one["parameters"].items():
                target["parameters"][name] |= values


def kept_exact(before: dict[str, Any], answers: TruthAndDraws, counts: NDArray[np.float64]) -> dict[str, Any]:
    """As `compare_exact`, with the exact numbers of an earlier result; they must be of all of the first spectra."""
    used = before["exact"]["used"]
    if before["settings"]["seed"] != SEED or used != before["exact"]["spectra"]:
        raise SystemExit("--keep: the result before is of other spectra; measure all networks together")
    noisy = next(iter(before["networks"].values()))["sets"]["noisy"]
    own = answers.select(np.arange(used))
    slices = {"all": np.ones(used, dtype=bool), **decades_of(counts[:used])}
    found: dict[str, Any] = {}
    for label, rows in slices.items():
        theirs = noisy if label == "all" else noisy["by_counts"][label]
        found[label] = {"spectra": int(rows.sum()), "parameters": {}}
        for name, mine in parameter_rows(own.select(rows), SEED).items():
            exact = {key: value for key, value in theirs["parameters"][name].items() if key.endswith("_exact")}
            found[label]["parameters"][name] = {"pearson_r_same": mine["pearson_r"], **exact}
    return found


def reached(row: dict[str, Any]) -> dict[str, Any]:
    """Against what was wanted, on noisy spectra."""
    ratio = {
        name: values["pearson_r_same"] / values["pearson_r_exact"]
        for name, values in row["parameters"].items()
        if "pearson_r_exact" in values
    }
    deviation = {name: values["coverage_deviation"] for name, values in row["parameters"].items()}
    return {
        "r_over_exact": ratio,
        "r_good": {name: value >= WANTED_R[name] for name, value in ratio.items()},
        "coverage_deviation": deviation,
        "coverage_good": {name: value <= WANTED_COVERAGE for name, value in deviation.items()},
    }


def median(values: torch.Tensor) -> float:
    """Without those that do not exist."""
    return float(values.nanmedian())


def rounded(value: Any) -> Any:
    """Four digits are enough of everything."""
    if isinstance(value, float):
        return None if math.isnan(value) else float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list | tuple) else value


def main() -> None:
    """Measure, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="+", help="files or names; the log.csv beside a file gives learning curves")
    parser.add_argument("--spectra", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--exact", type=int, default=200, help="spectra with exact posteriors; 0: none")
    parser.add_argument("--work", type=Path, default=None, help="folder that keeps the exact posteriors")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="measure these alone; other networks and the exact numbers stay in the result",
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--figures", type=Path, default=HERE.parent / "docs" / "discussion" / "images")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    torch.set_num_threads(1)
    spectra = paper_set(options.spectra, SEED)
    exact, before = None, json.loads(options.out.read_text(encoding="utf-8")) if options.keep else None
    if options.exact and before is None:
        folder = options.work or Path(tempfile.mkdtemp())
        folder.mkdir(parents=True, exist_ok=True)
        exact = exact_posteriors(spectra, options.exact, folder / f"exact-{SEED}-{options.spectra}.npz")
    document: dict[str, Any] = {
        **provenance(__file__),
        "settings": {"seed": SEED, "exposure_s": EXPOSURE, "rate": RATE, "exact": options.exact},
        "exact": None,
        "networks": {},
        "reached": {},
    }
    if exact is not None:
        used = int((exact.ess >= FEWEST_ESS).sum())
        document["exact"] = {
            "spectra": len(exact.status),
            "used": used,
            "certified": exact.status.count("certified"),
            "cpu_seconds": exact.seconds,
        }
    tarps: dict[str, Calibration] = {}
    for given in options.networks:
        network = load_network(given)
        found, keep = measure(network, spectra, exact, options.draws)
        document["networks"][network.name] = found
        document["reached"][network.name] = reached(found["sets"]["noisy"])
        tarps[network.name] = keep["noisy"][1]
        if before is not None:
            noisy = inputs_of(spectra, network)["noisy"].counts.sum(-1).numpy()
            merge_exact(found["sets"]["noisy"], kept_exact(before, keep["noisy"][0], noisy))
            document["reached"][network.name] = reached(found["sets"]["noisy"])
            made = {name: before.get("kept", {}).get(name, before["commit"]) for name in before["networks"]}
            document |= {"exact": before["exact"], "kept": made}
            document["kept"].pop(network.name, None)
            for part in ("networks", "reached"):
                document[part] = before[part] | document[part]
        draw_figures(options.figures, network, spectra, keep, Path(given).with_name("log.csv"))
        options.out.write_text(json.dumps(rounded(document), indent=1) + "\n", encoding="utf-8")
        print(network.name, json.dumps(rounded(document["reached"][network.name]), indent=1), flush=True)
    if before is None:
        draw_tarp(options.figures, tarps)


if __name__ == "__main__":
    main()
