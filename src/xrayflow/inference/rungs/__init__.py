"""RUNGS: the ways to propose, in the order of the ladder."""

from collections.abc import Sequence

from xrayflow.inference.ladder import Rung
from xrayflow.inference.rungs.explore import Explore
from xrayflow.inference.rungs.first import find_modes, first_proposal
from xrayflow.inference.rungs.refine import Refine
from xrayflow.inference.rungs.refit import Refit
from xrayflow.inference.rungs.widen import TAIL_ROUNDS, Widen, missing_tail

__all__ = [
    "LADDER",
    "TAIL_ROUNDS",
    "Explore",
    "Refine",
    "Refit",
    "Widen",
    "find_modes",
    "first_proposal",
    "missing_tail",
]

LADDER: Sequence[Rung] = (Refine(), Refit(), Explore(), *(Widen() for _ in range(TAIL_ROUNDS)))
"""What every answer climbs."""
