"""What the posterior rests on: the distribution of the counts of a batch of sources, given the model's.

Weights, optimiser, simulator and predictive check all ask the same object, so they cannot disagree, and a better
likelihood takes the place of another one by offering the same methods:

* `log_density(expected, nuisance)`: ln p of all bins, normalised;
* `curvature(expected, jacobian, nuisance)`: its gradient and Fisher's information. What couples bins (calibration that
  is not known) stays inside: nobody outside asks for the weight of a bin;
* `replicate(expected, generator)`: the same likelihood of counts as another observation would give them.

A nuisance stands behind the model's parameters with a prior of its own (`nuisances`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.prior import Marginal
from xrayflow.statistics.linear import LinearFit
from xrayflow.statistics.shortfall import Shortfall

Expected = Float[Tensor, "source draw bin"]
Nuisance = Float[Tensor, "source draw nuisance"]


@dataclass(frozen=True)
class Curvature:
    """How a log density bends in its parameters.

    Attributes:
        gradient: d ln p / d parameter, those of the nuisances last.
        information: Fisher's, positive semi-definite.
    """

    gradient: Float[Tensor, "source draw parameter"]
    information: Float[Tensor, "source draw parameter parameter"]


class Likelihood(ABC):
    """The distribution of the counts of a batch of sources.

    Attributes:
        counts: (source, data, bin) what was observed, or subtracted; one data set, or one per draw in a replica.
        systematic: (source, 1) s, a fraction of the source model.
        used: (source, bin) 1 for the bins of a source, 0 for those that pad it to the longest of the batch.
        shortfalls: (source,) what the likelihood of each lacks; empty where nobody asked.
    """

    counts: Tensor
    systematic: Tensor
    used: Tensor
    shortfalls: tuple[Shortfall, ...]

    @property
    @abstractmethod
    def name(self) -> str:
        """For products."""

    @property
    def kind(self) -> str:
        """ "exact", "approximate" or "profile": what a posterior from it may be called."""
        return "approximate" if self.why else "exact"

    @property
    def why(self) -> str:
        """Why the likelihood is not exact and what that costs, in one phrase; "" where it is. Ask one source at a time.

        Of several, the first whose shortfall matters; `select` gives each its own.
        """
        lacking = [one for one in self.shortfalls if one.why]
        return min(lacking, key=lambda one: one.negligible).why if lacking else ""

    @property
    def is_poisson(self) -> bool:
        """Whether it is Poisson's of the source's expected counts alone: its deviance is XSPEC's C then."""
        return False

    @property
    def negligible(self) -> bool:
        """Whether nobody would see the difference to an exact likelihood."""
        return all(one.negligible for one in self.shortfalls)

    @property
    def nuisances(self) -> tuple[Marginal, ...]:
        """Parameters of the likelihood's own, with their priors."""
        return ()

    @abstractmethod
    def log_density_per_bin(self, expected: Expected) -> Expected:
        """ln p(counts | expected) of each bin, normalised; 0 in bins that pad.

        Args:
            expected: mu, the source model's counts.
        """

    @abstractmethod
    def log_saturated(self) -> Float[Tensor, "source draw"]:
        """ln p(counts | a model that meets every bin); one column for the observed counts."""

    @abstractmethod
    def total(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """Mean of the counts, the background included.

        Args:
            expected: mu.
            nuisance: As for `log_density`.
        """

    @abstractmethod
    def variance(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """Variance of the counts of each bin."""

    def moments(self, expected: Expected, nuisance: Nuisance | None = None) -> tuple[Expected, Expected]:
        """`total` and `variance`.

        Args:
            expected: mu.
            nuisance: As for `log_density`.
        """
        return self.total(expected, nuisance), self.variance(expected, nuisance)

    @abstractmethod
    def replicate(self, expected: Expected, generator: torch.Generator, nuisance: Nuisance | None = None) -> Likelihood:
        """The likelihood of counts as another observation would give them: one data set per draw.

        Args:
            expected: mu.
            generator: Source of randomness.
            nuisance: As for `log_density`.
        """

    @abstractmethod
    def select(self, sources: Int[Tensor, " chosen"]) -> Likelihood:
        """The likelihood of some of the sources, with the bins that they need.

        Args:
            sources: Their numbers in the batch, from 0; repeats are allowed.
        """

    def log_density(self, expected: Expected, nuisance: Nuisance | None = None) -> Float[Tensor, "source draw"]:
        """ln p(counts | expected, nuisance), all bins.

        Args:
            expected: mu.
            nuisance: Values of `nuisances`; None where there are none, or for those that change nothing.
        """
        return self.log_density_per_bin(expected).sum(-1)

    def curvature(
        self,
        expected: Expected,
        jacobian: Float[Tensor, "source draw bin parameter"],
        nuisance: Nuisance | None = None,
    ) -> Curvature:
        """Gradient and Fisher's information of `log_density`; the weight of a bin is 1 / variance.

        Args:
            expected: mu.
            jacobian: d mu / d parameter.
            nuisance: As for `log_density`.
        """
        variance = self.variance(expected, nuisance)
        known = (variance > 0) & (self.used[:, None] > 0)
        score = torch.where(known, self._score(expected), 0.0)
        weight = torch.where(known, 1.0 / variance.clamp(min=1e-300), 0.0)
        return bin_by_bin(score, weight, jacobian)

    def score(
        self,
        expected: Expected,
        jacobian: Float[Tensor, "source bin parameter"],
        nuisance: Nuisance | None = None,
    ) -> Tensor:
        """(source, draw, parameter) gradient of `log_density`, with one Jacobian for all draws; nuisances last.

        Args:
            expected: mu.
            jacobian: d mu / d parameter.
            nuisance: As for `log_density`.
        """
        return self.slope(expected, nuisance) @ jacobian

    def slope(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """d ln p / d mu of each bin; 0 where there is nothing to scatter.

        Args:
            expected: mu.
            nuisance: As for `log_density`.
        """
        return torch.where(self.variance(expected, nuisance) > 0, self._score(expected), 0.0)

    def pull(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """`slope`, or what comes near it at a fraction of the price.

        Args:
            expected: mu.
            nuisance: As for `log_density`.
        """
        return self.slope(expected, nuisance)

    def softened(self, error: float) -> Likelihood:
        """As if the model were off by a part of itself in every bin: what a search sees first. It has no nuisances.

        Args:
            error: That part.
        """
        return self

    def roughly(self, rough: bool) -> Likelihood:
        """The same, to some tenths in ln L of a bin where it is dear and no posterior is: searches set out there.

        Args:
            rough: Whether that does; else the exact one. Itself where that is no other.
        """
        return self

    def is_sharp(self, error: float) -> Bool[Tensor, " source"]:
        """Whether independent starts lose their way on it who would find it on the softened one.

        Args:
            error: Part of itself by which the model seems to be off there.
        """
        return torch.zeros(self.used.shape[0], dtype=torch.bool)

    def as_judged(self, nuisance: Nuisance) -> Nuisance:
        """The nuisances that a fit is judged at: one that could take the place of what the model lacks stands back.

        Args:
            nuisance: Values of `nuisances`.
        """
        return nuisance

    def linear(
        self,
        expected: Float[Tensor, "source draw bin"],
        jacobian: Float[Tensor, "source draw bin parameter"],
        coordinates: Float[Tensor, "source draw parameter"],
        nuisance: Nuisance | None = None,
    ) -> LinearFit:
        """A fit of a batch of one as linear.

        Args:
            expected: (1, 1, bin) mu at the fit.
            jacobian: (1, 1, bin, parameter) d mu / d coordinate, each with a normal prior of unit variance.
            coordinates: (1, 1, parameter) at the fit.
            nuisance: As for `log_density`.
        """
        return LinearFit(
            residual=((self.counts - self.total(expected, nuisance)) * self.used[:, None])[0, 0],
            variance=self.variance(expected, nuisance)[0, 0],
            columns=jacobian[0, 0],
            at=coordinates[0, 0],
            expected=expected[0, 0],
            gain=expected.new_zeros((expected.shape[-1], 0)),
        )

    def deviance(self, expected: Expected, nuisance: Nuisance | None = None) -> Float[Tensor, "source draw"]:
        """2 (saturated - log density), of the likelihood that the posterior rests on."""
        return 2.0 * (self.log_saturated() - self.log_density_per_bin(expected).sum(-1))

    def _score(self, expected: Expected) -> Expected:
        """d ln p / d expected of each bin."""
        at = expected.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            return torch.autograd.grad(self.log_density_per_bin(at).sum(), at)[0]


def bin_by_bin(score: Expected, weight: Expected, jacobian: Tensor) -> Curvature:
    """The curvature where bins are independent.

    Args:
        score: d ln p / d expected of each bin.
        weight: Fisher's, of each bin.
        jacobian: (source, draw, bin, parameter) d expected / d parameter.
    """
    gradient = (jacobian.mT @ score[..., None])[..., 0]
    return Curvature(gradient, jacobian.mT @ (weight[..., None] * jacobian))


def scattered(expected: Expected, systematic: Float[Tensor, "source 1"], generator: torch.Generator) -> Expected:
    """The source's counts, those of each bin times a gamma factor of mean 1 where there is a systematic error.

    Args:
        expected: mu.
        systematic: s.
        generator: Source of randomness.
    """
    s = systematic[:, None, :]
    if not bool((s > 0).any()):
        return expected
    shape = (1.0 / s.clamp(min=1e-12) ** 2).expand(expected.shape).contiguous()
    factor = torch._standard_gamma(shape, generator=generator) / shape
    return torch.where(s > 0, expected * factor, expected)


def chosen(shortfalls: tuple[Shortfall, ...], sources: Tensor) -> tuple[Shortfall, ...]:
    """What the likelihoods of some sources lack.

    Args:
        shortfalls: (source,) those of the batch; empty where nobody asked.
        sources: Their numbers.
    """
    return tuple(shortfalls[source] for source in sources.tolist()) if shortfalls else ()


def trimmed(used: Tensor, sources: Tensor) -> int:
    """How many bins some sources need of those that the batch was padded to.

    Args:
        used: (source, bin).
        sources: Their numbers.
    """
    return int(used[sources].sum(-1).max()) if sources.numel() else used.shape[-1]
