"""Is a tail missing? A short walk on the target, and what the draws know of where it came.

Weighted draws say nothing of where no draw went. A walk does: an ensemble starts at weighted draws and walks the
posterior itself, by differential evolution in the coordinates of `Coordinates` (counts in the place of a norm, where
thin bent sheets are flat). Where it stands the log weight is known, target over the frozen proposal, and with it what
one single draw there would carry of all weight,

    share(v) = w(v) / (w(v) + sum of the draws' weights).

Draws that know the whole posterior leave no place where that is much; a tail that none of them reached is full of such
places, because its mass is shared among less than one expected draw. So the walk is drawn there: the posterior is
multiplied by w / w_edge where w exceeds w_edge, what a tenth of the posterior exceeds, up to e^`PULL`. Where weights
are even that changes little; a tail of one part in a hundred gets half of the walkers.

The same states and the draws give a second evidence, by bridge sampling, which needs no further evaluation: a fraction
m of the posterior in the walk that stands where no draw is raises it by -ln(1 - m). The walk begins without that
fraction and mostly ends before it is filled, so the bridge is a lower limit: it sees far less than the weights do
(benchmarks/planted_tails.py).

A batch of sources is walked together, each with its own random numbers and no decision across sources.

Source: ter Braak 2006, Stat. Comput. 16, 239 (differential evolution); Goodman & Weare 2010, CAMCoS 5, 65 (halves);
Torrie & Valleau 1977, J. Comput. Phys. 23, 187 (umbrella sampling); Meng & Wong 1996, Stat. Sinica 6, 831 (bridge).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.prior import log_standard_normal

V = Float[Tensor, "source walker parameter"]
LogDensity = Callable[[V], Float[Tensor, "source walker"]]
"""Natural log of a density in probit coordinates, of a batch of sources."""

WALKERS, STEPS = 128, 40
"""Of a probe: 5248 evaluations."""

SETTLING = 0.5
"""This part of the walk is left out of what is counted."""

EDGE, PULL = 0.1, 5.0
"""The walk likes places more where the weight is larger than what this part of the posterior exceeds: by the ratio, in
natural log up to this much."""

WHOLE_JUMP = 0.1
"""Share of the jumps that are the whole difference of two walkers."""

LOCAL, NEAR = 0.5, 12
"""Share of the jumps along the difference of two that are near: they follow what bends."""

SHORTEST_JUMP = 0.05
"""Of the usual length; jumps are even in the logarithm."""

JITTER = 1e-5
"""Of the ensemble's spread: what makes every place reachable."""

HEAVY, DOUBTFUL, EXCESS = 0.1, 0.015, 2.0
"""A place where one draw would carry more than the first share of all weight was not reached by the draws, or more than
the second where that is e^`EXCESS` times the largest. Above the second alone a longer walk tells."""

GRAVE, MATERIAL = 0.5, 0.03
"""After the last new proposal: a share of one draw, and a part of the posterior above every draw, that matter even
where the evidence no longer changes. Kernels leave gaps of a part in a hundred in what is thin and bent."""

LONGER, FILLING = 4, 4
"""Times the steps, of a probe in doubt, and of the walk that collects what a new proposal is fitted to."""

TEMPERATURE = 0.6
"""Power of the likelihood in that walk: it reaches past the tails that the draws must cover."""

STATES, HALFWAY = 4000, 0.5
"""Of that walk; the power of the liking that is undone: between the posterior and what is unknown."""

LEAST_WALKERS = 3
"""So many different walkers have to have stood at such places."""

DISAGREE, SIGMAS = 0.1, 3.0
"""In ln Z and in standard errors: the bridge's evidence that is higher than the draws' by more is another evidence."""

BRIDGE_STEPS = 30


class Coordinates(Protocol):
    """Coordinates w to walk in, as `CountsCoordinates`."""

    def into(self, v: V) -> V:
        """Probit coordinates -> w."""
        ...

    def back(self, w: V) -> V:
        """And back."""
        ...

    def log_slope(self, v: V) -> Float[Tensor, "source walker"]:
        """ln |dw / dv|."""
        ...


