"""The draws of many sources, freed of the prior that they were made under: what a population is found from.

Of source i the catalogue holds draws theta_j with weights w_j of its posterior under a known prior. Whatever the
distribution p(x | h) of a parameter over sources, the evidence of that source under it is, up to a constant,

    L_i(h) = sum_j  w_j  p(x_j | h) / prior(x_j),        sum_j w_j = 1,

exact in the limit of many draws, whatever their number per source. x is log10 of a parameter whose prior has a
logarithmic scale, else the parameter itself; both densities are per unit of x. All other parameters keep their priors.

Source: Hogg, Myers & Bovy 2010, ApJ 725, 2166, equation 9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from xrayflow.errors import DataError
from xrayflow.inference import systematic_rows
from xrayflow.prior import Marginal, Prior

Numbers = NDArray[np.float64]

MOST_DRAWS = 4000
"""Of one source; where there are more, so many are picked by weight."""


@dataclass(frozen=True)
class Axis:
    """A parameter as a population sees it.

    Attributes:
        marginal: Its prior in the catalogue.
    """

    marginal: Marginal

    @property
    def is_log(self) -> bool:
        """Whether x is log10 of the parameter."""
        return self.marginal.scale == "log"

    @property
    def box(self) -> tuple[float, float]:
        """The edges of the prior's box, in x."""
        lo, hi = self.marginal.lo, self.marginal.hi
        return (math.log10(lo), math.log10(hi)) if self.is_log else (lo, hi)

    @property
    def unit(self) -> str:
        """Of x."""
        return "dex" if self.is_log else self.marginal.unit

    @property
    def label(self) -> str:
        """What x is, in words."""
        unit = f" [{self.marginal.unit}]" if self.marginal.unit else ""
        return f"log10 {self.marginal.name}{unit}" if self.is_log else f"{self.marginal.name}{unit}"

    def place(self, theta: Numbers) -> Numbers:
        """Parameters in their unit -> x."""
        return np.log10(theta) if self.is_log else np.asarray(theta, dtype=np.float64)

    def log_prior(self, theta: Numbers) -> Numbers:
        """Natural log of the prior's density per unit of x."""
        density = Prior((self.marginal,)).log_density(torch.from_numpy(np.ascontiguousarray(theta))[:, None]).numpy()
        if self.is_log and self.marginal.mean is not None:  # a normal is one of the parameter itself
            density = density + np.log(theta * math.log(10.0))
        return np.asarray(density)


