"""Toy spectra with known fits: models that are linear in what is free, and functions for brute force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ogip_zoo import toy_observation
from xrayflow.inference.best_fit import BestFit
from xrayflow.inference.build import Question, build_problem
from xrayflow.inference.optimiser import optimise_problem
from xrayflow.ogip import Observation
from xrayflow.statistics import statistic_per_bin

BAND = [(1.0, 6.0)]
LINEAR = "powerlaw+bbodyrad"
LINEAR_FROZEN = {"powerlaw.PhoIndex": 2.2, "bbodyrad.kT": 1.0}
LINEAR_PRIOR = ["powerlaw.norm=lin:0:1", "bbodyrad.norm=lin:0:500"]


def observation(folder: Path, background: str = "none", **arguments: object) -> Observation:
    """A toy spectrum; background "none", "counts", or "errors" (with a STAT_ERR of 30 %)."""
    found = toy_observation(folder, background=background != "none", **arguments)
    if background == "errors":
        assert found.background is not None
        modelled = replace(found.background, stat_err=0.3 * found.background.counts + 0.1, poisserr=False)
        return replace(found, background=modelled)
    return found


def fitted(found: Observation, model: str = "powerlaw", statistic: str = "auto", **settings: object) -> BestFit:
    """The best fit by XSPEC's statistic."""
    question = Question(model, energies=BAND, statistic=statistic, **settings)  # type: ignore[arg-type]
    problem, choices = build_problem([found], question, "statistic")
    return optimise_problem(problem, choices, "statistic")[0]


def statistic_of(fit: BestFit) -> Callable[[Sequence[float]], float]:
    """XSPEC's statistic as a plain function of theta."""

    def function(theta: Sequence[float]) -> float:
        at = torch.tensor(theta, dtype=torch.float64)[None, None]
        return float(statistic_per_bin(fit.problem.spectra[0], fit.choice, fit.problem.expected(at)[0, 0]).sum())

    return function


def closed_form(fit: BestFit) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Best theta, covariance and chi^2 of a model that is linear in theta."""
    spectrum = fit.problem.spectra[0]
    count = len(fit.names)
    columns = fit.problem.expected(torch.eye(count, dtype=torch.float64)[None])[0].numpy().T
    weight = 1.0 / spectrum.counts  # chi^2 of counts: their variance is the counts
    covariance = np.linalg.inv(columns.T @ (weight[:, None] * columns))
    theta = covariance @ columns.T @ (weight * spectrum.counts)
    return theta, covariance, float((weight * (spectrum.counts - columns @ theta) ** 2).sum())
