"""Fresh simulated NICER spectra with known truths, as whole observations: what the benchmarks of answers are run on.

Sources, exposures, detector numbers, backgrounds and systematic errors come from the training prior of a network; the
counts from the answer's own problem (float64, default energy grid, native response), in the 240 bins of the layout, so
that nothing here is shared with a network's training but its prior.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xrayflow.data import bundled_arf, bundled_pha, bundled_rmf
from xrayflow.joint_data import JointData
from xrayflow.ogip import Observation, read_arf, read_observation, read_rmf
from xrayflow.problem import Problem
from xrayflow.setup import FitSetup, build_problem
from xrayflow.simulate import Layout, Simulator, TrainingPrior
from xrayflow.statistics import MODELLED_SCALE, CountLikelihood, MarginalisedCounts
from xrayflow.statistics.background import modelled


@dataclass(frozen=True)
class SimulatedSet:
    """A batch of simulated spectra.

    Attributes:
        problem: Of all of them, each with its own systematic error.
        theta: (source, parameter) the truths.
        systematic: (source,).
        has_background: (source,) the same for all.
        rate: (source,) counts/s of the source with the reference response.
    """

    problem: Problem
    theta: Tensor
    systematic: Tensor
    has_background: Tensor
    rate: Tensor


def simulated_set(training_prior: TrainingPrior, model: str, count: int, seed: int, background: bool) -> SimulatedSet:
    """Spectra that no one has seen.

    A background comes from a model with errors as NICER's: its truth is off by ten per cent in level and by its errors
    in every bin, as the likelihood has it.

    Args:
        training_prior: Of sources and observations.
        model: XSPEC expression.
        count: How many.
        seed: Of everything.
        background: All with a background, or none.
    """
    training_prior = replace(training_prior, without_background=0.0 if background else 1.0)
    rmf, arf = read_rmf(bundled_rmf()), read_arf(bundled_arf())
    generator = torch.Generator().manual_seed(seed)
    template = read_observation(bundled_pha(), rmf, arf, "none")
    layout = Layout.paper()
    blank, setup = _counted(template, layout, np.ones(240), 1.0, 1.0, ""), FitSetup(systematic=0.0, model=model)
    simulator = Simulator.of(build_problem([blank], setup).model, rmf, arf, layout, training_prior)
    theta, rates = simulator.draw_theta(count, generator)
    exposure = training_prior.draw_exposure(count, generator)
    area = training_prior.draw_area(count, generator)
    systematic = training_prior.draw_systematic(count, generator)
    share = training_prior.draw_background(simulator.energy_lo, simulator.energy_hi, count, generator)
    beta = (share * exposure[:, None]).numpy()
    blanks = [
        _counted(template, layout, np.ones(240), float(exposure[i]), float(area[i]), f"{seed}:{i}", beta[i])
        for i in range(count)
    ]
    problem = build_problem(blanks, setup)
    expected = problem.expected(theta[:, None])
    likelihood = _likelihood(problem, systematic)
    noisy = torch.zeros_like(expected)
    for chosen in ((systematic > 0).nonzero()[:, 0], (systematic <= 0).nonzero()[:, 0]):
        level = MODELLED_SCALE * torch.randn((chosen.numel(), 1, 1), generator=generator, dtype=torch.float64)
        noisy[chosen] = likelihood.select(chosen).replicate(expected[chosen], generator, level).counts
    first = 240 - expected.shape[-1]
    observations = []
    for i in range(count):
        counts = np.zeros(240)
        counts[first:] = noisy[i, 0].numpy()
        counts[first] += counts.sum() == 0  # nothing to fit: one count
        observations.append(
            _counted(template, layout, counts, float(exposure[i]), float(area[i]), f"{seed}:{i}", beta[i])
        )
    problem = build_problem(observations, setup)
    data = replace(problem.data.sets[0], likelihood=_likelihood(problem, systematic))
    has_background = torch.from_numpy(beta.sum(axis=1) > 0)
    return SimulatedSet(replace(problem, data=JointData((data,))), theta, systematic, has_background, rates.sum(-1))


def _likelihood(problem: Problem, systematic: Tensor) -> CountLikelihood | MarginalisedCounts:
    """That of a problem, each source with a systematic error of its own."""
    found, spectra = problem.data.sets[0].likelihood, problem.data.sets[0].spectra
    if isinstance(found, MarginalisedCounts):
        priors = [modelled(spectrum) for spectrum in spectra]
        return MarginalisedCounts.of([spectrum.counts for spectrum in spectra], priors, systematic.tolist())
    if not isinstance(found, CountLikelihood):
        raise TypeError("simulated counts got Gaussian errors")
    return replace(found, systematic=systematic[:, None])


def grouping_of(template: Observation, layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The layout's bins as GROUPING and QUALITY of a template's channels, and the first channel of each bin."""
    rmf = template.rmf
    first, last = (ends - rmf.channel[0] for ends in layout.groups(rmf.channel, rmf.e_min, rmf.e_max))
    grouping, quality = np.ones((2, rmf.channel.size), dtype=np.int64)
    for low, high in zip(first, last, strict=True):
        grouping[low + 1 : high + 1] = -1
    quality[first[0] : last[-1] + 1] = 0
    return grouping, quality, first


def _counted(
    template: Observation,
    layout: Layout,
    counts: np.ndarray,
    exposure: float,
    area: float,
    name: str,
    beta: np.ndarray | None = None,
) -> Observation:
    """An observation with the layout's bins as its GROUPING, all counts of a bin in its first channel."""
    rmf, arf = template.rmf, template.arf
    if arf is None:
        raise TypeError("the bundled response has an area")
    grouping, quality, first = grouping_of(template, layout)
    filled, hidden = np.zeros(rmf.channel.size), np.zeros(rmf.channel.size)
    filled[first] = counts
    pha = replace(
        template.pha,
        path=Path(f"simulated-{name.replace(':', '-')}.pha"),
        counts=filled,
        grouping=grouping,
        quality=quality,
        exposure=exposure,
        sha256=hashlib.sha256(f"{name}:{filled.tobytes().hex()}".encode()).hexdigest(),
        object="simulated",
    )
    background = None
    if beta is not None and beta.sum() > 0:
        hidden[first] = beta
        background = replace(pha, path=Path("background.pha"), counts=hidden, stat_err=0.31 * hidden, poisserr=False)
    return replace(template, pha=pha, arf=replace(arf, area=arf.area * area), background=background)
