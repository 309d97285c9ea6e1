"""What the counts scatter by: background and systematic error as one object.

Likelihood, optimiser, simulator and predictive check all ask the same object, so they cannot disagree, and a better
noise takes the place of this one by offering the same methods.

`CountNoise` (whole counts): S ~ Poisson(F mu + beta), mu the source model's expected counts, beta the background, which
is known; F a gamma factor of mean 1 and variance s^2 in every bin. Without a background this is exactly the negative
binomial of mean mu and variance mu + (s mu)^2; with one, that form is matched to the mean and variance of the sum.
Against the exact sum, ln p of a bin within 8 of its peak (mu and beta 0.1 .. 1e4) is off by at most 0.01 at s = 1 %,
0.03 at 1.5 %, 0.2 at 3 %, 1 at 10 %, where a source and a background of equal weight hold thousands of counts; the
medians are 3e-8, 2e-7, 2e-6 and 8e-5.
`GaussianNoise` (data that come with errors): S - B normal about mu, variance of the data + (s mu)^2, its
log-determinant kept.

Source: the gamma-Poisson mixture; Greenwood & Yule 1920 for the negative binomial.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError
from xrayflow.ogip import Spectrum
from xrayflow.statistics.auto import Choice, background_in_source, gaussian_variance
from xrayflow.statistics.likelihood import MOST_SYSTEMATIC, log_counts, log_saturated_poisson
from xrayflow.statistics.shortfall import KNOWN, Shortfall, find_shortfall

Expected = Float[Tensor, "source draw bin"]


class Noise(ABC):
    """The distribution of the counts of a batch of sources, given the source model's expected counts.

    Attributes:
        counts: (source, bin) the observed counts.
        systematic: (source, 1) fractional systematic error of the source model.
        used: (source, bin) 1 for the bins of a source, 0 for those that pad it to the longest of the batch.
        shortfalls: What the likelihood of each source lacks; empty where nobody asked.
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
        """ "exact" or "approximate": what a posterior from it may be called."""
        return "approximate" if self.why else "exact"

    @property
    def why(self) -> str:
        """Why the likelihood is not exact and what that costs, in one phrase; "" where it is. Ask one source at a time.

        Of several, the first whose shortfall matters; `select` gives each its own.
        """
        lacking = [one for one in self.shortfalls if one.why]
        return min(lacking, key=lambda one: one.negligible).why if lacking else ""

    @property
    def negligible(self) -> bool:
        """Whether nobody would see the difference to an exact likelihood."""
        return all(one.negligible for one in self.shortfalls)

    @abstractmethod
    def log_likelihood_per_bin(self, expected: Expected, counts: Tensor | None = None) -> Expected:
        """ln p(counts | expected) of each bin, normalised; 0 in bins that pad.

        Args:
            expected: mu.
            counts: (source, draw, bin); None: the observed ones.
        """

    @abstractmethod
    def log_saturated(self, counts: Tensor | None = None) -> Tensor:
        """(source, draw) ln p(counts | a model that meets every bin); (source, 1) for the observed counts.

        Args:
            counts: (source, draw, bin); None: the observed ones.
        """

    @abstractmethod
    def total(self, expected: Expected) -> Expected:
        """Mean of the counts, the background included."""

    @abstractmethod
    def variance(self, expected: Expected) -> Expected:
        """Variance of the counts; its inverse is the Fisher weight of a bin."""

    @abstractmethod
    def sample(self, expected: Expected, generator: torch.Generator) -> Expected:
        """Counts as another observation would give them; 0 in bins that pad.

        Args:
            expected: mu.
            generator: Source of randomness.
        """

    @abstractmethod
    def select(self, sources: Int[Tensor, " chosen"]) -> Noise:
        """The noise of some of the sources.

        Args:
            sources: Their numbers in the batch, from 0; repeats are allowed.
        """

    def log_likelihood(self, expected: Expected) -> Float[Tensor, "source draw"]:
        """ln p(counts | expected), all bins."""
        return self.log_likelihood_per_bin(expected).sum(-1)

    def deviance(self, expected: Expected, counts: Tensor | None = None) -> Float[Tensor, "source draw"]:
        """2 (saturated - log likelihood), of the likelihood that the posterior rests on."""
        return 2.0 * (self.log_saturated(counts) - self.log_likelihood_per_bin(expected, counts).sum(-1))

    def score(self, expected: Expected, counts: Tensor | None = None) -> Expected:
        """d ln p / d expected of each bin.

        Args:
            expected: mu.
            counts: (source, draw, bin); None: the observed ones.
        """
        at = expected.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            return torch.autograd.grad(self.log_likelihood_per_bin(at, counts).sum(), at)[0]


