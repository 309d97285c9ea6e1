"""TRAINING: spectra and losses move a network's weights, epoch by epoch; a stopped run goes on where it was."""

from xrayflow.networks.training.library import (
    LARGEST_LIBRARY,
    PER_BIN,
    PER_SOURCE,
    held_apart,
    read_library,
)
from xrayflow.networks.training.loop import Progress, train
from xrayflow.networks.training.spectra import VALIDATION_SHARE

__all__ = [
    "LARGEST_LIBRARY",
    "PER_BIN",
    "PER_SOURCE",
    "VALIDATION_SHARE",
    "Progress",
    "held_apart",
    "read_library",
    "train",
]
