"""Spectra of a known power law under every grouping: do the intervals cover, and is p uniform?

    OMP_NUM_THREADS=1 python benchmarks/groupings.py [--spectra 200] [--counts 300 60] [--out FILE]

A power law (`TRUTH`) seen by the bundled NICER response in 0.5-7 keV, exposed until it gives so many counts on average:
650 channels of half a count or a tenth, so that groups of a least number of counts have ends that chance decides. The
same spectra are fitted channel by channel, with `min:1`, `min:20` and `optimal`, and with a GROUPING column that grppha
would write for `group min 25`, incomplete groups of QUALITY 2 included; of 60 counts, too few for groups of 20, with
the others. What the counts decide is fitted twice: as users have it, in bins that the counts did not decide, and for
contrast in the groups themselves, as if they held Poisson counts.

For both parameters: the share of the central intervals that hold the truth, with its binomial error; the mean of the
truth's rank among the draws, 0.5 +- 0.020 where nothing is biased; and the median width of the 90 % interval in ln.
Of the posterior predictive p-values: the Kolmogorov-Smirnov test against uniform ones, and deciles.

Writes benchmarks/results/groupings.json.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from provenance import provenance
from xrayflow.data import bundled_arf, bundled_rmf
from xrayflow.errors import XrayflowWarning
from xrayflow.inference import Posterior, SamplingBudget, infer_problem
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_arf, read_observation, read_rmf
from xrayflow.ogip.blank import blank_pha
from xrayflow.ogip.regroup import group_min
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import simulate

RESULTS = Path(__file__).resolve().parent / "results" / "groupings.json"
MODEL, TRUTH = "powerlaw", {"powerlaw.PhoIndex": 1.8, "powerlaw.norm": 1e-3}
BAND = [(0.5, 7.0)]
GROUPINGS = ("none", "min:1", "min:20", "optimal", "file")
FILE_COUNTS = 25
CONTRAST = ("min:1", "min:20", "file")
FEWEST, OF_FEW = 100.0, ("none", "min:1", "optimal")
"""Fainter spectra than this have too few groups of 20 counts to fit."""
BUDGET = SamplingBudget(draws=500, ess=200.0, starts=8)
"""A power law has one mode; every answer must be certified all the same, and how many are is among the numbers."""

LEVELS = {"68": (0.16, 0.84), "90": (0.05, 0.95)}


def spectra(count: int, counts: float, seed: int) -> list[Observation]:
    """Simulated spectra with so many counts in the band on average, grouped by their counts as a file would be."""
    rmf, arf = read_rmf(bundled_rmf()), read_arf(bundled_arf())
    template = read_observation(blank_pha(rmf), rmf, arf, "none")
    model = parse_model(MODEL)
    known = simulate(template, model, TRUTH, 1.0, 0, noisy=False).bin(BAND, grouping="none").counts.sum()
    exposure = counts / float(known)
    plain = [simulate(template, model, TRUTH, exposure, seed + i, f"{i}.pha") for i in range(count)]
    return [_grouped(one) for one in plain]


def _grouped(one: Observation) -> Observation:
    grouping, quality = group_min(one.pha.quality, one.pha.counts, FILE_COUNTS)
    return replace(one, pha=replace(one.pha, grouping=grouping, quality=quality))


def plain(one: Observation) -> Observation:
    """The same without the file's grouping."""
    none = np.zeros_like(one.pha.grouping)
    return replace(one, pha=replace(one.pha, grouping=none, quality=none))


def fitted(observations: Sequence[Observation], grouping: str, batch: int, objective: str) -> list[Posterior]:
    """All answers; objective "statistic" keeps the groups that were asked for."""
    setup = FitSetup(model=MODEL, energies=BAND, grouping=grouping)
    given = list(observations) if grouping == "file" else [plain(one) for one in observations]
    answers: list[Posterior] = []
    for start in range(0, len(given), batch):
        answers += infer_problem(build_problem(given[start : start + batch], setup, objective), budget=BUDGET)
    return answers


def figures(answers: Sequence[Posterior]) -> dict[str, Any]:
    """Of one grouping."""
    truth = np.array([TRUTH[name] for name in answers[0].names])
    ranks = np.array([one.weights @ (one.draws < truth) for one in answers])
    p = np.array([one.fit.p_value for one in answers])
    return {
        "coverage": {
            level: {name: _share((ranks[:, i] > lo) & (ranks[:, i] < hi)) for i, name in enumerate(answers[0].names)}
            for level, (lo, hi) in LEVELS.items()
        },
        "mean_rank": dict(zip(answers[0].names, ranks.mean(0).tolist(), strict=True)),
        "p_value": {
            "ks_p": float(stats.kstest(p, "uniform").pvalue),
            "mean": float(p.mean()),
            "deciles": np.quantile(p, np.linspace(0.1, 0.9, 9)).tolist(),
        },
        "width90": {
            name: float(np.median(np.diff(np.log([one.quantile([0.05, 0.95])[:, i] for one in answers]))))
            for i, name in enumerate(answers[0].names)
        },
        "likelihood_bins": float(np.mean([one.predictive.energy.size for one in answers])),
        "dof": float(np.mean([one.statistic.dof for one in answers])),
        "certified": float(np.mean([one.computation.status == "certified" for one in answers])),
    }


def _share(inside: np.ndarray) -> list[float]:
    share = float(inside.mean())
    return [share, float(np.sqrt(share * (1.0 - share) / inside.size))]


def rounded(value: Any) -> Any:
    """Four digits."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=200)
    parser.add_argument("--counts", type=float, nargs="*", default=[300.0, 60.0])
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    result: dict[str, Any] = {
        **provenance(__file__),
        "model": MODEL,
        "truth": TRUTH,
        "energies": BAND,
        "spectra": options.spectra,
        "seed": options.seed,
        "counts": {},
    }
    known = {counts: spectra(options.spectra, counts, options.seed) for counts in options.counts}
    every = [(counts, grouping) for counts in known for grouping in (GROUPINGS if counts >= FEWEST else OF_FEW)]
    asked = [(counts, grouping) for counts, grouping in every if grouping in CONTRAST]
    for objective, cells in (("posterior", every), ("statistic", asked)):
        for counts, grouping in cells:
            name = f"file, grouped to {FILE_COUNTS} counts" if grouping == "file" else grouping
            name += ", in the groups themselves" if objective == "statistic" else ""
            started = time.process_time()
            row = figures(fitted(known[counts], grouping, options.batch, objective))
            row["seconds_per_spectrum"] = (time.process_time() - started) / options.spectra
            result["counts"].setdefault(f"{counts:g}", {})[name] = rounded(row)
            print(f"{counts:g}", name, json.dumps(rounded(row)), flush=True)
            options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
