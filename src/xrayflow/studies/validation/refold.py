"""XSPEC's statistic of given parameters on real files: each spectrum folded through its own response."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.errors import DataError
from xrayflow.ogip import Observation
from xrayflow.problem import Problem
from xrayflow.setup import TOGETHER, FitSetup, problem_of
from xrayflow.statistics import choose
from xrayflow.studies.running import Progress, Reader, Source, batches
from xrayflow.studies.validation.truths import Numbers


def reduced_of(
    files: Sequence[tuple[Source, str]],
    rmf: str | None,
    setup: FitSetup,
    thetas: Sequence[Tensor],
    progress: Progress | None = None,
) -> tuple[list[Numbers], dict[str, int]]:
    """XSPEC's statistic of several sets of parameters, each spectrum through its own response.

    Args:
        files: The spectra.
        rmf: Of all of them, instead of what their headers name.
        setup: What is asked of them.
        thetas: (source, parameter) of the first spectra each.
        progress: Called with (step, fraction).

    Returns:
        (source,) statistic over degrees of freedom of each set; and how many spectra have which statistic.
    """
    most = max(len(theta) for theta in thetas)
    whole = [torch.cat([theta, theta[-1:].expand(most - len(theta), -1)]) for theta in thetas]
    together, found, statistics = torch.stack(whole, dim=1), list[Numbers](), Counter[str]()
    for observations in observations_of(files[:most], rmf):
        problem = with_xspecs_statistic(observations, setup)
        done = statistics.total()
        statistics.update(problem.data.statistic_names)
        found.append(reduced_statistic(problem, together[done : statistics.total()]))
        if progress is not None:
            progress("folding", statistics.total() / most)
    of_set = np.concatenate(found).T
    return [values[: len(theta)] for values, theta in zip(of_set, thetas, strict=True)], dict(statistics)


def reduced_statistic(problem: Problem, theta: Float[Tensor, "source draw parameter"]) -> Numbers:
    """(source, draw) XSPEC's statistic over noticed bins less free parameters.

    Args:
        problem: The batch.
        theta: Parameters in their units.
    """
    dof = problem.data.facts.bins - theta.shape[-1]
    return np.asarray((problem.statistic(theta) / dof[:, None]).numpy())


def observations_of(
    files: Sequence[tuple[Source, str]], rmf: str | None, together: int = TOGETHER
) -> Iterator[list[Observation]]:
    """The spectra in turn, those of one matrix together.

    Args:
        files: Each with the hash that its target was fitted to.
        rmf: Of all of them, instead of what their headers name.
        together: Largest number of spectra in a batch.

    Raises:
        DataError: A file is another one now.
        XrayflowError: A file cannot be read.
    """
    reader = Reader(rmf)
    yield from batches((_unchanged(reader, source, sha256) for source, sha256 in files), together)


def _unchanged(reader: Reader, source: Source, sha256: str) -> Observation:
    observation = reader.read(source)
    if observation.pha.sha256 != sha256:
        raise DataError(f"{source.pha}: is not the file that the target was fitted to; run xrayflow targets again")
    return observation


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
