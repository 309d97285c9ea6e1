"""A fit again with a component that it may lack: the exact evidence beside the linear one of the microscope.

The same files, bins, likelihood, systematic error, seed and number of draws. The old parameters keep their priors,
the new ones have those of the search (`Missing.prior`), as far as independent priors can be: an energy is anywhere in
the band, a column as likely in every decade, and the norm of a line is half normal with the scale of the equivalent
width at the place where the line was found. So ln Z(larger) - ln Z(here) pays for the whole search, as the linear ln B
does, and both say the same where the larger model is a small change.

The smaller model stands inside the larger one, so its draws say what the larger evidence is at least: over them, and
over the priors of the new parameters,

    B = E[L(larger) / L(here)],

exactly. A mean of some such ratios is a poor estimate, since what the component does well is rare among them, but by
Markov it exceeds `BEYOND` B in one of `BEYOND` searches at most. A fit that stays below that has missed where the
smaller model is good: it is made once more from more starts, and if that does not help, its evidence is not believed.

Source: Verdinelli & Wasserman 1995 (JASA 90, 614) on nested models; Markov's inequality.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from xrayflow.errors import DataError
from xrayflow.inference.checks.missing import Missing, Refit
from xrayflow.inference.driver import Progress
from xrayflow.inference.ladder import SamplingBudget
from xrayflow.inference.pipeline import infer_batch
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.weights import systematic_rows
from xrayflow.models import Model, Written, enlarged
from xrayflow.prior import Prior

BEYOND = 100.0
"""The mean ratio of likelihoods over the Bayes factor of a fit from which a mode was missed: by chance once in 100."""

RATIOS = 2000
"""Of them."""

MORE_STARTS = 8
"""Times as many starts, where a fit has missed a mode."""


def fit_larger(posterior: Posterior, missing: Missing, progress: Progress | None = None) -> Posterior:
    """The same data fitted with a component more.

    Args:
        posterior: The answer without it; its files are read again.
        missing: What it may lack.
        progress: Called with (step, fraction).

    Raises:
        DataError: The component cannot be written, or the answer has no evidence, or is of several data sets.
        FileError: A file is gone, or another one now.
    """
    if missing.why_not or not missing.expression:
        raise DataError(f"{missing.kind}: cannot be fitted; {missing.why_not or 'no model with it is known'}")
    if posterior.mode != "exact" or not math.isfinite(posterior.log_evidence):
        raise DataError("a network's own draws have no evidence; fit without --amortised, and look at that")
    model, prior = larger_model(posterior, missing)
    setup = replace(posterior.asked, model=model, prior=prior)
    wanted = SamplingBudget() if posterior.evidence is None else SamplingBudget(ess=posterior.evidence.wanted)
    budget = replace(wanted, draws=posterior.provenance.block)
    observations = [posterior.observation()]
    larger = infer_batch(observations, setup, None, False, posterior.seed, budget, progress)[0]
    if misses_a_mode(posterior, larger, missing):
        budget = replace(budget, starts=MORE_STARTS * budget.starts)
        larger = infer_batch(observations, setup, None, False, posterior.seed, budget, progress)[0]
    return larger


def misses_a_mode(posterior: Posterior, larger: Posterior, missing: Missing) -> bool:
    """Whether a larger fit has less evidence than the smaller one shows that it has.

    Args:
        posterior: The answer without a component.
        larger: That with it.
        missing: The component.
    """
    return least_log_bayes(posterior, larger, missing) > larger.log_evidence - posterior.log_evidence


def least_log_bayes(posterior: Posterior, larger: Posterior, missing: Missing) -> float:
    """What ln B is at least, but for one search in `BEYOND`, by draws of the smaller model alone.

    Args:
        posterior: The answer without a component.
        larger: That with it.
        missing: The component.
    """
    _, names = enlarged(posterior.model, Written(missing.expression, missing.component))
    generator = torch.Generator().manual_seed(posterior.seed)
    rows = systematic_rows(torch.from_numpy(posterior.weights), RATIOS, generator)
    theta = larger.prior.sample((RATIOS,), generator)
    for place, name in enumerate(posterior.names):
        theta[:, larger.names.index(names.get(name, name))] = torch.from_numpy(posterior.draws)[rows, place]
    found = larger.problem().log_likelihood(theta[None])[0] - torch.from_numpy(posterior.log_likelihood)[rows]
    return float(torch.logsumexp(found, 0)) - math.log(RATIOS) - math.log(BEYOND)


def larger_model(posterior: Posterior, missing: Missing) -> tuple[Model, Prior]:
    """The model with a component more, and the prior of its free parameters.

    Args:
        posterior: The answer without it.
        missing: What it may lack.
    """
    model, names = enlarged(posterior.model, Written(missing.expression, missing.component))
    model = model.freeze(missing.freeze)
    old = {names[one.name]: one for one in posterior.prior.marginals if one.name in names}
    own = Prior.of(model, missing.prior).marginals
    return model, Prior(tuple(replace(old[one.name], name=one.name) if one.name in old else one for one in own))


def compared(posterior: Posterior, larger: Posterior, missing: Missing) -> Refit:
    """What a fit with a component says beside the one without.

    Args:
        posterior: The answer without it.
        larger: The answer with it.
        missing: The component.
    """
    rows = larger.parameter_rows()
    own = [one for one in larger.prior.marginals if one.name.rpartition(".")[0] == missing.component]
    return Refit(
        log_bayes=larger.log_evidence - posterior.log_evidence,
        error=math.hypot(larger.log_evidence_error, posterior.log_evidence_error),
        verdict=larger.verdict,
        computation=larger.computation.status,
        fit=larger.fit.status,
        verdict_here=posterior.verdict,
        computation_here=posterior.computation.status,
        fit_here=posterior.fit.status,
        parameters={marginal.name: rows[marginal.name] for marginal in own},
        prior={marginal.name: str(marginal) for marginal in own},
        least=least_log_bayes(posterior, larger, missing),
    )
