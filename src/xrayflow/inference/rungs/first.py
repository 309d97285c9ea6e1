"""What stands at the foot of the ladder: the modes, and the proposals that they, their ridges and a network make."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from xrayflow.fitting import Modes, corrected_modes, settle, starting_points
from xrayflow.inference.proposals.density import Density, PriorDensity
from xrayflow.inference.proposals.laplace import laplace_mixture
from xrayflow.inference.proposals.mixture import PRIOR_FLOOR, Components, Proposal
from xrayflow.inference.proposals.network import Guide, NetworkDensity
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
    problem: Problem, starts: int, generators: list[torch.Generator], guide: Guide | None
) -> tuple[Modes, Problem]:
    """Independent starts, each run to its optimum.

    Args:
        problem: The batch.
        starts: Of each source.
        generators: One per source.
        guide: What a network says of the same sources: some of the starts come from it.

    Returns:
        The modes, and the problem that they are modes of: the same, on a coarse grid that is corrected at them.
    """
    places, tried = starting_points(problem, starts, generators, guide)
    modes, corrected = corrected_modes(problem, places)
    modes = settle(corrected, modes)
    return replace(modes, evaluations=modes.evaluations + tried), corrected


def first_proposal(problem: Problem, modes: Modes, guide: Guide | None) -> tuple[Proposal, Modes]:
    """Ellipsoids at the modes, the ridges that they do not describe, and what a network says.

    Args:
        problem: The batch.
        modes: Where its starts ended.
        guide: What a network says of the same sources.

    Returns:
        The proposal, and the modes with the evaluations that the ridges cost.
    """
    distinct = modes.distinct()
    found, evaluations = walk(problem, modes, distinct)
    points = PathPoints.joined(found) if found else None
    every = range(problem.sources)
    ridges: list[list[Density]] = [[*ridges_of(points, i)] if points else [] for i in every]
    guided = _guided(problem, modes, distinct, guide) if guide is not None else [None for _ in every]
    components = tuple(_components(problem, *pair) for pair in zip(ridges, guided, strict=True))
    return Proposal(laplace_mixture(modes), components), replace(modes, evaluations=modes.evaluations + evaluations)


def _components(problem: Problem, ridges: list[Density], guided: Guided | None) -> Components:
    """What stands beside one source's ellipsoids, with floors and first shares."""
    densities: list[Density] = [PriorDensity(problem.parameters)]
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
    facts = problem.facts
    numbers = mode_numbers(facts.counts, facts.background, facts.systematic)
    found: list[Guided | None] = []
    for source, every in enumerate(distinct):
        chosen = every[:MOST_LOCAL]
        if chosen.numel() == 0 or not bool(guide.present[source]):
            found.append(None)
            continue
        evidence = modes.log_evidence(source, chosen)
        share = torch.softmax(evidence.clamp(min=float(evidence.max()) - LEAST_LOCAL), 0)
        information = modes.information[source, chosen]
        features = ModeFeatures(modes.v[source, chosen], information, numbers[source].expand(chosen.numel(), -1))
        amortised = NetworkDensity(guide.select(torch.tensor([source])))
        found.append(Guided(amortised, list(guide.seen_from_modes(source, features)), share.tolist()))
    return found
