"""What stands at the foot of the ladder: the modes, and the proposals that they, their ridges and a network make."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.fitting import Modes, corrected_modes, minimise, settle, starting_points
from xrayflow.inference.proposals.density import Density, PriorDensity
from xrayflow.inference.proposals.laplace import laplace_mixture
from xrayflow.inference.proposals.mixture import PRIOR_FLOOR, Components, Proposal
from xrayflow.inference.proposals.network import Guide, NetworkDensity, level_of
from xrayflow.inference.proposals.nuisance import WithNuisances
from xrayflow.inference.proposals.profiles import PathPoints, walk
from xrayflow.inference.proposals.ridge import ridges_of
from xrayflow.networks import ModeFeatures, mode_numbers
from xrayflow.problem import Problem

RIDGES = 0.7
"""Share of the ridges in the first proposal of a source that has some: of all, or of what a network leaves."""

LOCAL, AMORTISED = 0.75, 0.05
"""Shares of what a network's local flow sees from the modes, and of its amortised posterior, in the first proposal."""

AMORTISED_FLOOR, SHAPED_FLOOR = 0.05, 0.1
"""What every proposal keeps of a network's amortised posterior, and of ridges and local flows together."""

MOST_LOCAL, LEAST_LOCAL = 3, 3.0
"""Modes from which a local flow looks, and how far in ln evidence one may stand below the best before it gets no less.
"""


WALKS, MORE_PLACES = 3, 4
"""How often ridges are walked again at most, each time with the problem exact at so many more places."""

NEARBY = 1.0
"""In -2 log posterior above the mode: a correction holds nearer to its place."""

WRONG, APART, SEEN = 0.5, 0.3, 10.0
"""In natural log of the posterior: what a correction may be off on a ridge. In prior standard deviations: how far apart
new places are. In natural log below the best: what matters."""


@dataclass(frozen=True)
class Guided:
    """What a network says of one source.

    Attributes:
        amortised: Its posterior before the modes were known.
        local: What it sees from each of them; empty where it knows no more.
        shares: Of `local`, by Laplace's evidence of the modes.
    """

    amortised: Density
    local: list[Density]
    shares: list[float]


def find_modes(
    problem: Problem, starts: int, generators: list[torch.Generator], guide: Guide | None, exact: bool = False
) -> tuple[Modes, Problem]:
    """Independent starts, each run to its optimum.

    Args:
        problem: The batch.
        starts: Of each source.
        generators: One per source.
        guide: What a network says of the same sources: some of the starts come from it.
        exact: Whether the modes are those of the answer's own grid: a coarse one does not follow it.

    Returns:
        The modes, and the problem that they are modes of: the same, on a coarse grid that is corrected at them.
    """
    places, tried = starting_points(problem, starts, generators, guide)
    if exact:
        modes, corrected = settle(problem, minimise(problem, places)), problem
    else:
        modes, corrected = corrected_modes(problem, places)
    return replace(modes, evaluations=modes.evaluations + tried), corrected


def first_proposal(
    problem: Problem, modes: Modes, guide: Guide | None, exact: Problem | None = None
) -> tuple[Proposal, Modes, Problem]:
    """Ellipsoids at the modes, the ridges that they do not describe, and what a network says.

    Args:
        problem: The batch.
        modes: Where its starts ended.
        guide: What a network says of the same sources.
        exact: The batch on the answers' own grid, where the problem is to be corrected along ridges too.

    Returns:
        The proposal, the modes with the evaluations that the ridges cost, and the problem, exact at more places.
    """
    points, evaluations, problem = followed_ridges(problem, modes, problem if exact is None else exact)
    every = range(problem.sources)
    ridges: list[list[Density]] = [[*ridges_of(points, i)] if points else [] for i in every]
    guided = _guided(problem, modes, modes.distinct(), guide) if guide is not None else [None for _ in every]
    priors = [_prior(problem, modes, i, index) for i, index in enumerate(modes.distinct())]
    components = tuple(_components(*each) for each in zip(priors, ridges, guided, strict=True))
    modes = replace(modes, evaluations=modes.evaluations + evaluations)
    return Proposal(laplace_mixture(modes), components), modes, problem


