"""What flows say of single sources, in the coordinates v that inference works in; many are computed together.

A call of a flow costs milliseconds whether it is asked for ten draws or for hundreds, and inference asks for a few
draws of many sources. float32 results depend on the shape of what is computed: rows go in units of one size, so that a
source has the same digits in any company.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.networks.level import Remembered
from xrayflow.networks.nn.coordinates import Coordinates
from xrayflow.networks.nn.flow import Told
from xrayflow.prior import FAR, Prior

UNIT, BLOCK = 16, 2048
"""Draws of one source that stand together, and draws that are computed at once."""

V = Float[Tensor, "draw parameter"]


class Teller(Protocol):
    """A flow that has been told what there is to say of some sources."""

    @property
    def mixes(self) -> bool:
        """Whether sources can be computed together."""
        ...

    def log_density_told(self, x: Float[Tensor, "source draw parameter"], told: Told) -> Float[Tensor, "source draw"]:
        """ln q of the flow's coordinates."""
        ...

    def draw_told(
        self, base: Float[Tensor, "source draw parameter"], told: Told
    ) -> Float[Tensor, "source draw parameter"]:
        """Standard normal numbers -> draws of the flow's coordinates."""
        ...


@dataclass(frozen=True)
class FlowDensity:
    """A flow's density of one source.

    Attributes:
        flow: The flow.
        told: What it was told of this source, with one row each.
        parameters: How many.
    """

    flow: Teller
    told: Told
    parameters: int

    def into(self, v: V) -> tuple[V, Float[Tensor, " draw"]]:
        """The flow's coordinates, and ln |d coordinates / d v|.

        Args:
            v: Probit coordinates of the answer's prior.
        """
        raise NotImplementedError

    def back(self, x: V) -> V:
        """v of the flow's coordinates.

        Args:
            x: These.
        """
        raise NotImplementedError

    def numbers(self, draws: int, generator: torch.Generator) -> V:
        """Standard normal numbers that become draws.

        Args:
            draws: How many.
            generator: Of the source.
        """
        return torch.randn((draws, self.parameters), generator=generator, dtype=torch.float64)

    def sample(self, draws: int, generator: torch.Generator) -> V:
        """Draws; what rounds to no number comes to lie at the far end, where no posterior is."""
        return draws_of([self], [self.numbers(draws, generator)])[0]

    def log_density(self, v: V) -> Float[Tensor, " draw"]:
        """ln q(v)."""
        return log_densities_of([self], [v])[0]


@dataclass(frozen=True)
class AmortisedPosterior(FlowDensity):
    """What a network says of one source before its modes are known.

    Attributes:
        coordinates: Of the network.
        prior: The answer's; None where its coordinates are the flow's.
    """

    coordinates: Coordinates
    prior: Prior | None

    def into(self, v: V) -> tuple[V, Float[Tensor, " draw"]]:
        """-inf beyond the answer's box, where the flow cannot draw."""
        outside = torch.where((v.abs() < FAR).all(-1), 0.0, -torch.inf)
        if self.prior is None:
            return v, outside.to(v.dtype)
        theta = self.prior.to_theta(v)
        slope = self.coordinates.log_slope(theta) + torch.log(self.prior.slope(v)).sum(-1)
        return self.coordinates.from_theta(theta), slope + outside

    def back(self, x: V) -> V:
        """v of the flow's coordinates."""
        return x.double() if self.prior is None else self.prior.to_probit(self.coordinates.to_theta(x))


@dataclass(frozen=True)
class LocalPosterior(FlowDensity):
    """What a local flow says of one source from one of its modes.

    Attributes:
        level: The coordinates that the flow works in.
    """

    level: Remembered

    def into(self, v: V) -> tuple[V, Float[Tensor, " draw"]]:
        """The flow's coordinates, and ln |d coordinates / d v|."""
        return self.level(v)

    def back(self, x: V) -> V:
        """v of the flow's coordinates."""
        return self.level.level.back(x)


@torch.no_grad()
def draws_of(parts: Sequence[FlowDensity], numbers: Sequence[V]) -> list[V]:
    """Draws of several sources, as many as numbers; what rounds to no number lies at the far end.

    Args:
        parts: What flows say of the sources.
        numbers: Standard normal ones, of each.
    """
    found = _together(parts, numbers, lambda flow: flow.draw_told)
    v = [part.back(x) for part, x in zip(parts, found, strict=True)]
    return [torch.where(torch.isfinite(one), one, FAR).clamp(-FAR, FAR) for one in v]


@torch.no_grad()
def log_densities_of(parts: Sequence[FlowDensity], v: Sequence[V]) -> list[Float[Tensor, " draw"]]:
    """ln q of several sources; -inf where a flow gives no number.

    Args:
        parts: What flows say of the sources.
        v: Places of each.
    """
    frames = [part.into(places) for part, places in zip(parts, v, strict=True)]
    found = _together(parts, [x for x, _ in frames], lambda flow: flow.log_density_told)
    density = [one.double() + slope for one, (_, slope) in zip(found, frames, strict=True)]
    return [torch.where(torch.isnan(one), -torch.inf, one) for one in density]


def _together(
    parts: Sequence[FlowDensity], rows: Sequence[V], run: Callable[[Teller], Callable[[Tensor, Told], Tensor]]
) -> list[Tensor]:
    """Of every part, what its flow makes of its rows."""
    groups: dict[tuple[int, int], list[int]] = {}
    for number, part in enumerate(parts):
        groups.setdefault((id(part.flow), 0 if part.flow.mixes else number), []).append(number)
    found: list[Tensor] = [one.new_zeros(0) for one in rows]
    for group in groups.values():
        flow = parts[group[0]].flow
        done = _in_units(run(flow), [parts[i].told for i in group], [rows[i] for i in group])
        for number, one in zip(group, done, strict=True):
            found[number] = one
    return found


def _in_units(run: Callable[[Tensor, Told], Tensor], told: Sequence[Told], rows: Sequence[V]) -> list[Tensor]:
    """What `run` makes of the rows of some sources, each filled up with zeros to whole units."""
    size = [one.shape[0] for one in rows]
    units = [-(-count // UNIT) for count in size]
    missing = [UNIT * of - count for of, count in zip(units, size, strict=True)]
    full = [torch.nn.functional.pad(one, (0, 0, 0, more)) for one, more in zip(rows, missing, strict=True)]
    x = torch.cat(full).reshape(-1, UNIT, rows[0].shape[1])
    every = tuple(torch.cat(column) for column in zip(*told, strict=True))
    source = torch.repeat_interleave(torch.arange(len(rows)), torch.tensor(units))
    done = [
        run(block, tuple(one[of] for one in every))
        for block, of in zip(torch.split(x, BLOCK // UNIT), torch.split(source, BLOCK // UNIT), strict=True)
    ]
    flat = torch.cat(done).flatten(0, 1)
    return [one[:count] for one, count in zip(torch.split(flat, [UNIT * of for of in units]), size, strict=True)]
