"""Is a tail missing? A search for places that the draws do not know, and how much of the posterior is there.

Weighted draws say nothing of where no draw went: a third of the posterior can be missing behind a good effective sample
size and a good Pareto k. So the posterior is asked itself, in three steps.

1. Rows set out from the heaviest draws, from typical ones, from a wide cloud about them and from the prior, and climb
   the posterior over what the draws know (`ascent`): along a tail to its end, or into a mode of its own.
2. Where they came the log weight is known, target over the frozen proposal, and with it what one single draw there
   would carry of all weight,

       share(v) = w(v) / (w(v) + sum of the draws' weights).

   Draws that know the whole posterior leave few places where that is more than `HEAVY`.
3. Such places become kernels, shaped by the posterior's own information, and a few hundred draws of these say what part
   of the posterior stands where no draw did: an evidence from a second proposal that shares nothing with the first,

       missing = 1 / Z  mean over kernel draws of  target / kernels  where  w > every draw's.

Source: Owen & Zhou 2000, J. Am. Stat. Assoc. 95, 135 (safe mixtures); `ascent` for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.checks.ascent import LOST, TINY, Ground, Places, ascend
from xrayflow.inference.proposals.counts_coordinates import Coordinates, MixtureInCoordinates
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.em import fit_students
from xrayflow.inference.proposals.mixture import Components, Proposal, log_density_of_each
from xrayflow.inference.proposals.student import StudentMixture, root_of_inverse
from xrayflow.inference.weights import log_mean_weight, systematic_rows

KNOWN_DRAWS, KNOWN_COMPONENTS = 1000, 6
"""What the draws know is a mixture of so many components, fitted to so many of them picked by weight."""

HEAVIEST, TYPICAL, CLOUD, PRIOR = 16, 4, 16, 16
"""Rows that start at draws with a chance that goes with the square of their weights, at draws by weight, in the mixture
`INFLATED` times as wide, and in the prior."""

INFLATED, WIDEST = 2.5, 3.5
"""The second: in prior standard deviations, no row starts further out."""

HEAVY = 0.015
"""A place where one draw would carry more than this of all weight was not reached by the draws."""

UNUSUAL, TIMES_USUAL = 0.02, 8.0
"""A draw that carries more than this of all weight, and more than so many effective draws' share, does not count as
knowing the place where it stands."""

LEAST_PLACES, MOST_PLACES = 3, 96
"""Heavy places that it takes for a tail, and that become kernels."""

KERNEL_SCALE, KERNEL_LENGTH, SHORTEST_KERNEL = 1.25, 1.5, 0.1
"""A kernel is so many times as wide as the posterior is there, and no longer than so many times the step that led to
it, because what is thin may bend; a shorter step than the last, in prior standard deviations, counts as that."""

PILOT = 400
"""Draws of the kernels."""

MATERIAL, EACH = 0.02, 6.0
"""Part of the posterior where no draw is that makes an alarm, and what so many effective draws hold: less is what draws
leave out by chance."""

VISITED = 32
"""Places of a search that are remembered."""

MOSTLY = 3.0
"""Times what the draws know: so much more is said in words."""


@dataclass(frozen=True)
class TailSearch:
    """What a search from one source's draws found.

    Attributes:
        heaviest: The largest share of all weight that one draw would carry where the search came.
        missing: The part of the posterior that stands where no draw does, in units of what the draws know: inf where a
            mode of e^709 times that came up.
        error: Its standard error.
        kernels: At the heavy places; None where there are too few.
        pilot: Draws of them.
        log_target: At the pilot.
        evaluations: Of the target; a curvature counts as one for each parameter.
        chance: The part that so few effective draws leave out by chance.
        visited: Places that rows came to, high up, spread over all of them.
    """

    heaviest: float
    missing: float
    error: float
    kernels: MixtureInCoordinates | None
    pilot: Float[Tensor, "draw parameter"]
    log_target: Float[Tensor, " draw"]
    evaluations: int
    chance: float = 0.0
    visited: Float[Tensor, "place parameter"] | None = None

    @property
    def alarm(self) -> bool:
        """Whether a tail is missing."""
        return self.missing > max(MATERIAL, self.chance)

    @property
    def reason(self) -> str:
        """What is said of an alarm."""
        if not self.missing < MOSTLY:
            return "a tail may be missing: a search from the draws found most of the posterior where no draw is"
        whole = 1.0 + self.missing
        return (
            f"a tail may be missing: a search from the draws found {100.0 * self.missing / whole:.0f} +- "
            f"{100.0 * self.error / whole**2:.0f} % of the posterior where no draw is"
        )


def look_for_tails(
    ground: Ground,
    coordinates: Coordinates,
    drawn: Sequence[WeightedDraws],
    generators: Sequence[torch.Generator],
) -> list[TailSearch]:
    """Search from the draws of every source of a batch.

    Args:
        ground: The target that the draws' weights rest on.
        coordinates: In which sheets of the posterior are flat.
        drawn: Of each source.
        generators: One per source.
    """
    picked = [_picked(*pair) for pair in zip(drawn, generators, strict=True)]
    v, at_draws = (torch.stack(column) for column in zip(*picked, strict=True))
    weight = torch.full(v.shape[:2], 1.0 / v.shape[1], dtype=v.dtype)
    known, _ = fit_students(v, weight, KNOWN_COMPONENTS, 1.0, list(generators))
    cloud = replace(known, scale_tril=INFLATED * known.scale_tril)
    near = Proposal(cloud, tuple(Components.none() for _ in generators)).sample(CLOUD, list(generators))
    shape = PRIOR, v.shape[-1]
    anywhere = torch.stack([torch.randn(shape, generator=one, dtype=v.dtype) for one in generators])
    rows = torch.cat([at_draws, torch.cat([near, anywhere], dim=1).clamp(-WIDEST, WIDEST)], dim=1)
    places, spent = ascend(ground, coordinates, known, rows)
    own = [places.select((places.source == source).nonzero()[:, 0]) for source in range(len(drawn))]
    at_places = log_density_of_each([one.proposal for one in drawn], [one.v for one in own])
    found = []
    for source, (one, log_proposal) in enumerate(zip(own, at_places, strict=True)):
        alone = torch.tensor([source])
        share = torch.sigmoid(one.log_target - log_proposal - torch.logsumexp(drawn[source].log_weight[0], 0))
        kernels = _kernels(coordinates.select(alone), one.select(_heavy(share, generators[source])))
        heaviest = float(share.amax()) if share.numel() else 0.0
        pilot = one.v[:0] if kernels is None else kernels.sample(PILOT, generators[source])
        log_target = pilot[:, 0] if kernels is None else ground.select(alone).log_target(pilot[None])[0]
        evaluations = int(spent[source]) + pilot.shape[0]
        found.append(TailSearch(heaviest, 0.0, 0.0, kernels, pilot, log_target, evaluations, visited=_visited(one)))
    return _told_what_is_missing(found, drawn)


def _picked(drawn: WeightedDraws, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draws picked by weight; starts at draws."""
    log_weight = drawn.log_weight[0]
    weight = torch.softmax(log_weight, 0)
    sample = systematic_rows(weight, KNOWN_DRAWS, generator)
    heavy = torch.softmax(2.0 * log_weight, 0) + 1e-300
    heaviest = torch.multinomial(heavy, HEAVIEST, replacement=heavy.numel() < HEAVIEST, generator=generator)
    start = torch.cat([drawn.v[0, heaviest], drawn.v[0, systematic_rows(weight, TYPICAL, generator)]])
    return drawn.v[0, sample], start


