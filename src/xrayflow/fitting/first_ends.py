"""Where starts end on the search's grid: those of bright spectra set out on a likelihood that is not so sure.

With calibration modes a start from the prior strands: far from the data the modes bend as far as they can, an energy
scale that is off by a third is as good as any, and the steps are spent hundreds of thousands above the best place. As
if the response were right and the model off by `SOFT` of itself in every bin, that place is the bottom of a wide bowl,
and independent starts agree on it. From where they arrive, one of each place, the way is short.

What stands out by less than that in every bin is seen by the starts that go without (`DIRECT`), among them those that a
network proposes.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.fitting.levenberg_marquardt import Late
from xrayflow.fitting.minima import Minima, descend, leaders_of, led
from xrayflow.fitting.objective import Objective

COARSE_ITERATIONS, COARSE_TOLERANCE = 60, 0.01
"""Of a search on the search's grid."""

SOFT = 0.03
"""Part of itself by which the model seems to be off at first."""

SOFT_TOLERANCE = 0.05
"""Where that search ends is not an end."""

DIRECT = 4
"""One start in so many, the first ones, goes without."""


def first_ends(goal: Objective, starts: Float[Tensor, "source start parameter"], late: Late | None = None) -> Minima:
    """Run every start to its end on the search's grid.

    Args:
        goal: Of the batch, at the fidelity of searches; pulled.
        starts: Places in the box.
        late: Whether a limit of time has been reached.
    """
    x, leader = starts.clone(), torch.arange(starts.shape[1]).repeat(starts.shape[0], 1)
    evaluations = torch.zeros(starts.shape[0], dtype=torch.int64)
    bright, direct = goal.is_sharp(SOFT).nonzero()[:, 0], -(-starts.shape[1] // DIRECT)
    if bright.numel() and direct < starts.shape[1]:
        soft = goal.select(bright).softened(SOFT)
        own = starts[bright, direct:]
        held = torch.zeros_like(own, dtype=torch.bool)
        found = descend(soft, own, held, COARSE_ITERATIONS, SOFT_TOLERANCE, late)
        x[bright, direct:], leader[bright, direct:] = found.x, direct + leaders_of(found)
        evaluations[bright] += found.evaluations
    ends = led(goal, x, leader, COARSE_ITERATIONS, COARSE_TOLERANCE, late)
    return replace(ends, evaluations=evaluations + ends.evaluations)
