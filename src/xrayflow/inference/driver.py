"""From a problem that is built to its certified posteriors: find modes, climb the ladder, weigh exactly, judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from xrayflow.folding import EXACT
from xrayflow.inference.amortised import answer_amortised
from xrayflow.inference.answer import judge
from xrayflow.inference.clock import Clock
from xrayflow.inference.exactness import weighed_exactly
from xrayflow.inference.ladder import SamplingBudget, State, climb
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.proposals.mixture import log_density_of_each
from xrayflow.inference.proposals.network import Guide, NetworkProposal, require_network
from xrayflow.inference.rungs import LADDER, find_modes, first_proposal
from xrayflow.memory import keep_freed_memory
from xrayflow.problem import Problem

Progress = Callable[[str, float], None]
"""Called with the name of the step and the done fraction of the whole, 0..1."""

FRACTIONS = {
    "proposing": 0.5,
    "following ridges": 0.75,
    "proposing again": 0.78,
    "exploring": 0.8,
    "looking for tails": 0.83,
}
"""How far an answer is, roughly, when a rung is done."""


def infer_problem(
    problem: Problem,
    network: NetworkProposal | None = None,
    seed: int = 0,
    budget: SamplingBudget | None = None,
    progress: Progress | None = None,
    own_grid: bool = True,
) -> list[Posterior]:
    """The certified posteriors of a problem that is built already.

    Args:
        problem: The batch.
        network: What a network says of it.
        seed: The same seed and file give the same answer, in any company.
        budget: How hard to try.
        progress: Called with (step, fraction).
        own_grid: Whether a grid that is too coarse may be made finer; one that a user gave is the answer's.
    """
    keep_freed_memory()
    budget, told = budget or SamplingBudget(), progress or silent
    guide = None if network is None else network.posterior
    generators = problem.generators(seed)
    state = _climbed(problem, guide, budget, generators, told)
    told("energy grid", 0.85)

    def climb_again(source: int, problem: Problem, exactly: bool) -> State:
        own = None if guide is None else guide.select(torch.tensor([source]))
        return _climbed(problem, own, budget, [generators[source]], told, exactly)

    candidates = weighed_exactly(state, state.problem.at(EXACT), own_grid, climb_again)
    told("checking", 0.9)
    with state.clock.charged("certify", range(problem.sources)):
        proposals = [one.drawn.proposal for one in candidates]
        at_modes = log_density_of_each(proposals, [one.distinct_modes for one in candidates])
    answers = []
    for source, (one, log_at_modes) in enumerate(zip(candidates, at_modes, strict=True)):
        with state.clock.charged("certify", [source]):
            answer = judge(one, budget, seed, log_at_modes)
        answers.append(_told(timed(answer, state.clock.taken(source)), network, source))
    told("done", 1.0)
    return answers


def _climbed(
    problem: Problem,
    guide: Guide | None,
    budget: SamplingBudget,
    generators: list[torch.Generator],
    told: Progress,
    exactly: bool = False,
) -> State:
    """The state at the top of the ladder."""
    clock = Clock(problem.sources, budget.seconds)
    told("searching", 0.05)
    with clock.charged("optimise", range(problem.sources)):
        modes, corrected = find_modes(problem, budget.starts, generators, guide, exactly, clock.is_late)
        first, guided = first_proposal(corrected, modes, guide)
    state = State(corrected, budget, generators, modes, first, guided, clock=clock)
    told("proposing", 0.35)
    for now in climb(state, LADDER):
        told(now.rung, FRACTIONS.get(now.rung, 0.8))
    return state


def network_alone(problem: Problem, said: NetworkProposal, seed: int, draws: int) -> list[Posterior]:
    """The network's own posteriors: quick, without weights, never certified.

    Args:
        problem: The batch.
        said: What the network says of it.
        seed: The run's.
        draws: Of each.
    """
    posterior = require_network(said, problem)
    answers = []
    for source, generator in enumerate(problem.generators(seed)):
        started = time.perf_counter()
        at = torch.tensor([source])
        one = answer_amortised(problem.select(at), posterior.select(at), draws, generator, seed)
        answers.append(_told(timed(one, {"propose": time.perf_counter() - started}), said, source))
    return answers


def _told(answer: Posterior, said: NetworkProposal | None, source: int) -> Posterior:
    """The answer with what there is to say about the network."""
    if said is None:
        return answer
    note = said.notes[source]
    flags = (*answer.flags, "outside_training") if said.outside[source] else answer.flags
    notes = (*answer.provenance.notes, note) if note else answer.provenance.notes
    provenance = replace(answer.provenance, network=said.name(source), notes=notes)
    return replace(answer, provenance=provenance, flags=flags)


def timed(answer: Posterior, seconds: Mapping[str, float]) -> Posterior:
    """The answer with the wall time of its steps.

    Args:
        answer: The answer.
        seconds: By step; a total among them is made anew.
    """
    steps = {step: value for step, value in seconds.items() if step != "total"}
    return replace(answer, provenance=replace(answer.provenance, seconds={**steps, "total": sum(steps.values())}))


def silent(step: str, fraction: float) -> None:
    """Tells nobody."""
