"""Toy spectra with known fits: models that are linear in what is free, and functions for brute force."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ogip_zoo import effective_area, power_law_counts, redistribution, toy_observation
from xrayflow.fitting import BestFit, optimise_problem
from xrayflow.ogip import Observation, Spectrum
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.statistics import StatisticChoice, background_in_source
from xrayflow.statistics import statistic as formulas
from xrayflow.statistics.auto import gaussian_variance

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
    setup = FitSetup(model=model, energies=BAND, statistic=statistic, **settings)  # type: ignore[arg-type]
    return optimise_problem(build_problem([found], setup, "statistic"), "statistic")[0]


def spectrum_of(problem: Problem, source: int = 0) -> Spectrum:
    """The bins of one source of one instrument."""
    return problem.data.sets[0].spectra[source]


def choice_of(problem: Problem, source: int = 0) -> StatisticChoice:
    """XSPEC's statistic of one source."""
    return problem.data.sets[0].choices[source]


def statistic_per_bin(spectrum: Spectrum, choice: StatisticChoice, expected: Tensor, systematic: float = 0.0) -> Tensor:
    """(bin,) the statistic of one spectrum, each formula written out: what a batch of them is held against."""
    counts, ts = torch.from_numpy(spectrum.counts), torch.from_numpy(spectrum.source_exposure)
    if choice.name == "cstat":
        return formulas.cstat(counts, expected)
    if choice.name == "chi2":
        variance = torch.from_numpy(gaussian_variance(spectrum)) + (systematic * expected) ** 2
        return formulas.chi2(counts, expected, variance, torch.from_numpy(background_in_source(spectrum)))
    assert spectrum.background is not None
    assert spectrum.background_exposure is not None
    background, tb = torch.from_numpy(spectrum.background), torch.from_numpy(spectrum.background_exposure)
    if choice.name == "pstat":
        return formulas.pstat(counts, expected, ts, background, tb)
    if choice.name == "wstat":
        return formulas.wstat(counts, expected, ts, background, tb)
    assert spectrum.background_err is not None
    err = torch.from_numpy(spectrum.background_err)
    return formulas.pgstat(counts, expected, ts, background, err, tb, as_xspec=choice.name == "pgstat-xspec")


def statistic_of(fit: BestFit) -> Callable[[Sequence[float]], float]:
    """XSPEC's statistic as a plain function of theta."""

    def function(theta: Sequence[float]) -> float:
        at = torch.tensor(theta, dtype=torch.float64)[None, None]
        expected = fit.problem.expected(at)[0, 0]
        return float(statistic_per_bin(spectrum_of(fit.problem), choice_of(fit.problem), expected).sum())

    return function


def closed_form(fit: BestFit) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Best theta, covariance and chi^2 of a model that is linear in theta."""
    spectrum = spectrum_of(fit.problem)
    count = len(fit.names)
    columns = fit.problem.expected(torch.eye(count, dtype=torch.float64)[None])[0].numpy().T
    weight = 1.0 / spectrum.counts  # chi^2 of counts: their variance is the counts
    covariance = np.linalg.inv(columns.T @ (weight[:, None] * columns))
    theta = covariance @ columns.T @ (weight * spectrum.counts)
    return theta, covariance, float((weight * (spectrum.counts - columns @ theta) ** 2).sum())


def two_lines(folder: Path) -> Observation:
    """A power law with a weak line at 2.5 and a strong one at 4.5 keV, no noise."""
    centre = np.linspace(0.2, 12.0, 151)
    middle = (centre[1:] + centre[:-1]) / 2
    lines = 6e-4 * np.exp(-0.5 * ((middle - 2.5) / 0.1) ** 2) + 1.5e-3 * np.exp(-0.5 * ((middle - 4.5) / 0.1) ** 2)
    counts = power_law_counts(2000.0) + 2000.0 * (lines * effective_area()) @ redistribution()
    return observation(folder, counts=np.round(counts), exposure=2000.0)
