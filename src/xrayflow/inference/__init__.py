"""ANSWER: from a problem to a certified posterior."""

from xrayflow.inference.flux import SHOWN_BAND, BandFlux, Derived, ModelDraws, check_band, is_beyond
from xrayflow.inference.ladder import SamplingBudget
from xrayflow.inference.pipeline import NoAnswer, Progress, infer, infer_batch, infer_problem
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.proposals.network import NO_NETWORK, find_network
from xrayflow.inference.weights import systematic_rows, weighted_quantile

__all__ = [
    "NO_NETWORK",
    "SHOWN_BAND",
    "BandFlux",
    "Derived",
    "ModelDraws",
    "NoAnswer",
    "Posterior",
    "Progress",
    "SamplingBudget",
    "check_band",
    "find_network",
    "infer",
    "infer_batch",
    "infer_problem",
    "is_beyond",
    "systematic_rows",
    "weighted_quantile",
]
