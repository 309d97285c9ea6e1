"""A frozen proposal that misses a tail, with kernels along that beside it.

The draws of the frozen proposal and those of the kernels alone are draws of one mixture (the balance heuristic); they
shape the next proposal, which keeps a share of the kernels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xrayflow.inference.proposals.density import Density
from xrayflow.inference.proposals.draws import WeightedDraws
from xrayflow.inference.proposals.mixture import Components, Proposal
from xrayflow.inference.proposals.student import StudentMixture

FLOOR = 0.05
"""What the kernels keep of every proposal."""

LEAST, MOST, GENEROUS = 0.1, 0.6, 1.5
"""The kernels' first share: so many times the part of the posterior that is missing, within these limits."""

ALONE = 1.0 - 1e-9
"""The share of a part that is drawn from alone."""


@dataclass(frozen=True)
class Widening:
    """Of one source; all three have the same parts.

    Attributes:
        proposal: The frozen one with the kernels beside it.
        kernels: These alone.
        earlier: The draws of the frozen one.
    """

    proposal: Proposal
    kernels: Proposal
    earlier: WeightedDraws

    @classmethod
    def of(cls, drawn: WeightedDraws, kernels: Density, missing: float, modes: StudentMixture) -> Widening:
        """Widen what draws come from.

        Args:
            drawn: Draws of the frozen proposal of one source.
            kernels: Along the tail.
            missing: The part of the posterior that is there, in units of what the draws know.
            modes: What a fitted proposal keeps a share of, however often it is widened.
        """
        mixture, old = drawn.proposal.mixture, drawn.proposal.parts[0]
        share = MOST if missing > MOST else min(max(GENEROUS * missing / (1.0 + missing), LEAST), MOST)
        parts = old.beside(kernels, share, FLOOR)
        none = torch.zeros(1, dtype=torch.float64)
        earlier = replace(
            drawn,
            proposal=_sharing(mixture, parts, torch.cat([old.share, none])),
            log_parts=(torch.cat([drawn.log_parts[0], kernels.log_density(drawn.v[0])[:, None]], dim=1),),
        )
        alone = _sharing(mixture, parts, torch.cat([torch.zeros_like(old.share), none + ALONE]))
        return cls(Proposal(modes, (parts,)), alone, earlier)


def _sharing(mixture: StudentMixture, parts: Components, share: Tensor) -> Proposal:
    """The same parts with these shares, whatever their floors."""
    return Proposal(mixture, (replace(parts, share=share),))
