"""A cheap forward made exact at a few places, and nearly exact around them.

On a coarse grid every bin is a little off, by a factor that hardly changes over a posterior. With R = exact / cheap of
a bin and R' its slope, both known at some places x_a,

    expected(x) = cheap(x) (1 + sum_a w_a(x) [R_a - 1 + R'_a (x - x_a)]),      w_a ~ |x - x_a|^-4,      sum_a w_a = 1.

x is the parameter, or its logarithm where that is its scale, in units of its default box. Further away than `REACH` the
line is not followed on: the factor stays what it is there.

A line or an edge that may stand anywhere has no part in this (`without`): what a coarse grid does to it in the bins
where it stands is wrong where it stands elsewhere, or is fainter.

Source: Shepard 1968, Proc. 23rd ACM National Conference, 517 (the weights).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.models import Parameter
from xrayflow.rows import runs

Theta = Float[Tensor, "source draw parameter"]
Expected = Float[Tensor, "source draw bin"]

REACH = 0.15
"""In box lengths: how far from its place a slope is trusted."""

MOST = 10.0
"""A factor beyond this, or below its inverse, comes from a bin that hardly any photon reaches: it is left alone. A line
is not followed below the inverse either: expected counts stay above 0."""

CLOSE = 1e-6
"""In box lengths: nearer than this is at the place."""


@dataclass(frozen=True)
class Lengths:
    """What makes x of theta.

    Attributes:
        is_log: (parameter,) whether a parameter counts by its logarithm.
        box: (parameter,) length of its default box.
    """

    is_log: Bool[Tensor, " parameter"]
    box: Float[Tensor, " parameter"]

    @classmethod
    def of(cls, parameters: Sequence[Parameter], without: Sequence[int] = ()) -> Lengths:
        """Those of a model's free parameters.

        Args:
            parameters: In theta's order.
            without: Numbers of those that change nothing: their length has no end.
        """
        lengths = [
            math.log(one.box[1] / one.box[0]) if one.scale == "log" else one.box[1] - one.box[0] for one in parameters
        ]
        for number in without:
            lengths[number] = math.inf
        is_log = torch.tensor([one.scale == "log" for one in parameters])
        return cls(is_log, torch.tensor([length if length > 0 else 1.0 for length in lengths], dtype=torch.float64))

    def x(self, theta: Theta) -> Theta:
        """theta -> x."""
        logs = torch.log(torch.where(self.is_log, theta, 1.0).clamp(min=1e-300))
        return torch.where(self.is_log, logs, theta) / self.box

    def slope(self, theta: Theta) -> Theta:
        """d x / d theta."""
        return 1.0 / (self.box * torch.where(self.is_log, theta, 1.0))


@dataclass(frozen=True)
class Correction:
    """What cheap counts of a batch are multiplied by.

    Attributes:
        lengths: What makes x of theta.
        known: (source, place) whether there is one; others pad.
        theta: (source, place, parameter) the places in the parameters' units.
        place: (source, place, parameter) x.
        table: (source, place, 1 + parameter, bin) R - 1 and R' there, 0 where a place pads.
        rows: (row,) the source of each row.
    """

    lengths: Lengths
    known: Bool[Tensor, "source place"]
    theta: Float[Tensor, "source place parameter"]
    place: Float[Tensor, "source place parameter"]
    table: Float[Tensor, "source place column bin"]
    rows: Int[Tensor, " row"]

    @classmethod
    def of(
        cls,
        parameters: Sequence[Parameter],
        theta: Float[Tensor, "source place parameter"],
        known: Bool[Tensor, "source place"],
        exact: tuple[Tensor, Tensor],
        cheap: tuple[Tensor, Tensor],
        without: Sequence[int] = (),
    ) -> Correction:
        """From expected counts and their derivatives by theta at some places.

        Args:
            parameters: The model's free ones.
            theta: The places.
            known: Which of them are any.
            exact, cheap: (source, place, bin) and (source, place, bin, parameter) each, as `Forward.linearised`.
            without: Numbers of parameters that the factors do not hang on.
        """
        lengths = Lengths.of(parameters, without)
        ratio = exact[0] / cheap[0]
        slope = (exact[1] - ratio[..., None] * cheap[1]) / cheap[0][..., None] / lengths.slope(theta)[:, :, None, :]
        slope[..., list(without)] = 0.0
        plain = torch.isfinite(ratio) & (ratio < MOST) & (ratio > 1.0 / MOST) & torch.isfinite(slope).all(-1)
        columns = torch.cat([(ratio - 1.0)[..., None], slope], dim=-1)
        columns = torch.where((plain & known[..., None])[..., None], columns, 0.0)
        return cls(lengths, known, theta, lengths.x(theta), columns.mT.contiguous(), torch.arange(theta.shape[0]))

    def beside(self, other: Correction) -> Correction:
        """With the places of another one of the same rows, one source a row, behind its own.

        Args:
            other: Likewise, with as many bins.
        """
        known, theta, place, table = (
            torch.cat([getattr(self, name)[self.rows], getattr(other, name)], dim=1)
            for name in ("known", "theta", "place", "table")
        )
        first = known.to(torch.int64).argsort(dim=1, descending=True, stable=True)[:, : int(known.sum(1).max())]
        row = torch.arange(first.shape[0])[:, None]
        return replace(
            self,
            known=known[row, first],
            theta=theta[row, first],
            place=place[row, first],
            table=table[row, first],
            rows=row[:, 0],
        )

    def factor(self, theta: Theta) -> Expected:
        """What the cheap counts are multiplied by.

        Args:
            theta: Free parameters of the model, one source a row.
        """
        columns, _ = self._seen(theta)
        return (1.0 + self._times(columns, self.table.flatten(1, 2))).clamp_(min=1.0 / MOST)

    def factor_and_slope(self, theta: Theta) -> tuple[Expected, Float[Tensor, "source draw bin parameter"]]:
        """The factor, and its derivative by theta; that of the weights is left out.

        Args:
            theta: Likewise.
        """
        columns, followed = self._seen(theta)
        lines = self._times(followed, self.table[:, :, 1:].flatten(2))
        slope = lines.reshape(*theta.shape, self.table.shape[-1]).mT * self.lengths.slope(theta)[:, :, None, :]
        factor = 1.0 + self._times(columns, self.table.flatten(1, 2))
        low = factor < 1.0 / MOST
        return factor.masked_fill(low, 1.0 / MOST), slope.masked_fill_(low[..., None], 0.0)

    def select(self, rows: Int[Tensor, " chosen"], bins: int) -> Correction:
        """That of some rows.

        Args:
            rows: Their numbers; repeats are allowed.
            bins: How many bins they need.
        """
        sources, at = torch.unique(self.rows[rows], return_inverse=True)
        places = max(int(self.known[sources].sum(-1).max()), 1) if sources.numel() else 1
        return replace(
            self,
            known=self.known[sources, :places],
            theta=self.theta[sources, :places],
            place=self.place[sources, :places],
            table=self.table[sources, :places, :, :bins],
            rows=at,
        )

    def _times(self, columns: Tensor, tables: Float[Tensor, "source column *size"]) -> Float[Tensor, "row draw *size"]:
        """Each row times the table of its source; rows of one source that follow each other in one product.

        A product of batches would first copy a table for every row.
        """
        found = columns.new_empty((*columns.shape[:2], tables.shape[-1]))
        for source, part in runs(self.rows):
            torch.matmul(columns[part].flatten(0, 1), tables[source], out=found[part].view(-1, tables.shape[-1]))
        return found

    def _seen(self, theta: Theta) -> tuple[Float[Tensor, "source draw column"], Float[Tensor, "source draw place"]]:
        """What the table is multiplied by, and the weights of the places whose lines are followed."""
        away = self.lengths.x(theta)[:, :, None, :] - self.place[self.rows][:, None]
        distance2 = away.square().sum(-1)
        weight = torch.where(self.known[self.rows][:, None], (distance2 + CLOSE**2) ** -2, 0.0)
        weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-300)
        part = (REACH / distance2.sqrt().clamp(min=1e-300)).clamp(max=1.0)
        own = weight[..., None]
        columns = torch.cat([own, own * (away * part[..., None])], dim=-1).flatten(-2)
        return columns, torch.where(part == 1.0, weight, 0.0)
