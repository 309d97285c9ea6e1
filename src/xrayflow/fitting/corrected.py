"""Optima on the search's grid, made exact where the best starts arrive: the modes that inference begins with.

Where calibration modes are in the likelihood, that is made exact too: about a fit, whose energy scale goes into the
fold (`centred`). A coarse search can end elsewhere than its best place comes to rest, so the centre is looked at again.

The modes are put on a fine grid in the end (`settle`), so that a source has the same digits in any company.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.dataset import FOLLOWED
from xrayflow.fitting.first_ends import COARSE_ITERATIONS, COARSE_TOLERANCE, first_ends
from xrayflow.fitting.levenberg_marquardt import Late
from xrayflow.fitting.minima import Minima, descend, follow_leaders, leaders_of
from xrayflow.fitting.multistart import TOLERANCE, Modes
from xrayflow.fitting.objective import Objective
from xrayflow.fitting.scan import LOOKS, place_parameters, scanned_starts
from xrayflow.folding import SEARCH
from xrayflow.problem import Problem

CENTRES = 8
"""How often an energy scale that is off moves the fold, at most."""

RECENTRED, MOVED = 2, 5.0
"""How often that is done again where a fit comes to rest, at most, and how far from there, in standard deviations of
the posterior, if the energy scale is the same."""

MADE_EXACT = 6
"""Places where a corrected problem is exact, at most, beside those of a scan: the best that are distinct."""

AT_REST = 12
"""Steps that bring the rounded end of a coarse search to rest; one that needs more is far above the best."""

SETTLING = 2
"""Steps after which what a batch adds to a mode is far below the grid that it is put on."""

FINEST = 2.0**22
"""Places of that grid in one prior standard deviation."""


def corrected_modes(
    problem: Problem, starts: Float[Tensor, "source start parameter"], late: Late | None = None
) -> tuple[Modes, Problem]:
    """Run every start to its optimum on the search's grid, made exact where the best starts arrive.

    Args:
        problem: The batch.
        starts: Probit coordinates.
        late: Whether a limit of time has been reached: the starts end where they are then.

    Returns:
        The modes of the corrected problem, settled, and that problem.
    """
    goal = Objective.of(problem.at(SEARCH), "probit")
    found = first_ends(goal, goal.from_theta(problem.prior.to_theta(starts)), late)
    features = len(place_parameters(problem.model))
    if features and not (late is not None and late()):
        looks, spent = scanned_starts(problem.at(SEARCH), "probit", found.best, late)
        held = torch.zeros_like(looks, dtype=torch.bool)
        found = found.beside(descend(goal, looks, held, COARSE_ITERATIONS, COARSE_TOLERANCE, late), spent)
    information = goal.in_probit(found.x, found.information)
    v = _rounded(goal, found)
    ends = Modes(v, found.value, information, found.evaluations)
    exact = MADE_EXACT + LOOKS * features  # what a scan finds displaces no other place
    places, every = _Places.of(ends, exact), list(range(problem.sources))
    before, (problem, centre) = problem, _centred_at(problem, places.best, every, late)
    leader = leaders_of(found)
    if problem is not before:  # where the fold led is one more place
        ends = ends.beside(places.first)
        leader = torch.nn.functional.pad(leader, (0, 1), value=leader.shape[1])
        places, ends = places.led_to(centre, ends, every)
    corrected, ends = places.made_exact(problem, ends, every)
    modes = _at_rest(corrected, ends, leader, every, late)
    for _ in range(RECENTRED):
        # what comes to rest elsewhere than a coarse search had ended has another energy scale, and other modes' effects
        better = _Places.of(modes, exact)
        moved = [] if late is not None and late() else _moved(problem, better, centre)
        if not moved:
            break
        problem, centre = _centred_at(problem, better.best, moved, late)
        better, modes = better.led_to(centre, modes, moved)
        places = places.moved(better, moved)
        corrected, modes = places.made_exact(problem, modes, moved)
        modes = _at_rest(corrected, modes, leader, moved, late)
    return settle(corrected, modes, late=late), corrected


@dataclass(frozen=True)
class _Places:
    """The best places of each source, where the search's grid is made exact.

    Attributes:
        v: (source, place, parameter) probit coordinates, best first.
        known: (source, place) which of them are any.
        first: (source,) the start that the best one is of; where there is none, the first.
        information: (source, parameter, parameter) there.
    """

    v: Float[Tensor, "source place parameter"]
    known: Bool[Tensor, "source place"]
    first: Int[Tensor, " source"]
    information: Float[Tensor, "source parameter parameter"]

    @classmethod
    def of(cls, modes: Modes, most: int) -> _Places:
        """Of a search.

        Args:
            modes: Where it ended.
            most: Places of a source.
        """
        known = torch.zeros((modes.v.shape[0], most), dtype=torch.bool)
        at = torch.zeros(known.shape, dtype=torch.int64)
        for source, index in enumerate(modes.distinct(math.inf)):
            count = min(index.numel(), most)
            known[source, :count], at[source, :count] = True, index[:count]
        v = _on_grid(modes.v, modes.information).gather(1, at[..., None].expand(-1, -1, modes.v.shape[2]))
        return cls(v, known, at[:, 0], modes.information[torch.arange(at.shape[0]), at[:, 0]])

    @property
    def best(self) -> Float[Tensor, "source parameter"]:
        """The best place of each source."""
        return self.v[:, 0]

    def led_to(
        self, centre: Float[Tensor, "source parameter"], modes: Modes, sources: list[int]
    ) -> tuple[_Places, Modes]:
        """With one more, first place of some sources: where the fold that follows their best one has led it.

        Args:
            centre: There.
            modes: Of the search; their last start goes there, and nowhere where the fold stands.
            sources: Which.
        """
        own = torch.tensor(sources)
        went = (centre[own] != self.best[own]).any(-1)
        v, known, ends, objective = self.v.clone(), self.known.clone(), modes.v.clone(), modes.objective.clone()
        chosen = own[went]
        v[chosen] = torch.cat([centre[chosen, None], v[chosen, :-1]], dim=1)
        known[chosen] = torch.cat([known[chosen, :1], known[chosen, :-1]], dim=1)
        ends[own, -1] = centre[own]
        objective[own, -1] = torch.where(went, objective[own, self.first[own]], torch.inf)
        return replace(self, v=v, known=known), replace(modes, v=ends, objective=objective)

    def moved(self, other: _Places, sources: list[int]) -> _Places:
        """With the places of some sources from another search.

        Args:
            other: Where those are.
            sources: Which.
        """
        parts = [(getattr(self, one.name).clone(), getattr(other, one.name)) for one in fields(self)]
        for own, new in parts:
            own[sources] = new[sources]
        return _Places(*(own for own, _ in parts))

    def made_exact(self, problem: Problem, modes: Modes, sources: list[int]) -> tuple[Problem, Modes]:
        """The problem on the search's grid, exact at the places, and the modes with what that costs some sources.

        Args:
            problem: On the answer's own grid.
            modes: Of the search.
            sources: Whose places are new.
        """
        wide = max(int(self.known.sum(-1).max()), 1)
        known = self.known[:, :wide]
        corrected = problem.corrected(problem.prior.to_theta(self.v[:, :wide]), known)
        evaluations = modes.evaluations.clone()
        if not corrected.is_exact:
            evaluations[sources] += known[sources].sum(-1) * (1 + problem.parameters)
        return corrected, replace(modes, evaluations=evaluations)


def _at_rest(
    problem: Problem, modes: Modes, leader: Int[Tensor, "source start"], sources: list[int], late: Late | None
) -> Modes:
    """Leading places of some sources followed to where they come to rest; the others take over what they find."""
    goal = Objective.of(problem, "probit")
    x = goal.from_theta(problem.prior.to_theta(modes.v))
    able = torch.isfinite(modes.objective)
    able &= torch.isin(torch.arange(problem.sources), torch.tensor(sources))[:, None]
    ends, of, row = follow_leaders(goal, x, leader, able, AT_REST, TOLERANCE, late)
    led = (row >= 0)[..., None]
    value = torch.where(torch.isfinite(ends.value), ends.value, torch.inf)
    return Modes(
        torch.where(led, goal.to_probit(ends.x)[row], modes.v),
        torch.where(led[..., 0], value[row], modes.objective),
        torch.where(led[..., None], goal.in_probit(ends.x, ends.hessian)[row], modes.information),
        modes.evaluations.index_add(0, of, ends.evaluations),
    )


def _moved(problem: Problem, places: _Places, centre: Float[Tensor, "source parameter"]) -> list[int]:
    """Sources whose best place is another one than the place that the likelihood is exact about."""
    way = places.best - centre
    away = (way[:, None] @ places.information @ way[..., None])[:, 0, 0] > MOVED**2
    return problem.data.off_centre(problem.prior.to_theta(places.best[:, None]), away.tolist(), FOLLOWED)


def centred(problem: Problem, v: Float[Tensor, "source parameter"]) -> Problem:
    """The problem whose likelihoods are exact at a fit, its fold moved until the energy scale stands.

    Args:
        problem: The batch, on the answer's own grid.
        v: Probit coordinates of a fit of each source; where the fold moves, a better one is looked for from there.
    """
    return _centred_at(problem, v, list(range(problem.sources)))[0]


def _centred_at(
    problem: Problem, v: Tensor, sources: Sequence[int], late: Late | None = None
) -> tuple[Problem, Tensor]:
    """Of some sources; where those are exact then. Where time is up the fold stays as it is."""
    v, moving = v.clone(), list(sources)
    for _ in range(CENTRES):
        before = problem
        problem = before.centred(problem.prior.to_theta(v[:, None]), moving)
        moving = [source for source in moving if not problem.data.folds_like(before.data, source)]
        if not moving or (late is not None and late()):
            break
        for source in moving:  # each alone: the same digits in any company
            own, at = problem.select(torch.tensor([source])), problem.prior.to_theta(v[source][None, None])
            # the search's own grid has another optimum, by more than a bright spectrum's energy scale allows
            goal = Objective.of(own.corrected(at, torch.ones((1, 1), dtype=torch.bool)), "probit")
            x = goal.from_theta(at)
            found = descend(goal, x, torch.zeros_like(x, dtype=torch.bool), COARSE_ITERATIONS, COARSE_TOLERANCE)
            v[source] = _rounded(goal, found)[0, 0]
    return problem, v


def _rounded(goal: Objective, found: Minima) -> Tensor:
    """Ends in probit coordinates, on a grid: last digits depend on the company."""
    return _on_grid(goal.to_probit(found.x), goal.in_probit(found.x, found.information))


def _on_grid(v: Tensor, information: Tensor) -> Tensor:
    """Places on a grid a quarter as wide as the posterior."""
    curvature = information.diagonal(dim1=-2, dim2=-1)
    step = torch.exp2(torch.floor(-0.5 * torch.log2(curvature.clamp(min=1.0)))) / 4.0
    return torch.round(v / step) * step


def settle(problem: Problem, modes: Modes, late: Late | None = None) -> Modes:
    """The modes of each source with a last few steps without its company, and put on a fine grid.

    In a batch the last digits of a sum depend on what else is summed; a search that draws its random numbers by what it
    has found turns them into another answer. From here on a source has the same digits in any company.

    Args:
        problem: The batch.
        modes: Of `minimise`, or anything near; those at the same place are one.
        late: Whether a limit of time has been reached.
    """
    v, objective, information = modes.v.clone(), modes.objective.clone(), modes.information.clone()
    evaluations = modes.evaluations.clone()
    for source in range(problem.sources):
        alone = problem.select(torch.tensor([source]))
        goal = Objective.of(alone, "probit")
        at: dict[bytes, list[int]] = {}
        for start in torch.isfinite(objective[source]).nonzero()[:, 0].tolist():
            at.setdefault(v[source, start].numpy().tobytes(), []).append(start)
        if not at:
            continue
        places = v[source, [starts[0] for starts in at.values()]][None]
        held = torch.zeros_like(places, dtype=torch.bool)
        near = descend(goal, goal.from_theta(alone.prior.to_theta(places)), held, SETTLING, 0.0, late)
        rounded = torch.round(goal.to_probit(near.x) * FINEST) / FINEST
        ends = descend(goal, goal.from_theta(alone.prior.to_theta(rounded)), held, 0, TOLERANCE)
        bends = goal.in_probit(ends.x, ends.information)
        for number, starts in enumerate(at.values()):
            v[source, starts], objective[source, starts] = rounded[0, number], ends.value[0, number]
            information[source, starts] = bends[0, number]
        evaluations[source] += near.evaluations[0] + ends.evaluations[0]
    return Modes(v, objective, information, evaluations)
