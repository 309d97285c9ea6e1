"""Proposals: distributions in probit coordinates that can be drawn from and have a density.

A proposal is a mixture of Student-t components and ridges, a share of the prior, so that no region of it is out of
reach, and, where a source has a guide, a share of that:

    q(v) = PRIOR_SHARE N(v; 0, I) + GUIDE_SHARE g(v) + the rest x (ridges(v) + t-mixture(v)).

Which part a draw comes from is decided by systematic sampling (one random offset, evenly spaced places): every part
gets its share of the draws to within one, which takes the luck of the draw between parts out of the weights.

Source: Hesterberg 1995, Technometrics 37, 185 (defensive mixtures, stratified over their parts).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.inference.guide import Guide
from xrayflow.inference.ridge import DOF, Ridges
from xrayflow.prior import log_standard_normal

PRIOR_SHARE = 0.02
GUIDE_SHARE = 0.05


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
    """What draws come from: ridges and a t-mixture, beside shares of the prior and of the guide.

    Attributes:
        mixture: Student-t components.
        ridges: One for each source; what they leave is the mixture's.
        guide: None, or of the same sources.
        prior_share: Of N(0, I).
        guide_share: Of the guide, where it is present.
    """

    mixture: Mixture
    ridges: tuple[Ridges, ...]
    guide: Guide | None = None
    prior_share: float = PRIOR_SHARE
    guide_share: float = GUIDE_SHARE

    def sample(self, draws: int, generators: list[torch.Generator]) -> Float[Tensor, "source draw parameter"]:
        """Draws, one generator per source."""
        guided = [] if self.guide is None else self.guide.present.nonzero()[:, 0].tolist()
        parts = [self._sample_one(i, draws, one, i in guided) for i, one in enumerate(generators)]
        v = torch.stack([part for part, _ in parts])
        if self.guide is not None and guided:
            most = math.floor(self.guide_share * draws) + 1
            chosen = self.guide.select(torch.tensor(guided))
            for source, drawn in zip(guided, chosen.sample(most, [generators[i] for i in guided]), strict=True):
                rows = parts[source][1]
                v[source, rows] = drawn[: rows.numel()].to(v.dtype)
        return v

    def _sample_one(self, source: int, draws: int, generator: torch.Generator, guided: bool) -> tuple[Tensor, Tensor]:
        """(draw, parameter) draws of one source, and the rows that the guide is to fill."""
        mixture, ridges = self.mixture, self.ridges[source]
        z = torch.randn((draws, mixture.mean.shape[-1]), generator=generator, dtype=torch.float64)
        chi2 = torch.randn((draws, DOF), generator=generator, dtype=torch.float64).square().sum(-1)
        offset = torch.rand(1, generator=generator, dtype=torch.float64)
        place = (torch.randperm(draws, generator=generator) + offset) / draws
        first = self.prior_share + (self.guide_share if guided else 0.0)
        student = mixture.log_share[source].exp()
        share = torch.cat([ridges.share, (1.0 - ridges.share.sum()) * student / student.sum()])
        within = (place - first) / (1.0 - first)
        part = torch.searchsorted(share.cumsum(0), within.clamp(min=0.0), right=True).clamp(max=share.numel() - 1)
        component = (part - len(ridges.ridges)).clamp(min=0)
        v = (
            mixture.mean[source, component]
            + (mixture.scale_tril[source, component] @ z[..., None])[..., 0] * torch.sqrt(DOF / chi2)[:, None]
        )
        for number, ridge in enumerate(ridges.ridges):
            rows = ((part == number) & (within >= 0.0)).nonzero()[:, 0]
            v[rows] = ridge.sample(rows.numel(), generator)
        by_guide = (place >= self.prior_share) & (place < first)
        return torch.where((place < self.prior_share)[:, None], z, v), by_guide.nonzero()[:, 0]

    def log_density(
        self, v: Float[Tensor, "source draw parameter"], log_guide: Float[Tensor, "source draw"] | None = None
    ) -> Float[Tensor, "source draw"]:
        """log q(v).

        Args:
            v: Places.
            log_guide: The guide's log density there, where it is known already.
        """
        parts = [self._own_log_density(v)]
        rest = v.new_full((v.shape[0], 1), 1.0 - self.prior_share)
        if self.guide is not None:
            share = self.guide_share * self.guide.present.to(v.dtype)[:, None]
            log_guide = self.log_guide(v) if log_guide is None else log_guide
            if log_guide is not None:
                parts.append(log_guide + torch.log(share))
            rest = rest - share
        parts[0] = parts[0] + torch.log(rest)
        if self.prior_share > 0.0:
            parts.append(log_standard_normal(v) + math.log(self.prior_share))
        return torch.logsumexp(torch.stack(parts), dim=0)

    def _own_log_density(self, v: Float[Tensor, "source draw parameter"]) -> Float[Tensor, "source draw"]:
        """Of ridges and mixture."""
        student = self.mixture.log_density(v)
        rows = []
        for one, places, own in zip(self.ridges, v, student, strict=True):
            own = own + torch.log1p(-one.share.sum())
            if one.ridges:
                along = torch.logsumexp(one.log_densities(places) + torch.log(one.share), dim=-1)
                own = torch.logaddexp(own, along)
            rows.append(own)
        return torch.stack(rows)

    def log_guide(self, v: Float[Tensor, "source draw parameter"]) -> Float[Tensor, "source draw"] | None:
        """The guide's log density, -inf for sources without; None without a guide."""
        if self.guide is None:
            return None
        found = v.new_full(v.shape[:2], -torch.inf)
        present = self.guide.present.nonzero()[:, 0]
        if present.numel():
            found[present] = self.guide.select(present).log_density(v[present]).to(v.dtype)
        return found

    def select(self, sources: Tensor) -> Proposal:
        """The proposals of some of the sources."""
        guide = None if self.guide is None else self.guide.select(sources)
        ridges = tuple(self.ridges[i] for i in sources.tolist())
        return Proposal(self.mixture.select(sources), ridges, guide, self.prior_share, self.guide_share)


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