@dataclass(frozen=True)
class CountNoise(Noise):
    """Poisson, or negative binomial with a systematic error, on a background that is known.

    Attributes:
        counts: (source, bin) S.
        background: (source, bin) beta, counts in the source's exposure.
        systematic: (source, 1) s, a fraction of the source model.
        used: (source, bin).
        saturated: (source, bin) ln Poisson(S | S).
        shortfalls: What the likelihood of each source lacks; empty where nobody asked.
    """

    counts: Tensor
    background: Tensor
    systematic: Tensor
    used: Tensor
    saturated: Tensor
    shortfalls: tuple[Shortfall, ...] = ()

    @property
    def name(self) -> str:
        """For products."""
        name = "negative binomial" if self._has_systematic else "Poisson"
        return f"{name}, known background" if self._has_background else name

    @property
    def why(self) -> str:
        """The background's own error is not in it, which `shortfalls` grade."""
        if not self.shortfalls:
            return KNOWN if self._has_background else ""
        return super().why

    @property
    def negligible(self) -> bool:
        """Whether nobody would see the difference to an exact likelihood."""
        return super().negligible if self.shortfalls else not self._has_background

    @property
    def _has_systematic(self) -> bool:
        return bool((self.systematic > 0).any())

    @property
    def _has_background(self) -> bool:
        return bool((self.background > 0).any())

    def total(self, expected: Expected) -> Expected:
        """mu + beta."""
        return expected + self.background[:, None, :] if self._has_background else expected

    def variance(self, expected: Expected) -> Expected:
        """mu + beta + (s mu)^2."""
        return self.total(expected) + (self.systematic[:, None, :] * expected) ** 2

    def log_likelihood_per_bin(self, expected: Expected, counts: Tensor | None = None) -> Expected:
        """ln K of `likelihood.log_counts`."""
        if counts is None:
            counts, saturated = self.counts[:, None, :], self.saturated[:, None, :]
        else:
            saturated = log_saturated_poisson(counts)
        return log_counts(counts, self.total(expected), self._phi(expected), saturated)

    def log_saturated(self, counts: Tensor | None = None) -> Tensor:
        """At M = S, with the systematic error of the part above the background.

        Without a background, or without a systematic error, no model does better. With both, the error shrinks with
        the source, so a model a little below S can be likelier by up to s^2 / 2 in a bin.
        """
        observed = self.counts[:, None, :] if counts is None else counts
        above = torch.clamp(observed - self.background[:, None, :], min=0.0)
        phi = self._phi_of(above, observed)
        return log_counts(observed, observed, phi, log_saturated_poisson(observed)).sum(-1)

    def sample(self, expected: Expected, generator: torch.Generator) -> Expected:
        """Poisson about the source times a gamma factor, plus the background."""
        mean = expected
        if self._has_systematic:
            shape = (1.0 / self.systematic.clamp(min=1e-12) ** 2)[:, None, :].expand(expected.shape)
            factor = torch._standard_gamma(shape.contiguous(), generator=generator) / shape
            mean = torch.where(self.systematic[:, None, :] > 0, expected * factor, expected)
        return torch.poisson(self.total(mean), generator=generator)

    def select(self, sources: Int[Tensor, " chosen"]) -> CountNoise:
        """The noise of some of the sources."""
        return CountNoise(
            self.counts[sources],
            self.background[sources],
            self.systematic[sources],
            self.used[sources],
            self.saturated[sources],
            _chosen(self.shortfalls, sources),
        )

    def _phi(self, expected: Expected) -> Tensor | float:
        return self._phi_of(expected, self.total(expected))

    def _phi_of(self, source: Tensor, total: Tensor) -> Tensor | float:
        """(variance - M) / M^2 = s^2 (mu / M)^2."""
        if not self._has_systematic:
            return 0.0
        s = self.systematic[:, None, :]
        if not self._has_background:
            return (s * s).expand(source.shape)
        return (s * source / torch.where(total > 0, total, 1.0)) ** 2