class Probits:
    """The probit coordinates themselves."""

    def into(self, v: V) -> V:
        """v."""
        return v

    def back(self, w: V) -> V:
        """w."""
        return w

    def log_slope(self, v: V) -> Float[Tensor, "source walker"]:
        """0."""
        return torch.zeros_like(v[..., 0])


@dataclass(frozen=True)
class Ensemble:
    """Walkers and what is known where they stand.

    Attributes:
        v, w: Probit coordinates, and those that are walked in.
        log_target, log_proposal: There.
        log_walked: Natural log of the walked density in w.
    """

    v: V
    w: V
    log_target: Float[Tensor, "source walker"]
    log_proposal: Float[Tensor, "source walker"]
    log_walked: Float[Tensor, "source walker"]

    @property
    def log_weight(self) -> Float[Tensor, "source walker"]:
        """Natural log of target over proposal."""
        return self.log_target - self.log_proposal

    def moved(self, side: slice, accepted: Bool[Tensor, "source half"], trial: Ensemble) -> Ensemble:
        """The ensemble after some of one half's walkers took their trial."""

        def joined(old: Tensor, new: Tensor) -> Tensor:
            taken = accepted[..., None] if old.ndim == 3 else accepted
            result = old.clone()
            result[:, side] = torch.where(taken, new, old[:, side])
            return result

        return Ensemble(
            joined(self.v, trial.v),
            joined(self.w, trial.w),
            joined(self.log_target, trial.log_target),
            joined(self.log_proposal, trial.log_proposal),
            joined(self.log_walked, trial.log_walked),
        )


@dataclass(frozen=True)
class Walk:
    """What is walked, and how.

    Attributes:
        log_target: Natural log of the posterior, up to the evidence.
        log_proposal: Of the frozen proposal.
        coordinates: To walk in.
        knee: (source,) log weight above which places are liked more.
        power: Of the likelihood; the posterior's is 1.
    """

    log_target: LogDensity
    log_proposal: LogDensity
    coordinates: Coordinates
    knee: Float[Tensor, " source"]
    power: float = 1.0

    def at(self, v: V, w: V) -> Ensemble:
        """Walkers at these places; none can stay where a density is no number."""
        target, proposal = self.log_target(v), self.log_proposal(v)
        tempered = self.power * target + (1.0 - self.power) * log_standard_normal(v)
        walked = tempered + self.liking(target - proposal) - self.coordinates.log_slope(v)
        return Ensemble(v, w, target, proposal, torch.where(torch.isnan(walked), -torch.inf, walked))

    def liking(self, log_weight: Float[Tensor, "source place"]) -> Float[Tensor, "source place"]:
        """Natural log of walked density over target."""
        return (log_weight - self.knee[:, None]).clamp(0.0, PULL)

    def steps(self, start: V, count: int, generators: list[torch.Generator]) -> list[Ensemble]:
        """The ensemble after every step from a start."""
        now, half, states = self.at(start, self.coordinates.into(start)), start.shape[1] // 2, []
        for _ in range(count):
            for mine, others in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
                now = self._half_step(now, mine, others, generators)
            states.append(now)
        return states

    def _half_step(self, now: Ensemble, mine: slice, others: slice, generators: list[torch.Generator]) -> Ensemble:
        """One half jumps along differences of the other, which stands still: the walked density stays as it is."""
        here, there = now.w[:, mine], now.w[:, others]
        parameters = here.shape[-1]
        rolls = [_rolls(here.shape[1], there.shape[1], parameters, generator) for generator in generators]
        anywhere, close, chance, jitter = (torch.stack(column) for column in zip(*rolls, strict=True))
        local = chance[:, 3] < LOCAL
        nearest = _nearest(here, there)
        near = nearest.gather(2, close.mT).mT
        pair = torch.where(local[:, None], near, anywhere)
        first, second = (there.gather(1, pair[:, i, :, None].expand(-1, -1, parameters)) for i in (0, 1))
        usual = 2.38 / math.sqrt(2.0 * parameters) * torch.exp(math.log(SHORTEST_JUMP) * chance[:, 1])
        length = torch.where(chance[:, 0] < WHOLE_JUMP, 1.0, usual)
        w = here + length[..., None] * (first - second) + JITTER * there.std(1, keepdim=True) * jitter
        trial = self.at(self.coordinates.back(w), w)
        # a local jump has a way back only where both are still among the nearest
        back = (_nearest(w, there)[..., None] == pair.mT[..., None, :]).any(2).all(-1)
        accepted = (torch.log(chance[:, 2]) < trial.log_walked - now.log_walked[:, mine]) & (back | ~local)
        return now.moved(mine, accepted, trial)


