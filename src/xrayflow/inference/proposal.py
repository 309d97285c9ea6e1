"""Proposals: distributions in probit coordinates that can be drawn from and have a density.

A proposal is a mixture of Student-t components beside other parts (`parts`): the prior, ridges, what a network says,

    q(v) = sum_p share_p part_p(v) + (1 - sum_p share_p) t-mixture(v).

Which of them a draw comes from is decided by systematic sampling (one random offset, evenly spaced places): each gets
its share of the draws to within one, which takes the luck of the draw between parts out of the weights.

Source: Hesterberg 1995, Technometrics 37, 185 (defensive mixtures, stratified over their parts).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.parts import Parts
from xrayflow.inference.ridge import DOF


@dataclass(frozen=True)
class Mixture:
    """Student-t components, one mixture per source.

    Attributes:
        log_share: (source, component) natural log of the shares, normalised; -inf pads.
        mean: (source, component, parameter).
        scale_tril: (source, component, parameter, parameter) lower Cholesky factors of the scale matrices.
    """

    log_share: Float[Tensor, "source component"]
    mean: Float[Tensor, "source component parameter"]
    scale_tril: Float[Tensor, "source component parameter parameter"]

    def component_log_density(
        self, v: Float[Tensor, "source draw parameter"]
    ) -> Float[Tensor, "source draw component"]:
        """Natural log of share x density of each component."""
        return self.log_share[:, None, :] + log_student(mahalanobis(v, self.mean, self.scale_tril), self.scale_tril)

    def log_density(self, v: Float[Tensor, "source draw parameter"]) -> Float[Tensor, "source draw"]:
        """Natural log of the density."""
        return torch.logsumexp(self.component_log_density(v), dim=-1)

    def select(self, sources: Tensor) -> Mixture:
        """The mixtures of some of the sources."""
        return Mixture(self.log_share[sources], self.mean[sources], self.scale_tril[sources])

    @classmethod
    def stack(cls, mixtures: Sequence[Mixture]) -> Mixture:
        """Mixtures of several sources as one batch, padded with empty components."""
        most = max(mixture.log_share.shape[1] for mixture in mixtures)
        padded = [mixture._padded(most - mixture.log_share.shape[1]) for mixture in mixtures]
        return cls(
            torch.cat([mixture.log_share for mixture in padded]),
            torch.cat([mixture.mean for mixture in padded]),
            torch.cat([mixture.scale_tril for mixture in padded]),
        )

    def _padded(self, missing: int) -> Mixture:
        eye = torch.eye(self.mean.shape[-1], dtype=self.mean.dtype).expand(self.mean.shape[0], missing, -1, -1)
        return Mixture(
            torch.nn.functional.pad(self.log_share, (0, missing), value=-torch.inf),
            torch.nn.functional.pad(self.mean, (0, 0, 0, missing)),
            torch.cat([self.scale_tril, eye], dim=1),
        )

    def joined(self, other: Mixture, share: float) -> Mixture:
        """This mixture with `share` of it given to another's components."""
        return Mixture(
            torch.cat([self.log_share + math.log1p(-share), other.log_share + math.log(share)], dim=1),
            torch.cat([self.mean, other.mean], dim=1),
            torch.cat([self.scale_tril, other.scale_tril], dim=1),
        )


@dataclass(frozen=True)
class Proposal:
    """What draws come from.

    Attributes:
        mixture: Student-t components.
        parts: Of each source, what stands beside them.
    """

    mixture: Mixture
    parts: tuple[Parts, ...]

    def sample(self, draws: int, generators: list[torch.Generator]) -> Float[Tensor, "source draw parameter"]:
        """Draws, one generator per source."""
        return torch.stack([self._sample_source(i, draws, one) for i, one in enumerate(generators)])

    def _sample_source(self, source: int, draws: int, generator: torch.Generator) -> Tensor:
        mixture, beside = self.mixture, self.parts[source]
        z = torch.randn((draws, mixture.mean.shape[-1]), generator=generator, dtype=torch.float64)
        chi2 = torch.randn((draws, DOF), generator=generator, dtype=torch.float64).square().sum(-1)
        offset = torch.rand(1, generator=generator, dtype=torch.float64)
        place = (torch.randperm(draws, generator=generator) + offset) / draws
        student = mixture.log_share[source].exp()
        share = torch.cat([beside.share, (1.0 - beside.share.sum()) * student / student.sum()])
        chosen = torch.searchsorted(share.cumsum(0), place, right=True).clamp(max=share.numel() - 1)
        component = (chosen - beside.share.numel()).clamp(min=0)
        v = (
            mixture.mean[source, component]
            + (mixture.scale_tril[source, component] @ z[..., None])[..., 0] * torch.sqrt(DOF / chi2)[:, None]
        )
        for number, part in enumerate(beside.parts):
            rows = (chosen == number).nonzero()[:, 0]
            if rows.numel():
                v[rows] = part.sample(rows.numel(), generator)
        return v

    def log_parts(self, v: Float[Tensor, "source draw parameter"]) -> tuple[Float[Tensor, "draw part"], ...]:
        """Natural log of the density of every part of each source, whatever their shares."""
        return tuple(beside.log_densities(places) for beside, places in zip(self.parts, v, strict=True))

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
        return cls(Mixture.stack([one.mixture for one in proposals]), parts)


def mahalanobis(v: Tensor, mean: Tensor, scale_tril: Tensor) -> Float[Tensor, "source draw component"]:
    """Squared distance of every draw from every component."""
    difference = v[:, None, :, :] - mean[:, :, None, :]
    white = torch.linalg.solve_triangular(scale_tril, difference.mT, upper=False)
    distance2: Tensor = white.square().sum(-2).mT
    return distance2


def log_student(
    distance2: Float[Tensor, "source draw component"], scale_tril: Tensor
) -> Float[Tensor, "source draw component"]:
    """Natural log of the multivariate Student-t density with `DOF` degrees of freedom."""
    parameters = scale_tril.shape[-1]
    log_determinant = torch.log(scale_tril.diagonal(dim1=-2, dim2=-1)).sum(-1)
    constant = (
        math.lgamma(0.5 * (DOF + parameters)) - math.lgamma(0.5 * DOF) - 0.5 * parameters * math.log(DOF * math.pi)
    )
    return constant - log_determinant[:, None, :] - 0.5 * (DOF + parameters) * torch.log1p(distance2 / DOF)
