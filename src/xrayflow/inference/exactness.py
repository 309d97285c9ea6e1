"""From draws that were weighed on the corrected grid to draws whose weights are the answer's.

The ladder is climbed on the search's grid, made exact at the modes. What is certified rests on the answer's own grid:

    corrected at the modes -> follows? -> corrected at some draws too -> follows? -> weighed on the answer's own grid

Where that leaves weights that are not good (a line narrower than the search's bins), the ladder is climbed anew on what
follows.

"Follows" is asked of posterior draws (`checks.grid`). Then a finer grid is asked whether the answer's own is fine
enough; where it is not, and was ours to choose, the draws are weighed on the finer, or the ladder is climbed anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.folding import EXACT, FINER
from xrayflow.inference.answer import Candidate, best_points, picked_rows
from xrayflow.inference.checks.grid import DRAWS, FINER_DRAWS, GridChange
from xrayflow.inference.checks.verdict import GRID_SPREAD
from xrayflow.inference.ladder import State, is_good
from xrayflow.inference.rungs import missing_tails
from xrayflow.problem import Problem

MORE_PLACES = 4
"""Draws at which the corrected grid is made exact where its modes do not do."""

HIDDEN, SEEN = 1.0, 10.0
"""In natural log of the posterior: by how much a correction may make it too small, where it is within so much of the
likeliest draw."""

PARTS = FINER.parts, 2
"""Into which each bin is cut where the answer's grid is too coarse, and to check that."""


class ClimbAgain(Protocol):
    """Climbs the ladder anew for one source."""

    def __call__(self, source: int, problem: Problem, exactly: bool) -> State:
        """The state at the top.

        Args:
            source: Its number in the batch.
            problem: Of this source.
            exactly: Whether all of the way is on this very problem, because a coarser one does not follow it.
        """
        ...


def weighed_exactly(state: State, exact: Problem, own_grid: bool, climb_again: ClimbAgain) -> list[Candidate]:
    """Every source with draws whose weights follow the answer's grid, and with what a finer grid says of that.

    Args:
        state: At the top of the ladder.
        exact: The batch on the answer's own grid.
        own_grid: Whether that grid was ours to choose; one that a user gave is the answer's.
        climb_again: What climbs anew.
    """
    missing = missing_tails(state)
    with state.clock.charged("certify", range(exact.sources)):
        found, finer = [], exact.at(FINER)
        best = best_points(state.problem, state.modes, state.answers())
    for source in range(exact.sources):
        at = torch.tensor([source])
        one = Candidate(
            exact=exact.select(at),
            problem=state.problem.select(at),
            generator=state.generators[source],
            modes=state.modes.select(at),
            drawn=state.drawn(source),
            best=best[source],
            grid_spread=0.0,
            spent=int(state.spent[source]),
            own_grid=own_grid,
            searched=state.tails.evaluations[source],
            missing_tail=missing[source],
            stopped=state.clock.reason(source),
        )
        with state.clock.charged("certify", [source]):
            again, seen = partial(climb_again, source), state.tails.last.get(source)
            if seen is not None and seen.visited is not None:
                one = _unhidden(one, seen.visited, again)
            one = _spread(_following(one, state, again), finer.select(at))
            if own_grid and not one.grid_spread <= GRID_SPREAD:
                one = _on_finer(one, state, again)
        found.append(one)
    return found


def _on_finer(one: Candidate, state: State, climb_again: Callable[[Problem, bool], State]) -> Candidate:
    """On a finer grid."""
    finer = one.exact.finer(PARTS[0])
    one = _following(_weighed_on(replace(one, exact=finer), _corrected(finer, one)), state, climb_again)
    if not is_good(one.drawn, state.budget.ess):
        one = _following(_climbed(one, climb_again(finer, False)), state, climb_again)
    (best,) = best_points(one.problem, one.modes, [one.drawn])
    return _spread(replace(one, best=best), finer.finer(PARTS[1]))


def _unhidden(
    one: Candidate, visited: Float[Tensor, "place parameter"], climb_again: Callable[[Problem, bool], State]
) -> Candidate:
    """On a problem that hides nothing where a search went.

    No draw is where a correction makes the posterior too small, so no check of draws can tell.
    """
    if one.problem.is_exact or visited.shape[0] == 0:
        return one
    truth, seen = (of.log_target(visited[None])[0] for of in (one.exact, one.problem))
    one = replace(one, spent=one.spent + 2 * visited.shape[0])
    hidden = torch.where(truth > one.drawn.log_target.max() - SEEN, truth - seen, 0.0)
    worst = hidden.topk(min(MORE_PLACES, hidden.numel())).indices
    worst = worst[hidden[worst] > HIDDEN]
    if worst.numel() == 0:
        return one
    return _climbed(one, climb_again(_corrected(one.exact, one, visited[worst]), True))


def _following(one: Candidate, state: State, climb_again: Callable[[Problem, bool], State]) -> Candidate:
    """With weights that follow the answer's grid."""
    if one.problem.is_exact:
        return one
    at = picked_rows(one.drawn, DRAWS, one.generator)
    one = replace(one, spent=one.spent + DRAWS)
    if _change(one, one.exact, at).is_small:
        return one
    places, others = at[:MORE_PLACES], at[MORE_PLACES:]
    one = _weighed_on(one, _corrected(one.exact, one, one.drawn.v[0, places]))
    one = replace(one, spent=one.spent + others.numel())
    if not _change(one, one.exact, others).is_small:
        one = _weighed_on(one, one.exact)
    if not is_good(one.drawn, state.budget.ess):
        one = _climbed(one, climb_again(one.problem, True))
    (best,) = best_points(one.problem, one.modes, [one.drawn])
    return replace(one, best=best)


def _climbed(one: Candidate, again: State) -> Candidate:
    """What the ladder gave when it was climbed anew."""
    missing = missing_tails(again)[0]
    return replace(
        one,
        exact=again.problem.at(EXACT),
        problem=again.problem,
        modes=again.modes,
        drawn=again.drawn(0),
        spent=one.spent + int(again.spent[0]),
        searched=one.searched + again.tails.evaluations[0],
        missing_tail=missing,
        stopped=one.stopped or again.clock.reason(0),
    )


def _change(one: Candidate, other: Problem, rows: Tensor) -> GridChange:
    """What another grid does to the likelihoods that some draws were weighed with."""
    return GridChange.of(one.drawn.log_likelihood[0, rows], other, one.drawn.v[0, rows])


def _corrected(exact: Problem, one: Candidate, more: Tensor | None = None) -> Problem:
    """The problem on the search's grid, made exact at the modes of a source, and at more places."""
    v = one.distinct_modes
    v = v if more is None else torch.cat([v, more])
    return exact.corrected(exact.prior.to_theta(v)[None], torch.ones((1, v.shape[0]), dtype=torch.bool))


def _weighed_on(one: Candidate, problem: Problem) -> Candidate:
    """The same draws with the weights of another grid."""
    drawn = replace(one.drawn, log_target=problem.log_target(one.drawn.v))
    return replace(one, problem=problem, drawn=drawn, spent=one.spent + drawn.v.shape[1])


def _spread(one: Candidate, finer: Problem) -> Candidate:
    """With what a finer grid does to the answer's."""
    rows = picked_rows(one.drawn, FINER_DRAWS, one.generator)
    theta = one.exact.prior.to_theta(one.drawn.v[:, rows])
    change = GridChange.of(one.exact.log_likelihood(theta)[0], finer, one.drawn.v[0, rows])
    return replace(one, grid_spread=change.spread, spent=one.spent + 2 * FINER_DRAWS)
