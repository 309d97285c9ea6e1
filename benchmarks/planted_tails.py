"""Planted thin tails of known mass: is an answer that misses one still called certified?

    OMP_NUM_THREADS=1 python benchmarks/planted_tails.py [--seconds 900] [--seed 2026] [--shapes others]

Targets whose tails have a known mass (`tail_zoo.py`), two to six parameters, searched in probits or in coordinates in
which the tail is straight, in turn. Two of three proposals are fitted to the bulk alone (with the prior's share), one
to all; half of them few components, half components and kernels. Draws go on as users' do until 400 effective ones, and
what a search finds widens the proposal as often as on the ladder.

* An answer is *blind* that ESS and Pareto k would certify and that misses more than 5 % of the mass: it has to be found
  (the final answer misses less) or not certified. No optimiser helps here, though the necks leave a mode of its own.
* An answer is *whole* that ESS and Pareto k would certify and that misses less than 2 %: a final answer
  that is not certified is a false alarm. An alarm that a new proposal settles costs time only, and is counted apart.

Writes benchmarks/results/planted-tails.json.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import torch

from provenance import provenance
from tail_zoo import SEEN, SHAPES, STATES, UNSEEN, Tail, fitted_proposal
from xrayflow.inference.checks.tails import look_for_tails
from xrayflow.inference.proposals.counts_coordinates import CountsCoordinates
from xrayflow.inference.proposals.draws import WeightedDraws, balance_heuristic
from xrayflow.inference.proposals.em import refined
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.proposals.widening import Widening
from xrayflow.inference.rungs import WIDENINGS
from xrayflow.inference.rungs.widen import ENOUGH, MORE
from xrayflow.inference.weights import effective_sample_size, log_mean_weight, most_pareto_k, pareto_k

HERE = Path(__file__).resolve().parent
BLOCK, WANTED, FIRST, MOST = 1000, 400.0, 3000, 8000
LEAST, COUNTED, WHOLE = 0.04, 0.05, 0.02
RIGHT = 0.15


def weighed(target: Tail, proposal: Proposal, most: int, generator: torch.Generator) -> WeightedDraws:
    """Fresh draws in blocks until there are enough effective ones."""
    blocks: list[WeightedDraws] = []
    while True:
        v = proposal.sample(BLOCK, [generator])
        blocks.append(WeightedDraws.of(proposal, v, target.log_target(v)))
        together = WeightedDraws.chain(blocks)
        if float(effective_sample_size(together.log_weight)) >= WANTED or together.v.shape[1] + BLOCK > most:
            return together


def good(fresh: WeightedDraws) -> bool:
    """Whether effective draws and Pareto k would certify."""
    draws = fresh.log_weight.shape[1]
    light = pareto_k(fresh.log_weight[0].numpy()) < most_pareto_k(draws)
    return light and float(effective_sample_size(fresh.log_weight)) >= WANTED


def state(target: Tail, fresh: WeightedDraws) -> dict[str, float]:
    """What is kept of draws; `missing` is the tail's mass less what the draws hold of it."""
    share = torch.exp(target.log_parts(fresh.v)[1] + math.log(target.mass) - fresh.log_target)
    held = float((share * torch.softmax(fresh.log_weight, 1)).sum())
    return {
        "ess": float(effective_sample_size(fresh.log_weight)),
        "pareto_k": pareto_k(fresh.log_weight[0].numpy()),
        "draws": fresh.v.shape[1],
        "log_evidence": float(log_mean_weight(fresh.log_weight)),
        "missing": target.mass - held,
    }


