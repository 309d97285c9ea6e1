"""NOISE: XSPEC's statistics for people, and the normalised likelihood that the posterior rests on."""

from xrayflow.statistics.auto import STATISTICS, Choice, choose, statistic_per_bin
from xrayflow.statistics.noise import CountNoise, GaussianNoise, Noise, noise_of

__all__ = ["STATISTICS", "Choice", "CountNoise", "GaussianNoise", "Noise", "choose", "noise_of", "statistic_per_bin"]
