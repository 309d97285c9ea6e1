"""ANSWER: from a problem to a certified posterior."""

from xrayflow.inference.another_prior import reweigh
from xrayflow.inference.checks.grid import FOLLOWS
from xrayflow.inference.checks.missing import Microscope, Missing, Refit, find_missing
from xrayflow.inference.checks.verdict import Computation, Doubt, far_nuisances, judge_computation, judge_fit
from xrayflow.inference.driver import Progress, infer_problem
from xrayflow.inference.flux import SHOWN_BAND, BandFlux, Derived, ModelDraws, check_band, is_beyond
from xrayflow.inference.ladder import SamplingBudget
from xrayflow.inference.larger import compared, fit_larger, larger_model
from xrayflow.inference.pipeline import NoAnswer, infer, infer_batch
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.proposals.draws import WeightedDraws, balance_heuristic
from xrayflow.inference.proposals.em import refined
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.network import NO_NETWORK, default_network, find_network, refuse_unknown_modes
from xrayflow.inference.proposals.student import StudentMixture, root_of_inverse
from xrayflow.inference.weights import (
    effective_sample_size,
    log_evidence_error,
    log_mean_weight,
    most_pareto_k,
    pareto_k,
    systematic_rows,
    weighted_quantile,
)

__all__ = [
    "FOLLOWS",
    "NO_NETWORK",
    "SHOWN_BAND",
    "BandFlux",
    "Components",
    "Computation",
    "Derived",
    "Doubt",
    "Microscope",
    "Missing",
    "ModelDraws",
    "NoAnswer",
    "Posterior",
    "Progress",
    "Proposal",
    "Refit",
    "SamplingBudget",
    "StudentMixture",
    "WeightedDraws",
    "balance_heuristic",
    "check_band",
    "compared",
    "default_network",
    "effective_sample_size",
    "far_nuisances",
    "find_missing",
    "find_network",
    "fit_larger",
    "infer",
    "infer_batch",
    "infer_problem",
    "is_beyond",
    "judge_computation",
    "judge_fit",
    "larger_model",
    "log_evidence_error",
    "log_mean_weight",
    "most_pareto_k",
    "pareto_k",
    "refined",
    "refuse_unknown_modes",
    "reweigh",
    "root_of_inverse",
    "systematic_rows",
    "weighted_quantile",
]
