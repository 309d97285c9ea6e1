"""WEIGHTS: the learned parts of a network, and how they stand together (`core`)."""

from xrayflow.networks.nn.autoregressive import Autoregressive
from xrayflow.networks.nn.coordinates import Coordinates, Probit, Standardised
from xrayflow.networks.nn.core import PosteriorEstimator, count_weights, freeze_all_but
from xrayflow.networks.nn.decoder import Decoder, Physical, Recurrent
from xrayflow.networks.nn.encoder import Convolutional, Residual
from xrayflow.networks.nn.flow import Coupling, Flow, Gaussian, Point
from xrayflow.networks.nn.local import Local
from xrayflow.networks.nn.scaling import LogRateScaler, Scaling, SqrtFractionScaler

__all__ = [
    "Autoregressive",
    "Convolutional",
    "Coordinates",
    "Coupling",
    "Decoder",
    "Flow",
    "Gaussian",
    "Local",
    "LogRateScaler",
    "Physical",
    "Point",
    "PosteriorEstimator",
    "Probit",
    "Recurrent",
    "Residual",
    "Scaling",
    "SqrtFractionScaler",
    "Standardised",
    "count_weights",
    "freeze_all_but",
]