@dataclass(frozen=True)
class TailProbe:
    """What a walk saw.

    Attributes:
        excess: Log weight at the walk's `LEAST_WALKERS`-th heaviest walker above the draws' largest.
        heaviest: The share of all weight that one draw there would carry.
        above: What the walk holds of the posterior at places heavier than every draw: about what is missing.
        log_evidence: From the walk and the draws, by bridge sampling.
        rise: That above the draws' own.
        rise_error: Standard error of the difference.
        v: The walk's places after settling, more of them where the draws are thin.
        log_weight: There.
        evaluations: Of the target, for each source.
    """

    excess: Float[Tensor, " source"]
    heaviest: Float[Tensor, " source"]
    above: Float[Tensor, " source"]
    log_evidence: Float[Tensor, " source"]
    rise: Float[Tensor, " source"]
    rise_error: Float[Tensor, " source"]
    v: Float[Tensor, "source state parameter"]
    log_weight: Float[Tensor, "source state"]
    evaluations: int

    @property
    def doubtful(self) -> Bool[Tensor, " source"]:
        """Whether a longer walk is called for."""
        return ~self.alarm & (self.heaviest > DOUBTFUL)

    @property
    def alarm(self) -> Bool[Tensor, " source"]:
        """Whether a tail may be missing."""
        unreached = (self.heaviest > HEAVY) | ((self.heaviest > DOUBTFUL) & (self.excess > EXCESS))
        apart = self.rise > (SIGMAS * self.rise_error).clamp(min=DISAGREE)
        return unreached | apart

    def small(self, change: Float[Tensor, " source"]) -> Bool[Tensor, " source"]:
        """Whether an alarm was about little, now that the evidence of wider proposals is known.

        Args:
            change: Of ln Z, by all of them.
        """
        return (self.heaviest < GRAVE) & (self.above < MATERIAL) & (change.abs() < DISAGREE)

    def grave(self, change: Float[Tensor, " source"]) -> Bool[Tensor, " source"]:
        """Whether an alarm that new proposals did not settle is more than small gaps.

        Args:
            change: Of ln Z by the last of them, inf where there was none.
        """
        large = (self.heaviest > GRAVE) | (self.above > MATERIAL)
        return self.alarm & (large | (change.abs() > DISAGREE))

    def reason(self, source: int) -> str:
        """What is said of an alarm."""
        share = f"one draw would carry {100.0 * float(self.heaviest[source]):.0f} % of all weight"
        return f"a tail may be missing: where a walk on the posterior came, {share}, ln Z is {self.rise[source]:+.2f}"


