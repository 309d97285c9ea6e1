"""XSPEC's statistic of given parameters on real files: each spectrum folded through its own response."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.errors import XrayflowError
from xrayflow.ogip import Observation
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, problem_of
from xrayflow.statistics import choose
from xrayflow.studies.running import Outcome
from xrayflow.studies.validation.truths import Numbers

NAME, REDUCED = "xspec statistic", "reduced"
"""Words of a record: the statistic's name, and its values over the degrees of freedom."""


def with_statistics(
    outcomes: Sequence[Outcome],
    read: Sequence[Observation | XrayflowError],
    theta: Mapping[int, Float[Tensor, "set parameter"]],
    setup: FitSetup,
) -> list[Outcome]:
    """The same outcomes, whose records say XSPEC's statistic of some parameters.

    Args:
        outcomes: Of sources that share one RMF.
        read: Their spectra.
        theta: By the place of a source, in the parameters' units: as many sets of each.
        setup: What is asked of the spectra.
    """
    found = list(outcomes)
    folded = [(place, one) for place, one in enumerate(read) if place in theta and isinstance(one, Observation)]
    if not folded:
        return found
    problem = with_xspecs_statistic([one for _, one in folded], setup)
    values = reduced_statistic(problem, torch.stack([theta[place] for place, _ in folded]))
    for (place, _), name, reduced in zip(folded, problem.data.statistic_names, values.tolist(), strict=True):
        record = found[place].record | {NAME: name, REDUCED: reduced}
        found[place] = replace(found[place], record=record)
    return found


def reduced_statistic(problem: Problem, theta: Float[Tensor, "source draw parameter"]) -> Numbers:
    """(source, draw) XSPEC's statistic over noticed bins less free parameters.

    Args:
        problem: The batch.
        theta: Parameters in their units.
    """
    dof = problem.data.facts.bins - theta.shape[-1]
    return np.asarray((problem.statistic(theta) / dof[:, None]).numpy())


def with_xspecs_statistic(observations: list[Observation], setup: FitSetup) -> Problem:
    """The problem; PGStat as XSPEC computes it where there is a background with errors.

    Args:
        observations: That share one RMF.
        setup: What is asked of them.
    """
    spectra = [setup.bin(one) for one in observations]
    choices = [choose(spectrum, setup.statistic) for spectrum in spectra]
    choices = [
        choose(one, "pgstat-xspec") if choice.name == "pgstat" else choice
        for one, choice in zip(spectra, choices, strict=True)
    ]
    return problem_of(spectra, *setup.model_and_prior(), setup, choices, "statistic")
