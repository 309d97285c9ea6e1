"""CALIBRATION: what is believed of a detector's errors, and what it does to the bins of a spectrum."""

from xrayflow.calibration.channels import MOST_ETA, BinModes, gain_moved, relative_errors
from xrayflow.calibration.modes import SUFFIX, ModeSet, find_mode_set, read_mode_set, shipped_mode_sets
from xrayflow.calibration.moved import moved_channels

__all__ = [
    "MOST_ETA",
    "SUFFIX",
    "BinModes",
    "ModeSet",
    "find_mode_set",
    "gain_moved",
    "moved_channels",
    "read_mode_set",
    "relative_errors",
    "shipped_mode_sets",
]
