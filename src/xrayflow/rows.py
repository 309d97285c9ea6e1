"""Rows of a batch that belong to one source: most batches repeat their sources, a row for each start or draw."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Int
from torch import Tensor


def runs(sources: Int[Tensor, " row"]) -> Iterator[tuple[int, slice]]:
    """Rows of one source that follow each other: which source, and where.

    Args:
        sources: Of each row.

    >>> list(runs(torch.tensor([3, 3, 0])))
    [(3, slice(0, 2, None)), (0, slice(2, 3, None))]
    """
    which, lengths = torch.unique_consecutive(sources, return_counts=True)
    first = 0
    for source, length in zip(which.tolist(), lengths.tolist(), strict=True):
        yield source, slice(first, first + length)
        first += length
