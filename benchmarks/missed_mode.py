"""Planted bimodal posteriors whose proposal is stripped of one mode: is the answer still called certified?

    OMP_NUM_THREADS=1 python benchmarks/missed_mode.py [--cases 200] [--seed 2026] [--batch 8]

Simulated NICER spectra whose model allows two readings (`planted.py`), each with its own truth, exposure and noise.

1. *Known answer*: the whole search with 64 starts. Where one parameter's marginal falls below 15 % of its lower
   peak between two sides that hold more than 1 % each, and the side to be stripped has an optimum of its
   own, the case is kept; a side of the valley is a mode.
2. *Whole*: the search as users run it, with another seed: is it certified, and has it both modes?
3. *Stripped*: a coin picks one mode. Every component and kernel there is removed, nothing of ridges, tails and the
   network is drawn there, and no draw from there shapes a refit; only the prior keeps its share. Its fresh draws are
   judged several times: with the optima that the independent starts of (2) found, as users would have it; with those of
   `STARTS` others; and *blind*, as if no start had come to the mode, which only the prior's share can then see.

The computation's status counts, not the verdict: one line does not fit two, and a poor fit is no merit of the check.

Writes benchmarks/results/missed-mode.json; progress goes to a file beside it, from which a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from planted import FAMILIES, planted
from provenance import provenance
from stripped import LEAST_MASS, Side, Split, StrippedSearch, find_split, without
from xrayflow.errors import XrayflowWarning
from xrayflow.inference.guidance import find_guidance
from xrayflow.inference.guide import Guide
from xrayflow.inference.importance import Round
from xrayflow.inference.judge import Candidate, candidates, judge, peak_share
from xrayflow.inference.optimiser import Optima, minimise, starting_points
from xrayflow.inference.refine import NEAR, SAME, distinct_optima
from xrayflow.inference.search import Effort, Search
from xrayflow.problem import Problem
from xrayflow.seeds import generator_for
from xrayflow.statistics import Choice

HERE = Path(__file__).resolve().parent

COUNTED = 0.05
"""Stripped modes with less mass than this are reported, and not counted."""

DESCENTS = 6
"""From the likeliest draws of a side."""

KNOWN = Effort(starts=64)
USUAL = Effort()

STARTS = 8, 16, 32
"""Of the optimiser, with which the stripped answers are judged besides."""

SHOWN = "computation", "reasons", "peak_share", "starts_inside"
"""Of those judgements."""


def search_of(problem: Problem, seed: int, effort: Effort, guide: Guide | None) -> Search:
    """A search that tells nothing."""
    return Search(problem, seed, effort, lambda step, fraction: None, guide)


def judged(one: Candidate, side: Side) -> dict[str, Any]:
    """What is kept of one answer."""
    answer = judge(one, USUAL.ess, 0)
    modes = distinct_optima(one.optima)[0]
    weight = torch.softmax(one.fresh.log_weight[0], 0)
    inside = side.holds(one.fresh.v[0])
    return {
        "computation": answer.computation.status,
        "reasons": list(answer.computation.reasons),
        "ess": answer.ess,
        "draws": int(weight.numel()),
        "evaluations": one.spent,
        "pareto_k": answer.pareto_k,
        "peak_share": peak_share(one, modes, answer.log_evidence),
        "grid_spread": one.grid_spread,
        "log_evidence": answer.log_evidence,
        "draws_inside": int(inside.sum()),
        "mass_inside": float(weight[inside].sum()),
        "starts_inside": int(_seen(one.optima, side).sum()),
    }


def shown(one: dict[str, Any]) -> dict[str, Any]:
    """The part of an answer that the optima decide."""
    return {key: one[key] for key in SHOWN}


def _seen(optima: Optima, side: Side) -> Tensor:
    """(start,) whether it ended on a side, within reach of the best."""
    near = optima.objective[0] <= optima.objective[0].min() + NEAR
    return side.holds(optima.v[0]) & near


def basins(optima: Optima, side: Side) -> list[dict[str, Any]]:
    """The distinct optima of one source: Laplace's share, how many starts came there, and whether it is on a side."""
    modes = distinct_optima(optima)[0]
    v, information = optima.v[0, modes], optima.information[0, modes]
    share = torch.softmax(-0.5 * (optima.objective[0, modes] + torch.linalg.slogdet(information)[1]), 0)
    away = optima.v[0][None] - v[:, None]
    near = (away[..., None, :] @ information[:, None] @ away[..., None])[..., 0, 0] <= SAME**2
    # a start belongs to the first that it is near to, as in `distinct_optima`
    near &= torch.isfinite(optima.objective[0]) & (near.cumsum(0) == 1)
    return [
        {"share": float(part), "starts": int(came.sum()), "inside": bool(side.holds(place))}
        for part, came, place in zip(share, near, v, strict=True)
    ]


