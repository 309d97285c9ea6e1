"""The parts of an answer: what was drawn, how the weights came out, how the model fits, where all of it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xrayflow.shown import Value

MAKERS = ("torch", "numpy", "scipy", "astropy")
"""Packages that compute an answer."""


@dataclass(frozen=True)
class Draws:
    """What was drawn.

    Attributes:
        theta: (draw, parameter) in the prior's order and the parameters' units; weighted.
        log_weight: (draw,) natural log of the unnormalised weights; their mean is the evidence.
        log_likelihood: (draw,) natural log of the normalised likelihood.
        log_proposal: (draw,) natural log of the density that they were drawn from, in probit coordinates; empty where
            they are not weighted.
        fit_statistic: (draw,) XSPEC's statistic, of the bins that were asked for.
    """

    theta: NDArray[np.float64]
    log_weight: NDArray[np.float64]
    log_likelihood: NDArray[np.float64]
    log_proposal: NDArray[np.float64]
    fit_statistic: NDArray[np.float64]


@dataclass(frozen=True)
class Weighing:
    """How the weights came out.

    Attributes:
        ess: Effective sample size.
        efficiency: ess / likelihood evaluations on draws: pilots, rejected rounds and checks included.
        pareto_k: Tail shape of the weights.
        log_evidence, log_evidence_error: Natural log of the integral of the likelihood over the prior.
        evaluations: {draws, tails, optimise}: likelihood evaluations on draws, of searches for missing tails
            (most of them on a coarse grid), and of the optimiser.
    """

    ess: float
    efficiency: float
    pareto_k: float
    log_evidence: float
    log_evidence_error: float
    evaluations: Mapping[str, int]


@dataclass(frozen=True)
class BestPoint:
    """How the model fits at its best.

    Attributes:
        theta: (parameter,) mode of log prior + log likelihood, in each parameter's own scale.
        statistic: XSPEC's there.
        deviance: Of the likelihood that the posterior rests on, there.
    """

    theta: NDArray[np.float64]
    statistic: Value
    deviance: Value


@dataclass(frozen=True)
class Provenance:
    """Where an answer came from.

    Attributes:
        seed: The run's.
        grid: The photon-energy grid, in words.
        versions: Of the packages that computed it.
        network: Name of the network that started the answer.
        seconds: {read, optimise, propose, certify, total}; of what a batch did together, an equal part.
        notes: Facts beside the verdict, in words.
        block: Draws of each block, as they were asked for.
    """

    seed: int
    grid: str
    versions: Mapping[str, str]
    network: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    block: int = 1000
