"""Planted bimodal posteriors whose proposal is stripped of one mode: is the answer still called certified?

    OMP_NUM_THREADS=1 python benchmarks/missed_mode.py [--cases 200] [--seed 2026] [--batch 8]

Simulated NICER spectra whose model allows two readings (`FAMILIES`), each with its own truth, exposure and noise:

* line: the data hold two narrow lines, the model one;
* cold: an absorbed soft spectrum, `TBabs*simpl*ezdiskbb`: a colder disc under more absorption, or a hotter one under
  less; the shipped network guides;
* thermal: a disc and a blackbody, either of which may be the cooler.

All on every `THINNED`th edge of the response's energy grid, which the grid's own check accepts.

1. *Known answer*: the whole search with 24 starts. Where one parameter's marginal falls below `VALLEY` of its lower peak
   between two sides that hold more than `LEAST_MASS` each, the case is kept; a side of the valley is a mode.
2. *Whole*: the search as users run it, eight starts and another seed: is it certified, and has it both modes?
3. *Stripped*: a coin picks one mode. Every component and kernel there is removed, nothing of ridges, tails and the
   network is drawn there, and no draw from there shapes a refit; only the prior keeps its share. Its fresh draws are
   judged twice: with the optima that the eight independent starts of (2) found, and *blind*, as if none of them had
   come to the mode, which only the prior's share can then see.

The computation's status counts, not the verdict: one line does not fit two, and a poor fit is no merit of the check.

Writes benchmarks/results/missed-mode.json; progress goes to a file beside it, from which a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.errors import XrayflowWarning
from xrayflow.folding import Grid
from xrayflow.inference.build import Question, build_problem
from xrayflow.inference.guidance import find_guidance
from xrayflow.inference.guide import Guide
from xrayflow.inference.importance import Round
from xrayflow.inference.judge import Candidate, candidates, judge, peak_share
from xrayflow.inference.optimiser import Optima
from xrayflow.inference.proposal import Proposal
from xrayflow.inference.refine import NEAR, distinct_optima
from xrayflow.inference.search import Effort, Search
from xrayflow.models import parse_model
from xrayflow.ogip import Observation, read_arf, read_observation, read_rmf
from xrayflow.prior import log_standard_normal
from xrayflow.problem import Problem
from xrayflow.simulate import simulate
from xrayflow.statistics import Choice

HERE = Path(__file__).resolve().parent

VALLEY, LEAST_MASS = 0.15, 0.01
COUNTED = 0.05
"""Stripped modes with less mass than this are reported, and not counted."""

THINNED = 4

CELLS = 120
"""Of a marginal's histogram."""

KNOWN = Effort(starts=24, ess=800.0)
USUAL = Effort()
OWN_DRAWS = 2000
"""From which the share of a proposal that lies outside the region is known, to 1 %."""

Draw = Callable[[np.random.Generator], float]


def even(lo: float, hi: float) -> Draw:
    """Uniform."""
    return lambda random: float(random.uniform(lo, hi))


def even_log(lo: float, hi: float) -> Draw:
    """Uniform in the logarithm."""
    return lambda random: float(np.exp(random.uniform(math.log(lo), math.log(hi))))


@dataclass(frozen=True)
class Family:
    """A kind of posterior that may have two modes.

    Attributes:
        question: The model that is fitted, with its prior.
        source: The model that makes the data.
        truth: How its parameters are drawn.
        counts: Expected in all; they set the exposure.
        share: Of all cases.
    """

    question: Question
    source: str
    truth: dict[str, Draw]
    counts: Draw
    share: float


