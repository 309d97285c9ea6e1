"""Data that come with errors: S - B normal about mu, variance of the data + (s mu)^2, its log-determinant kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from xrayflow.statistics.likelihood import Expected, Likelihood, Nuisance, chosen, trimmed
from xrayflow.statistics.shortfall import Shortfall


@dataclass(frozen=True)
class GaussianLikelihood(Likelihood):
    """Normal errors that come with the data.

    Attributes:
        counts: (source, data, bin) counts after the background was taken away.
        data_variance: (source, bin).
        systematic: (source, 1) s.
        used: (source, bin).
        shortfalls: (source,) what the likelihood of each lacks: Gaussian errors may stand for what they are not. Empty
            where the data's errors are taken at their word.
    """

    counts: Tensor
    data_variance: Tensor
    systematic: Tensor
    used: Tensor
    shortfalls: tuple[Shortfall, ...] = ()

    @property
    def name(self) -> str:
        """For products."""
        return "Gaussian"

    def total(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """mu: the background is subtracted from the counts."""
        return expected

    def variance(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """The data's variance + (s mu)^2."""
        return self.data_variance[:, None, :] + (self.systematic[:, None, :] * expected) ** 2

    def log_density_per_bin(self, expected: Expected) -> Expected:
        """Normal, with its log-determinant."""
        return self._log_normal(self.counts, expected)

    def log_saturated(self) -> Tensor:
        """At mu = counts."""
        return self._log_normal(self.counts, self.counts).sum(-1)

    def replicate(
        self, expected: Expected, generator: torch.Generator, nuisance: Nuisance | None = None
    ) -> GaussianLikelihood:
        """The same with counts that are normal about the model."""
        noise = torch.randn(expected.shape, generator=generator, dtype=expected.dtype)
        counts = (expected + noise * torch.sqrt(self.variance(expected))) * self.used[:, None, :]
        return replace(self, counts=counts)

    def softened(self, error: float) -> GaussianLikelihood:
        """With an error of each bin that goes with what was observed."""
        return replace(self, data_variance=self.data_variance + (error * self.counts[:, 0]) ** 2)

    def select(self, sources: Int[Tensor, " chosen"]) -> GaussianLikelihood:
        """The likelihood of some of the sources."""
        bins = trimmed(self.used, sources)
        return GaussianLikelihood(
            self.counts[sources, :, :bins],
            self.data_variance[sources, :bins],
            self.systematic[sources],
            self.used[sources, :bins],
            chosen(self.shortfalls, sources),
        )

    def _log_normal(self, counts: Tensor, expected: Expected) -> Expected:
        variance = self.variance(expected)
        density: Tensor = -0.5 * ((counts - expected) ** 2 / variance + torch.log(2.0 * math.pi * variance))
        return density * self.used[:, None, :]
