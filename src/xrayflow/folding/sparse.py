"""A folding matrix of which hardly an element is filled.

A microcalorimeter resolves a thousandth of its band: of 16 000 energies times 16 000 channels (XRISM's Resolve, 2-10
keV) half a per cent is filled. Stored whole that would be two gigabytes, and a fold would multiply zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

FEW_ELEMENTS = 16 * 1024 * 1024
"""Up to which a matrix is stored whole (128 MB), whatever is filled."""

FILLED = 0.1
"""Share of filled elements below which a large matrix is stored sparsely: a filled element costs ten times as much."""


@dataclass(frozen=True)
class SparseMatrix:
    """One binning of one response, on one grid; what `FoldingMatrix` is, stored by its filled elements.

    Attributes:
        first: First grid bin whose photons reach a channel; `values` start there.
        values: (bin, energy), sparse: the transpose, which is multiplied from the left.
    """

    first: int
    values: Tensor

    @classmethod
    def of(cls, first: int, rows: sp.csr_array, dtype: torch.dtype) -> SparseMatrix:
        """From (energy, bin)."""
        place = rows.T.tocoo()
        index = torch.from_numpy(np.stack([place.row, place.col]).astype(np.int64))
        return cls(first, _coalesced(index, torch.from_numpy(place.data).to(dtype), place.shape))

    @property
    def shape(self) -> tuple[int, int]:
        """Energies and bins."""
        return self.values.shape[1], self.values.shape[0]

    @property
    def nbytes(self) -> int:
        """In memory."""
        return int(self.values.values().numel()) * (16 + self.values.element_size())

    @cached_property
    def summed(self) -> SparseMatrix:
        """To all bins together."""
        return SparseMatrix(self.first, torch.sparse.sum(self.values, 0).unsqueeze(0).coalesce())

    def product(self, rows: Float[Tensor, "*batch energy"]) -> Float[Tensor, "*batch bin"]:
        """Photons of each reached energy -> what falls into the bins."""
        flat = rows.reshape(-1, rows.shape[-1])
        product: Tensor = torch.sparse.mm(self.values, flat.T).T.reshape(*rows.shape[:-1], -1)
        return product

    def to(self, dtype: torch.dtype) -> SparseMatrix:
        """The same in another precision."""
        return SparseMatrix(self.first, self.values.to(dtype))

    def merged(
        self, first: int, place: Int[Tensor, " energy"], weight: NDArray[np.float64], energies: int
    ) -> SparseMatrix:
        """The same on wider energies.

        Args:
            first: The first of these that is reached.
            place: The wider energy of each of ours, counted from there.
            weight: Share of its photons that each of ours gets.
            energies: How many are reached.
        """
        bins, own = self.values.indices()
        values = self.values.values() * torch.from_numpy(weight).to(self.values.dtype)[own]
        index = torch.stack([bins, place[own]])
        return SparseMatrix(first, _coalesced(index, values, (self.values.shape[0], energies)))


def is_sparse(rows: sp.csr_array) -> bool:
    """Whether a matrix (energy, bin) is better stored by its filled elements."""
    elements = rows.shape[0] * rows.shape[1]
    return bool(elements > FEW_ELEMENTS and rows.nnz < FILLED * elements)


def _coalesced(index: Tensor, values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.sparse_coo_tensor(index, values, tuple(shape), check_invariants=True).coalesce()
