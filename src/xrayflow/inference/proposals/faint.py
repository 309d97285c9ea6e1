"""Features that are hardly there: a density over all places, widths and strengths at which the data do not mind them.

A line that a spectrum does not ask for has no mode that matters: its posterior is a plateau, every place and width with
a strength below what would be seen there, and low hills on it wherever noise looks like a line. With theta_o the other
parameters and N the strength of one feature, the density is

    q = prior(place) prior(width) prior(N) r(place, width, N) t(theta_o; m + f N, C),

r piecewise constant: the part of the posterior in a cell over that of the prior. C is what the posterior without the
feature has, f = f(place, width) how the others follow. Several features are one density after the other.

In a cell ln r follows a Student-t in N, as high at N = 0 as without the feature: a strong feature has a mode of its
own, which is not for this density to describe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.inference.proposals.student import DOF, log_student, student_scale
from xrayflow.prior import Prior, log_standard_normal

V = Float[Tensor, "draw parameter"]

NEAREST = 1e-15
"""To 0 and 1 that a draw's place in the prior's unit cube comes."""


@dataclass(frozen=True)
class Cells:
    """Where a feature may stand, cut into cells of place and width; the places of the prior's unit interval, 0 to 1.

    Attributes:
        width: (row + 1,) edges of the widths.
        place: (row, place + 1) edges of the places, for each of the widths; padded with inf.
        first: (row,) number of the row's first cell.
        low, high: (cell, 2) of place and width.
    """

    width: Float[Tensor, " edge"]
    place: Float[Tensor, "row edge"]
    first: Int[Tensor, " row"]
    low: Float[Tensor, "cell two"]
    high: Float[Tensor, "cell two"]

    @classmethod
    def of(cls, width: Float[Tensor, " edge"], places: Sequence[Float[Tensor, " edge"]]) -> Cells:
        """Cells between edges.

        Args:
            width: Ascending from 0 to 1.
            places: Likewise, for each of the widths.
        """
        counts = [len(edges) - 1 for edges in places]
        padded = torch.full((len(places), max(counts) + 1), torch.inf, dtype=torch.float64)
        for number, edges in enumerate(places):
            padded[number, : len(edges)] = edges
        row = torch.arange(len(places)).repeat_interleave(torch.tensor(counts))
        low = torch.stack([torch.cat([edges[:-1] for edges in places]), width[:-1][row]], dim=1)
        high = torch.stack([torch.cat([edges[1:] for edges in places]), width[1:][row]], dim=1)
        first = torch.tensor(counts).cumsum(0) - torch.tensor(counts)
        return cls(width, padded, first, low, high)

    def at(self, place: Float[Tensor, " draw"], width: Float[Tensor, " draw"]) -> Int[Tensor, " draw"]:
        """The cells of some draws.

        Args:
            place, width: In the prior's unit interval.
        """
        row = _between(self.width, width)
        edges = self.place[row]
        own = (torch.searchsorted(edges, place[:, None].contiguous(), right=True)[:, 0] - 1).clamp(min=0)
        return self.first[row] + torch.minimum(own, torch.isfinite(edges).sum(-1) - 2)


@dataclass(frozen=True)
class FaintFeature:
    """A feature of one source that is hardly there.

    Attributes:
        columns: Of place, width and strength among the parameters; a width that is held is None.
        cells: Of place and width.
        strength: (bin + 1,) edges of the strengths, in the prior's unit interval.
        log_ratio: (cell, bin) natural log of the part of the posterior in a cell over that of the prior.
        follow: (cell, other) how far the others follow a strength, in its own unit.
    """

    columns: tuple[int, int | None, int]
    cells: Cells
    strength: Float[Tensor, " edge"]
    log_ratio: Float[Tensor, "cell bin"]
    follow: Float[Tensor, "cell other"]

    @classmethod
    def of(
        cls,
        columns: tuple[int, int | None, int],
        cells: Cells,
        strength: Float[Tensor, " edge"],
        log_ratio: Float[Tensor, "cell bin"],
        follow: Float[Tensor, "cell other"],
    ) -> FaintFeature:
        """The density made whole: see the attributes; `log_ratio` up to a constant."""
        volume = torch.log((cells.high - cells.low).prod(-1))
        total = torch.logsumexp((log_ratio + volume[:, None] + torch.log(strength.diff())).flatten(), 0)
        return cls(columns, cells, strength, log_ratio - total, follow)

    @property
    def own(self) -> list[int]:
        """The columns that are free."""
        return [column for column in self.columns if column is not None]

    def sample(self, draws: int, generator: torch.Generator) -> tuple[Float[Tensor, "draw own"], Tensor]:
        """Its parameters, and the cells that they are in."""
        cells = self.cells
        volume = (cells.high - cells.low).prod(-1)
        mass = torch.exp(self.log_ratio) * volume[:, None] * self.strength.diff()
        chosen = torch.multinomial(mass.flatten(), draws, replacement=True, generator=generator)
        cell, step = chosen // mass.shape[1], chosen % mass.shape[1]
        low = torch.cat([cells.low[cell], self.strength[step][:, None]], dim=1)
        high = torch.cat([cells.high[cell], self.strength[step + 1][:, None]], dim=1)
        part = torch.rand(low.shape, generator=generator, dtype=torch.float64)
        v = torch.special.ndtri((low + part * (high - low)).clamp(NEAREST, 1.0 - NEAREST))
        return v if self.columns[1] is not None else v[:, [0, 2]], cell

    def log_density(self, v: V) -> tuple[Float[Tensor, " draw"], Tensor]:
        """Natural log of the density of its parameters, and the cells that they are in."""
        place, width, strength = (
            torch.full_like(v[:, 0], 0.5) if column is None else torch.special.ndtr(v[:, column])
            for column in self.columns
        )
        cell = self.cells.at(place, width)
        ratio = self.log_ratio[cell, _between(self.strength, strength)]
        return ratio + log_standard_normal(v[:, self.own]), cell


@dataclass(frozen=True)
class Faint:
    """A density of one source where some features are hardly there.

    Attributes:
        prior: Of all parameters.
        features: Those.
        middle: (other,) the others' mode without them.
        factor: (other, other) lower Cholesky factor of their covariance.
    """

    prior: Prior
    features: tuple[FaintFeature, ...]
    middle: Float[Tensor, " other"]
    factor: Float[Tensor, "other other"]

    @property
    def others(self) -> list[int]:
        """Columns of the other parameters."""
        own = {column for one in self.features for column in one.own}
        return [column for column in range(len(self.prior.marginals)) if column not in own]

    def sample(self, draws: int, generator: torch.Generator) -> V:
        """Draws."""
        v = torch.zeros((draws, len(self.prior.marginals)), dtype=torch.float64)
        cells = []
        for one in self.features:
            v[:, one.own], cell = one.sample(draws, generator)
            cells.append(cell)
        z = torch.randn((draws, len(self.others)), generator=generator, dtype=torch.float64)
        scatter = (z @ self.factor.T) * student_scale(draws, generator)[:, None]
        v[:, self.others] = self._middle(v, cells) + scatter
        return v

    def log_density(self, v: V) -> Float[Tensor, " draw"]:
        """Natural log of the density."""
        total, cells = v.new_zeros(v.shape[0]), []
        for one in self.features:
            own, cell = one.log_density(v)
            total = total + own
            cells.append(cell)
        away = v[:, self.others] - self._middle(v, cells)
        white = torch.linalg.solve_triangular(self.factor, away.T, upper=False)
        return total + log_student(white.square().sum(0)[None, :, None], self.factor[None, None])[0, :, 0]

    def _middle(self, v: V, cells: Sequence[Tensor]) -> Float[Tensor, "draw other"]:
        """Where the others are likeliest."""
        theta = self.prior.to_theta(v)
        moved = [
            one.follow[cell] * theta[:, one.columns[2], None] for one, cell in zip(self.features, cells, strict=True)
        ]
        return self.middle + torch.stack(moved).sum(0)


def log_seen(strength: Tensor, best: Tensor, error: Tensor) -> Tensor:
    """Natural log of how much better the data like a strength than none, with a Student-t's tails.

    Args:
        strength: Of a feature.
        best: Which they like best, be it below 0.
        error: Its standard deviation.
    """
    distance2, at_none = ((strength - best) / error).square(), (best / error).square()
    return -0.5 * (DOF + 1) * (torch.log1p(distance2 / DOF) - torch.log1p(at_none / DOF))


def _between(edges: Float[Tensor, " edge"], at: Float[Tensor, " draw"]) -> Int[Tensor, " draw"]:
    """Which interval each is in."""
    return (torch.searchsorted(edges, at.contiguous(), right=True) - 1).clamp(0, edges.numel() - 2)
