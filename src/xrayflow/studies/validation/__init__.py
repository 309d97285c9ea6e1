"""VALIDATION: are the posteriors of a whole set right, and how well do they find what is known?"""

from xrayflow.studies.validation.calibration import (
    Calibration,
    binomial_band,
    calibrate,
    coverage,
    coverage_deviation,
    ranks,
    tarp_ranks,
)
from xrayflow.studies.validation.evaluation import EXACT, TARGETS, Evaluation, EvaluationConfig, evaluate
from xrayflow.studies.validation.passport import Passport, PassportConfig, check_network, largest_deviation
from xrayflow.studies.validation.pictures import TABLE, write_evaluation, write_passport
from xrayflow.studies.validation.recovery import Fits, draw_sets, linear_fits, pearson
from xrayflow.studies.validation.truths import TruthAndDraws

__all__ = [
    "EXACT",
    "TABLE",
    "TARGETS",
    "Calibration",
    "Evaluation",
    "EvaluationConfig",
    "Fits",
    "Passport",
    "PassportConfig",
    "TruthAndDraws",
    "binomial_band",
    "calibrate",
    "check_network",
    "coverage",
    "coverage_deviation",
    "draw_sets",
    "evaluate",
    "largest_deviation",
    "linear_fits",
    "pearson",
    "ranks",
    "tarp_ranks",
    "write_evaluation",
    "write_passport",
]