def _heavy(share: Float[Tensor, " place"], generator: torch.Generator) -> Tensor:
    """Places that become kernels."""
    heavy = (share > HEAVY).nonzero()[:, 0]
    return heavy[torch.randperm(heavy.numel(), generator=generator)[:MOST_PLACES]]


def _visited(places: Places) -> Float[Tensor, "place parameter"]:
    """Some of the places, evenly from first to last: later ones are further from where rows set out."""
    high = places.v[places.log_target > places.log_target.max() - LOST]
    return high[:: max(high.shape[0] // VISITED, 1)][:VISITED]


def _kernels(coordinates: Coordinates, places: Places) -> MixtureInCoordinates | None:
    """One at each place where the coordinates are numbers; None where there are too few."""
    count, parameters = places.v.shape
    if count < LEAST_PLACES:
        return None
    along = TINY * torch.eye(parameters, dtype=places.v.dtype)
    w = coordinates.into(places.v[None])[0]
    ahead = coordinates.into((places.v[:, None, :] + along).reshape(1, -1, parameters))[0]
    slope = (ahead.reshape(count, parameters, parameters) - w[:, None, :]).mT / TINY
    inverse, _ = torch.linalg.inv_ex(slope)
    short = (KERNEL_LENGTH * places.step.clamp(min=SHORTEST_KERNEL)) ** -2.0
    information = inverse.mT @ places.information @ inverse + torch.diag_embed(short[:, None].expand(-1, parameters))
    known = torch.isfinite(information).all(-1).all(-1) & torch.isfinite(w).all(-1)
    if int(known.sum()) < LEAST_PLACES:
        return None
    scale = KERNEL_SCALE * root_of_inverse(information[known])
    even = torch.full((1, scale.shape[0]), -math.log(scale.shape[0]), dtype=w.dtype)
    return MixtureInCoordinates(coordinates, StudentMixture(even, w[known][None], scale[None]))


def _told_what_is_missing(found: Sequence[TailSearch], drawn: Sequence[WeightedDraws]) -> list[TailSearch]:
    """Searches with the part of the posterior where no draw is, of those that have kernels."""
    some = [source for source, one in enumerate(found) if one.kernels is not None]
    at_pilot = log_density_of_each(
        [drawn[source].proposal for source in some], [found[source].pilot for source in some]
    )
    told = list(found)
    for source, log_proposal in zip(some, at_pilot, strict=True):
        missing, error = _missing(drawn[source], found[source], log_proposal)
        told[source] = replace(found[source], missing=missing, error=error, chance=EACH / max(drawn[source].ess, 1.0))
    return told


def _missing(drawn: WeightedDraws, found: TailSearch, log_proposal: Float[Tensor, " draw"]) -> tuple[float, float]:
    """The part of the posterior where no draw is, and its standard error."""
    if found.kernels is None:
        return 0.0, 0.0
    log_weight = drawn.log_weight[0]
    unusual = math.log(max(UNUSUAL, TIMES_USUAL / max(drawn.ess, TIMES_USUAL)))
    usual = torch.minimum(log_weight.amax(), torch.logsumexp(log_weight, 0) + unusual)
    log_part = found.log_target - found.kernels.log_density(found.pilot) - log_mean_weight(log_weight)
    unknown = (found.log_target - log_proposal > usual) & ~torch.isnan(log_part)
    part = torch.where(unknown, torch.exp(log_part), 0.0)
    return float(part.mean()), float(part.std() / math.sqrt(part.numel()))
