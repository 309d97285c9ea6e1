"""The parts of an answer: what was drawn, how the weights came out, how the model fits, where all of it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xrayflow.dataset import Calibration, Value
from xrayflow.problem import Problem
from xrayflow.statistics import BackgroundTreatment

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
class LikelihoodFacts:
    """What the posterior rests on.

    Attributes:
        name: For products.
        kind: exact, approximate or profile.
        why: Why it is not exact, in words.
        systematic: Fractional error of the source model in every bin.
        background: What was made of a background.
        calibration: What was believed of the response; None where it was taken at its word.
    """

    name: str
    kind: str
    why: str
    systematic: float
    background: BackgroundTreatment = field(default_factory=BackgroundTreatment)
    calibration: Calibration | None = None

    @classmethod
    def of(cls, problem: Problem) -> LikelihoodFacts:
        """Those of a batch of one."""
        systematic = float(problem.facts.systematic[0])
        return cls(
            problem.likelihood_name,
            problem.likelihood_kind,
            problem.likelihood_why,
            systematic,
            problem.treatment,
            problem.calibration,
        )

    @property
    def asked(self) -> float | str:
        """The systematic error in the words of `--systematic`."""
        modes = self.calibration
        return self.systematic if modes is None else f"modes:{modes.name}:{modes.amplitude:g}"


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
