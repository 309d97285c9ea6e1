"""From weighted draws to a judged answer: best fit, predictive check, coverage of the modes, verdict."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xrayflow.files import package_versions
from xrayflow.fitting import Modes, minimise
from xrayflow.inference.checks import predictive
from xrayflow.inference.checks.modes import peak_share
from xrayflow.inference.checks.verdict import Evidence, find_flags, judge_computation, judge_fit, other_scales
from xrayflow.inference.parts import MAKERS, BestPoint, Draws, LikelihoodFacts, Provenance, Weighing
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.weights import log_evidence_error, log_mean_weight, pareto_k, systematic_rows
from xrayflow.problem import Problem


@dataclass(frozen=True)
class Candidate:
    """One source on its way to a verdict.

    Attributes:
        exact: A batch of one, on the answer's own energy grid.
        problem: The same as its weights were computed: exact, or corrected so that it follows.
        generator: Its random numbers.
        modes: Where its starts ended.
        drawn: Weighted draws of the frozen proposal.
        grid_spread: What a finer energy grid does to the log likelihood.
        spent: Likelihood evaluations on draws and on the grid's checks.
        own_grid: Whether the grid was ours to choose.
        searched: Likelihood evaluations of searches for missing tails.
        missing_tail: What is said of a tail that may be missing.
    """

    exact: Problem
    problem: Problem
    generator: torch.Generator
    modes: Modes
    drawn: WeightedDraws
    grid_spread: float
    spent: int
    own_grid: bool = True
    searched: int = 0
    missing_tail: str = ""


def judge(one: Candidate, wanted: float, seed: int) -> Posterior:
    """The answer of one source, with its verdict.

    Args:
        one: The source.
        wanted: The ess asked for.
        seed: The run's.
    """
    problem, drawn = one.problem, one.drawn
    log_weight = drawn.log_weight[0]
    draws, ess = log_weight.numel(), drawn.ess
    log_evidence = float(log_mean_weight(log_weight))
    best, polish = _best(one)
    statistic, deviance = one.exact.shown_at(best)
    likelihood = LikelihoodFacts.of(problem)
    predicted = predictive.check(
        problem, problem.prior.to_theta(resampled(drawn, predictive.DRAWS, one.generator)), one.generator
    )
    k = pareto_k(log_weight.numpy())
    modes = one.modes.v[0, one.modes.distinct()[0]]
    peak = peak_share(problem, drawn, modes, log_evidence)
    spent = one.spent + modes.shape[0]
    theta = problem.prior.to_theta(drawn.v[0])
    weights = torch.softmax(log_weight, 0).numpy()
    scales = other_scales(problem.prior, [parameter.scale for parameter in problem.model.free], theta, weights)
    evidence = Evidence(
        ess,
        wanted,
        draws,
        k,
        peak,
        one.grid_spread,
        likelihood.kind,
        likelihood.why,
        own_grid=one.own_grid,
        missing_tail=one.missing_tail,
    )
    return Posterior(
        model=problem.model,
        prior=problem.prior,
        data=one.exact.observed(),
        sample=Draws(theta.numpy(), log_weight.numpy(), drawn.log_likelihood[0].numpy()),
        weighing=Weighing(
            ess=ess,
            efficiency=ess / spent,
            pareto_k=k,
            log_evidence=log_evidence,
            log_evidence_error=log_evidence_error(ess, draws),
            evaluations={"draws": spent, "tails": one.searched, "optimise": int(one.modes.evaluations) + polish},
        ),
        best_point=BestPoint(best.numpy(), statistic, deviance),
        likelihood=likelihood,
        predictive=predicted,
        computation=judge_computation(evidence),
        fit=judge_fit(predicted, deviance.value, deviance.dof),
        flags=find_flags(problem.prior, theta, weights, modes.shape[0], scales),
        provenance=Provenance(
            seed,
            one.exact.grid,
            package_versions(*MAKERS),
            notes=(*problem.remarks, *(scale.reason for scale in scales)),
        ),
    )


def resampled(drawn: WeightedDraws, n: int, generator: torch.Generator) -> Tensor:
    """(n, parameter) equally weighted draws of one source, in probit coordinates.

    Args:
        drawn: Its draws.
        n: How many.
        generator: Source of randomness.
    """
    return drawn.v[0, systematic_rows(torch.softmax(drawn.log_weight[0], 0), n, generator)]


def _best(one: Candidate) -> tuple[Tensor, int]:
    """(parameter,) the mode in each parameter's own scale, from the best optimum and the best draw; evaluations."""
    lowest = torch.where(torch.isfinite(one.modes.objective), one.modes.objective, torch.inf).argmin()
    starts = torch.stack([one.modes.v[0, lowest], one.drawn.v[0, one.drawn.log_target[0].argmax()]])
    polished = minimise(one.problem, starts[None], objective="scale", near=True)
    v = polished.v[0, polished.objective[0].argmin()]
    return one.problem.prior.to_theta(v), int(polished.evaluations)