FAMILIES = {
    "line": Family(
        Question(
            "TBabs*(powerlaw+gaussian)",
            ["powerlaw.PhoIndex=0:4", "powerlaw.norm=1e-3:10", "gaussian.LineE=1:7", "gaussian.norm=1e-4:0.1"],
            {"TBabs.nH": 0.2, "gaussian.Sigma": 0.02},
            grouping="optimal",
        ),
        "TBabs*(powerlaw+gaussian+gaussian)",
        {
            "TBabs.nH": even(0.2, 0.2),
            "powerlaw.PhoIndex": even(1.4, 2.2),
            "powerlaw.norm": even(0.1, 0.1),
            "gaussian.LineE": even(1.5, 2.8),
            "gaussian.Sigma": even(0.02, 0.02),
            "gaussian.norm": even_log(1.2e-3, 1.8e-3),
            "gaussian_4.LineE": even(3.2, 4.5),
            "gaussian_4.Sigma": even(0.02, 0.02),
            "gaussian_4.norm": even_log(1.2e-3, 1.8e-3),
        },
        even_log(4000.0, 16000.0),
        0.5,
    ),
    "cold": Family(
        Question("TBabs*simpl*ezdiskbb", grouping="optimal"),
        "TBabs*simpl*ezdiskbb",
        {
            "TBabs.nH": even_log(2.0, 15.0),
            "simpl.Gamma": even(1.6, 3.0),
            "simpl.FracSctr": even_log(0.005, 0.2),
            "ezdiskbb.T_max": even_log(0.1, 0.4),
            "ezdiskbb.norm": even_log(1e3, 1e5),
        },
        even_log(150.0, 6000.0),
        0.25,
    ),
    "thermal": Family(
        Question(
            "TBabs*(ezdiskbb+bbodyrad)",
            [
                "TBabs.nH=0.01:3",
                "ezdiskbb.T_max=0.05:4",
                "bbodyrad.kT=0.05:4",
                "ezdiskbb.norm=0.01:1e7",
                "bbodyrad.norm=0.01:1e7",
            ],
            grouping="optimal",
        ),
        "TBabs*(ezdiskbb+bbodyrad)",
        {
            "TBabs.nH": even_log(0.1, 1.0),
            "ezdiskbb.T_max": even_log(0.25, 0.6),
            "ezdiskbb.norm": even_log(3.0, 30.0),
            "bbodyrad.kT": even_log(0.8, 1.6),
            "bbodyrad.norm": even_log(2.0, 10.0),
        },
        even_log(300.0, 8000.0),
        0.25,
    ),
}


@dataclass(frozen=True)
class Side:
    """Half of the parameter space, of one source: where `sign` x (v - bound) > 0 in one coordinate."""

    coordinate: int
    bound: float
    sign: float

    def holds(self, v: Tensor) -> Tensor:
        """Whether places lie in it."""
        return self.sign * (v[..., self.coordinate] - self.bound) > 0


@dataclass(frozen=True)
class Split:
    """Two modes and the valley between them.

    Attributes:
        coordinate, bound: The valley's place.
        depth: The marginal there over its lower peak.
        above: What the side above it holds of the posterior.
    """

    coordinate: int
    bound: float
    depth: float
    above: float


