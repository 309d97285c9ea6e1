"""A best fit again, from the files that an answer names: it keeps no response."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.dataset import ObservedData, hashes_of
from xrayflow.errors import DataError, FileError
from xrayflow.facts import LikelihoodFacts
from xrayflow.fitting import BestFit, Objective, best_of, centred, descend, optimise_batch
from xrayflow.models import Model
from xrayflow.ogip import Observation, read_observation
from xrayflow.prior import Prior
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem

ITERATIONS, TOLERANCE = 60, 1e-3

STARTS = 16
"""Of the fit of a statistic."""


def asked_of(data: ObservedData, model: Model, prior: Prior, likelihood: LikelihoodFacts, statistic: str) -> FitSetup:
    """What was asked of the data, the photon-energy grid excepted.

    Args:
        data: What was fitted.
        model: The model.
        prior: Of its free parameters, nuisances behind them.
        likelihood: What the answer rests on.
        statistic: XSPEC's name of it.
    """
    return FitSetup(
        model=model,
        prior=Prior(prior.marginals[: len(model.names)]),
        systematic=likelihood.asked,
        energies=data.energies if data.channels is None else None,
        channels=data.channels,
        grouping=data.grouping,
        statistic=statistic,
        likelihood=likelihood.background.kind,
        background_scale=likelihood.background.scale,
    )


def fit_again(data: ObservedData, setup: FitSetup, grid: str, best: Float[Tensor, " parameter"]) -> BestFit:
    """The fit at a known best point, so that `error` and `steppar` can go on from it.

    Args:
        data: What was fitted; its files are still what they were.
        setup: How, its bins excepted.
        grid: The photon-energy grid, in words.
        best: The point, in the parameters' units.

    Raises:
        FileError: A file is gone, or another one now.
        DataError: The energy grid was the user's own.
    """
    problem = read_problem(data, setup, grid, best)
    goal = Objective.of(problem, "scale")
    x = goal.from_theta(best)[None, None]
    ends = descend(goal, x, torch.zeros_like(x, dtype=torch.bool), ITERATIONS, TOLERANCE)
    return best_of(problem, "posterior", goal, ends, 0)


def fit_statistic_again(data: ObservedData, setup: FitSetup, seed: int) -> BestFit:
    """The minimum of XSPEC's statistic, from cold starts, so that `error` and `steppar` can go on from it.

    Args:
        data, setup: As for `fit_again`.
        seed: Of the starts.

    Raises:
        FileError: A file is gone, or another one now.
    """
    (fit,) = optimise_batch([read_again(data)], setup, "statistic", STARTS, seed)
    return fit


def read_problem(data: ObservedData, setup: FitSetup, grid: str, best: Float[Tensor, " parameter"]) -> Problem:
    """The problem of an answer, its likelihood exact at a known best point.

    Args:
        data, setup, grid, best: As for `fit_again`.

    Raises:
        FileError: A file is gone, or another one now.
        DataError: The energy grid was the user's own.
    """
    problem = _problem(data, setup, grid)
    return centred(problem, problem.prior.to_probit(best)[None])


def _problem(data: ObservedData, setup: FitSetup, grid: str) -> Problem:
    """The problem on the grid that was used: the response's own, or the finer one of the check."""
    problem = build_problem([read_again(data)], setup)
    for same in (problem, problem.finer(3)):
        if same.data.grid == grid:
            return same
    raise DataError(
        f"{data.pha.name}: was answered on the energy grid '{grid}'; give that grid to optimise, and its fit to error"
    )


def read_again(data: ObservedData) -> Observation:
    """The observation, if its files are what they were.

    Args:
        data: What was fitted.

    Raises:
        FileError: A file is gone, or another one now.
    """
    found = read_observation(data.pha, data.rmf, data.arf or "none", data.background or "none")
    for name, sha256 in hashes_of(found).items():
        if sha256 != data.sha256[name]:
            raise FileError(
                f"{getattr(data, name)}: is not the file that was answered (its hash differs); fit it again"
            )
    return found
