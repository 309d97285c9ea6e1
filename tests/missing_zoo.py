"""Spectra that lack something, or nothing, for the misfit microscope: a power law, and others seen as one."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from fit_zoo import observation
from xrayflow.folding import Forward
from xrayflow.inference import Microscope, find_missing
from xrayflow.joint_data import JointData
from xrayflow.models import parse_model
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem

TRUTH = torch.tensor([1.7, 0.05], dtype=torch.float64)
BAND = [(0.6, 8.0)]


@functools.cache
def toy() -> Problem:
    """A power law of about 5e5 counts."""
    with tempfile.TemporaryDirectory() as folder:
        return build_problem([observation(Path(folder), exposure=4000.0)], FitSetup(model="powerlaw", energies=BAND))


def spectrum_of(text: str, theta: list[float], seed: int, move: tuple[float, float] = (0.0, 0.0)) -> Problem:
    """The problem with counts of another model, seen by a detector whose energy scale is off."""
    (data,) = toy().data.sets
    seen = replace(data.spectra[0], gain=move)
    forward = Forward.of(parse_model(text), [seen], data.forward.grid)
    mean = forward.expected(torch.tensor([[theta]], dtype=torch.float64))[0]
    counts = torch.poisson(mean, generator=torch.Generator().manual_seed(seed))
    likelihood = type(data.likelihood).of(
        counts, data.likelihood.background, data.likelihood.systematic[:, 0], data.likelihood.used
    )
    return replace(toy(), data=JointData((replace(data, likelihood=likelihood),)))


def best_of(problem: Problem) -> torch.Tensor:
    """The best fit, in probit coordinates."""
    v = problem.prior.to_probit(TRUTH[None, None])
    for _ in range(30):
        bend = problem.target_curvature(v)
        step = torch.linalg.solve(bend.information, bend.gradient[..., None])[..., 0]
        v = v + step / step.norm().clamp(min=1.0)
    return v[0, 0]


def found_in(problem: Problem, seed: int = 0, simulated: int = 200) -> Microscope:
    return find_missing(problem, best_of(problem), torch.Generator().manual_seed(seed), simulated)
