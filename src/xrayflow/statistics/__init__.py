"""LIKELIHOOD: XSPEC's statistics for people, and the normalised likelihood that the posterior rests on."""

from xrayflow.statistics.auto import STATISTICS, StatisticChoice, background_in_source, choose
from xrayflow.statistics.batch import likelihood_of
from xrayflow.statistics.count_density import MOST_SYSTEMATIC
from xrayflow.statistics.counts import CountLikelihood
from xrayflow.statistics.fit_statistic import FitStatistic
from xrayflow.statistics.gaussian import GaussianLikelihood
from xrayflow.statistics.likelihood import Curvature, Likelihood

__all__ = [
    "MOST_SYSTEMATIC",
    "STATISTICS",
    "CountLikelihood",
    "Curvature",
    "FitStatistic",
    "GaussianLikelihood",
    "Likelihood",
    "StatisticChoice",
    "background_in_source",
    "choose",
    "likelihood_of",
]
