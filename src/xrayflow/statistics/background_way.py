"""What every way to evaluate ln p(S) of `background_sum` has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.statistics.background_integral import Bins, Density, integral


@dataclass(frozen=True)
class Way(ABC):
    """Some bins of one source, evaluated alike.

    Attributes:
        bins: The bins.
        rate: (bin,) g0, about where g will be.
    """

    bins: Bins
    rate: Float[Tensor, " bin"]

    @abstractmethod
    def bare(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S) - alpha ln(g / g0): without what all draws of one level share, which needs no look at the bins.

        Args:
            mu: Of the source.
            rate: g.
        """

    @abstractmethod
    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """ln p(S), and its slopes."""

    def value(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S)."""
        return self.bare(mu, rate) + self._level(mu, rate)

    def _level(self, mu: Tensor, rate: Tensor) -> Tensor:
        """(draw, bin) alpha ln(g / g0)."""
        return (self.bins.alpha * torch.log(rate / self.rate)).expand(mu.shape)

    def _bare_beyond(self, found: Tensor, beyond: Tensor, mu: Tensor, rate: Tensor) -> Tensor:
        """`bare`, in whose place the integral is put where it does not hold."""
        at = beyond.nonzero(as_tuple=True)
        if at[0].numel():
            bins, m, g = self._places(at, mu, rate)
            level = bins.alpha * torch.log(g / self.rate[at[1]])
            found[at] = (integral(bins, m, g, slopes=False).value - level)[0]
        return found

    def _beyond(self, found: Density, beyond: Tensor, mu: Tensor, rate: Tensor) -> Density:
        """The same with slopes."""
        at = beyond.nonzero(as_tuple=True)
        if at[0].numel():
            exact = integral(*self._places(at, mu, rate))
            for own, known in ((found.value, exact.value), (found.by_mu, exact.by_mu), (found.by_rate, exact.by_rate)):
                own[at] = known[0]
        return found

    def _places(self, at: tuple[Tensor, ...], mu: Tensor, rate: Tensor) -> tuple[Bins, Tensor, Tensor]:
        """Bins, mu and g at some (draw, bin), as one draw of many bins."""
        return self.bins.select(at[1]), mu[at][None], rate.expand(mu.shape)[at][None]


@dataclass(frozen=True)
class Integral(Way):
    """Bins that nothing quicker serves."""

    def bare(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Float[Tensor, "draw bin"]:
        """ln p(S) - alpha ln(g / g0)."""
        return integral(self.bins, mu, rate, slopes=False).value - self._level(mu, rate)

    def __call__(self, mu: Float[Tensor, "draw bin"], rate: Float[Tensor, "draw bin"]) -> Density:
        """ln p(S), and its slopes."""
        return integral(self.bins, mu, rate)
