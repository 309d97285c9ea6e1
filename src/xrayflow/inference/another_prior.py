"""The same data under another prior, from the draws at hand: exact weights, or a refusal.

A draw weighs likelihood x prior / proposal, so another prior p' multiplies its weight by p'(theta) / p(theta), and the
mean weight is the evidence under p'. No likelihood is computed for the draws. What is computed from the data is the
best point under the new prior, and how the model fits there and over the new draws.

A prior that reaches beyond the box that was fitted is refused: no draw is there. So is one under which too few draws
are left.

Source: Smith & Gelfand 1992, Am. Stat. 46, 84.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.errors import DataError, PriorError
from xrayflow.fitting import minimise
from xrayflow.inference.checks import predictive
from xrayflow.inference.checks.findings import Findings
from xrayflow.inference.checks.misfit import find_misfit
from xrayflow.inference.checks.verdict import (
    judge_computation,
    judge_fit,
)
from xrayflow.inference.parts import BestPoint
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.weights import (
    effective_sample_size,
    log_evidence_error,
    log_mean_weight,
    pareto_k,
    systematic_rows,
)
from xrayflow.models import Model
from xrayflow.prior import Marginal, Prior, log_standard_normal, name_of
from xrayflow.shown import shown_at

LEAST_ESS = 100.0
"""Effective draws that must be left: the ends of a 90 % interval then scatter by a fifth of a standard deviation."""

WIDER = 1e-9
"""Relative: an edge that was typed with fewer digits is the same edge."""


def reweigh(posterior: Posterior, changes: Sequence[str], least: float = LEAST_ESS) -> Posterior:
    """The answer under another prior.

    Args:
        posterior: The answer; its files are read again.
        changes: As `--prior` has them, from the answer's own prior on.
        least: Effective draws that must be left.

    Raises:
        PriorError: A change that cannot be, or that reaches beyond the box that was fitted.
        DataError: Too few draws are left, or the answer has no weights.
        FileError: A file of the data is gone, or another one now.
    """
    if posterior.mode != "exact":
        raise DataError("a network's own draws have no weights; fit without --amortised, and reweigh that")
    free = len(posterior.model.names)
    marginals = posterior.prior.marginals
    prior = Prior((*changed(posterior.model, marginals[:free], changes), *marginals[free:]))
    theta = torch.from_numpy(posterior.draws)
    shift = log_ratio(theta, marginals[:free], prior.marginals[:free])
    log_weight = torch.from_numpy(posterior.log_weight) + shift
    if not bool(torch.isfinite(log_weight).any()):
        raise DataError("no draw lies in the new prior; fit again with it")
    ess = float(effective_sample_size(log_weight))
    if ess < least:
        raise DataError(f"{ess:.0f} effective draws of {posterior.ess:.0f} are left; fit again with this prior")
    return _judged(posterior, prior, log_weight, ess, shift)


def changed(model: Model, marginals: Sequence[Marginal], changes: Sequence[str]) -> tuple[Marginal, ...]:
    """The priors of a model's free parameters after changes, none wider than it was.

    Args:
        model: Gives names and hard limits.
        marginals: The priors that were.
        changes: As `--prior` has them.

    Raises:
        PriorError: A change that cannot be, or a range beyond the old one.
    """
    boxes = {marginal.name: marginal for marginal in marginals}
    own = replace(
        model,
        parameters=tuple(
            replace(p, box=(boxes[p.name].lo, boxes[p.name].hi), scale=boxes[p.name].scale) if p.name in boxes else p  # type: ignore[arg-type]
            for p in model.parameters
        ),
    )
    named = {name_of(change).lower() for change in changes}
    found = []
    for old, new in zip(marginals, Prior.of(own, changes).marginals, strict=True):
        if old.name.lower() not in named:
            found.append(old)
            continue
        if new.lo < old.lo - WIDER * abs(old.lo) or new.hi > old.hi + WIDER * abs(old.hi):
            raise PriorError(
                f"{old.name} in {new.lo:g} .. {new.hi:g} reaches beyond {old.lo:g} .. {old.hi:g}, which was fitted; "
                "fit again with it"
            )
        found.append(new)
    return tuple(found)


def log_ratio(
    theta: Float[Tensor, "draw parameter"], before: Sequence[Marginal], after: Sequence[Marginal]
) -> Float[Tensor, " draw"]:
    """ln p'(theta) / p(theta), of the parameters that have both.

    Args:
        theta: Draws, these parameters first.
        before, after: Their priors.
    """
    total = torch.zeros(theta.shape[0], dtype=theta.dtype)
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if old != new:
            was = _log_density(old, theta[:, place])
            # a draw without prior has no weight, whatever comes
            total = total + torch.where(torch.isneginf(was), was, _log_density(new, theta[:, place]) - was)
    return total


def _log_density(marginal: Marginal, theta: Tensor) -> Tensor:
    """Per unit of theta itself, whatever the prior is uniform in."""
    density = Prior((marginal,)).log_density(theta[:, None])
    if marginal.mean is None and marginal.scale == "log":
        density = density - torch.log(theta * math.log(10.0))
    return density


def _judged(posterior: Posterior, prior: Prior, log_weight: Tensor, ess: float, shift: Tensor) -> Posterior:
    """The answer with its new weights, and with all that follows from them."""
    theta = torch.from_numpy(posterior.draws)
    draws, free = theta.shape[0], len(posterior.model.names)
    weights = torch.softmax(log_weight, 0)
    generator = torch.Generator().manual_seed(posterior.seed)
    problem = replace(posterior.problem(), prior=prior)
    start = prior.to_probit(theta[int((log_weight + torch.from_numpy(posterior.sample.log_proposal)).argmax())])
    ends = minimise(problem, start[None, None], objective="scale", near=True)
    best = prior.to_theta(ends.v[0, int(ends.objective[0].argmin())])
    statistic, deviance = shown_at(problem, best)
    if statistic.name == posterior.statistic.name:  # chosen at the fit, whose reason stands
        statistic = replace(statistic, reason=posterior.statistic.reason)
    picked = theta[systematic_rows(weights, predictive.DRAWS, generator)]
    predicted = predictive.check(problem, picked, generator)
    misfit = find_misfit(problem, prior.to_probit(best), generator)
    found = Findings.of(posterior.model, prior, theta, weights.numpy(), misfit)
    k = pareto_k(log_weight.numpy())
    evidence = None
    computation = posterior.computation
    if posterior.evidence is not None:
        evidence = replace(posterior.evidence, ess=ess, pareto_k=k)
        computation = judge_computation(evidence)
    optima = 2 if "several_modes" in posterior.flags else 1
    # the density of a proposal is one in the prior's coordinates, and those are others now
    old = log_standard_normal(posterior.prior.to_probit(theta))
    new = log_standard_normal(prior.to_probit(theta))
    inside = torch.isfinite(shift)
    log_proposal = torch.from_numpy(posterior.sample.log_proposal) + torch.where(inside, new - old - shift, 0.0)
    pairs = zip(posterior.prior.marginals, prior.marginals, strict=True)
    said = "; ".join(f"{new.name} {new}, before {old}" for old, new in pairs if old != new)
    note = f"reweighed from the draws of another prior, {ess:.0f} effective of {posterior.ess:.0f} left: {said}"
    return replace(
        posterior,
        prior=prior,
        sample=replace(posterior.sample, log_weight=log_weight.numpy(), log_proposal=np.asarray(log_proposal)),
        weighing=replace(
            posterior.weighing,
            ess=ess,
            efficiency=posterior.efficiency * ess / posterior.ess,
            pareto_k=k,
            log_evidence=float(log_mean_weight(log_weight)),
            log_evidence_error=log_evidence_error(ess, draws),
        ),
        best_point=BestPoint(best.numpy(), statistic, deviance),
        predictive=predicted,
        misfit=misfit,
        computation=computation,
        evidence=evidence,
        fit=judge_fit(predicted, deviance.value, deviance.dof, found.doubts),
        flags=found.flags(Prior(prior.marginals[:free]), theta, weights.numpy(), optima),
        provenance=replace(posterior.provenance, notes=(note, *(one.reason for one in found.scales))),
    )
