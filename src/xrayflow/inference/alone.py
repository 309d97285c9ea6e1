"""The answer of a network alone: its draws as they come, without weights.

The likelihood is asked only for what a reader needs beside the draws: the best of some, and whether the model describes
the data. Nothing says how far the draws are from the exact posterior, so the computation is `approximate` at best.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from xrayflow.errors import NetworkError
from xrayflow.files import package_versions
from xrayflow.inference.posterior import MAKERS, AtBest, Posterior
from xrayflow.inference.predictive import DRAWS, check
from xrayflow.inference.verdict import Computation, find_flags, judge_fit
from xrayflow.networks import Amortised
from xrayflow.prior import FAR
from xrayflow.problem import Problem
from xrayflow.statistics import Choice

MOST_OUTSIDE = 0.5
"""A network more than half of whose draws leave the prior's box says nothing about it."""


def answer_alone(
    problem: Problem, choice: Choice, amortised: Amortised, draws: int, generator: torch.Generator, seed: int
) -> Posterior:
    """The network's posterior of one source.

    Args:
        problem: Of this source.
        choice: Its statistic.
        amortised: Of this source.
        draws: How many.
        generator: Of this source.
        seed: Of the run.

    Raises:
        NetworkError: Hardly any draw lies in the prior's box.
    """
    v, outside = _inside(amortised, draws, generator)
    theta = problem.prior.to_theta(v)
    asked = theta[:DRAWS]
    found = problem.log_likelihood(asked[None])[0]
    log_likelihood = torch.full((draws,), torch.nan, dtype=torch.float64)
    log_likelihood[: asked.shape[0]] = found
    best = asked[torch.where(torch.isnan(found), -torch.inf, found).argmax()]
    spectrum, noise, in_asked = problem.spectra[0], problem.noise, problem.as_shown(choice)
    shown = AtBest.of(problem, in_asked, choice, best)
    predictive = check(problem, in_asked, asked, generator)
    said = f"draws of the network {amortised.name} alone, not weighted by the likelihood"
    left = (f"{outside:.0%} of its draws left the prior's box and were drawn anew",) if outside > 0.005 else ()
    return Posterior(
        model=problem.model,
        prior=problem.prior,
        spectrum=in_asked.spectra[0],
        draws=theta.numpy(),
        log_weight=np.zeros(draws),
        log_likelihood=log_likelihood.numpy(),
        best=best.numpy(),
        statistic=shown.statistic,
        deviance=shown.deviance,
        likelihood=noise.name,
        likelihood_kind=noise.kind,
        systematic=shown.systematic,
        ess=float(draws),
        efficiency=math.nan,
        pareto_k=math.nan,
        log_evidence=math.nan,
        log_evidence_error=math.nan,
        predictive=predictive,
        computation=Computation("approximate", (said, *left)),
        fit=judge_fit(predictive, shown.deviance.value, shown.deviance.dof, (spectrum.energy_lo, spectrum.energy_hi)),
        flags=find_flags(problem.prior, theta, np.full(draws, 1.0 / draws), 1),
        grid=problem.fold.grid.description,
        seed=seed,
        evaluations={"draws": int(asked.shape[0]), "optimise": 0},
        seconds={},
        versions=package_versions(*MAKERS),
        mode="amortised",
        network=amortised.name,
        reconstruction=amortised.reconstruction(0, asked),
    )


def _inside(amortised: Amortised, draws: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """(draw, parameter) draws within the box, and the share that was not."""
    kept: list[Tensor] = []
    tried = found = 0
    while found < draws:
        v = amortised.sample(draws, [generator])[0]
        kept.append(v[(v.abs() < FAR).all(-1)])
        tried += draws
        found = sum(part.shape[0] for part in kept)
        if found < (1.0 - MOST_OUTSIDE) * tried:
            raise NetworkError(
                f"network {amortised.name}: {1.0 - found / tried:.0%} of its draws lie outside the prior's box; leave "
                "--amortised out"
            )
    return torch.cat(kept)[:draws], 1.0 - found / tried
