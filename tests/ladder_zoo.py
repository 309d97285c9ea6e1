"""Two spectra on the ladder, with and without a guide."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from guide_zoo import Fake
from ogip_zoo import toy_observation
from xrayflow.inference import SamplingBudget
from xrayflow.inference.ladder import Rung, State, climb
from xrayflow.inference.rungs import LADDER, find_modes, first_proposal
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem

BUDGET = SamplingBudget(draws=2000, ess=1000)
SETUP = FitSetup(model="TBabs*powerlaw", freeze={"TBabs.nH": 0.05}, energies=[(1.0, 6.0)], grouping="min:10")


def pair_problem(folders: Sequence[Path]) -> Problem:
    """Two spectra of a power law, 400 and 8000 counts; index and norm are free."""
    settings = ((10.0, 1), (200.0, 2))
    return build_problem(
        [
            toy_observation(folder, exposure=exposure, seed=seed)
            for folder, (exposure, seed) in zip(folders, settings, strict=True)
        ],
        SETUP,
    )


def at_foot(
    problem: Problem, guide: Fake | None = None, budget: SamplingBudget = BUDGET, exactly: bool = False
) -> State:
    """With modes and a first proposal."""
    generators = problem.generators(0)
    modes, corrected = find_modes(problem, budget.starts, generators, guide, exactly)
    first, guided = first_proposal(corrected, modes, guide)
    return State(corrected, budget, generators, modes, first, guided)


def climbed(
    problem: Problem,
    guide: Fake | None = None,
    budget: SamplingBudget = BUDGET,
    rungs: Sequence[Rung] = LADDER,
    exactly: bool = False,
) -> State:
    """At the top."""
    state = at_foot(problem, guide, budget, exactly)
    for _ in climb(state, rungs):
        pass
    return state
