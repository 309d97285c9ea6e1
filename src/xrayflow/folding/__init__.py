"""INSTRUMENT: from photons on an energy grid to expected counts in a spectrum's bins."""

from xrayflow.folding.fold import Fold
from xrayflow.folding.grid import Grid

__all__ = ["Fold", "Grid"]
