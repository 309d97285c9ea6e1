"""ANSWER: from a problem to a certified posterior."""

from xrayflow.inference.pipeline import infer, infer_batch
from xrayflow.inference.posterior import Posterior
from xrayflow.inference.search import Effort

__all__ = ["Effort", "Posterior", "infer", "infer_batch"]