def _rise(optima: Optima, side: Side) -> float | None:
    """How far the best optimum of a side is above the best of all, in -2 log posterior; None without one."""
    inside = torch.where(side.holds(optima.v[0]), optima.objective[0], torch.inf).min()
    return float(inside - optima.objective[0].min()) if bool(torch.isfinite(inside)) else None


def _optima_of(problem: Problem, starts: int, guide: Guide | None) -> Optima:
    """Where so many starts end, with random numbers of their own."""
    generators = [generator_for(20 + starts, spectrum.observation.pha.sha256) for spectrum in problem.spectra]
    return minimise(problem, starting_points(problem, starts, generators, guide)[0])


def strip_cases(
    problem: Problem, choices: list[Choice], guide: Guide | None, splits: list[Split], sides: list[Side], known: Search
) -> list[dict[str, Any]]:
    """Rows of the cases with two modes: whole, stripped, and stripped without the starts.

    Args:
        problem: Of these cases.
        choices: Their statistics.
        guide: Of these cases.
        splits: Their modes.
        sides: Which is stripped.
        known: Their search with many starts.
    """
    usual = search_of(problem, 0, USUAL, guide)
    whole = candidates(usual, usual.run(), choices)
    learnt = {
        spectrum.observation.pha.sha256: (side, known.optima.select(torch.tensor([i])))
        for i, (spectrum, side) in enumerate(zip(problem.spectra, sides, strict=True))
    }
    search = StrippedSearch(problem, 1, USUAL, usual.progress, guide, known=learnt)
    stripped = candidates(search, search.run(), choices)
    optima = {n: _optima_of(problem, n, guide) for n in STARTS}
    rows = []
    for i, (side, split) in enumerate(zip(sides, splits, strict=True)):
        honest = replace(stripped[i], optima=whole[i].optima)
        others = {str(n): replace(stripped[i], optima=found.select(torch.tensor([i]))) for n, found in optima.items()}
        blind_optima = without(whole[i].optima, side)
        if not bool(torch.isfinite(blind_optima.objective).any()):
            blind_optima = stripped[i].optima
        rows.append(
            {
                "counts": float(problem.spectra[i].counts.sum()),
                "parameter": problem.prior.names[side.coordinate],
                "valley": split.depth,
                "mass": split.above if side.sign > 0 else 1.0 - split.above,
                "known_starts_inside": int(_seen(known.optima.select(torch.tensor([i])), side).sum()),
                "basins": basins(usual.optima.select(torch.tensor([i])), side),
                "rise": _rise(known.optima.select(torch.tensor([i])), side),
                "whole": judged(whole[i], side),
                "stripped": judged(honest, side),
                "with_starts": {n: shown(judged(other, side)) for n, other in others.items()},
                "blind": shown(judged(replace(stripped[i], optima=blind_optima), side)),
            }
        )
    return rows


def holds_an_optimum(problem: Problem, source: int, fresh: Round, optima: Optima, side: Side) -> bool:
    """Whether a side is a mode: a start ended there, or descending from its likeliest draws stays there.

    Else the valley is a fluctuation of few draws, or the side a shoulder.
    """
    at = torch.tensor([source])
    if bool(_seen(optima.select(at), side).any()):
        return True
    target = torch.where(side.holds(fresh.v[0]), fresh.log_target[0], -torch.inf)
    best = fresh.v[:, target.topk(DESCENTS).indices]
    return bool(side.holds(minimise(problem.select(at), best, near=True).v[0]).any())


