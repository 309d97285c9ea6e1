"""BEST FIT: from a problem to its modes, and what people ask of a fit: `optimise`, `error`, `steppar`."""

from xrayflow.fitting.corrected import centred, corrected_modes, settle
from xrayflow.fitting.fit import BestFit, best_of, optimise, optimise_batch, optimise_problem
from xrayflow.fitting.intervals import Errors, Interval, error
from xrayflow.fitting.levenberg_marquardt import ROWS_TOGETHER, LevenbergMarquardt
from xrayflow.fitting.minima import Minima, descend
from xrayflow.fitting.multistart import Modes, minimise
from xrayflow.fitting.objective import FAR, Objective
from xrayflow.fitting.parameter_grid import Profile, steppar
from xrayflow.fitting.starts import StartingProposal, starting_points

__all__ = [
    "FAR",
    "ROWS_TOGETHER",
    "BestFit",
    "Errors",
    "Interval",
    "LevenbergMarquardt",
    "Minima",
    "Modes",
    "Objective",
    "Profile",
    "StartingProposal",
    "best_of",
    "centred",
    "corrected_modes",
    "descend",
    "error",
    "minimise",
    "optimise",
    "optimise_batch",
    "optimise_problem",
    "settle",
    "starting_points",
    "steppar",
]
