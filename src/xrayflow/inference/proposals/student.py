"""Student-t mixtures of a batch of sources, in probit coordinates.

Eight degrees of freedom: tails that are heavier than a normal's keep weights light where a posterior is not normal.

Source: Peel & McLachlan 2000, Stat. Comput. 10, 339.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

DOF = 8


@dataclass(frozen=True)
class StudentMixture:
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

    def with_score(
        self, v: Float[Tensor, "source draw parameter"]
    ) -> tuple[Float[Tensor, "source draw"], Float[Tensor, "source draw parameter"]]:
        """Natural log of the density, and its gradient."""
        component = self.component_log_density(v)
        difference = (v[:, None, :, :] - self.mean[:, :, None, :]).mT
        white = torch.linalg.solve_triangular(self.scale_tril, difference, upper=False)
        pull = torch.linalg.solve_triangular(self.scale_tril.mT, white, upper=True)
        factor = torch.softmax(component, dim=-1).mT * (DOF + v.shape[-1]) / (DOF + white.square().sum(-2))
        return torch.logsumexp(component, dim=-1), -(pull * factor[..., None, :]).sum(1).mT

    def select(self, sources: Tensor) -> StudentMixture:
        """The mixtures of some of the sources."""
        return StudentMixture(self.log_share[sources], self.mean[sources], self.scale_tril[sources])

    @classmethod
    def stack(cls, mixtures: Sequence[StudentMixture]) -> StudentMixture:
        """Mixtures of several sources as one batch, padded with empty components."""
        most = max(mixture.log_share.shape[1] for mixture in mixtures)
        padded = [mixture._padded(most - mixture.log_share.shape[1]) for mixture in mixtures]
        return cls(
            torch.cat([mixture.log_share for mixture in padded]),
            torch.cat([mixture.mean for mixture in padded]),
            torch.cat([mixture.scale_tril for mixture in padded]),
        )

    def _padded(self, missing: int) -> StudentMixture:
        eye = torch.eye(self.mean.shape[-1], dtype=self.mean.dtype).expand(self.mean.shape[0], missing, -1, -1)
        return StudentMixture(
            torch.nn.functional.pad(self.log_share, (0, missing), value=-torch.inf),
            torch.nn.functional.pad(self.mean, (0, 0, 0, missing)),
            torch.cat([self.scale_tril, eye], dim=1),
        )

    def joined(self, other: StudentMixture, share: float) -> StudentMixture:
        """This mixture with `share` of it given to another's components."""
        return StudentMixture(
            torch.cat([self.log_share + math.log1p(-share), other.log_share + math.log(share)], dim=1),
            torch.cat([self.mean, other.mean], dim=1),
            torch.cat([self.scale_tril, other.scale_tril], dim=1),
        )


def student_scale(draws: int, generator: torch.Generator) -> Float[Tensor, " draw"]:
    """What multiplies standard normal numbers to make them Student-t with `DOF` degrees of freedom."""
    chi2 = torch.randn((draws, DOF), generator=generator, dtype=torch.float64).square().sum(-1)
    return torch.sqrt(DOF / chi2)


def log_student_constant(parameters: int) -> float:
    """Natural log of the density's height at the middle of a unit Student-t."""
    half = 0.5 * (DOF + parameters)
    return math.lgamma(half) - math.lgamma(0.5 * DOF) - 0.5 * parameters * math.log(DOF * math.pi)


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
    return (
        log_student_constant(parameters)
        - log_determinant[:, None, :]
        - 0.5 * (DOF + parameters) * torch.log1p(distance2 / DOF)
    )


def root_of_inverse(information: Float[Tensor, "*batch parameter parameter"]) -> Float[Tensor, "*batch p p"]:
    """Lower Cholesky factor of the inverse, however badly conditioned; nothing is wider than the prior."""
    scale = information.diagonal(dim1=-2, dim2=-1).clamp(min=1.0).sqrt()
    value, vector = torch.linalg.eigh(information / scale[..., :, None] / scale[..., None, :])
    root = vector / value.clamp(min=1e-14).sqrt()[..., None, :] / scale[..., :, None]
    return _lower_factor(root)


def _lower_factor(root: Tensor) -> Tensor:
    """Lower triangular L with L L' = root root'."""
    upper = torch.linalg.qr(root.mT).R
    sign = torch.where(upper.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0)
    lower: Tensor = (upper * sign[..., :, None]).mT
    return lower


def cholesky(covariance: Tensor) -> Tensor:
    """Cholesky factor of a covariance that may be singular to rounding."""
    size = covariance.diagonal(dim1=-2, dim2=-1)
    factor: Tensor = torch.linalg.cholesky(covariance + torch.diag_embed(1e-10 * size + 1e-14))
    return factor
