"""From weighted draws to a judged answer: best fit, predictive check, coverage of the modes, verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.files import package_versions
from xrayflow.fitting import Modes, minimise
from xrayflow.inference.checks import predictive
from xrayflow.inference.checks.findings import Findings
from xrayflow.inference.checks.misfit import find_misfit
from xrayflow.inference.checks.modes import peak_share
from xrayflow.inference.checks.verdict import (
    Evidence,
    judge_computation,
    judge_fit,
)
from xrayflow.inference.ladder import SamplingBudget
from xrayflow.inference.parts import MAKERS, BestPoint, Draws, Provenance, Weighing
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.weights import log_evidence_error, log_mean_weight, pareto_k, systematic_rows
from xrayflow.problem import Problem
from xrayflow.shown import remarks, shown_at, shown_statistic


@dataclass(frozen=True)
class Best:
    """The mode of one source in each parameter's own scale.

    Attributes:
        theta: (parameter,) in their units.
        evaluations: Of the likelihood.
    """

    theta: Float[Tensor, " parameter"]
    evaluations: int


@dataclass(frozen=True)
class Candidate:
    """One source on its way to a verdict.

    Attributes:
        exact: A batch of one, on the answer's own energy grid.
        problem: The same as its weights were computed: exact, or corrected so that it follows.
        generator: Its random numbers.
        modes: Where its starts ended.
        drawn: Weighted draws of the frozen proposal.
        best: Its best point, and what finding it cost.
        grid_spread: What a finer energy grid does to the log likelihood.
        spent: Likelihood evaluations on draws and on the grid's checks.
        own_grid: Whether the grid was ours to choose.
        searched: Likelihood evaluations of searches for missing tails.
        missing_tail: What is said of a tail that may be missing.
        stopped: What is said of a limit that ended the work.
    """

    exact: Problem
    problem: Problem
    generator: torch.Generator
    modes: Modes
    drawn: WeightedDraws
    best: Best
    grid_spread: float
    spent: int
    own_grid: bool = True
    searched: int = 0
    missing_tail: str = ""
    stopped: str = ""

    @property
    def distinct_modes(self) -> Float[Tensor, "mode parameter"]:
        """Places of the modes, best first."""
        return self.modes.v[0, self.modes.distinct()[0]]


def judge(
    one: Candidate, budget: SamplingBudget, seed: int, log_at_modes: Float[Tensor, " mode"] | None = None
) -> Posterior:
    """The answer of one source, with its verdict.

    Args:
        one: The source.
        budget: What was asked for.
        seed: The run's.
        log_at_modes: Natural log of the proposal's density at the distinct modes, where it is known.
    """
    problem, drawn = one.problem, one.drawn
    log_weight = drawn.log_weight[0]
    draws, ess = log_weight.numel(), drawn.ess
    log_evidence = float(log_mean_weight(log_weight))
    asked, best = one.exact.as_asked(), one.best.theta
    statistic, deviance = shown_at(one.exact, best, asked)
    shown = problem if asked is one.exact else asked.corrected(best[None, None], torch.ones((1, 1), dtype=torch.bool))
    likelihood = problem.data.rests_on
    picked = problem.prior.to_theta(resampled(drawn, predictive.DRAWS, one.generator))
    predicted = predictive.check(problem, picked, one.generator, shown)
    misfit = find_misfit(one.exact, one.exact.prior.to_probit(best), one.generator)
    k = pareto_k(log_weight.numpy())
    modes = one.distinct_modes
    peak = peak_share(problem, drawn, modes, log_evidence, log_at_modes)
    spent = one.spent + modes.shape[0]
    theta = problem.prior.to_theta(drawn.v[0])
    weights = torch.softmax(log_weight, 0).numpy()
    found = Findings.of(problem.model, problem.prior, theta, weights, misfit)
    evidence = Evidence(
        ess,
        budget.ess,
        draws,
        k,
        peak,
        one.grid_spread,
        likelihood.kind,
        likelihood.why,
        own_grid=one.own_grid,
        missing_tail=one.missing_tail,
        stopped=one.stopped,
    )
    return Posterior(
        model=problem.model,
        prior=problem.prior,
        data=one.exact.data.observed(),
        sample=Draws(
            theta.numpy(),
            log_weight.numpy(),
            drawn.log_likelihood[0].numpy(),
            drawn.log_proposal[0].numpy(),
            shown_statistic(shown, theta, drawn.log_likelihood[0] if shown is problem else None).numpy(),
        ),
        weighing=Weighing(
            ess=ess,
            efficiency=ess / spent,
            pareto_k=k,
            log_evidence=log_evidence,
            log_evidence_error=log_evidence_error(ess, draws),
            evaluations={
                "draws": spent,
                "tails": one.searched,
                "optimise": int(one.modes.evaluations) + one.best.evaluations,
            },
        ),
        best_point=BestPoint(best.numpy(), statistic, deviance),
        likelihood=likelihood,
        predictive=predicted,
        misfit=misfit,
        evidence=evidence,
        computation=judge_computation(evidence),
        fit=judge_fit(predicted, deviance.value, deviance.dof, found.doubts),
        flags=found.flags(problem.model_prior, theta, weights, modes.shape[0]),
        provenance=Provenance(
            seed,
            one.exact.data.grid,
            package_versions(*MAKERS),
            notes=(*remarks(problem), *found.notes),
            block=budget.draws,
        ),
    )


def resampled(drawn: WeightedDraws, n: int, generator: torch.Generator) -> Tensor:
    """(n, parameter) equally weighted draws of one source, in probit coordinates.

    Args:
        drawn: Its draws.
        n: How many.
        generator: Source of randomness.
    """
    return drawn.v[0, picked_rows(drawn, n, generator)]


def picked_rows(drawn: WeightedDraws, n: int, generator: torch.Generator) -> Tensor:
    """(n,) numbers of equally weighted draws.

    Args:
        drawn, n, generator: As for `resampled`.
    """
    return systematic_rows(torch.softmax(drawn.log_weight[0], 0), n, generator)


def best_points(problem: Problem, modes: Modes, drawn: Sequence[WeightedDraws]) -> list[Best]:
    """The modes in each parameter's own scale, sought from the best optimum and the best draw of each source.

    Args:
        problem: The batch.
        modes: Where its starts ended.
        drawn: Of each source.
    """
    lowest = torch.where(torch.isfinite(modes.objective), modes.objective, torch.inf).argmin(-1)
    starts = [
        torch.stack([modes.v[source, at], one.v[0, one.log_target[0].argmax()]])
        for source, (at, one) in enumerate(zip(lowest.tolist(), drawn, strict=True))
    ]
    polished = minimise(problem, torch.stack(starts), objective="scale", near=True)
    ends = polished.objective.argmin(-1)
    v = polished.v[torch.arange(ends.numel()), ends]
    theta = problem.prior.to_theta(v)
    return [Best(*pair) for pair in zip(theta, polished.evaluations.tolist(), strict=True)]