@dataclass(frozen=True, eq=False)
class SourceDraws:
    """Draws of all sources, end to end.

    Attributes:
        axes: The parameters.
        x: (draw, axis) places, each axis contiguous.
        weight: (draw,) under the catalogue's own prior; those of a source sum to one.
        log_ratio: (draw,) ln of weight / prior.
        start: (source,) the first draw of each.
        names: (source,) paths.
    """

    axes: tuple[Axis, ...]
    x: Numbers
    weight: Numbers
    log_ratio: Numbers
    start: NDArray[np.int64]
    names: tuple[str, ...]

    @classmethod
    def of(
        cls,
        axes: Sequence[Axis],
        sources: Sequence[tuple[str, Numbers, Numbers]],
        seed: int = 0,
        most: int = MOST_DRAWS,
    ) -> SourceDraws:
        """From the answers of sources.

        Args:
            axes: The parameters.
            sources: Of each its path, draws (draw, axis) in the parameters' units, and log weights (draw,).
            seed: Of the picking where a source has more than `most`.
            most: Draws of a source that are kept.

        Raises:
            DataError: No source, or one without a draw that weighs anything in the prior's box.
        """
        if not sources:
            raise DataError("no source with draws; give a table whose catalogue was run with --draws-dir")
        generator = torch.Generator().manual_seed(seed)
        places, weights, priors = [], [], []
        for name, theta, log_weight in sources:
            theta, log_weight = _picked(np.asarray(theta, dtype=np.float64), log_weight, most, generator)
            prior = sum((axis.log_prior(theta[:, i]) for i, axis in enumerate(axes)), np.zeros(theta.shape[0]))
            keep = np.isfinite(log_weight) & np.isfinite(prior)
            if not keep.any():
                raise DataError(f"{name}: none of its draws lies in the prior's box; run the catalogue again")
            theta, log_weight, prior = theta[keep], log_weight[keep], prior[keep]
            places.append(np.stack([axis.place(theta[:, i]) for i, axis in enumerate(axes)], axis=-1))
            weights.append(log_weight - np.logaddexp.reduce(log_weight))
            priors.append(prior)
        start = np.cumsum([0, *(len(one) for one in weights)])[:-1].astype(np.int64)
        log_weight, names = np.concatenate(weights), tuple(name for name, _, _ in sources)
        ratio = log_weight - np.concatenate(priors)
        return cls(tuple(axes), np.asfortranarray(np.concatenate(places)), np.exp(log_weight), ratio, start, names)

    @property
    def sources(self) -> int:
        """How many."""
        return int(self.start.size)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(source,) draws of each."""
        return np.diff(self.start, append=self.x.shape[0])

    def sums(self, log_term: Numbers) -> Numbers:
        """ln of the sum of exp over the draws of each source.

        Args:
            log_term: (..., draw); it is overwritten.

        Returns:
            (..., source); -inf where every term is.
        """
        with np.errstate(over="ignore"):
            plain = np.add.reduceat(np.exp(log_term), self.start, axis=-1)
        if (plain > 0).all() and np.isfinite(plain).all():
            return np.asarray(np.log(plain))
        # far from a source, or at a spike: from the largest term on
        top = np.maximum.reduceat(log_term, self.start, axis=-1)
        finite = np.where(np.isfinite(top), top, 0.0)
        log_term -= np.repeat(finite, self.lengths, axis=-1)
        np.exp(log_term, out=log_term)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(np.add.reduceat(log_term, self.start, axis=-1)) + finite)

    def shares(self, log_term: Numbers) -> Numbers:
        """exp(log_term), normalised over the draws of each source.

        Args:
            log_term: (draw,).
        """
        total = self.sums(log_term.copy())
        shares: Numbers = np.exp(log_term - np.repeat(total, self.lengths))
        return shares

    def thinned(self, most: int) -> SourceDraws:
        """At most so many draws of each source, evenly picked by weight."""
        rows, lengths = [], []
        for first, length in zip(self.start, self.lengths, strict=True):
            cumulative = np.cumsum(self.weight[first : first + length])
            level = (np.arange(min(most, length)) + 0.5) / min(most, length)
            rows.append(first + np.searchsorted(cumulative / cumulative[-1], level))
            lengths.append(level.size)
        picked = np.concatenate(rows)
        weight = np.repeat(1.0 / np.array(lengths), lengths)
        ratio = self.log_ratio[picked] - np.log(self.weight[picked]) + np.log(weight)
        start = np.cumsum([0, *lengths])[:-1].astype(np.int64)
        return SourceDraws(self.axes, np.asfortranarray(self.x[picked]), weight, ratio, start, self.names)

    def effective(self, shares: Numbers) -> Numbers:
        """(source,) effective number of draws, 1 / sum of squares.

        Args:
            shares: (draw,) normalised over each source.
        """
        squares: Numbers = np.add.reduceat(shares * shares, self.start)
        return 1.0 / squares

    def quantile(self, q: float, axis: int = 0) -> Numbers:
        """(source,) a quantile of each source's posterior under the catalogue's own prior, in x."""
        found = np.empty(self.sources)
        for source, (first, length) in enumerate(zip(self.start, self.lengths, strict=True)):
            rows = slice(first, first + length)
            order = np.argsort(self.x[rows, axis])
            cumulative = np.cumsum(self.weight[rows][order])
            found[source] = self.x[rows, axis][order][np.searchsorted(cumulative, q * cumulative[-1])]
        return found


def _picked(theta: Numbers, log_weight: Numbers, most: int, generator: torch.Generator) -> tuple[Numbers, Numbers]:
    """All draws, or `most` of them picked by weight, which then weigh the same."""
    if theta.shape[0] <= most:
        return theta, np.asarray(log_weight, dtype=np.float64)
    weight = torch.softmax(torch.from_numpy(np.where(np.isnan(log_weight), -np.inf, log_weight)), 0)
    rows = systematic_rows(weight, most, generator).numpy()
    return theta[rows], np.zeros(most)