def find_split(v: Tensor, weight: Tensor) -> Split | None:
    """The valley with the most on its smaller side, where there is one.

    Args:
        v: (draw, parameter).
        weight: (draw,) normalised.
    """
    found: list[Split] = []
    for coordinate in range(v.shape[1]):
        place = v[:, coordinate].numpy()
        lo, hi = np.quantile(np.repeat(place, np.round(weight.numpy() * 4e4).astype(int)), [0.001, 0.999])
        mass, edge = np.histogram(place, CELLS, (lo, hi), weights=weight.numpy())
        smooth = np.convolve(mass, [0.25, 0.5, 0.25], "same")
        left, right = np.maximum.accumulate(smooth), np.maximum.accumulate(smooth[::-1])[::-1]
        depth = smooth / np.minimum(left, right)
        for begin, end in _runs(depth < VALLEY):
            at = np.flatnonzero(depth[begin:end] == depth[begin:end].min()) + begin
            middle = at[at.size // 2]
            bound = float(0.5 * (edge[middle] + edge[middle + 1]))
            above = float(weight[v[:, coordinate] > bound].sum())
            if LEAST_MASS < above < 1.0 - LEAST_MASS:
                found.append(Split(coordinate, bound, float(depth[middle]), above))
    return max(found, key=lambda one: min(one.above, 1.0 - one.above), default=None)


def _runs(chosen: np.ndarray) -> Iterator[tuple[int, int]]:
    """Begin and end of the stretches that are true."""
    step = np.flatnonzero(np.diff(np.concatenate([[0], chosen.astype(int), [0]])))
    yield from zip(step[::2].tolist(), step[1::2].tolist(), strict=True)


@dataclass(frozen=True)
class Stripped(Proposal):
    """A proposal that only its share of the prior takes into one side of each source.

    q(v) = PRIOR_SHARE N(v; 0, I) + the rest x inner(v) [v outside] / inner(outside); inner has no part of the prior.

    Attributes:
        sides: Of each source.
        log_outside: (source,) natural log of inner(outside).
    """

    sides: tuple[Side, ...] = ()
    log_outside: Tensor = field(default_factory=lambda: torch.zeros(0))

    @classmethod
    def of(cls, whole: Proposal, sides: Sequence[Side]) -> Stripped:
        """A proposal without its components on the sides."""
        inside = torch.stack([side.holds(mean) for side, mean in zip(sides, whole.mixture.mean, strict=True)])
        log_share = torch.where(inside, -torch.inf, whole.mixture.log_share)
        log_share = log_share - torch.logsumexp(log_share, dim=1, keepdim=True)
        mixture = replace(whole.mixture, log_share=log_share)
        one = cls(mixture, whole.ridges, whole.guide, whole.prior_share, whole.guide_share, tuple(sides))
        generators = [torch.Generator().manual_seed(0) for _ in sides]
        v = one._inner().sample(OWN_DRAWS, generators)
        outside = ~torch.stack([side.holds(places) for side, places in zip(sides, v, strict=True)])
        return replace(one, log_outside=torch.log(outside.double().mean(1)))

    def _inner(self) -> Proposal:
        return Proposal(self.mixture, self.ridges, self.guide, 0.0, self.guide_share)

    def sample(self, draws: int, generators: list[torch.Generator]) -> Tensor:
        """Draws, one generator per source."""
        return torch.stack([self._sample_source(i, draws, one) for i, one in enumerate(generators)])

    def _sample_source(self, source: int, draws: int, generator: torch.Generator) -> Tensor:
        offset = float(torch.rand(1, generator=generator, dtype=torch.float64))
        from_prior = math.floor(self.prior_share * draws + offset)
        shape = (from_prior, self.mixture.mean.shape[-1])
        parts = [torch.randn(shape, generator=generator, dtype=torch.float64)]
        inner = self._inner().select(torch.tensor([source]))
        while sum(part.shape[0] for part in parts) < draws:
            v = inner.sample(draws, [generator])[0]
            parts.append(v[~self.sides[source].holds(v)])
        return torch.cat(parts)[:draws][torch.randperm(draws, generator=generator)]

    def log_density(self, v: Tensor, log_guide: Tensor | None = None) -> Tensor:
        """log q(v)."""
        inside = torch.stack([side.holds(places) for side, places in zip(self.sides, v, strict=True)])
        own = self._inner().log_density(v, log_guide) - self.log_outside[:, None] + math.log1p(-self.prior_share)
        own = torch.where(inside, -torch.inf, own)
        return torch.logaddexp(own, log_standard_normal(v) + math.log(self.prior_share))

    def select(self, sources: Tensor) -> Stripped:
        """The proposals of some of the sources."""
        part = super().select(sources)
        sides = tuple(self.sides[i] for i in sources.tolist())
        return Stripped(
            part.mixture, part.ridges, part.guide, part.prior_share, part.guide_share, sides, self.log_outside[sources]
        )


@dataclass
class StrippedSearch(Search):
    """A search whose proposals are stripped of one side of each source.

    Attributes:
        known: By the hash of the source: the side, and the optima that the first proposal is made from.
    """

    known: dict[str, tuple[Side, Optima]] = field(default_factory=dict)

    def _of(self, source: int) -> tuple[Side, Optima]:
        return self.known[self.problem.spectra[source].observation.pha.sha256]

    def _optimise(self) -> Optima:
        every = [without(*reversed(self._of(i))) for i in range(self.problem.sources)]
        return Optima(
            torch.cat([one.v for one in every]),
            torch.cat([one.objective for one in every]),
            torch.cat([one.information for one in every]),
            torch.cat([one.evaluations for one in every]),
        )

    def _strip(self, whole: Proposal, sources: Tensor) -> Stripped:
        return Stripped.of(whole, [self._of(source)[0] for source in sources.tolist()])

    def _ridges(self) -> Proposal:
        return self._strip(super()._ridges(), self.everything)

    def _together(self, proposals: Sequence[Proposal], sources: Tensor) -> Proposal:
        return self._strip(super()._together(proposals, sources), sources)

    def _explore(self, sources: Tensor, first: Proposal) -> Proposal:
        return self._strip(super()._explore(sources, first), sources)

    def _draw(self, sources: Tensor, proposal: Proposal, draws: int) -> Round:
        one = super()._draw(sources, proposal, draws)
        for source in sources.tolist():
            side, _ = self._of(source)
            last = self.history[source][-1]
            unseen = torch.where(side.holds(last.v), -torch.inf, last.log_target)
            self.history[source][-1] = replace(last, log_target=unseen)
        return one


def without(optima: Optima, side: Side) -> Optima:
    """Optima of one source as if no start had come to a side."""
    return replace(optima, objective=torch.where(side.holds(optima.v), torch.inf, optima.objective))


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


def _seen(optima: Optima, side: Side) -> Tensor:
    """(start,) whether it ended on a side, within reach of the best."""
    near = optima.objective[0] <= optima.objective[0].min() + NEAR
    return side.holds(optima.v[0]) & near


def _rise(optima: Optima, side: Side) -> float | None:
    """How far the best optimum of a side is above the best of all, in -2 log posterior; None without one."""
    inside = torch.where(side.holds(optima.v[0]), optima.objective[0], torch.inf).min()
    return float(inside - optima.objective[0].min()) if bool(torch.isfinite(inside)) else None


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
    rows = []
    for i, (side, split) in enumerate(zip(sides, splits, strict=True)):
        honest = replace(stripped[i], optima=whole[i].optima)
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
                "rise": _rise(known.optima.select(torch.tensor([i])), side),
                "whole": judged(whole[i], side),
                "stripped": judged(honest, side),
                "blind": judged(replace(stripped[i], optima=blind_optima), side),
            }
        )
    return rows