def case(number: int, shapes: tuple[str, ...], generator: torch.Generator) -> dict[str, Any]:
    """One target, its proposal, and what comes of it."""
    mass = math.exp(math.log(LEAST) + math.log(0.5 / LEAST) * _even(generator))
    shape, parameters = shapes[number % len(shapes)], 2 + int(5 * _even(generator))
    target = Tail.drawn(shape, mass, parameters, generator)
    cut, kernels, straight = _even(generator) < 2 / 3, _even(generator) < 0.5, _even(generator) < 0.5
    proposal = fitted_proposal(target.sample(STATES, 0.0 if cut else mass, generator), kernels, generator)
    fresh = weighed(target, proposal, FIRST, generator)
    row: dict[str, Any] = {
        "number": number, "shape": shape, "mass": mass, "parameters": parameters, "cut": cut, "kernels": kernels,
        "straight": straight, "good": good(fresh), "first": state(target, fresh), "probes": [], "searched": 0,
    }  # fmt: skip
    level: Any = target if straight else CountsCoordinates(None, ())  # type: ignore[arg-type]
    looked = row["good"] and not (cut and row["first"]["missing"] < COUNTED)
    alarm, base, history = False, proposal, list[WeightedDraws]()
    for rung in range(WIDENINGS[0] + 1):
        if not looked:
            break
        alarm = False
        if float(effective_sample_size(fresh.log_weight)) >= ENOUGH:
            started = time.perf_counter()
            (seen,) = look_for_tails(target, level, [fresh], [generator])
            row["probes"].append(
                {name: getattr(seen, name) for name in ("heaviest", "missing", "error", "evaluations")}
                | {"seconds": time.perf_counter() - started, "log_evidence": float(log_mean_weight(fresh.log_weight))}
            )
            row["searched"] += seen.evaluations
            alarm = seen.alarm
        if rung == WIDENINGS[0] or (good(fresh) and not alarm):
            break
        if alarm and seen.kernels is not None:
            widening = Widening.of(fresh, seen.kernels, seen.missing, proposal.mixture)
            v = torch.cat([seen.pilot[None], widening.kernels.sample(MORE, [generator])], dim=1)
            base = widening.proposal
            history = [widening.earlier, WeightedDraws.of(widening.kernels, v, target.log_target(v))]
            row["searched"] += MORE
        elif history:
            history.append(fresh)
        else:
            break
        fresh = weighed(target, refined(balance_heuristic(history), base, generator), MOST, generator)
    row["looked"] = looked
    row["last"] = state(target, fresh)
    row["certified"] = good(fresh) and not alarm
    return row


def _even(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, dtype=torch.float64))


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers over all cases, and over those searched in coordinates that know the bend and in probits."""
    return {
        "all": counted(rows),
        "straight_coordinates": counted([one for one in rows if one["straight"]]),
        "probits": counted([one for one in rows if not one["straight"]]),
        "unseen_shapes": counted([one for one in rows if one["shape"] in UNSEEN]),
        "by_shape": {
            shape: counted([one for one in rows if one["shape"] == shape])
            for shape in sorted({one["shape"] for one in rows})
        },
    }


def counted(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers over some cases."""
    blind = [one for one in rows if one["looked"] and one["first"]["missing"] > COUNTED]
    whole = [one for one in rows if one["looked"] and abs(one["first"]["missing"]) < WHOLE and not one["cut"]]
    certified = [one for one in blind if one["certified"]]
    still = [one for one in certified if one["last"]["missing"] > COUNTED]
    return {
        "cases": len(rows),
        "blind": len(blind),
        "blind_without_alarm": sum(len(one["probes"]) == 1 for one in certified),
        "blind_found_and_certified": len(certified) - len(still),
        "blind_not_certified": len(blind) - len(certified),
        "blind_certified_and_still_missing": len(still),
        "blind_certified_and_ln_Z_wrong": sum(abs(one["last"]["log_evidence"]) > RIGHT for one in certified),
        "whole": len(whole),
        "whole_alarmed_at_first": sum(len(one["probes"]) > 1 for one in whole),
        "whole_not_certified": sum(not one["certified"] for one in whole),
        "searched_whole_mean": sum(one["searched"] for one in whole) / max(len(whole), 1),
        "searched_blind_mean": sum(one["searched"] for one in blind) / max(len(blind), 1),
        "seconds_of_a_first_search_mean": sum(one["probes"][0]["seconds"] for one in rows if one["looked"])
        / max(sum(one["looked"] for one in rows), 1),
    }


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=900.0)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--shapes", choices=("tuned", "others"), default="others")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "planted-tails.json")
    asked = parser.parse_args()
    generator = torch.Generator().manual_seed(asked.seed)
    shapes = SHAPES if asked.shapes == "tuned" else (*SEEN, *UNSEEN)
    rows: list[dict[str, Any]] = []
    ends = time.perf_counter() + asked.seconds
    while time.perf_counter() < ends:
        rows.append(case(len(rows), shapes, generator))
        if len(rows) % 10 == 0:
            print(json.dumps(summary(rows)["all"]), flush=True)
            _write(asked, rows)
    _write(asked, rows)


def _write(asked: argparse.Namespace, rows: list[dict[str, Any]]) -> None:
    result = {
        **provenance(__file__), "seed": asked.seed, "shapes": asked.shapes, "summary": summary(rows), "rows": rows,
    }  # fmt: skip
    head = json.dumps(rounded({name: value for name, value in result.items() if name != "rows"}), indent=1)
    lines = ",\n".join(json.dumps(rounded(row)) for row in rows)
    asked.out.write_text(f'{head[:-2]},\n "rows": [\n{lines}\n]}}\n', encoding="utf-8")


def rounded(value: Any) -> Any:
    """The same with five digits."""
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [rounded(one) for one in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
