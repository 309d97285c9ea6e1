"""The rung for tails that no draw reached: a search from the draws looks for them, and what it finds is drawn from.

Effective sample size and Pareto k say nothing of where no draw went, so the draws of every source are searched from
(`checks.tails`), unless there are too few effective ones to set out from. Where a tail is missing, or where weights are
not good and the search came to heavy places, kernels there stand beside the frozen proposal; a pilot of them and the
draws so far shape the next, which is weighed anew. A widened proposal that is not good yet is fitted once more to all
that was drawn. What the last search still finds is said in the verdict.

The search's evaluations are counted apart from those of draws.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from xrayflow.inference.checks.tails import look_for_tails
from xrayflow.inference.ladder import SamplingBudget, State
from xrayflow.inference.proposals.counts_coordinates import CountsCoordinates
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.mixture import Proposal
from xrayflow.inference.proposals.widening import Widening
from xrayflow.inference.rungs.refine import refitted

MORE = 800
"""Draws of the kernels beside the search's own pilot."""

ENOUGH = 15.0
"""Effective draws to search from. Weights are often uneven because a tail is missing; fewer know nothing."""


class Widen:
    """The frozen proposals of answers that miss a tail, with what a search found beside them."""

    name = "looking for tails"

    def climbers(self, state: State) -> Int[Tensor, " climber"]:
        """Sources that miss a tail; of those that are not good, the widened, and those whose search has kernels."""
        search(state)
        poor, tails = set(state.unsettled().tolist()), state.tails
        chosen = [source for source, seen in tails.last.items() if seen.alarm or (source in poor and seen.kernels)]
        return torch.tensor(sorted({*chosen, *(tails.widened & poor)}), dtype=torch.int64)

    def most(self, budget: SamplingBudget) -> float:
        """Half as many as an explored proposal: rather fit it once more."""
        return 0.5 * budget.most

    def propose(self, state: State, sources: Int[Tensor, " climber"]) -> Proposal:
        """A proposal for each of some sources."""
        for source in sources.tolist():
            seen, at = state.tails.last.get(source), torch.tensor([source])
            if seen is not None and seen.kernels is not None:
                base = state.base(source)
                widening = Widening.of(state.drawn(source), seen.kernels, seen.missing, base.mixture)
                pilot = WeightedDraws.of(widening.kernels, seen.pilot[None], seen.log_target[None])
                one = state.problem.select(at)
                known = [state.drawing.learnt(one, drawn) for drawn in (widening.earlier, pilot)]
                state.rebase(source, widening.proposal, known)
                state.tails.widened.add(source)
                state.draw(at, widening.kernels, MORE)
        return Proposal.stack(refitted(state, sources))


def search(state: State) -> None:
    """Search from the last draws of all sources that have not been searched from.

    Args:
        state: Where the batch stands; what the search says is kept in it.
    """
    tails = state.tails
    asked = [
        source
        for source, drawn in enumerate(state.fresh)
        if drawn is not None and source not in tails.last and drawn.ess >= ENOUGH
    ]
    asked = state.clock.left(torch.tensor(asked, dtype=torch.int64)).tolist()
    if not asked:
        return
    problem = state.problem.select(torch.tensor(asked))
    drawn = [state.drawn(source) for source in asked]
    generators = [state.generators[source] for source in asked]
    seen = look_for_tails(problem, CountsCoordinates.of(problem), drawn, generators)
    for source, one in zip(asked, seen, strict=True):
        tails.last[source] = one
        tails.evaluations[source] += one.evaluations


def missing_tails(state: State) -> list[str]:
    """What is to be said of a tail that may be missing, of every source at the top of the ladder; "" where none is.

    Args:
        state: Where the batch stands.
    """
    search(state)
    return [state.tails.reason(source) for source in range(state.problem.sources)]
