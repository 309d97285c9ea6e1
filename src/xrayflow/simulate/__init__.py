"""SIMULATED SPECTRA: theta -> expected counts -> noisy counts, one by one as files or in batches for training."""

from xrayflow.simulate.coarse import training_grid
from xrayflow.simulate.fakeit import simulate
from xrayflow.simulate.layout import Filled, Layout
from xrayflow.simulate.simulator import Simulated, Simulator
from xrayflow.simulate.training_prior import TrainingPrior

__all__ = ["Filled", "Layout", "Simulated", "Simulator", "TrainingPrior", "simulate", "training_grid"]
