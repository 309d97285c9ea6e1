"""What a proposal of one source is made of beside its t-mixture: densities that stay as they are while shares change.

The prior is one of them, so that no region of it is out of reach; so are lines that were walked (`ridge`) and what a
network says (`guide`). Each keeps a floor of every proposal, however little the weights make of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.prior import log_standard_normal

PRIOR_FLOOR = 0.02
"""What every proposal keeps of the prior."""


class Part(Protocol):
    """A normalised density of one source, in probit coordinates: a part of its proposal."""

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        """Draws."""
        ...

    def log_density(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, " draw"]:
        """Natural log of the density that `sample` draws from."""
        ...


@dataclass(frozen=True)
class PriorPart:
    """The prior, N(0, I) in probit coordinates.

    Attributes:
        parameters: How many.
    """

    parameters: int

    def sample(self, draws: int, generator: torch.Generator) -> Float[Tensor, "draw parameter"]:
        """Draws."""
        return torch.randn((draws, self.parameters), generator=generator, dtype=torch.float64)

    def log_density(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, " draw"]:
        """Natural log of the density."""
        return log_standard_normal(v)


@dataclass(frozen=True)
class Parts:
    """The parts of one source and their shares of its proposal; what they leave is its t-mixture's.

    Attributes:
        share: (part,) sums to less than 1.
        floor: (part,) what each keeps of every proposal.
        parts: The densities.
    """

    share: Float[Tensor, " part"]
    floor: Float[Tensor, " part"]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, parts: Sequence[Part], floors: Sequence[float], shares: Sequence[float]) -> Parts:
        """Parts with their floors, and their shares of what the floors leave."""
        floor, share = (torch.tensor(one, dtype=torch.float64) for one in (floors, shares))
        return cls(share, floor, tuple(parts)).sharing(share)

    @classmethod
    def prior(cls, parameters: int, floor: float = PRIOR_FLOOR) -> Parts:
        """The prior alone."""
        return cls.of([PriorPart(parameters)], [floor], [0.0])

    @classmethod
    def none(cls) -> Parts:
        """Nothing: the t-mixture has it all."""
        return cls.of([], [], [])

    def beside(self, part: Part, share: float) -> Parts:
        """These, and another part that takes a share of what the floors leave from all of them."""
        others = ((1.0 - share) * self.above).tolist()
        return Parts.of([*self.parts, part], [*self.floor.tolist(), 0.0], [*others, share])

    @property
    def above(self) -> Float[Tensor, " part"]:
        """The shares of what the floors leave."""
        return (self.share - self.floor) / (1.0 - self.floor.sum())

    def sharing(self, share: Float[Tensor, " part"]) -> Parts:
        """These parts with other shares of what the floors leave."""
        return replace(self, share=self.floor + (1.0 - self.floor.sum()) * share)

    def log_densities(self, v: Float[Tensor, "draw parameter"]) -> Float[Tensor, "draw part"]:
        """Natural log of every part's density."""
        columns = [part.log_density(v) for part in self.parts]
        return torch.stack(columns, dim=-1) if columns else v.new_zeros((v.shape[0], 0))
