"""Spectra as the search for errors of their response sees them: mean and variance of counts, nothing else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.calibration import MOST_ETA
from xrayflow.statistics.likelihood import Expected, Likelihood


@dataclass(frozen=True)
class Seen:
    """Spectra without errors of their response, for draws of theta.

    The counts have the mean `behind` + mu and the variance `noise` + `counted` mu.

    Attributes:
        net: (source, 1 or draw, bin) what was observed, less what is not the source's.
        noise: (source, 1 or draw, bin) variance of the counts without a source.
        counted: (source, 1, bin) what a count of the source adds to it: 1, or 0 where errors are given.
        used: (source, 1, bin) 0 in bins that pad.
    """

    net: Expected
    noise: Expected
    counted: Float[Tensor, "source one bin"]
    used: Float[Tensor, "source one bin"]

    @classmethod
    def of(cls, likelihood: Likelihood, nuisance: Tensor | None = None) -> Seen:
        """From a likelihood.

        Args:
            likelihood: Without a systematic error of its own.
            nuisance: (source, draw, nuisance) its own.
        """
        sources, bins = likelihood.used.shape
        nothing = torch.zeros((sources, 1, bins), dtype=torch.float64)
        noise = likelihood.variance(nothing, nuisance)
        counted = torch.round(likelihood.variance(nothing + 1.0, nuisance) - noise)[:, :1]
        net = likelihood.counts - likelihood.total(nothing, nuisance)
        return cls(net, noise, counted, likelihood.used[:, None])

    def precision(self, expected: Expected) -> Expected:
        """1 / variance, 0 in bins that pad.

        Args:
            expected: mu.
        """
        return self.used / (self.noise + self.counted * expected).clamp(min=1e-300)

    def share(self, expected: Expected) -> Expected:
        """mu / variance.

        Args:
            expected: mu.
        """
        return expected * self.precision(expected)

    def by_eta(self, expected: Expected) -> Expected:
        """d ln p / d ln mu, by mean and variance of the counts.

        Args:
            expected: mu.
        """
        return (self.net - expected) * self.share(expected)

    def weight(self, expected: Expected) -> Expected:
        """W = mu^2 / variance.

        Args:
            expected: mu.
        """
        return expected * self.share(expected)

    def pull(self, expected: Expected, eta: Expected, weight: Expected) -> Expected:
        """`by_eta` as it would be if it were linear in eta, with a slope of -`weight` all the way.

        With m the mu that has that weight, W (ln (m / mu) - eta), and the scatter of the counts about m: a logarithm of
        the counts themselves would be off where they are few. The logarithm is right to the third order, and goes no
        farther than eta may.

        Args:
            expected: mu.
            eta: Where.
            weight: W.
        """
        half = 0.5 * self.counted * weight
        mean = half + torch.sqrt(half**2 + weight * self.noise)
        scatter = (self.net - mean) * weight / mean.clamp(min=1e-300)
        way = 2.0 * (mean - expected) / (mean + expected).clamp(min=1e-300)
        return (way.clamp(-MOST_ETA, MOST_ETA) - eta) * weight + scatter

    def slope_and_weight(self, expected: Expected) -> tuple[Expected, Expected]:
        """`by_eta` and `weight`; where nothing scatters but the source's own counts, without a division.

        Args:
            expected: mu, 0 in bins that pad.
        """
        away = self.net - expected
        if self._is_alone:
            return away, expected
        share = self.used / torch.addcmul(self.noise, self.counted, expected).clamp(min=1e-300) * expected
        return away * share, share * expected

    @cached_property
    def _is_alone(self) -> bool:
        """Whether the variance is mu."""
        return not bool(self.noise.any()) and bool((self.counted == 1.0).all())

    def at(self, sources: Tensor, draws: Tensor) -> Seen:
        """For some draws of some sources.

        Args:
            sources: (chosen,) which.
            draws: (chosen, draw) of each.
        """
        net, noise = (
            one[sources[:, None], draws] if one.shape[1] > 1 else one[sources] for one in (self.net, self.noise)
        )
        return replace(self, net=net, noise=noise, counted=self.counted[sources], used=self.used[sources])


def behind_slopes(
    likelihood: Likelihood, nuisance: Float[Tensor, "source draw nuisance"], step: float = 1e-4
) -> Float[Tensor, "source draw bin nuisance"]:
    """d mean / d nuisance of the counts that are not the source's.

    Args:
        likelihood: Of some sources.
        nuisance: Its own.
        step: Of a nuisance.
    """
    nothing = torch.zeros((likelihood.used.shape[0], 1, likelihood.used.shape[1]), dtype=torch.float64)
    found = []
    for way in step * torch.eye(nuisance.shape[-1], dtype=torch.float64):
        up, down = (likelihood.total(nothing, nuisance + sign * way) for sign in (1.0, -1.0))
        found.append((up - down) / (2.0 * step))
    return torch.stack(found, dim=-1)
