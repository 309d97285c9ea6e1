"""RUNGS: the ways to propose, in the order of the ladder."""

from collections.abc import Sequence

from xrayflow.inference.ladder import Rung
from xrayflow.inference.rungs.direct import Direct
from xrayflow.inference.rungs.explore import Explore
from xrayflow.inference.rungs.first import find_modes, first_proposal
from xrayflow.inference.rungs.refine import Refine
from xrayflow.inference.rungs.refit import Refit
from xrayflow.inference.rungs.widen import Widen, missing_tails

__all__ = [
    "LADDER",
    "WIDENINGS",
    "Direct",
    "Explore",
    "Refine",
    "Refit",
    "Widen",
    "find_modes",
    "first_proposal",
    "missing_tails",
]

WIDENINGS = 4, 2
"""Proposals that are widened or fitted once more, at most, before an ensemble explores and after."""

LADDER: Sequence[Rung] = (
    Direct(),
    Refine(),
    Refit(),
    *(Widen() for _ in range(WIDENINGS[0])),
    Explore(),
    *(Widen() for _ in range(WIDENINGS[1])),
)
"""What every answer climbs."""
