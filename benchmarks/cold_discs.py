"""Cold discs under absorption: the tail that first was certified away, on spectra with known evidence.

    OMP_NUM_THREADS=1 python benchmarks/cold_discs.py [--spectra 48] [--seed 100]

Faint simulated NICER spectra of `TBabs*simpl*ezdiskbb` (`planted.py`, family "cold"): a colder disc under more
absorption is a thin bent tail of the posterior, whose mass nobody chose. It is known all the same: the box is cut at
T_max = 0.1 keV and both sides are answered apart, each with a mode of its own and no tail in the other,

    Z = f_cold Z_cold + f_warm Z_warm,        f the prior's share of each side.

* first: the draws of the first two rungs, which ESS and Pareto k may call good. *Blind* are good ones whose evidence is
  more than 5 % below, beyond three standard errors.
* last: the answer as users have it. It is wrong where it is certified and its evidence is off by more than 0.15 and
  three standard errors.

Writes benchmarks/results/cold-discs.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from planted import FAMILIES, planted
from provenance import provenance
from stripped import candidates, climbed
from xrayflow.inference import SamplingBudget, find_network
from xrayflow.inference.answer import judge
from xrayflow.inference.checks.tails import MATERIAL
from xrayflow.inference.ladder import State, is_good
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.rungs import Direct, Refine, Refit
from xrayflow.inference.weights import log_evidence_error, log_mean_weight
from xrayflow.problem import Problem

HERE = Path(__file__).resolve().parent
FAMILY = FAMILIES["cold"]
COLDEST, CUT, HOTTEST = 0.025, 0.1, 4.0
"""Of the disc's box, keV: logarithmic."""

TOGETHER, MISSING, RIGHT, SIGMAS = 8, 0.05, 0.15, 3.0
BUDGET = SamplingBudget()


def answered(problem: Problem, seed: int, rungs: Any = None) -> State:
    """At the top of the ladder, or of a part of it."""
    guide = find_network(None, problem, problem.data.sets[0].spectra).posterior
    return climbed(problem, seed, BUDGET, guide, **({} if rungs is None else {"rungs": rungs}))


def evidence(drawn: WeightedDraws) -> tuple[float, float]:
    """ln Z and its standard error."""
    draws = drawn.v.shape[1]
    return float(log_mean_weight(drawn.log_weight)), log_evidence_error(drawn.ess, draws)


def side(seeds: list[int], lo: float, hi: float) -> State:
    """The answers in a part of the disc's box."""
    setup = replace(FAMILY.setup, prior=[f"ezdiskbb.T_max={lo:g}:{hi:g}"])
    return answered(planted(replace(FAMILY, setup=setup), seeds)[0], 2)


def summed(cold: tuple[float, float], warm: tuple[float, float]) -> tuple[float, float, float]:
    """ln Z of both sides together, its standard error, and the part of the cold one."""
    width = math.log(HOTTEST / COLDEST)
    each = [
        math.log(math.log(CUT / COLDEST) / width) + cold[0],
        math.log(math.log(HOTTEST / CUT) / width) + warm[0],
    ]
    total = math.log(math.exp(each[0] - max(each)) + math.exp(each[1] - max(each))) + max(each)
    part = math.exp(each[0] - total)
    return total, math.hypot(part * cold[1], (1.0 - part) * warm[1]), part


def rows_of(seeds: list[int]) -> list[dict[str, Any]]:
    """What is kept of some spectra."""
    problem, _ = planted(FAMILY, seeds)
    box = problem.prior.marginals[problem.prior.names.index("ezdiskbb.T_max")]
    if (box.lo, box.hi, box.scale) != (COLDEST, HOTTEST, "log"):
        raise SystemExit(f"the default box of T_max is {box.lo}:{box.hi} ({box.scale}); mend COLDEST and HOTTEST")
    started = time.process_time()
    first = answered(problem, 1, (Direct(), Refine(), Refit()))
    spent = time.process_time() - started
    last = answered(problem, 1)
    judged = [judge(one, BUDGET.ess, 1) for one in candidates(last, problem)]
    took = time.process_time() - started - spent
    cold, warm = side(seeds, COLDEST, CUT), side(seeds, CUT, HOTTEST)
    rows = []
    for i, seed in enumerate(seeds):
        known, known_error, part = summed(evidence(cold.drawn(i)), evidence(warm.drawn(i)))
        before, before_error = evidence(first.drawn(i))
        after, after_error = evidence(last.drawn(i))
        rows.append(
            {
                "seed": seed,
                "counts": float(problem.data.facts.counts[i]),
                "log_evidence": [known, known_error],
                "cold_part": part,
                "reference_good": all(is_good(one.drawn(i), BUDGET.ess) for one in (cold, warm)),
                "first": {"log_evidence": [before, before_error], "good": is_good(first.drawn(i), BUDGET.ess)},
                "last": {
                    "log_evidence": [after, after_error],
                    "computation": judged[i].computation.status,
                    "reasons": list(judged[i].computation.reasons),
                    "widened": i in last.tails.widened,
                },
                "cpu_seconds": {"first": spent / len(seeds), "last": took / len(seeds)},
            }
        )
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers over all spectra whose evidence is known."""
    known = [row for row in rows if row["reference_good"]]
    blind = [row for row in known if row["first"]["good"] and _below(row, "first", MISSING)]
    whole = [row for row in known if row["first"]["good"] and not _below(row, "first", MATERIAL)]
    certified = [row for row in known if row["last"]["computation"] == "certified"]
    off = sorted(abs(row["last"]["log_evidence"][0] - row["log_evidence"][0]) for row in certified)
    return {
        "spectra": len(rows),
        "known": len(known),
        "first_good": sum(row["first"]["good"] for row in known),
        "blind": len(blind),
        "blind_certified_and_wrong": sum(_wrong(row) for row in blind),
        "whole": len(whole),
        "whole_not_certified": sum(row["last"]["computation"] != "certified" for row in whole),
        "certified": len(certified),
        "certified_and_wrong": sum(_wrong(row) for row in certified),
        "log_evidence_off_50_90_max": [off[int(q * (len(off) - 1))] for q in (0.5, 0.9, 1.0)] if off else [],
    }


def _below(row: dict[str, Any], which: str, part: float) -> bool:
    """Whether an evidence is lower than the known one by a part of it, beyond three standard errors."""
    (known, error), (value, own) = row["log_evidence"], row[which]["log_evidence"]
    return known - value > max(-math.log1p(-part), SIGMAS * math.hypot(error, own))


def _wrong(row: dict[str, Any]) -> bool:
    """Whether an answer is certified and its evidence is not the known one."""
    (known, error), (value, own) = row["log_evidence"], row["last"]["log_evidence"]
    off = abs(known - value) > max(RIGHT, SIGMAS * math.hypot(error, own))
    return off and row["last"]["computation"] == "certified"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, default=48)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "cold-discs.json")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    seeds = list(range(asked.seed, asked.seed + asked.spectra))
    rows: list[dict[str, Any]] = []
    for start in range(0, len(seeds), TOGETHER):
        rows += rows_of(seeds[start : start + TOGETHER])
        result = {**provenance(__file__), "cut_keV": CUT, "summary": summary(rows), "rows": rows}
        asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(result["summary"]), flush=True)


if __name__ == "__main__":
    main()
