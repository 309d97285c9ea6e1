"""What stands beside the ellipsoids of a source: the prior, what a network says of it, and ridges, with their shares.

Every part keeps a floor of every proposal; the rest of the shares is a first guess, which draws correct.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from xrayflow.fitting import Modes
from xrayflow.inference.proposals.density import Density, PriorDensity
from xrayflow.inference.proposals.mixture import PRIOR_FLOOR, Components
from xrayflow.inference.proposals.network import Guide, level_of
from xrayflow.inference.proposals.nuisance import Nuisances, WithNuisances
from xrayflow.networks import ModeFeatures, mode_numbers
from xrayflow.problem import Problem

RIDGES = 0.7
"""Share of the ridges in the first proposal of a source that has some: of all, or of what a network leaves."""

LOCAL, AMORTISED = 0.75, 0.05
"""Shares of what a network's local flow sees from the modes, and of its amortised posterior, in the first proposal."""

FAINT = 0.5
"""Share of densities where features are hardly there, of a source that has some: of what a network leaves."""

AMORTISED_FLOOR, SHAPED_FLOOR, FAINT_FLOOR = 0.05, 0.1, 0.1
"""What every proposal keeps of a network's amortised posterior, of ridges and local flows together, and of densities
where features are hardly there."""

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
        nuisances: What follows the parameters in all of them; None where nothing does.
    """

    amortised: Density
    local: list[Density]
    shares: list[float]
    nuisances: Nuisances | None = None


def guided_from_modes(problem: Problem, modes: Modes, guide: Guide) -> list[Guided | None]:
    """What the network says of each source, now that its modes are known.

    Args:
        problem: The batch.
        modes: Where its starts ended.
        guide: What a network says of the same sources.
    """
    facts, nuisances = problem.data.facts, problem.parameters - len(problem.model.free)
    numbers = mode_numbers(facts.counts, facts.background, facts.systematic)
    found: list[Guided | None] = []
    for source, every in enumerate(modes.distinct()):
        chosen = every[:MOST_LOCAL]
        if chosen.numel() == 0 or not bool(guide.present[source]):
            found.append(None)
            continue
        evidence = modes.log_evidence(source, chosen)
        share = torch.softmax(evidence.clamp(min=float(evidence.max()) - LEAST_LOCAL), 0)
        v, information = modes.v[source, chosen], modes.information[source, chosen]
        own = v[:, : v.shape[1] - nuisances], _without_last(information, nuisances)
        features = ModeFeatures(*own, numbers[source].expand(chosen.numel(), -1))
        amortised = guide.seen(source)
        local = list(guide.seen_from_modes(source, features, level_of(problem, source)))
        follow = Nuisances.of(problem, source, v[0], information[0]) if nuisances else None
        if follow is not None:
            amortised, local = WithNuisances(amortised, follow), [WithNuisances(one, follow) for one in local]
        found.append(Guided(amortised, local, share.tolist(), follow))
    return found


def prior_density(
    problem: Problem,
    modes: Modes,
    source: int,
    distinct: Int[Tensor, " distinct"],
    guided: Guided | None = None,
) -> Density:
    """The prior of one source, but for nuisances: those follow the parameters, or no draw would meet them.

    Args:
        problem: The batch.
        modes: Where its starts ended.
        source: Its number.
        distinct: Its distinct modes, best first.
        guided: What a network says of it: the nuisances follow as there.
    """
    free = len(problem.model.free)
    if free == problem.parameters or distinct.numel() == 0:
        return PriorDensity(problem.parameters)
    follow = None if guided is None else guided.nuisances
    if follow is None:
        follow = Nuisances.of(problem, source, modes.v[source, distinct[0]], modes.information[source, distinct[0]])
    return WithNuisances(PriorDensity(free), follow)


def beside_ellipsoids(
    prior: Density, ridges: Sequence[Density], guided: Guided | None, faint: Sequence[Density] = ()
) -> Components:
    """What stands beside one source's ellipsoids, with floors and first shares.

    Args:
        prior: Of the source, as `prior_density`.
        ridges: Along lines that leave the ellipsoids.
        guided: What a network says.
        faint: Where features are hardly there.
    """
    densities: list[Density] = [prior]
    floors, shares = [PRIOR_FLOOR], [0.0]
    local = guided.local if guided is not None else []
    if guided is not None:
        densities.append(guided.amortised)
        floors.append(AMORTISED_FLOOR)
        shares.append(AMORTISED)
    shaped = [*local, *ridges]
    rest = 1.0 - sum(shares) - (LOCAL if local else 0.0)
    densities += [*shaped, *faint]
    floors += [SHAPED_FLOOR / len(shaped) for _ in shaped] + [FAINT_FLOOR / len(faint) for _ in faint]
    shares += [LOCAL * share for share in guided.shares] if guided is not None and local else []
    unseen = FAINT * rest if faint else 0.0
    shares += [(rest - unseen) * RIDGES / len(ridges) for _ in ridges] + [unseen / len(faint) for _ in faint]
    return Components.of(densities, floors, shares)


def _without_last(information: Tensor, last: int) -> Tensor:
    """What is known of the first parameters when the last are free: Schur's complement."""
    if last == 0:
        return information
    free = information.shape[-1] - last
    coupled = information[..., :free, free:]
    left: Tensor = torch.linalg.solve(information[..., free:, free:], coupled.mT)
    return information[..., :free, :free] - coupled @ left
