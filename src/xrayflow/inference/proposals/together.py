"""The parts of many sources' proposals at once: what comes of flows is computed together, the rest one by one.

Each source has its own random numbers, taken in the order of its parts, and the digits that it would have alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.proposals.density import Density
from xrayflow.inference.proposals.nuisance import WithNuisances
from xrayflow.networks import FlowDensity, draws_of, log_densities_of

V = Float[Tensor, "draw parameter"]


@dataclass(frozen=True)
class Wanted:
    """Draws of one part of a source's proposal.

    Attributes:
        part: The density.
        draws: How many.
        generator: Of the source.
    """

    part: Density
    draws: int
    generator: torch.Generator


def samples_of(wanted: Sequence[Wanted]) -> list[V]:
    """Draws of many parts.

    Args:
        wanted: Of each; those of a source in the order in which its random numbers are to be taken.
    """
    found: list[V] = []
    flows: list[tuple[int, FlowDensity, V, Tensor | None]] = []
    for number, one in enumerate(wanted):
        own = _flow_of(one.part)
        if own is None:
            found.append(one.part.sample(one.draws, one.generator))
            continue
        numbers = own.numbers(one.draws, one.generator)
        behind = one.part.nuisances.scatter(one.draws, one.generator) if isinstance(one.part, WithNuisances) else None
        flows.append((number, own, numbers, behind))
        found.append(numbers)
    drawn = draws_of([own for _, own, _, _ in flows], [numbers for _, _, numbers, _ in flows])
    for (number, _, _, behind), v in zip(flows, drawn, strict=True):
        part = wanted[number].part
        if behind is not None and isinstance(part, WithNuisances):
            v = torch.cat([v, part.nuisances.middle(v) + behind], dim=1)
        found[number] = v
    return found


def log_densities(parts: Sequence[Density], v: Sequence[V]) -> list[Float[Tensor, " draw"]]:
    """Natural log of many densities.

    Args:
        parts: The densities.
        v: Places for each.
    """
    owns = [_flow_of(part) for part in parts]
    places = [
        part.split(one)[0] if isinstance(part, WithNuisances) else one for part, one in zip(parts, v, strict=True)
    ]
    flows = [(number, own) for number, own in enumerate(owns) if own is not None]
    known = log_densities_of([own for _, own in flows], [places[number] for number, _ in flows])
    of_flow = {number: one for (number, _), one in zip(flows, known, strict=True)}
    found = []
    for number, (part, one) in enumerate(zip(parts, v, strict=True)):
        if number not in of_flow:
            found.append(part.log_density(one))
        elif isinstance(part, WithNuisances):
            found.append(of_flow[number] + part.nuisances.log_density(*part.split(one)))
        else:
            found.append(of_flow[number])
    return found


def _flow_of(part: Density) -> FlowDensity | None:
    """What a flow says in a part; None where it is no flow's."""
    own = part.own if isinstance(part, WithNuisances) else part
    return own if isinstance(own, FlowDensity) else None
