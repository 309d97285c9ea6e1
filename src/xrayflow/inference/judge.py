"""From weighted draws to judged answers: energy grid, best fit, predictive check, verdict."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xrayflow.files import package_versions
from xrayflow.inference.importance import (
    Round,
    effective_sample_size,
    log_evidence_error,
    log_mean_weight,
    log_target,
    pareto_k,
)
from xrayflow.inference.optimiser import Optima, minimise
from xrayflow.inference.posterior import MAKERS, AtBest, Posterior, regrouped, resampled_rows
from xrayflow.inference.predictive import DRAWS, check
from xrayflow.inference.refine import distinct_optima
from xrayflow.inference.search import Search
from xrayflow.inference.verdict import GRID_SPREAD, Evidence, find_flags, judge_computation, judge_fit
from xrayflow.problem import Problem
from xrayflow.statistics import Choice


@dataclass(frozen=True)
class Candidate:
    """One source on its way to a verdict.

    Attributes:
        problem: Of this source alone, on the energy grid that its weights come from.
        choice: Its statistic.
        generator: Its random numbers.
        optima: Where its starts ended.
        fresh: Weighted draws of the frozen proposal.
        grid_spread: What a finer energy grid does to the log likelihood.
        spent: Likelihood evaluations on draws.
    """

    problem: Problem
    choice: Choice
    generator: torch.Generator
    optima: Optima
    fresh: Round
    grid_spread: float
    spent: int


def candidates(search: Search, fresh: list[Round], choices: list[Choice]) -> list[Candidate]:
    """Check every energy grid; where one is too coarse the weights, or the whole search, move to a finer one."""
    search.progress("energy grid", 0.85)
    parts, count = search.effort.grid_parts, search.effort.grid_draws
    finer = search.problem.with_grid(search.problem.fold.grid.finer(parts))
    found = []
    for i, (one, choice, generator) in enumerate(zip(fresh, choices, search.generators, strict=True)):
        at = torch.tensor([i])
        problem, better = search.problem.select(at), finer.select(at)
        optima, spent = search.optima.select(at), int(search.spent[i])
        spread = _grid_spread(problem, better, one, count, generator)
        if not spread <= GRID_SPREAD:
            problem = better
            one = replace(one, log_target=log_target(problem, one.v))
            if not search.good(one):
                again = replace(search, problem=problem, guide=search.guide and search.guide.select(at), seconds={})
                one = again.run()[0]
                optima, spent = again.optima, spent + int(again.spent[0])
            spread = _grid_spread(problem, problem.with_grid(problem.fold.grid.finer(2)), one, count, generator)
        found.append(Candidate(problem, choice, generator, optima, one, spread, spent))
    return found


def _grid_spread(problem: Problem, finer: Problem, fresh: Round, count: int, generator: torch.Generator) -> float:
    """Standard deviation over draws of what a finer energy grid does to the log likelihood."""
    theta = problem.prior.to_theta(_resampled(fresh, count, generator))[None]
    change = finer.log_likelihood(theta) - problem.log_likelihood(theta)
    return float(change.std())


def _resampled(fresh: Round, n: int, generator: torch.Generator) -> Tensor:
    """(n, parameter) equally weighted draws, in probit coordinates."""
    seed = int(torch.randint(0, 2**62, (1,), generator=generator))
    weights = torch.softmax(fresh.log_weight[0], 0).numpy()
    rows = torch.from_numpy(resampled_rows(weights, n, np.random.default_rng(seed)))
    return fresh.v[0, rows]


def judge(one: Candidate, wanted: float, seed: int) -> Posterior:
    """The answer of one source, with its verdict.

    Args:
        one: The source.
        wanted: The ess asked for.
        seed: Of the run.
    """
    problem, fresh = one.problem, one.fresh
    spectrum, noise = problem.spectra[0], problem.noise
    log_weight = fresh.log_weight[0]
    draws, ess = log_weight.numel(), float(effective_sample_size(log_weight))
    log_evidence = float(log_mean_weight(log_weight))
    best, polish = _best(one)
    asked = problem.as_shown(one.choice)
    shown = AtBest.of(problem, asked, one.choice, best)
    predictive = check(problem, asked, problem.prior.to_theta(_resampled(fresh, DRAWS, one.generator)), one.generator)
    k = pareto_k(log_weight.numpy())
    modes = distinct_optima(one.optima)[0]
    peak = peak_share(one, modes, log_evidence)
    theta = problem.prior.to_theta(fresh.v[0])
    return Posterior(
        model=problem.model,
        prior=problem.prior,
        spectrum=asked.spectra[0],
        draws=theta.numpy(),
        log_weight=log_weight.numpy(),
        log_likelihood=fresh.log_likelihood[0].numpy(),
        best=best.numpy(),
        statistic=shown.statistic,
        deviance=shown.deviance,
        likelihood=noise.name,
        likelihood_kind=noise.kind,
        systematic=shown.systematic,
        ess=ess,
        efficiency=ess / one.spent,
        pareto_k=k,
        log_evidence=log_evidence,
        log_evidence_error=log_evidence_error(ess, draws),
        predictive=predictive,
        computation=judge_computation(Evidence(ess, wanted, draws, k, peak, one.grid_spread, noise.kind)),
        fit=judge_fit(predictive, shown.deviance.value, shown.deviance.dof, (spectrum.energy_lo, spectrum.energy_hi)),
        flags=find_flags(problem.prior, theta, torch.softmax(log_weight, 0).numpy(), modes.numel()),
        grid=problem.fold.grid.description,
        seed=seed,
        evaluations={"draws": one.spent, "optimise": int(one.optima.evaluations) + polish},
        seconds={},
        versions=package_versions(*MAKERS),
        notes=regrouped(spectrum),
    )


def _best(one: Candidate) -> tuple[Tensor, int]:
    """(parameter,) the mode in each parameter's own scale, from the best optimum and the best draw; evaluations."""
    lowest = torch.where(torch.isfinite(one.optima.objective), one.optima.objective, torch.inf).argmin()
    starts = torch.stack([one.optima.v[0, lowest], one.fresh.v[0, one.fresh.log_target[0].argmax()]])
    polished = minimise(one.problem, starts[None], objective="scale", near=True)
    v = polished.v[0, polished.objective[0].argmin()]
    return one.problem.prior.to_theta(v), int(polished.evaluations)


def peak_share(one: Candidate, modes: Tensor, log_evidence: float) -> float:
    """The largest share of all weight that one draw at a found optimum would carry: is every optimum covered?"""
    if modes.numel() == 0:
        return 1.0
    v = one.optima.v[:, modes]
    density = one.fresh.proposal.log_density(v)
    return float(torch.exp(log_target(one.problem, v) - density - log_evidence).max()) / one.fresh.v.shape[1]
