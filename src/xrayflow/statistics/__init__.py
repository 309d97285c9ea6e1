"""LIKELIHOOD: XSPEC's statistics for people, and the normalised likelihood that the posterior rests on."""

from xrayflow.statistics.auto import ASKED_FOR, STATISTICS, StatisticChoice, background_in_source, choose
from xrayflow.statistics.background import MODELLED_SCALE, NUISANCES, sample_modelled
from xrayflow.statistics.batch import (
    KNOWN,
    TREATMENTS,
    BackgroundTreatment,
    background_kind,
    likelihood_kind,
    likelihood_of,
)
from xrayflow.statistics.calibration import AMPLITUDE, AMPLITUDE_SPREAD, CalibratedLikelihood
from xrayflow.statistics.count_density import MOST_SYSTEMATIC
from xrayflow.statistics.counts import CountLikelihood
from xrayflow.statistics.fit_statistic import FitStatistic
from xrayflow.statistics.gaussian import GaussianLikelihood
from xrayflow.statistics.likelihood import Curvature, Likelihood
from xrayflow.statistics.linear import LinearFit
from xrayflow.statistics.marginalised import MarginalisedCounts
from xrayflow.statistics.systematic import MODES, MOST_AMPLITUDE, Systematic

__all__ = [
    "AMPLITUDE",
    "AMPLITUDE_SPREAD",
    "ASKED_FOR",
    "KNOWN",
    "MODELLED_SCALE",
    "MODES",
    "MOST_AMPLITUDE",
    "MOST_SYSTEMATIC",
    "NUISANCES",
    "STATISTICS",
    "TREATMENTS",
    "BackgroundTreatment",
    "CalibratedLikelihood",
    "CountLikelihood",
    "Curvature",
    "FitStatistic",
    "GaussianLikelihood",
    "Likelihood",
    "LinearFit",
    "MarginalisedCounts",
    "StatisticChoice",
    "Systematic",
    "background_in_source",
    "background_kind",
    "choose",
    "likelihood_kind",
    "likelihood_of",
    "sample_modelled",
]