def probe(
    log_target: LogDensity,
    log_proposal: LogDensity,
    v: Float[Tensor, "source draw parameter"],
    log_weight: Float[Tensor, "source draw"],
    generators: list[torch.Generator],
    coordinates: Coordinates | None = None,
    walkers: int = WALKERS,
    steps: int = STEPS,
) -> TailProbe:
    """Walk from weighted draws and compare.

    Args:
        log_target: Natural log of the posterior density in probit coordinates, up to the evidence; a cheaper one than
            the draws' own serves where the draws' weights are taken on it as well.
        log_proposal: Of the frozen proposal that the draws come from.
        v: The draws.
        log_weight: Theirs, of this target and this proposal; -inf for draws without weight.
        generators: One per source.
        coordinates: To walk in; None for v.
        walkers: An even number.
        steps: Of every walker.
    """
    walk = Walk(log_target, log_proposal, coordinates or Probits(), _knee(log_weight))
    weight = torch.softmax(log_weight + walk.liking(log_weight), dim=1)
    picked = [
        torch.multinomial(one, walkers, replacement=True, generator=g)
        for one, g in zip(weight, generators, strict=True)
    ]
    start = v.gather(1, torch.stack(picked)[..., None].expand(-1, -1, v.shape[-1]))
    states = walk.steps(start, steps, generators)
    late = states[math.floor(SETTLING * steps) :]
    stood = torch.stack([one.log_weight for one in late], dim=1)  # (source, step, walker)
    everywhere = stood.flatten(1)
    undone = torch.softmax(-walk.liking(everywhere), dim=1)
    most = log_weight.amax(1)
    total = torch.logsumexp(log_weight, dim=1)
    walker = stood.amax(1).topk(min(LEAST_WALKERS, walkers), dim=1).values[:, -1]
    above = (undone * (everywhere > most[:, None])).sum(1)
    log_evidence, rise, error = bridge(log_weight, stood, -walk.liking(everywhere).reshape(stood.shape))
    return TailProbe(
        walker - most,
        torch.sigmoid(walker - total),
        above,
        log_evidence,
        rise,
        error,
        torch.cat([one.v for one in late], dim=1),
        everywhere,
        walkers * (steps + 1),
    )


def _knee(log_weight: Float[Tensor, "source draw"]) -> Float[Tensor, " source"]:
    """The log weight that `EDGE` of the posterior's draws exceed."""
    ascending = log_weight.sort(dim=1).values
    beyond = torch.softmax(ascending, dim=1).flip(1).cumsum(1).flip(1)
    place = (beyond >= EDGE).sum(1, keepdim=True) - 1
    return ascending.gather(1, place.clamp(min=0))[:, 0]


def bridge(
    log_weight: Float[Tensor, "source draw"],
    walked: Float[Tensor, "source step walker"],
    log_undone: Float[Tensor, "source step walker"],
) -> tuple[Float[Tensor, " source"], Float[Tensor, " source"], Float[Tensor, " source"]]:
    """ln Z from draws of the proposal and states of a walk together, its rise above the draws' own, and its error.

    The ratio of normalisations r solves

        r = mean over draws of w / (a w + b r)  /  mean over the walk of 1 / (a w + b r),

    with a : b the effective numbers of states and draws.

    Args:
        log_weight: Of the draws.
        walked: Log weights along the walk.
        log_undone: Natural log of the weights that turn the walk's density into the posterior.
    """
    own = torch.logsumexp(log_weight, dim=1) - math.log(log_weight.shape[1])
    scaled = log_weight - own[:, None]
    states = walked - own[:, None, None]
    undone = torch.softmax(log_undone.flatten(1), dim=1).reshape(log_undone.shape)
    draws, walkers = log_weight.shape[1], walked.shape[2]
    a, b = walkers / (walkers + draws), draws / (walkers + draws)
    log_r = torch.zeros_like(own)
    for _ in range(BRIDGE_STEPS):
        below = torch.logaddexp(scaled + math.log(a), log_r[:, None] + math.log(b))
        top = torch.logsumexp(scaled - below, dim=1) - math.log(draws)
        beside = torch.logaddexp(states + math.log(a), log_r[:, None, None] + math.log(b))
        bottom = torch.logsumexp((torch.log(undone) - beside).flatten(1), dim=1)
        log_r = top - bottom
    # each walker is one independent state: its steps are averaged
    per_walker = (undone * torch.exp(-beside)).sum(1)
    per_walker = per_walker / per_walker.mean(1, keepdim=True)
    per_draw = torch.exp(scaled - below)
    per_draw = per_draw / per_draw.mean(1, keepdim=True)
    plain = torch.exp(scaled)
    error = (per_walker.var(1) / walkers + (per_draw - plain / plain.mean(1, keepdim=True)).var(1) / draws).sqrt()
    return own + log_r, log_r, error


