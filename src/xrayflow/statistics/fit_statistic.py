"""XSPEC's fit statistic of a batch of spectra, in the place of a likelihood: ln p = -statistic / 2.

A background is profiled out of W and PGStat, so the kind is "profile". A step of the optimiser asks each bin for the
slope of half the statistic and for a weight. The weight is Fisher's, 1 / variance: for C and pstat the variance is
the expected total; for chi^2 the data's; for W and PGStat, whose background is profiled in every bin,

    M + (t_s / t_b)^2 Var B,        Var B = t_b f for W, sigma^2 for PGStat,

with M = t_s (m + f) the profiled total. The statistic's slope is 1 - S / M there (the profiled background does not
contribute to it), so M = S / (1 - slope), and M = expected + B t_s / t_b stands in where there are no counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.errors import DataError
from xrayflow.ogip import Spectrum
from xrayflow.statistics import statistic as formulas
from xrayflow.statistics.auto import StatisticChoice, background_in_source, gaussian_variance
from xrayflow.statistics.likelihood import Curvature, Expected, Likelihood, Nuisance, bin_by_bin, trimmed
from xrayflow.statistics.shortfall import Shortfall

OF_BACKGROUND_ERRORS = ("pgstat", "pgstat-xspec")
OF_BACKGROUND = ("pstat", "wstat", *OF_BACKGROUND_ERRORS)
"""Statistics of a background, and those that ask for its errors."""

PER_BIN = (
    *("counts", "used", "source_exposure", "background_exposure", "background", "background_err"),
    *("data_variance", "subtracted"),
)
"""Attributes with an axis of bins."""


@dataclass(frozen=True)
class FitStatistic(Likelihood):
    """The statistics of a batch of spectra; bins that pad a spectrum to the longest count nothing.

    Attributes:
        names: Of each source, one of `STATISTICS` without auto.
        counts: (source, data, bin) S.
        systematic: (source, 1) fraction of the model that the variance of chi^2 takes on, XSPEC's `systematic`.
        used: (source, bin) 1, and 0 where a spectrum is padded.
        source_exposure, background_exposure: (source, bin) t_s and t_b.
        background, background_err: (source, bin) B and its sigma, counts in t_b; zeros without.
        data_variance: (source, bin) of chi^2; ones elsewhere.
        subtracted: (source, bin) background taken away by chi^2, scaled to t_s.
    """

    names: tuple[str, ...]
    counts: Tensor
    systematic: Tensor
    used: Tensor
    source_exposure: Tensor
    background_exposure: Tensor
    background: Tensor
    background_err: Tensor
    data_variance: Tensor
    subtracted: Tensor
    shortfalls: tuple[Shortfall, ...] = ()

    @classmethod
    def of(
        cls, spectra: Sequence[Spectrum], choices: Sequence[StatisticChoice], systematic: float = 0.0
    ) -> FitStatistic:
        """Bring the data of several spectra together.

        Args:
            spectra: Noticed bins.
            choices: What `auto.choose` says of each.
            systematic: For chi^2; the others have no place for it.

        Raises:
            DataError: Bins that chi^2 cannot weigh, or a statistic of a background (or its errors) that is not there.
        """
        for spectrum, choice in zip(spectra, choices, strict=True):
            where = spectrum.observation.pha.path.name
            if choice.name in OF_BACKGROUND and spectrum.background is None:
                raise DataError(f"{where}: {choice.name} needs a background; give --background")
            if choice.name in OF_BACKGROUND_ERRORS and spectrum.background_err is None:
                raise DataError(f"{where}: {choice.name} needs a background with STAT_ERR; use wstat or pstat")
        bins = max(spectrum.counts.size for spectrum in spectra)
        blank = [np.zeros(spectrum.counts.size) for spectrum in spectra]
        chi2 = [choice.name == "chi2" for choice in choices]

        def padded(rows: Sequence[NDArray[np.float64] | None], value: float) -> Tensor:
            out = np.full((len(rows), bins), value)
            for row, values, empty in zip(out, rows, blank, strict=True):
                row[: empty.size] = empty if values is None else values
            return torch.from_numpy(out)

        # a padded bin has a background of 1 count, so that no square root is differentiated at 0
        return cls(
            names=tuple(choice.name for choice in choices),
            counts=padded([s.counts for s in spectra], 0.0)[:, None],
            systematic=torch.full((len(spectra), 1), systematic, dtype=torch.float64),
            used=padded([np.ones(s.counts.size) for s in spectra], 0.0),
            source_exposure=padded([s.source_exposure for s in spectra], 1.0),
            background_exposure=padded(
                [np.ones(s.counts.size) if s.background_exposure is None else s.background_exposure for s in spectra],
                1.0,
            ),
            background=padded([s.background for s in spectra], 1.0),
            background_err=padded([s.background_err for s in spectra], 1.0),
            data_variance=padded(
                [gaussian_variance(s) if c else np.ones(s.counts.size) for s, c in zip(spectra, chi2, strict=True)], 1.0
            ),
            subtracted=padded(
                [background_in_source(s) if c else None for s, c in zip(spectra, chi2, strict=True)], 0.0
            ),
        )

    @property
    def name(self) -> str:
        """Of the statistic."""
        return ", ".join(dict.fromkeys(self.names))

    @property
    def kind(self) -> str:
        """The background is profiled, not marginalised."""
        return "profile"

    def value(self, expected: Expected) -> Float[Tensor, "source draw"]:
        """The statistic."""
        return self.per_bin(expected).sum(-1)

    def per_bin(self, expected: Expected) -> Expected:
        """What each bin contributes; 0 in padded bins."""
        result = torch.zeros_like(expected)
        for name in dict.fromkeys(self.names):
            rows = torch.tensor([i for i, own in enumerate(self.names) if own == name])
            if rows.numel() == len(self.names):
                result = self._formula(name, expected)
            else:
                result = result.index_copy(0, rows, self._rows(rows)._formula(name, expected[rows]))
        return torch.where(self.used[:, None, :] > 0, result, 0.0)

    def log_density_per_bin(self, expected: Expected) -> Expected:
        """-statistic / 2 of each bin."""
        return -0.5 * self.per_bin(expected)

    def log_saturated(self) -> Tensor:
        """Zero: a statistic is measured from the saturated model."""
        return self.counts.new_zeros(self.counts.shape[:2])

    def total(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """Expected counts and scaled background."""
        return expected + (self.background * self.source_exposure / self.background_exposure * self.used)[:, None]

    def variance(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """The inverse of Fisher's weight, see the module's docstring."""
        return self._variance(expected, -self._score(expected))

    def curvature(self, expected: Expected, jacobian: Tensor, nuisance: Nuisance | None = None) -> Curvature:
        """Gradient and Fisher's information of -statistic / 2."""
        slope = -self._score(expected)
        variance = self._variance(expected, slope)
        known = (variance > 0) & (self.used[:, None, :] > 0)
        weight = torch.where(known, 1.0 / variance.clamp(min=1e-300), 0.0)
        return bin_by_bin(torch.where(known, -slope, 0.0), weight, jacobian)

    def replicate(
        self, expected: Expected, generator: torch.Generator, nuisance: Nuisance | None = None
    ) -> FitStatistic:
        """Poisson counts about the model and the scaled background, which stays as it is."""
        return replace(self, counts=torch.poisson(self.total(expected), generator=generator))

    def select(self, sources: Int[Tensor, " chosen"]) -> FitStatistic:
        """The statistics of some of the sources."""
        bins = trimmed(self.used, sources)
        some = self._rows(sources)
        return replace(
            some,
            counts=some.counts[..., :bins],
            **{name: getattr(some, name)[:, :bins] for name in PER_BIN if name != "counts"},
        )

    def _rows(self, rows: Tensor) -> FitStatistic:
        """Some of the sources, with all bins."""
        return replace(
            self,
            names=tuple(self.names[i] for i in rows.tolist()),
            systematic=self.systematic[rows],
            **{name: getattr(self, name)[rows] for name in PER_BIN},
        )

    def _formula(self, name: str, expected: Expected) -> Expected:
        counts, ts, tb = self.counts, self.source_exposure[:, None], self.background_exposure[:, None]
        background, err = self.background[:, None], self.background_err[:, None]
        if name == "cstat":
            return formulas.cstat(counts, expected)
        if name == "chi2":
            variance = self.data_variance[:, None] + (self.systematic[:, None] * expected) ** 2
            return formulas.chi2(counts, expected, variance, self.subtracted[:, None])
        if name == "pstat":
            return formulas.pstat(counts, expected, ts, background, tb)
        if name == "wstat":
            return formulas.wstat(counts, expected, ts, background, tb)
        return formulas.pgstat(counts, expected, ts, background, err, tb, as_xspec=name == "pgstat-xspec")

    def _variance(self, expected: Expected, slope: Tensor) -> Expected:
        """See the module's docstring."""

        def share(*names: str) -> Tensor:
            return torch.tensor([own in names for own in self.names])[:, None, None]

        counts, scale = self.counts, (self.source_exposure / self.background_exposure)[:, None]
        background = torch.where(share("cstat"), 0.0, self.background[:, None])
        total = expected + background * scale
        profiled = torch.where(counts > 0, counts / (1.0 - slope), total)
        with_w = profiled + scale * (profiled - expected).clamp(min=0.0)
        err2 = self.background_err[:, None] ** 2
        err2 = torch.where(share("pgstat-xspec"), err2 / self.background_exposure[:, None], err2)
        variance = torch.where(share("wstat"), with_w, total)
        variance = torch.where(share("pgstat", "pgstat-xspec"), profiled + scale**2 * err2, variance)
        return torch.where(share("chi2"), self.data_variance[:, None].expand_as(variance), variance)