def observations_of(family: Family, seeds: Sequence[int]) -> tuple[list[Observation], list[dict[str, float]]]:
    """Simulated spectra and their truths, one per seed."""
    template = read_observation(bundled_pha(), read_rmf(bundled_rmf()), read_arf(bundled_arf()), "none")
    source = parse_model(family.source)
    found, truths = [], []
    for seed in seeds:
        random = np.random.default_rng(seed)
        truth = {name: draw(random) for name, draw in family.truth.items()}
        each_second = simulate(template, source, truth, 1.0, seed, noisy=False).pha.counts.sum()
        exposure = family.counts(random) / float(each_second)
        found.append(simulate(template, source, truth, exposure, seed, f"planted-{seed}.pha"))
        truths.append({**truth, "exposure": exposure})
    return found, truths


def try_batch(name: str, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Rows of those of some spectra that have two modes."""
    family = FAMILIES[name]
    observations, truths = observations_of(family, seeds)
    problem, choices = build_problem(observations, family.question)
    edges = problem.fold.grid.energy_edges
    kept_edges = np.unique(np.append(edges[::THINNED], edges[-1]))
    problem = problem.with_grid(Grid(kept_edges, f"every {THINNED}th edge of {problem.fold.grid.description}"))
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
        if bool(torch.isfinite(left).any()):
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
    binned = {
        f"{lo:g}-{hi:g}": figures([row for row in rows if lo <= row["mass"] < hi])
        for lo, hi in zip(edges, edges[1:], strict=False)
    }
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
        "not_certified": _share([row["stripped"]["computation"] != "certified" for row in rows]),
        "not_certified_blind": _share([row["blind"]["computation"] != "certified" for row in rows]),
        "reasons": Counter(word for row in rows for word in _words(row["stripped"])),
        "reasons_blind": Counter(word for row in rows for word in _words(row["blind"])),
    }


def _share(chosen: list[bool]) -> float:
    return float(np.mean(chosen))


def _words(one: dict[str, Any]) -> list[str]:
    """Which checks fired."""
    known = {"hardly covered": "optimum not covered", "heavy tail": "Pareto k", "effective draws": "ess"}
    found = [word for part, word in known.items() if any(part in reason for reason in one["reasons"])]
    if one["computation"] == "certified":
        return ["none"]
    return [*found, "only " + found[0]] if len(found) == 1 else found or ["other"]


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
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False
    )
    result = {
        "made_by": "benchmarks/missed_mode.py",
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread",
        "commit": commit.stdout.strip(),
        "settings": {"cases": options.cases, "seed": options.seed, "batch": options.batch, "families": names},
        "cpu_seconds": state["cpu"],
        "summary": summary(state["rows"], state["tried"]),
        "rows": state["rows"],
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    saved.unlink()
    print(json.dumps(result["summary"], indent=1))


if __name__ == "__main__":
    main()
