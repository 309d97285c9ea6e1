"""The proposal of a batch: Student-t components, and densities that stay as they are while shares change.

    q(v) = sum_c share_c density_c(v) + (1 - sum_c share_c) t-mixture(v).

Which of them a draw comes from is decided by systematic sampling (one random offset, evenly spaced places): each gets
its share of the draws to within one, which takes the luck of the draw between components out of the weights.

Source: Hesterberg 1995, Technometrics 37, 185 (defensive mixtures, stratified over their parts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.inference.proposals.density import Density, PriorDensity
from xrayflow.inference.proposals.student import StudentMixture, student_scale
from xrayflow.inference.proposals.together import Wanted, log_densities, samples_of
from xrayflow.inference.weights import systematic_rows

PRIOR_FLOOR = 0.02
"""What every proposal keeps of the prior."""


@dataclass(frozen=True)
class Components:
    """The parts of one source and their shares of its proposal; what they leave is its t-mixture's.

    Attributes:
        share: (part,) sums to less than 1.
        floor: (part,) what each keeps of every proposal.
        parts: The densities.
    """

    share: Float[Tensor, " part"]
    floor: Float[Tensor, " part"]
    parts: tuple[Density, ...]

    @classmethod
    def of(cls, parts: Sequence[Density], floors: Sequence[float], shares: Sequence[float]) -> Components:
        """Parts with their floors, and their shares of what the floors leave."""
        floor, share = (torch.tensor(one, dtype=torch.float64) for one in (floors, shares))
        return cls(share, floor, tuple(parts)).sharing(share)

    @classmethod
    def prior(cls, parameters: int, floor: float = PRIOR_FLOOR) -> Components:
        """The prior alone."""
        return cls.of([PriorDensity(parameters)], [floor], [0.0])

    @classmethod
    def none(cls) -> Components:
        """Nothing: the t-mixture has it all."""
        return cls.of([], [], [])

    def beside(self, part: Density, share: float, floor: float = 0.0) -> Components:
        """These, and another part that takes a share of what the floors leave from all of them."""
        others = ((1.0 - share) * self.above).tolist()
        return Components.of([*self.parts, part], [*self.floor.tolist(), floor], [*others, share])

    @property
    def above(self) -> Float[Tensor, " part"]:
        """The shares of what the floors leave."""
        return (self.share - self.floor) / (1.0 - self.floor.sum())

    def sharing(self, share: Float[Tensor, " part"]) -> Components:
        """These parts with other shares of what the floors leave."""
        return replace(self, share=self.floor + (1.0 - self.floor.sum()) * share)


@dataclass(frozen=True)
class Proposal:
    """What draws come from.

    Attributes:
        mixture: Student-t components.
        parts: Of each source, what stands beside them.
    """

    mixture: StudentMixture
    parts: tuple[Components, ...]

    def sample(self, draws: int, generators: list[torch.Generator]) -> Float[Tensor, "source draw parameter"]:
        """Draws, one generator per source."""
        v = torch.empty((len(generators), draws, self.mixture.mean.shape[-1]), dtype=torch.float64)
        wanted, rows = list[Wanted](), list[tuple[int, Tensor]]()
        for source, generator in enumerate(generators):
            v[source], chosen = self._of_components(source, draws, generator)
            for number, part in enumerate(self.parts[source].parts):
                own = (chosen == number).nonzero()[:, 0]
                if own.numel():
                    wanted.append(Wanted(part, own.numel(), generator))
                    rows.append((source, own))
        for (source, own), drawn in zip(rows, samples_of(wanted), strict=True):
            v[source, own] = drawn
        return v

    def _of_components(
        self, source: int, draws: int, generator: torch.Generator
    ) -> tuple[Float[Tensor, "draw parameter"], Int[Tensor, " draw"]]:
        """Draws of a source's t-components, and which part or component each draw is to come from."""
        mixture, beside = self.mixture, self.parts[source]
        z = torch.randn((draws, mixture.mean.shape[-1]), generator=generator, dtype=torch.float64)
        stretch = student_scale(draws, generator)
        student = mixture.log_share[source].exp()
        share = torch.cat([beside.share, (1.0 - beside.share.sum()) * student / student.sum()])
        chosen = systematic_rows(share, draws, generator)
        component = (chosen - beside.share.numel()).clamp(min=0)
        turned = (mixture.scale_tril[source, component] @ z[..., None])[..., 0]
        return mixture.mean[source, component] + turned * stretch[:, None], chosen

    def log_parts(self, v: Float[Tensor, "source draw parameter"]) -> tuple[Float[Tensor, "draw part"], ...]:
        """Natural log of the density of every part of each source, whatever their shares."""
        return log_parts_of([self], [v])

    def log_density(
        self,
        v: Float[Tensor, "source draw parameter"],
        log_parts: Sequence[Float[Tensor, "draw part"]] | None = None,
    ) -> Float[Tensor, "source draw"]:
        """log q(v).

        Args:
            v: Places.
            log_parts: Of `log_parts` there, where they are known already.
        """
        log_parts = self.log_parts(v) if log_parts is None else log_parts
        student = self.mixture.log_density(v)
        rows = []
        for beside, columns, own in zip(self.parts, log_parts, student, strict=True):
            rest = own + torch.log1p(-beside.share.sum())
            rows.append(torch.logsumexp(torch.cat([columns + torch.log(beside.share), rest[:, None]], dim=1), dim=1))
        return torch.stack(rows)

    def select(self, sources: Tensor) -> Proposal:
        """The proposals of some of the sources."""
        return Proposal(self.mixture.select(sources), tuple(self.parts[i] for i in sources.tolist()))

    @classmethod
    def stack(cls, proposals: Sequence[Proposal]) -> Proposal:
        """Proposals of several sources as one batch."""
        parts = tuple(beside for one in proposals for beside in one.parts)
        return cls(StudentMixture.stack([one.mixture for one in proposals]), parts)


def log_parts_of(
    proposals: Sequence[Proposal], v: Sequence[Float[Tensor, "source draw parameter"]]
) -> tuple[Float[Tensor, "draw part"], ...]:
    """`Proposal.log_parts` of several batches end to end, each at places of its own.

    Args:
        proposals: Of the batches.
        v: Places of each.
    """
    every = [
        (beside, own)
        for one, places in zip(proposals, v, strict=True)
        for beside, own in zip(one.parts, places, strict=True)
    ]
    columns = iter(
        log_densities(
            [part for beside, _ in every for part in beside.parts], [own for beside, own in every for _ in beside.parts]
        )
    )
    return tuple(
        torch.stack([next(columns) for _ in beside.parts], dim=-1) if beside.parts else own.new_zeros((own.shape[0], 0))
        for beside, own in every
    )


def log_density_of_each(
    proposals: Sequence[Proposal], v: Sequence[Float[Tensor, "draw parameter"]]
) -> list[Float[Tensor, " draw"]]:
    """log q of several proposals of one source each, at places of its own.

    Args:
        proposals: Batches of one.
        v: Places of each.
    """
    places = [one[None] for one in v]
    columns = log_parts_of(proposals, places)
    return [one.log_density(own, [parts])[0] for one, own, parts in zip(proposals, places, columns, strict=True)]
