"""SIMULATED SPECTRA: theta -> expected counts -> noisy counts, one by one as files or in batches for training."""

from xrayflow.simulate.describe import MAKERS, describe_model
from xrayflow.simulate.fakeit import simulate
from xrayflow.simulate.files import Instrument, write_fake
from xrayflow.simulate.layout import Filled, Layout
from xrayflow.simulate.library import library_simulator, write_library
from xrayflow.simulate.observed import as_observations
from xrayflow.simulate.simulator import SimulatedSpectra, Simulator
from xrayflow.simulate.training_prior import TrainingPrior

__all__ = [
    "MAKERS",
    "Filled",
    "Instrument",
    "Layout",
    "SimulatedSpectra",
    "Simulator",
    "TrainingPrior",
    "as_observations",
    "describe_model",
    "library_simulator",
    "simulate",
    "write_fake",
    "write_library",
]
