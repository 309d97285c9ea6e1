"""What stands at the foot of the ladder: the modes, and the proposal that they and a network make."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from xrayflow.fitting import Modes, corrected_modes, settle, starting_points
from xrayflow.inference.proposals.density import Density
from xrayflow.inference.proposals.laplace import laplace_mixture
from xrayflow.inference.proposals.mixture import PRIOR_FLOOR, Components, Proposal
from xrayflow.inference.proposals.network import Guide, NetworkDensity
from xrayflow.networks import ModeFeatures, mode_numbers
from xrayflow.problem import Problem

LOCAL, AMORTISED = 0.75, 0.05
"""Shares of what a network's local flow sees from the modes, and of its amortised posterior, in the first proposal."""

AMORTISED_FLOOR, LOCAL_FLOOR = 0.05, 0.1
"""What every proposal keeps of a network's amortised posterior, and of its local flows together."""

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


def first_proposal(problem: Problem, modes: Modes, guide: Guide | None) -> Proposal:
    """Ellipsoids at the modes, and what a network says.

    Args:
        problem: The batch.
        modes: Where its starts ended.
        guide: What a network says of the same sources.
    """
    guided = _guided(problem, modes, guide) if guide is not None else [None] * problem.sources
    return Proposal(laplace_mixture(modes), tuple(_components(problem, one) for one in guided))


def _components(problem: Problem, guided: Guided | None) -> Components:
    """What stands beside one source's ellipsoids, with floors and first shares."""
    prior = Components.prior(problem.parameters)
    if guided is None:
        return prior
    local = guided.local
    floors = [LOCAL_FLOOR / len(local) for _ in local]
    shares = [LOCAL * share for share in guided.shares] if local else []
    return Components.of(
        [*prior.parts, guided.amortised, *local],
        [PRIOR_FLOOR, AMORTISED_FLOOR, *floors],
        [0.0, AMORTISED, *shares],
    )


def _guided(problem: Problem, modes: Modes, guide: Guide) -> list[Guided | None]:
    """What the network says of each source, now that its modes are known."""
    facts = problem.facts
    numbers = mode_numbers(facts.counts, facts.background, facts.systematic)
    found: list[Guided | None] = []
    for source, every in enumerate(modes.distinct()):
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