def try_batch(name: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of those of some spectra that have two modes."""
    problem, choices, truths = planted(FAMILIES[name], seeds)
    guide = find_guidance(None, problem, choices).amortised
    known = search_of(problem, 10, KNOWN, guide)
    answers = known.run()
    kept, splits, sides = [], [], []
    for i, one in enumerate(answers):
        split = find_split(one.v[0], torch.softmax(one.log_weight[0], 0)) if known.good(one) else None
        if split is None:
            continue
        up = np.random.default_rng([seeds[i], 1]).uniform() > 0.5
        side = Side(split.coordinate, split.bound, 1.0 if up else -1.0)
        left = without(known.optima.select(torch.tensor([i])), side).objective
        # the first proposal is made from the optima of the side that stays
        if bool(torch.isfinite(left).any()) and holds_an_optimum(problem, i, one, known.optima, side):
            kept.append(i)
            splits.append(split)
            sides.append(side)
    if not kept:
        return []
    at = torch.tensor(kept)
    known.optima = known.optima.select(at)
    chosen = [choices[i] for i in kept]
    rows = strip_cases(problem.select(at), chosen, guide and guide.select(at), splits, sides, known)
    return [{"family": name, "seed": seeds[i], "truth": truths[i], **row} for i, row in zip(kept, rows, strict=True)]


def summary(rows: list[dict[str, Any]], tried: dict[str, int]) -> dict[str, Any]:
    """Numbers over all cases, by family and by what was stripped."""
    edges = [LEAST_MASS, COUNTED, 0.1, 0.2, 0.5, 0.8, 0.95, 1.0]
    binned = {f"{lo:g}-{hi:g}": figures([row for row in rows if lo <= row["mass"] < hi]) for lo, hi in pairwise(edges)}
    heavy = [row for row in rows if row["mass"] > COUNTED]
    return {
        "tried": tried,
        "bimodal": Counter(row["family"] for row in rows),
        "all": figures(rows),
        "stripped_above_5_percent": figures(heavy),
        "by_family": {name: figures([row for row in heavy if row["family"] == name]) for name in tried},
        "by_stripped_mass": binned,
    }


def figures(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of some of the cases."""
    if not rows:
        return {"cases": 0}
    whole = [row["whole"] for row in rows]
    off = [
        row["whole"]["computation"] == "certified" and min(1.0, abs(row["whole"]["mass_inside"] - row["mass"])) > 0.1
        for row in rows
    ]
    return {
        "cases": len(rows),
        "whole_certified": _share([one["computation"] == "certified" for one in whole]),
        "whole_certified_with_a_mass_off_by_0.1": _share(off),
        "whole_a_start_found_the_mode": _share([one["starts_inside"] > 0 for one in whole]),
        "expected_missed_by_starts": {str(n): _expected_missed(rows, n) for n in (8, 16, 24, 32, 48)},
        "not_certified": _share([row["stripped"]["computation"] != "certified" for row in rows]),
        "not_certified_with_starts": {
            str(n): _share([row["with_starts"][str(n)]["computation"] != "certified" for row in rows]) for n in STARTS
        },
        "not_certified_blind": _share([row["blind"]["computation"] != "certified" for row in rows]),
        "reasons": Counter(word for row in rows for word in _words(row["stripped"])),
        "reasons_blind": Counter(word for row in rows for word in _words(row["blind"])),
    }


def _expected_missed(rows: list[dict[str, Any]], starts: int) -> float:
    """Share of the modes that none of so many starts comes to, by the known answer's starts drawn without return."""
    of = KNOWN.starts
    return float(np.mean([math.comb(of - row["known_starts_inside"], starts) / math.comb(of, starts) for row in rows]))


def _share(chosen: list[bool]) -> float:
    return float(np.mean(chosen))


def _words(one: dict[str, Any]) -> list[str]:
    """Which checks fired."""
    known = {"hardly covered": "optimum not covered", "heavy tail": "Pareto k", "effective draws": "ess"}
    found = [word for part, word in known.items() if any(part in reason for reason in one["reasons"])]
    if one["computation"] == "certified":
        return ["none"]
    return [*found, "only " + found[0]] if len(found) == 1 else found or ["other"]


def rounded(value: Any) -> Any:
    """The same with five digits: a file of 200 rows is to be read."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--family", choices=[*FAMILIES], help="only this one")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "missed-mode.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore", XrayflowWarning)
    saved = options.out.with_suffix(".rows.json")
    names = [options.family] if options.family else [*FAMILIES]
    state: dict[str, Any] = (
        json.loads(saved.read_text()) if saved.exists() else {"rows": [], "tried": dict.fromkeys(names, 0), "cpu": 0.0}
    )
    whole = sum(FAMILIES[name].share for name in names)
    wanted = {name: round(options.cases * FAMILIES[name].share / whole) for name in names}
    while True:
        found = Counter(row["family"] for row in state["rows"])
        behind = [name for name in names if found[name] < wanted[name]]
        if not behind:
            break
        name = min(behind, key=lambda one: (found[one] / wanted[one], state["tried"][one]))
        first = options.seed * 100_000 + names.index(name) * 10_000 + state["tried"][name]
        cpu = time.process_time()
        rows = try_batch(name, range(first, first + options.batch))
        state["cpu"] += time.process_time() - cpu
        state["rows"] += rows[: wanted[name] - found[name]]
        state["tried"][name] += options.batch
        saved.write_text(json.dumps(state))
        print(
            name,
            len(state["rows"]),
            state["tried"],
            round(state["cpu"]),
            json.dumps(figures(state["rows"])),
            flush=True,
        )
    result = {
        **provenance(__file__),
        "settings": {
            "cases": options.cases,
            "seed": options.seed,
            "batch": options.batch,
            "starts": USUAL.starts,
            "known_starts": KNOWN.starts,
        },
        "cpu_seconds": state["cpu"],
        "summary": summary(state["rows"], state["tried"]),
        "rows": [rounded(row) for row in state["rows"]],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    saved.unlink()
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    main()
