"""Answers to fresh simulated spectra with known truths, with the shipped network and without: calibration, efficiency,
verdicts, missed basins, seconds.

    OMP_NUM_THREADS=1 python benchmarks/network.py [--spectra 400] [--first N] [--seed 2028] [--network nicer-bhb]
        [--beside none] [--plain N] [--batch 40]

Every spectrum of the set counts, failed ones included. Spectra come from the training prior of the network
(`simulated_set.py`), a third without a background; where there is one, it comes from a model that is off in level and
in every bin, and is integrated over. `--beside` answers each batch a second time, with another network or none, so that
prices compare: CPU seconds of one process, each batch by both in turn. Making the likelihood of a background that is a
cut normal (its series: 0.1 s for 239 bins, 1 s with a systematic error) is not among them.

* coverage: largest difference between the level of a central interval and the share of truths inside, over the five
  parameters and all levels. A perfect system reaches 0.090 at 400 spectra in one case of a hundred.
* missed basin: an optimum that is reached from the truth is more than 1 better in -2 log posterior than any that the
  search found, or one draw there would carry more than 2 % of all weight (`verdict.UNCOVERED_WEIGHT`).
* efficiency: effective draws / all likelihood evaluations on draws, pilots and rejected rounds included; by decades of
  the observed counts.

Writes benchmarks/results/network-NAME.json; progress goes to a file beside it, from which a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from provenance import provenance
from simulated_set import SimulatedSet, simulated_set
from xrayflow.errors import XrayflowWarning
from xrayflow.fitting import minimise
from xrayflow.inference import Posterior, find_network, infer_problem
from xrayflow.networks import load_network

HERE = Path(__file__).resolve().parent
BETTER = 1.0
"""In -2 log posterior."""


def rows_of(answers: list[Posterior], batch: SimulatedSet) -> list[dict[str, Any]]:
    """What is kept of each answer."""
    problem = batch.problem
    known = problem.model_prior.to_probit(batch.theta)[:, None]
    at_truth = torch.nn.functional.pad(known, (0, problem.parameters - known.shape[-1]))  # nuisances at their middle
    from_truth = minimise(problem, at_truth, near=True)
    rows = []
    for i, answer in enumerate(answers):
        u = [
            float(answer.weights @ (column < truth))
            for column, truth in zip(answer.draws.T, batch.theta[i].tolist(), strict=False)  # nuisances have none
        ]
        start = problem.prior.to_probit(torch.from_numpy(answer.best)[None])
        best = float(minimise(problem.select(torch.tensor([i])), start[None], near=True).objective)
        gain = best - float(from_truth.objective[i, 0])
        rows.append(
            {
                "counts": float(answer.data[0].counts.sum()),
                "exposure": answer.data[0].exposure,
                "rate": float(batch.rate[i]),
                "systematic": float(batch.systematic[i]),
                "background": bool(batch.has_background[i]),
                "rank": u,
                "truth_better_by": gain,
                "missed": bool(gain > BETTER),
                "uncovered": any("hardly covered" in reason for reason in answer.computation.reasons),
                "computation": answer.computation.status,
                "reasons": list(answer.computation.reasons),
                "fit": answer.fit.status,
                "p_value": answer.fit.p_value,
                "verdict": answer.verdict,
                "flags": list(answer.flags),
                "network": answer.network,
                "ess": answer.ess,
                "final_efficiency": answer.ess / answer.draws.shape[0],
                "efficiency": answer.efficiency,
                "pareto_k": answer.pareto_k,
                "evaluations": dict(answer.weighing.evaluations),
                "seconds": dict(answer.provenance.seconds),
            }
        )
    return rows


def coverage_deviation(rank: NDArray[np.float64]) -> NDArray[np.float64]:
    """(parameter,) largest |share of truths in central intervals - level| over all levels."""
    inside = np.sort(np.abs(2.0 * rank - 1.0), axis=0)
    n = inside.shape[0]
    above, below = np.arange(1, n + 1) / n, np.arange(n) / n
    return np.asarray(np.maximum(np.abs(above[:, None] - inside), np.abs(below[:, None] - inside)).max(axis=0))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers over all spectra, and by what they are."""
    rank = np.array([row["rank"] for row in rows])
    plain = [row for row in rows if not row["background"]]
    decades = sorted({int(np.log10(max(row["counts"], 1.0))) for row in rows})
    by_decade = {
        f"1e{decade}": figures([row for row in rows if int(np.log10(max(row["counts"], 1.0))) == decade])
        for decade in decades
    }
    return {
        "all": figures(rows),
        "without_background": figures(plain),
        "coverage_deviation": coverage_deviation(rank).tolist(),
        "by_counts": by_decade,
        "reasons_without_background": Counter(
            reason.split(" (")[0] for row in plain if row["computation"] != "certified" for reason in row["reasons"]
        ),
    }


