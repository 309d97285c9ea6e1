"""MANY SPECTRA: are the posteriors of a whole set right, and how well do they find what is known?"""

from xrayflow.studies.answers import Answers
from xrayflow.studies.calibration import (
    Calibration,
    binomial_band,
    calibrate,
    coverage,
    coverage_deviation,
    ranks,
    tarp_ranks,
)
from xrayflow.studies.recovery import Fits, draw_sets, linear_fits, pearson

__all__ = [
    "Answers",
    "Calibration",
    "Fits",
    "binomial_band",
    "calibrate",
    "coverage",
    "coverage_deviation",
    "draw_sets",
    "linear_fits",
    "pearson",
    "ranks",
    "tarp_ranks",
]
