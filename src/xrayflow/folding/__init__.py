"""INSTRUMENT: from photons on an energy grid to expected counts in a spectrum's bins."""

from xrayflow.folding.fidelity import EXACT, FINER, SEARCH, TRAINING, Fidelity
from xrayflow.folding.fold import Fold
from xrayflow.folding.forward import PIECE, Forward
from xrayflow.folding.grid import Grid

__all__ = ["EXACT", "FINER", "PIECE", "SEARCH", "TRAINING", "Fidelity", "Fold", "Forward", "Grid"]