def prices(rows: list[dict[str, Any]]) -> dict[str, float | None]:
    """CPU milliseconds per certified spectrum, by background: batches of both kinds are answered apart."""
    found = {}
    for kind, chosen in (("without_background", False), ("with_background", True)):
        some = [row for row in rows if row["background"] == chosen]
        certified = sum(row["computation"] == "certified" for row in some)
        found[kind] = 1e3 * sum(row["cpu_seconds"] for row in some) / certified if certified else None
    return found


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of some of the spectra."""
    if not rows:
        return {"spectra": 0}
    totals = {part: float(np.mean([row["seconds"].get(part, 0.0) for row in rows])) for part in rows[0]["seconds"]}
    return {
        "spectra": len(rows),
        "certified": float(np.mean([row["computation"] == "certified" for row in rows])),
        "numbers_good": float(np.mean([good_numbers(row) for row in rows])),
        "computation": Counter(row["computation"] for row in rows),
        "fit": Counter(row["fit"] for row in rows),
        "missed": float(np.mean([row["missed"] for row in rows])),
        "missed_and_certified": float(np.mean([row["missed"] and row["computation"] == "certified" for row in rows])),
        "uncovered": float(np.mean([row["uncovered"] for row in rows])),
        **{
            f"{name}_10_50_90": np.quantile([row[name] for row in rows], [0.1, 0.5, 0.9]).tolist()
            for name in ("efficiency", "final_efficiency")
        },
        "evaluations_draws_median": float(np.median([row["evaluations"]["draws"] for row in rows])),
        "evaluations_optimise_median": float(np.median([row["evaluations"]["optimise"] for row in rows])),
        "seconds_mean": totals,
    }


def good_numbers(row: dict[str, Any]) -> bool:
    """Certified, or held back by nothing but the background's own error."""
    return row["computation"] == "certified" or all("background's own error" in reason for reason in row["reasons"])


def answer(batch: SimulatedSet, chosen: torch.Tensor, network: str) -> list[Posterior]:
    """Some of the spectra, as a batch."""
    problem = batch.problem.select(chosen)
    return infer_problem(problem, find_network(network, problem, problem.data.sets[0].spectra), seed=0)


def answered(batch: SimulatedSet, chosen: torch.Tensor, network: str) -> list[dict[str, Any]]:
    """Some of the spectra answered as a batch, each with its share of the CPU seconds."""
    cpu = time.process_time()
    answers = answer(batch, chosen, network)
    cpu = time.process_time() - cpu
    part = SimulatedSet(
        batch.problem.select(chosen),
        *(getattr(batch, name)[chosen] for name in ("theta", "systematic", "has_background", "rate")),
    )
    return [row | {"cpu_seconds": cpu / len(answers)} for row in rows_of(answers, part)]


def told(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The answers with one network."""
    return {
        "cpu_seconds": sum(row["cpu_seconds"] for row in rows),
        "cpu_ms_per_certified": prices(rows),
        "summary": summary(rows),
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=400)
    parser.add_argument("--first", type=int, default=None, help="answer the first so many of them only")
    parser.add_argument("--plain", type=int, default=None, help="so many without a background, instead of a third")
    parser.add_argument("--seed", type=int, default=2028)
    parser.add_argument("--network", default="nicer-bhb", help="a name, a path, or none")
    parser.add_argument("--beside", default=None, help="another one that answers the same spectra")
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    out = options.out or HERE / "results" / f"network-{Path(options.network).stem}.json"
    saved = out.with_suffix(".rows.json")
    made_for = load_network("nicer-bhb" if options.network == "none" else options.network)
    plain = options.spectra // 3 if options.plain is None else options.plain
    prior, model = made_for.training_prior, made_for.recipe.model.expression
    sets = [
        simulated_set(prior, model, count, options.seed + number, background=bool(number))
        for number, count in enumerate((plain, options.spectra - plain))
    ]
    ways = [options.network, *([] if options.beside is None else [options.beside])]
    state = {way: [] for way in ways} | (json.loads(saved.read_text()) if saved.exists() else {})
    wanted = min(options.first or options.spectra, options.spectra)
    while (done := min(len(state[way]) for way in ways)) < wanted:
        whole, first, last = (sets[0], 0, plain) if done < plain else (sets[1], plain, options.spectra)
        chosen = torch.arange(done - first, min(done + options.batch, last, wanted) - first)
        for way in ways:
            state[way] = state[way][:done] + answered(whole, chosen, way)
            print(way, len(state[way]), prices(state[way]), json.dumps(figures(state[way])), flush=True)
        saved.write_text(json.dumps(state))
    found = {
        **provenance(__file__),
        "settings": {
            "spectra": options.spectra,
            "without_background": plain,
            "answered": wanted,
            "seed": options.seed,
            "network": options.network,
        },
        **told(state[options.network]),
        "beside": {} if options.beside is None else {options.beside: told(state[options.beside])},
    }
    out.write_text(json.dumps(found, indent=1) + "\n")
    saved.unlink()
    print(json.dumps(found["summary"], indent=1))


if __name__ == "__main__":
    main()
