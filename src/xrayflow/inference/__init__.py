"""ANSWER: from a problem to a certified posterior."""

from xrayflow.inference.best_fit import BestFit
from xrayflow.inference.build import Question
from xrayflow.inference.optimiser import optimise, optimise_batch
from xrayflow.inference.pipeline import infer, infer_batch
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.profile import error, steppar
from xrayflow.inference.search import Effort

__all__ = [
    "BestFit",
    "Effort",
    "Posterior",
    "Question",
    "error",
    "infer",
    "infer_batch",
    "optimise",
    "optimise_batch",
    "steppar",
]
