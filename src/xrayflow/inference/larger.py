"""A fit again with a component that it may lack: the exact evidence beside the linear one of the microscope.

The same files, bins, likelihood, systematic error, seed and number of draws. The old parameters keep their priors,
the new ones have those of the search (`Missing.prior`), as far as independent priors can be: an energy is anywhere in
the band, a column as likely in every decade, and the norm of a line is half normal with the scale of the equivalent
width at the place where the line was found. So ln Z(larger) - ln Z(here) pays for the whole search, as the linear ln B
does, and both say the same where the larger model is a small change.
"""

from __future__ import annotations

import math
from dataclasses import replace

from xrayflow.errors import DataError
from xrayflow.inference.checks.missing import Missing, Refit
from xrayflow.inference.driver import Progress
from xrayflow.inference.ladder import SamplingBudget
from xrayflow.inference.pipeline import infer_batch
from xrayflow.inference.posterior import Posterior
from xrayflow.models import Model, Written, enlarged
from xrayflow.prior import Prior


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
    return infer_batch([posterior.observation()], setup, None, False, posterior.seed, budget, progress)[0]


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


def compared(posterior: Posterior, larger: Posterior, component: str) -> Refit:
    """What a fit with a component says beside the one without.

    Args:
        posterior: The answer without it.
        larger: The answer with it.
        component: Its name in the larger model.
    """
    rows = larger.parameter_rows()
    own = [marginal for marginal in larger.prior.marginals if marginal.name.rpartition(".")[0] == component]
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
    )
