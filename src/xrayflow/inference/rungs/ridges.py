"""Ridges beside proposals whose modes alone do not describe a source: lines that are followed from the modes.

They cost as much as finding the modes, and most sources do without.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.fitting import Modes
from xrayflow.folding import EXACT
from xrayflow.inference.ladder import State
from xrayflow.inference.proposals.faint import Faint
from xrayflow.inference.proposals.foot import beside_ellipsoids, prior_density
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.proposals.profiles import PathPoints, walk
from xrayflow.inference.proposals.ridge import ridges_of
from xrayflow.problem import Problem

WALKS, MORE_PLACES = 3, 4
"""How often ridges are walked again at most, each time with the problem exact at so many more places."""

NEARBY = 1.0
"""In -2 log posterior above the mode: a correction holds nearer to its place."""

WRONG, APART, SEEN = 0.5, 0.3, 10.0
"""In natural log of the posterior: what a correction may be off on a ridge. In prior standard deviations: how far apart
new places are. In natural log below the best: what matters."""


def stand_on_ridges(state: State, sources: Int[Tensor, " source"]) -> None:
    """Give the proposals of some sources the ridges that lead from their modes.

    Args:
        state: Where the batch stands; its problem becomes exact along the ridges.
        sources: Their numbers in the batch.
    """
    modes = state.modes
    points, evaluations, state.problem = followed_ridges(state.problem, modes, state.problem.at(EXACT), sources)
    state.modes = replace(modes, evaluations=modes.evaluations + evaluations)
    if points is None:
        return
    distinct = modes.distinct()
    for source in sources.tolist():
        ridges = ridges_of(points, source)
        if ridges:
            base, guided = state.base(source), state.guided[source] if state.guided else None
            prior = prior_density(state.problem, modes, source, distinct[source], guided)
            faint = [part for part in base.parts[0].parts if isinstance(part, Faint)]
            parts = beside_ellipsoids(prior, ridges, guided, faint)
            state.rebase(source, Proposal(base.mixture, (parts,)), [])


def followed_ridges(
    problem: Problem, modes: Modes, exact: Problem, sources: Int[Tensor, " chosen"]
) -> tuple[PathPoints | None, Int[Tensor, " source"], Problem]:
    """Where walks from the modes came, on a problem that follows the exact one there.

    Ridges lead far from the modes, where a correction need not hold: a bright source then seems to end where it does
    not. What the exact problem says differently becomes a place where it is exact, and the source is walked again.

    Args:
        problem: The batch, corrected at the modes.
        modes: Where its starts ended.
        exact: The batch on the answers' own grid.
        sources: Those that are walked.

    Returns:
        The places, the evaluations of each source, and the problem, exact at more places.
    """
    wanted = set(sources.tolist())
    distinct = [index if source in wanted else index[:0] for source, index in enumerate(modes.distinct())]
    found, evaluations = walk(problem, modes, distinct)
    points = PathPoints.joined(found) if found else None
    for _ in range(WALKS):
        if points is None or problem.is_exact:
            break
        places, known, spent = _wrong_places(problem, exact, points)
        evaluations = evaluations + spent
        again = known.any(-1).nonzero()[:, 0]
        if again.numel() == 0:
            break
        problem = problem.corrected(places, known)
        evaluations = evaluations + known.sum(-1) * (1 + problem.parameters)
        some = modes.select(again)
        walked, spent = walk(problem.select(again), some, some.distinct())
        evaluations = evaluations.index_add(0, again, spent)
        kept = points.select((~torch.isin(points.source, again)).nonzero()[:, 0])
        renamed = [replace(one, source=again[one.source]) for one in walked]
        points = PathPoints.joined([kept, *renamed])
    return points, evaluations, problem


def _wrong_places(
    problem: Problem, exact: Problem, points: PathPoints
) -> tuple[Float[Tensor, "source place parameter"], Bool[Tensor, "source place"], Int[Tensor, " source"]]:
    """theta where the exact problem says something else, the worst first, as many as `MORE_PLACES`."""
    places = torch.ones((problem.sources, MORE_PLACES, problem.parameters), dtype=torch.float64)
    known = torch.zeros((problem.sources, MORE_PLACES), dtype=torch.bool)
    spent = torch.zeros(problem.sources, dtype=torch.int64)
    for source in sorted(set(points.source.tolist())):
        rows = ((points.source == source) & (points.rise.abs() > NEARBY)).nonzero()[:, 0]
        if rows.numel() == 0:
            continue
        at, v = torch.tensor([source]), points.v[rows]
        truth, seen = (of.select(at).log_target(v[None])[0] for of in (exact, problem))
        spent[source] += 2 * rows.numel()
        matters = torch.maximum(truth, seen) > truth.max() - SEEN
        off = torch.where(matters & torch.isfinite(truth), (truth - seen).abs(), 0.0)
        for place in range(MORE_PLACES):
            worst = int(off.argmax())
            if not float(off[worst]) > WRONG:
                break
            places[source, place], known[source, place] = problem.prior.to_theta(v[worst]), True
            off = torch.where((v - v[worst]).norm(dim=-1) < APART, 0.0, off)
    return places, known, spent
