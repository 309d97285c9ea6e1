"""Planted bimodal posteriors whose proposal is stripped of one mode: is the answer still called certified?

    OMP_NUM_THREADS=1 python benchmarks/missed_mode.py [--cases 200] [--seed 2026] [--batch 8]

Simulated NICER spectra whose model allows two readings (`planted.py`), each with its own truth, exposure and noise.

1. *Known answer*: the whole search with 64 starts, weighed as users' answers are. Where one parameter's marginal falls
   below 15 % of its lower peak between two sides that hold more than 1 % each, and the side to be stripped has an
   optimum of its own, the case is kept; a side of the valley is a mode.
2. *Whole*: the search as users run it, with another seed: is it certified, and has it both modes?
3. *Stripped*: a coin picks one mode. Every component and kernel there is removed, nothing of ridges, tails and the
   network is drawn there, and no draw from there shapes a refit; only the prior keeps its share. Its fresh draws are
   judged several times: with the optima that the independent starts of (2) found, as users would have it; with those of
   `STARTS` others; and *blind*, as if no start had come to the mode, which only the prior's share can then see. A
   search from its draws (`inference.rungs.widen`), which users' answers have too, is asked apart.

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
from stripped import (
    LEAST_MASS,
    WITHOUT_SEARCHES,
    Side,
    Split,
    StrippedDrawing,
    candidates,
    climbed,
    find_split,
    keys_of,
    without,
)
from xrayflow.errors import XrayflowWarning
from xrayflow.fitting import Modes, minimise
from xrayflow.fitting.multistart import DISTINCT, NEAR
from xrayflow.inference import SamplingBudget, find_network
from xrayflow.inference.answer import Candidate, judge
from xrayflow.inference.checks.modes import peak_share
from xrayflow.inference.ladder import is_good
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.network import Guide
from xrayflow.inference.rungs import find_modes, missing_tails
from xrayflow.problem import Problem

HERE = Path(__file__).resolve().parent

COUNTED = 0.05
"""Stripped modes with less mass than this are reported, and not counted."""

DESCENTS = 6
"""From the likeliest draws of a side."""

KNOWN = SamplingBudget(starts=64)
USUAL = SamplingBudget()

STARTS = 8, 16, 32
"""Of the optimiser, with which the stripped answers are judged besides."""

SHOWN = "computation", "reasons", "peak_share", "starts_inside"
"""Of those judgements."""


def judged(one: Candidate, side: Side) -> dict[str, Any]:
    """What is kept of one answer."""
    answer = judge(one, USUAL.ess, 0)
    modes = one.modes.v[0, one.modes.distinct()[0]]
    weight = torch.softmax(one.drawn.log_weight[0], 0)
    inside = side.holds(one.drawn.v[0])
    return {
        "computation": answer.computation.status,
        "reasons": list(answer.computation.reasons),
        "ess": answer.ess,
        "draws": int(weight.numel()),
        "evaluations": one.spent,
        "pareto_k": answer.pareto_k,
        "peak_share": peak_share(one.problem, one.drawn, modes, answer.log_evidence),
        "grid_spread": one.grid_spread,
        "log_evidence": answer.log_evidence,
        "draws_inside": int(inside.sum()),
        "mass_inside": float(weight[inside].sum()),
        "starts_inside": int(_seen(one.modes, side).sum()),
    }


def shown(one: dict[str, Any]) -> dict[str, Any]:
    """The part of an answer that the modes decide."""
    return {key: one[key] for key in SHOWN}


def _seen(modes: Modes, side: Side) -> Tensor:
    """(start,) whether it ended on a side, within reach of the best."""
    near = modes.objective[0] <= modes.objective[0].min() + NEAR
    return side.holds(modes.v[0]) & near


def basins(modes: Modes, side: Side) -> list[dict[str, Any]]:
    """The distinct modes of one source: Laplace's share, how many starts came there, and whether it is on a side."""
    distinct = modes.distinct()[0]
    v, information = modes.v[0, distinct], modes.information[0, distinct]
    share = torch.softmax(modes.log_evidence(0, distinct), 0)
    away = modes.v[0][None] - v[:, None]
    near = (away[..., None, :] @ information[:, None] @ away[..., None])[..., 0, 0] <= DISTINCT**2
    # a start belongs to the first that it is near to, as in `Modes.distinct`
    near &= torch.isfinite(modes.objective[0]) & (near.cumsum(0) == 1)
    return [
        {"share": float(part), "starts": int(came.sum()), "inside": bool(side.holds(place))}
        for part, came, place in zip(share, near, v, strict=True)
    ]


