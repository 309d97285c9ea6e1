"""The matrix of one binning of a response whose long tails lie on wider energies than the rest.

    counts = photons . S + (photons . W) . T,

S the sharp part on the photons' grid, W the share of each grid bin in a wide energy, times the area, T the tail from
wide energies to bins. On one grid T would be as many times larger as there are grid bins in a wide energy (16 for
XRISM's electron loss continuum).

T is held and multiplied in single precision: all its terms are positive, so it is off by 1e-6 of itself at most, and it
is a part of the counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.folding.sparse import SparseMatrix

if TYPE_CHECKING:
    from xrayflow.folding.matrix import FoldingMatrix


@dataclass(frozen=True)
class FoldedTail:
    """One tail.

    Attributes:
        share: From the grid to its wide energies, times the area.
        values: (wide energy, bin).
    """

    share: FoldingMatrix | SparseMatrix
    values: Float[Tensor, "wide bin"]


@dataclass(frozen=True)
class SplitMatrix:
    """What `FoldingMatrix` is, as a sharp part and tails.

    Attributes:
        sharp: All but the tails.
        tails: One or more.
    """

    sharp: FoldingMatrix | SparseMatrix
    tails: tuple[FoldedTail, ...]

    @property
    def first(self) -> int:
        """First grid bin whose photons reach a channel."""
        return min(self.sharp.first, *(tail.share.first for tail in self.tails))

    @property
    def shape(self) -> tuple[int, int]:
        """Energies and bins."""
        ends = [one.first + one.shape[0] for one in (self.sharp, *(tail.share for tail in self.tails))]
        return max(ends) - self.first, self.sharp.shape[1]

    @property
    def nbytes(self) -> int:
        """In memory."""
        tails = (tail.share.nbytes + tail.values.numel() * tail.values.element_size() for tail in self.tails)
        return self.sharp.nbytes + sum(tails)

    @property
    def summed(self) -> SplitMatrix:
        """To all bins together."""
        tails = tuple(replace(tail, values=tail.values.sum(1, keepdim=True)) for tail in self.tails)
        return SplitMatrix(self.sharp.summed, tails)

    def product(self, rows: Float[Tensor, "*batch energy"]) -> Float[Tensor, "*batch bin"]:
        """Photons of each reached energy -> what falls into the bins."""

        def reached(one: FoldingMatrix | SparseMatrix) -> Tensor:
            return rows[..., one.first - self.first : one.first - self.first + one.shape[0]]

        counts = self.sharp.product(reached(self.sharp))
        for tail in self.tails:
            wide = tail.share.product(reached(tail.share)).to(tail.values.dtype)
            counts = counts + (wide @ tail.values).to(counts.dtype)
        return counts

    def to(self, dtype: torch.dtype) -> SplitMatrix:
        """The same in another precision; the tails stay in single."""
        return SplitMatrix(self.sharp.to(dtype), tuple(replace(one, share=one.share.to(dtype)) for one in self.tails))