def states_to_cover(
    log_target: LogDensity,
    log_proposal: LogDensity,
    seen: TailProbe,
    log_weight: Float[Tensor, "source draw"],
    generators: list[torch.Generator],
    coordinates: Coordinates | None = None,
    walkers: int = WALKERS,
    steps: int = FILLING * STEPS,
) -> tuple[V, int]:
    """What the next proposal has to cover: a walk that goes on where the probe ended, until it filled the tail.

    Args:
        log_target, log_proposal: As the probe's.
        seen: The probe that gave the alarm.
        log_weight: Of the draws.
        generators: One per source.
        coordinates: As the probe's.
        walkers: Of the probe.
        steps: To go.

    Returns:
        Places in the coordinates, equally weighted, the tail among them with more than its mass; and the evaluations.
    """
    walk = Walk(log_target, log_proposal, coordinates or Probits(), _knee(log_weight), TEMPERATURE)
    late = walk.steps(seen.v[:, -walkers:], steps, generators)[math.floor(SETTLING * steps) :]
    w, weight = (torch.cat(column, dim=1) for column in zip(*((one.w, one.log_weight) for one in late), strict=True))
    chance = torch.softmax(-HALFWAY * walk.liking(weight), dim=1)
    picked = [
        torch.multinomial(one, STATES, replacement=True, generator=g) for one, g in zip(chance, generators, strict=True)
    ]
    return w.gather(1, torch.stack(picked)[..., None].expand(-1, -1, w.shape[-1])), walkers * (steps + 1)


def confirmed(
    seen: TailProbe,
    log_target: LogDensity,
    log_proposal: LogDensity,
    log_weight: Float[Tensor, "source draw"],
    states: int = 16,
) -> TailProbe:
    """A probe on a cheap target with its heaviest places weighed on the exact one.

    Args:
        seen: On the cheap target.
        log_target: The exact one.
        log_proposal: Of the frozen proposal.
        log_weight: Of the draws, exact.
        states: How many of the heaviest are weighed.
    """
    index = seen.log_weight.topk(states, dim=1).indices
    v = seen.v.gather(1, index[..., None].expand(-1, -1, seen.v.shape[-1]))
    exact = log_target(v) - log_proposal(v)
    exact = torch.where(torch.isnan(exact), -torch.inf, exact)
    typical = exact.median(1).values
    return replace(
        seen,
        heaviest=torch.sigmoid(typical - torch.logsumexp(log_weight, dim=1)).clamp(max=seen.heaviest),
        excess=(typical - log_weight.amax(1)).clamp(max=seen.excess),
        evaluations=seen.evaluations + states,
    )


def _nearest(here: V, there: V) -> Int[Tensor, "source walker near"]:
    """The `NEAR` of the others that are nearest to each walker, by the spread of every coordinate."""
    spread = there.std(1, keepdim=True).clamp(min=1e-300)
    return torch.cdist(here / spread, there / spread).topk(min(NEAR, there.shape[1]), dim=2, largest=False).indices


def _rolls(
    mine: int, others: int, parameters: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One half step's random numbers of one source: two of the others and two of the near for each walker, chances,
    jitter."""
    pairs = []
    for count in (others, min(NEAR, others)):
        first = torch.randint(0, count, (mine,), generator=generator)
        second = torch.randint(0, count - 1, (mine,), generator=generator)
        pairs.append(torch.stack([first, second + (second >= first)]))
    chance = torch.rand((4, mine), generator=generator, dtype=torch.float64)
    return pairs[0], pairs[1], chance, torch.randn((mine, parameters), generator=generator, dtype=torch.float64)
