"""Problems of one norm and of two, and places in them."""

from __future__ import annotations

from pathlib import Path

import torch

from ogip_zoo import toy_observation
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem

SETUPS = {
    "one norm": FitSetup(model="TBabs*powerlaw", energies=[(0.8, 7.0)], grouping="min:5"),
    "two norms": FitSetup(
        model="TBabs*(powerlaw+bbodyrad)",
        prior=["bbodyrad.norm=lin:0:1e4"],
        freeze={"TBabs.nH": 0.05},
        energies=[(0.8, 7.0)],
        grouping="min:5",
    ),
}


def coordinates_problem(folder: Path, name: str) -> Problem:
    """One of `SETUPS` on a toy spectrum."""
    return build_problem([toy_observation(folder, seed=2)], SETUPS[name])


def places(problem: Problem, draws: int = 40) -> torch.Tensor:
    """(1, draw, parameter) from the prior."""
    shape = (1, draws, len(problem.prior.marginals))
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
