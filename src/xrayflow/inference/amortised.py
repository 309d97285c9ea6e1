"""The answer of a network alone: its draws as they come, without weights.

The likelihood is asked only for what a reader needs beside the draws: the mode, and whether the model describes the
data. Nothing says how far the draws are from the exact posterior, so the computation is `approximate` at best.

A network has the nuisances of the likelihood integrated out. Where there are some, each draw gets those that the
curvature at the best fit says (`proposals/nuisance.py`): they judge the fit, and no parameter hangs on them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from xrayflow.errors import NetworkError
from xrayflow.files import package_versions
from xrayflow.fitting import centred, minimise
from xrayflow.inference.checks import predictive
from xrayflow.inference.checks.verdict import Computation, find_flags, judge_fit
from xrayflow.inference.parts import MAKERS, BestPoint, Draws, Provenance, Weighing
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.proposals.nuisance import Nuisances
from xrayflow.networks import NeuralPosterior
from xrayflow.prior import FAR
from xrayflow.problem import Problem
from xrayflow.shown import remarks, shown_at, shown_statistic

MOST_OUTSIDE = 0.5
"""A network more than half of whose draws leave the prior's box says nothing about it."""


def answer_amortised(
    problem: Problem, network: NeuralPosterior, draws: int, generator: torch.Generator, seed: int
) -> Posterior:
    """The network's posterior of one source.

    Args:
        problem: A batch of one.
        network: What the network says of it.
        draws: How many.
        generator: Its random numbers.
        seed: The run's.

    Raises:
        NetworkError: Hardly any draw lies in the prior's box.
    """
    own, outside = _inside(network, draws, generator)
    nuisances = problem.parameters - own.shape[1]
    v = torch.nn.functional.pad(own, (0, nuisances))  # nuisances at their medians, until more is known
    found = problem.log_likelihood(problem.prior.to_theta(v[None, : predictive.DRAWS]))[0]
    problem, mode, polish = _best(problem, v[: predictive.DRAWS], found)
    if nuisances:
        v, polish = torch.cat([own, Nuisances.of(problem, 0, *mode).sample(own, generator)], 1), polish + found.numel()
        found = problem.log_likelihood(problem.prior.to_theta(v[None, : predictive.DRAWS]))[0]
    theta, best = problem.prior.to_theta(v), problem.prior.to_theta(mode[0])
    asked = theta[: predictive.DRAWS]
    log_likelihood = torch.cat([found, found.new_full((draws - found.numel(),), torch.nan)])
    statistic, deviance = shown_at(problem, best)
    predicted = predictive.check(problem, asked, generator)
    said = f"draws of the network {network.name} alone, not weighted by the likelihood"
    left = (f"{outside:.0%} of its draws left the prior's box and were drawn anew",) if outside > 0.005 else ()
    return Posterior(
        model=problem.model,
        prior=problem.prior,
        data=problem.data.observed(),
        sample=Draws(
            theta.numpy(),
            np.zeros(draws),
            log_likelihood.numpy(),
            np.empty(0),
            shown_statistic(problem.as_asked(), theta).numpy(),
        ),
        weighing=Weighing(
            ess=float(draws),
            efficiency=math.nan,
            pareto_k=math.nan,
            log_evidence=math.nan,
            log_evidence_error=math.nan,
            evaluations={"draws": int(asked.shape[0]), "tails": 0, "optimise": polish},
        ),
        best_point=BestPoint(best.numpy(), statistic, deviance),
        likelihood=problem.data.rests_on,
        predictive=predicted,
        computation=Computation("approximate", (said, *left)),
        fit=judge_fit(predicted, deviance.value, deviance.dof),
        flags=find_flags(problem.prior, theta, np.full(draws, 1.0 / draws), 1),
        provenance=Provenance(seed, problem.data.grid, package_versions(*MAKERS), network.name, notes=remarks(problem)),
        mode="amortised",
        reconstruction=network.reconstruction(0, asked[:, : own.shape[1]]),
    )


def _best(problem: Problem, v: Tensor, log_likelihood: Tensor) -> tuple[Problem, tuple[Tensor, Tensor], int]:
    """The mode of prior and likelihood next to the likeliest draw, and the problem that is exact there.

    Args:
        problem: A batch of one.
        v: (draw, parameter) draws, nuisances last.
        log_likelihood: (draw,) there.

    Returns:
        The problem, (parameter,) the mode and its information, and the evaluations that it took.
    """
    start = v[torch.where(torch.isnan(log_likelihood), -torch.inf, log_likelihood).argmax()]
    polished = minimise(problem, start[None, None], objective="scale")
    spent = int(polished.evaluations)
    exact = centred(problem, polished.v[:, 0])
    if exact is not problem:
        polished = minimise(exact, polished.v, objective="scale", near=True)
        spent += int(polished.evaluations)
        exact = centred(problem, polished.v[:, 0])  # at the best point itself, as whoever reads the answer again has it
    return exact, (polished.v[0, 0], polished.information[0, 0]), spent


def _inside(network: NeuralPosterior, draws: int, generator: torch.Generator) -> tuple[Tensor, float]:
    """(draw, parameter) draws within the box, and the share that was not."""
    kept: list[Tensor] = []
    tried = found = 0
    while found < draws:
        v = network.sample(draws, [generator])[0]
        kept.append(v[(v.abs() < FAR).all(-1)])
        tried += draws
        found = sum(part.shape[0] for part in kept)
        if found < (1.0 - MOST_OUTSIDE) * tried:
            raise NetworkError(
                f"network {network.name}: {1.0 - found / tried:.0%} of its draws lie outside the prior's box; leave "
                "--amortised out"
            )
    return torch.cat(kept)[:draws], 1.0 - found / tried
