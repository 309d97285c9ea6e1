"""INSTRUMENT: from photons on an energy grid to expected counts in a spectrum's bins."""

from xrayflow.folding.fidelity import EXACT, FINER, SEARCH, SINGLE, TRAINING, Fidelity
from xrayflow.folding.fold import Fold
from xrayflow.folding.forward import MANY_DRAWS, PIECE, Forward
from xrayflow.folding.grid import Grid
from xrayflow.folding.matrix import binning_of

__all__ = [
    "EXACT",
    "FINER",
    "MANY_DRAWS",
    "PIECE",
    "SEARCH",
    "SINGLE",
    "TRAINING",
    "Fidelity",
    "Fold",
    "Forward",
    "Grid",
    "binning_of",
]
