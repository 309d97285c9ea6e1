"""Rows of a batch that belong to one source: most batches repeat their sources, a row for each start or draw."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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


@dataclass(frozen=True)
class Layout:
    """Rows of some sources as draws of those sources, (row, draw, ...) as (source, draws of all its rows, ...).

    Attributes:
        sources: (source,) which.
        places: (source, place) number of the row at each place; where a source has fewer, its first one again.
        rows: (row,) the numbers of all rows, each once.
        where: (row, 2) source and place of each of `rows`.
    """

    sources: Int[Tensor, " source"]
    places: Int[Tensor, "source place"]
    rows: Int[Tensor, " row"]
    where: Int[Tensor, "row two"]

    @classmethod
    def apart(cls, sources: Int[Tensor, " row"]) -> Layout:
        """Every row by itself.

        Args:
            sources: Of each row.
        """
        every = torch.arange(sources.numel())
        return cls(sources, every[:, None], every, torch.stack([every, torch.zeros_like(every)], dim=-1))

    @classmethod
    def of(cls, sources: Int[Tensor, " row"]) -> tuple[Layout, ...]:
        """The rows of each source together; sources with more than twice as many rows are laid out by themselves.

        Args:
            sources: Of each row.

        >>> [one.places.tolist() for one in Layout.of(torch.tensor([3, 0, 3, 3]))]
        [[[1]], [[0, 2, 3]]]
        """
        which, inverse, lengths = torch.unique(sources, return_inverse=True, return_counts=True)
        if which.numel() == sources.numel():
            return (cls.apart(sources),) if which.numel() else ()
        order = torch.argsort(inverse, stable=True)
        first = lengths.cumsum(0) - lengths
        size = torch.ceil(torch.log2(lengths.to(torch.float64))).to(torch.int64)
        found = []
        for one in sorted(set(size.tolist())):
            own = (size == one).nonzero()[:, 0]
            place = torch.arange(int(lengths[own].max()))
            is_row = place < lengths[own, None]
            places = order[torch.where(is_row, first[own, None] + place, first[own, None])]
            found.append(cls(which[own], places, places[is_row], is_row.nonzero()))
        return tuple(found)

    def together(self, each: Tensor) -> Tensor:
        """What belongs to rows as what belongs to sources.

        Args:
            each: (row, draw, ...) of all rows.

        Returns:
            (source, place x draw, ...)
        """
        return each if self.is_all(each.shape[0]) else each[self.places].flatten(1, 2)

    def put(self, found: Tensor, values: Tensor) -> None:
        """Write what was computed for sources to their rows.

        Args:
            found: (row, draw, ...) of all rows, written to; it may have more bins.
            values: (source, place x draw, ...)
        """
        sources, places = self.places.shape
        each = values.reshape(sources, places, values.shape[1] // places, *values.shape[2:])
        found[self.rows] = each[self.where[:, 0], self.where[:, 1]]

    def is_all(self, rows: int) -> bool:
        """Whether every row stands by itself, in its order.

        Args:
            rows: How many there are.
        """
        return self.places.shape == (rows, 1) and bool((self.places[:, 0] == torch.arange(rows)).all())