@dataclass(frozen=True)
class GaussianNoise(Noise):
    """Normal errors that come with the data.

    Attributes:
        counts: (source, bin) counts after the background was taken away.
        data_variance: (source, bin).
        systematic: (source, 1) s.
        used: (source, bin).
        shortfalls: What the likelihood of each source lacks: Gaussian errors may stand for what they are not. Empty
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

    def total(self, expected: Expected) -> Expected:
        """mu: the background is subtracted from the counts."""
        return expected

    def variance(self, expected: Expected) -> Expected:
        """The data's variance + (s mu)^2."""
        return self.data_variance[:, None, :] + (self.systematic[:, None, :] * expected) ** 2

    def log_likelihood_per_bin(self, expected: Expected, counts: Tensor | None = None) -> Expected:
        """Normal, with its log-determinant."""
        counts = self.counts[:, None, :] if counts is None else counts
        variance = self.variance(expected)
        return (
            -0.5 * ((counts - expected) ** 2 / variance + torch.log(2.0 * math.pi * variance)) * self.used[:, None, :]
        )

    def log_saturated(self, counts: Tensor | None = None) -> Tensor:
        """At mu = counts."""
        counts = self.counts[:, None, :] if counts is None else counts
        return self.log_likelihood_per_bin(counts, counts).sum(-1)

    def sample(self, expected: Expected, generator: torch.Generator) -> Expected:
        """Normal about the model."""
        noise = torch.randn(expected.shape, generator=generator, dtype=expected.dtype)
        return (expected + noise * torch.sqrt(self.variance(expected))) * self.used[:, None, :]

    def select(self, sources: Int[Tensor, " chosen"]) -> GaussianNoise:
        """The noise of some of the sources."""
        return GaussianNoise(
            self.counts[sources],
            self.data_variance[sources],
            self.systematic[sources],
            self.used[sources],
            _chosen(self.shortfalls, sources),
        )


def _chosen(shortfalls: tuple[Shortfall, ...], sources: Tensor) -> tuple[Shortfall, ...]:
    return tuple(shortfalls[source] for source in sources.tolist()) if shortfalls else ()


def noise_of(spectra: Sequence[Spectrum], choices: Sequence[Choice], systematic: float = 0.0) -> Noise:
    """The noise of a batch of spectra.

    Args:
        spectra: Noticed bins, at least one spectrum; shorter ones are padded to the longest.
        choices: What `auto.choose` says of each; all Gaussian or none.
        systematic: s, the fractional systematic error of the source model, 0 <= s < 0.5.

    Returns:
        `GaussianNoise` where the choices are chi2, else `CountNoise`.

    Raises:
        DataError: A bad systematic, a negative background, counts that are none, no spectra, or a mix of count and
            Gaussian data.
    """
    if not spectra or len(spectra) != len(choices):
        raise DataError(f"a batch of {len(spectra)} spectra with {len(choices)} statistics; give one for each spectrum")
    if not 0.0 <= systematic < MOST_SYSTEMATIC:
        raise DataError(
            f"--systematic {systematic:g}: it is a fraction of the model; give 0 or more, below {MOST_SYSTEMATIC}"
        )
    if len({choice.gaussian for choice in choices}) != 1:
        raise DataError("a batch cannot mix Poisson counts with data that have Gaussian errors; run them apart")
    bins = max(spectrum.counts.size for spectrum in spectra)
    s = torch.full((len(spectra), 1), systematic, dtype=torch.float64)
    used = _padded([np.ones_like(spectrum.counts) for spectrum in spectra], bins, 0.0)
    if choices[0].gaussian:
        net = _padded([spectrum.counts - background_in_source(spectrum) for spectrum in spectra], bins, 0.0)
        variance = _padded([gaussian_variance(spectrum) for spectrum in spectra], bins, 1.0)
        return GaussianNoise(net, variance, s, used, _shortfalls(spectra, choices, systematic))
    backgrounds = [background_in_source(spectrum) for spectrum in spectra]
    for spectrum, background in zip(spectra, backgrounds, strict=True):
        where = spectrum.observation.pha.path.name
        if (background < 0).any():
            raise DataError(
                f"{where}: {(background < 0).sum()} bins of its background are negative, and counts cannot scatter "
                "about a negative mean; group the spectrum more coarsely, or give --background none"
            )
        if (spectrum.counts < 0).any() or not np.equal(spectrum.counts, np.round(spectrum.counts)).all():
            raise DataError(f"{where}: its counts are negative or not whole numbers; use --statistic chi2")
    counts = _padded([spectrum.counts for spectrum in spectra], bins, 0.0)
    behind, saturated = _padded(backgrounds, bins, 0.0), log_saturated_poisson(counts)
    return CountNoise(counts, behind, s, used, saturated, _shortfalls(spectra, choices, systematic))


def _shortfalls(spectra: Sequence[Spectrum], choices: Sequence[Choice], systematic: float) -> tuple[Shortfall, ...]:
    return tuple(find_shortfall(one, choice, systematic) for one, choice in zip(spectra, choices, strict=True))


def _padded(rows: Sequence[NDArray[np.float64]], bins: int, value: float) -> Tensor:
    """(source, bin)"""
    out = np.full((len(rows), bins), value)
    for row, values in zip(out, rows, strict=True):
        row[: values.size] = values
    return torch.from_numpy(out)