def _rise(modes: Modes, side: Side) -> float | None:
    """How far the best mode of a side is above the best of all, in -2 log posterior; None without one."""
    inside = torch.where(side.holds(modes.v[0]), modes.objective[0], torch.inf).min()
    return float(inside - modes.objective[0].min()) if bool(torch.isfinite(inside)) else None


def strip_cases(
    problem: Problem, guide: Guide | None, splits: list[Split], sides: list[Side], known: Modes, corrected: Problem
) -> list[dict[str, Any]]:
    """Rows of the cases with two modes: whole, stripped, and stripped without the starts.

    Args:
        problem: Of these cases.
        guide: Of these cases.
        splits: Their modes.
        sides: Which is stripped.
        known: Where many starts of them ended.
        corrected: The problem that is exact there.
    """
    usual = climbed(problem, 0, USUAL, guide)
    whole = candidates(usual, problem)
    drawing = StrippedDrawing(dict(zip(keys_of(problem), sides, strict=True)))
    top = climbed(problem, 1, USUAL, guide, drawing, (without(known, sides), corrected), WITHOUT_SEARCHES)
    stripped = candidates(top, problem, searched=False, rungs=WITHOUT_SEARCHES)
    told = missing_tails(top)
    # the starts have random numbers of their own
    others = {n: find_modes(problem, n, problem.generators(20 + n), guide)[0] for n in STARTS}
    rows = []
    for i, (side, split) in enumerate(zip(sides, splits, strict=True)):
        at = torch.tensor([i])
        honest = replace(stripped[i], modes=whole[i].modes)
        by_starts = {str(n): replace(stripped[i], modes=modes.select(at)) for n, modes in others.items()}
        blind = without(whole[i].modes, [side])
        if not bool(torch.isfinite(blind.objective).any()):
            blind = stripped[i].modes
        rows.append(
            {
                "counts": float(problem.data.facts.counts[i]),
                "parameter": problem.prior.names[side.coordinate],
                "valley": split.depth,
                "mass": split.above if side.sign > 0 else 1.0 - split.above,
                "known_starts_inside": int(_seen(known.select(at), side).sum()),
                "basins": basins(usual.modes.select(at), side),
                "rise": _rise(known.select(at), side),
                "whole": judged(whole[i], side),
                "stripped": judged(honest, side),
                "with_starts": {n: shown(judged(other, side)) for n, other in by_starts.items()},
                "blind": shown(judged(replace(stripped[i], modes=blind), side)),
                "a_search_tells": told[i] != "",
            }
        )
    return rows


def holds_a_mode(problem: Problem, source: int, drawn: WeightedDraws, modes: Modes, side: Side) -> bool:
    """Whether a side is a mode: a start ended there, or descending from its likeliest draws stays there.

    Else the valley is a fluctuation of few draws, or the side a shoulder.
    """
    at = torch.tensor([source])
    if bool(_seen(modes.select(at), side).any()):
        return True
    target = torch.where(side.holds(drawn.v[0]), drawn.log_target[0], -torch.inf)
    best = drawn.v[:, target.topk(DESCENTS).indices]
    return bool(side.holds(minimise(problem.select(at), best, near=True).v[0]).any())


def try_batch(name: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of those of some spectra that have two modes."""
    problem, truths = planted(FAMILIES[name], seeds)
    guide = find_network(None, problem, problem.data.sets[0].spectra).posterior
    known = climbed(problem, 10, KNOWN, guide)
    kept, splits, sides = [], [], []
    for i, one in enumerate(exact.drawn for exact in candidates(known, problem)):
        good = is_good(one, KNOWN.ess)
        split = find_split(one.v[0], torch.softmax(one.log_weight[0], 0)) if good else None
        if split is None:
            continue
        up = np.random.default_rng([seeds[i], 1]).uniform() > 0.5
        side = Side(split.coordinate, split.bound, 1.0 if up else -1.0)
        left = without(known.modes.select(torch.tensor([i])), [side]).objective
        # the first proposal is made from the modes of the side that stays
        if bool(torch.isfinite(left).any()) and holds_a_mode(problem, i, one, known.modes, side):
            kept.append(i)
            splits.append(split)
            sides.append(side)
    if not kept:
        return []
    at = torch.tensor(kept)
    rows = strip_cases(
        problem.select(at), guide and guide.select(at), splits, sides, known.modes.select(at), known.problem.select(at)
    )
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
        "a_search_tells": _share([row["a_search_tells"] for row in rows]),
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