def followed_ridges(
    problem: Problem, modes: Modes, exact: Problem
) -> tuple[PathPoints | None, Int[Tensor, " source"], Problem]:
    """Where walks from the modes came, on a problem that follows the exact one there.

    Ridges lead far from the modes, where a correction need not hold: a bright source then seems to end where it does
    not. What the exact problem says differently becomes a place where it is exact, and the source is walked again.

    Args:
        problem: The batch, corrected at the modes.
        modes: Where its starts ended.
        exact: The batch on the answers' own grid.

    Returns:
        The places, the evaluations of each source, and the problem, exact at more places.
    """
    found, evaluations = walk(problem, modes, modes.distinct())
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


def _prior(problem: Problem, modes: Modes, source: int, distinct: torch.Tensor) -> Density:
    """The prior of one source, but for nuisances: those follow the best mode, or no draw would meet them."""
    free = len(problem.model.free)
    if free == problem.parameters or distinct.numel() == 0:
        return PriorDensity(problem.parameters)
    best = modes.v[source, distinct[0]], modes.information[source, distinct[0]]
    return WithNuisances.of(PriorDensity(free), *best, problem.parameters - free)


def _components(prior: Density, ridges: list[Density], guided: Guided | None) -> Components:
    """What stands beside one source's ellipsoids, with floors and first shares."""
    densities: list[Density] = [prior]
    floors, shares = [PRIOR_FLOOR], [0.0]
    local = guided.local if guided is not None else []
    if guided is not None:
        densities.append(guided.amortised)
        floors.append(AMORTISED_FLOOR)
        shares.append(AMORTISED)
    shaped = [*local, *ridges]
    rest = 1.0 - sum(shares) - (LOCAL if local else 0.0)
    densities += shaped
    floors += [SHAPED_FLOOR / len(shaped) for _ in shaped]
    shares += [LOCAL * share for share in guided.shares] if guided is not None and local else []
    shares += [rest * RIDGES / len(ridges) for _ in ridges]
    return Components.of(densities, floors, shares)


def _guided(problem: Problem, modes: Modes, distinct: list[torch.Tensor], guide: Guide) -> list[Guided | None]:
    """What the network says of each source, now that its modes are known."""
    facts, nuisances = problem.facts, problem.parameters - len(problem.model.free)
    numbers = mode_numbers(facts.counts, facts.background, facts.systematic)

    def whole(own: Density, v: torch.Tensor, information: torch.Tensor) -> Density:
        return WithNuisances.of(own, v, information, nuisances) if nuisances else own

    found: list[Guided | None] = []
    for source, every in enumerate(distinct):
        chosen = every[:MOST_LOCAL]
        if chosen.numel() == 0 or not bool(guide.present[source]):
            found.append(None)
            continue
        evidence = modes.log_evidence(source, chosen)
        share = torch.softmax(evidence.clamp(min=float(evidence.max()) - LEAST_LOCAL), 0)
        v, information = modes.v[source, chosen], modes.information[source, chosen]
        own = v[:, : v.shape[1] - nuisances], _without_last(information, nuisances)
        features = ModeFeatures(*own, numbers[source].expand(chosen.numel(), -1))
        amortised = whole(NetworkDensity(guide.select(torch.tensor([source]))), v[0], information[0])
        seen = guide.seen_from_modes(source, features, level_of(problem, source))
        local = [whole(*each) for each in zip(seen, v, information, strict=False)]
        found.append(Guided(amortised, local, share.tolist()))
    return found


def _without_last(information: torch.Tensor, last: int) -> torch.Tensor:
    """What is known of the first parameters when the last are free: Schur's complement."""
    if last == 0:
        return information
    free = information.shape[-1] - last
    coupled = information[..., :free, free:]
    left: torch.Tensor = torch.linalg.solve(information[..., free:, free:], coupled.mT)
    return information[..., :free, :free] - coupled @ left
