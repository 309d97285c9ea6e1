"""A posterior that fades into its prior: a component that the data do not ask for."""

from __future__ import annotations

from pathlib import Path

from ogip_zoo import toy_observation
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem

BAND = [(1.0, 6.0)]
FADED_FROZEN = {"TBabs.nH": 0.05, "powerlaw.PhoIndex": 1.7}
FADED_PRIOR = ["bbodyrad.norm=1e-3:1e4", "bbodyrad.kT=0.1:3"]


def faded_problem(folder: Path) -> Problem:
    """A power law of 400 counts under a disc that is not there: below some norm its temperature means nothing."""
    setup = FitSetup(
        model="TBabs*(powerlaw+bbodyrad)",
        freeze=FADED_FROZEN,
        prior=FADED_PRIOR,
        energies=BAND,
        grouping="min:10",
    )
    return build_problem([toy_observation(folder, exposure=10.0, seed=1)], setup)
