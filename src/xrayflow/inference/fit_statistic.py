"""XSPEC's fit statistic of a batch of spectra, with what a Gauss-Newton step needs of it.

A step asks each bin for the slope of half the statistic and for a weight. The weight is Fisher's, 1 / variance: for C
and pstat the variance is the expected total; for chi^2 the data's; for W and PGStat, whose background is profiled in
every bin,

    M + (t_s / t_b)^2 Var B,        Var B = t_b f for W, sigma^2 for PGStat,

with M = t_s (m + f) the profiled total. The statistic's slope is 1 - S / M there (the profiled background does not
contribute to it), so M = S / (1 - slope), and M = expected + B t_s / t_b stands in where there are no counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.ogip import Spectrum
from xrayflow.statistics import Choice
from xrayflow.statistics import statistic as formulas
from xrayflow.statistics.auto import background_in_source, gaussian_variance

Expected = Float[Tensor, "source draw bin"]


@dataclass(frozen=True)
class FitStatistic:
    """The statistics of a batch of spectra; bins that pad a spectrum to the longest count nothing.

    Attributes:
        names: Of each source, one of `STATISTICS` without auto.
        counts: (source, bin) S.
        used: (source, bin) 1, and 0 where a spectrum is padded.
        source_exposure, background_exposure: (source, bin) t_s and t_b.
        background, background_err: (source, bin) B and its sigma, counts in t_b; zeros without.
        variance: (source, bin) of chi^2; ones elsewhere.
        subtracted: (source, bin) background taken away by chi^2, scaled to t_s.
    """

    names: tuple[str, ...]
    counts: Tensor
    used: Tensor
    source_exposure: Tensor
    background_exposure: Tensor
    background: Tensor
    background_err: Tensor
    variance: Tensor
    subtracted: Tensor

    @classmethod
    def of(cls, spectra: Sequence[Spectrum], choices: Sequence[Choice]) -> FitStatistic:
        """Bring the data of several spectra together.

        Args:
            spectra: Noticed bins.
            choices: What `auto.choose` says of each.

        Raises:
            DataError: Bins that chi^2 cannot weigh.
        """
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
            counts=padded([s.counts for s in spectra], 0.0),
            used=padded([np.ones(s.counts.size) for s in spectra], 0.0),
            source_exposure=padded([s.source_exposure for s in spectra], 1.0),
            background_exposure=padded(
                [np.ones(s.counts.size) if s.background_exposure is None else s.background_exposure for s in spectra],
                1.0,
            ),
            background=padded([s.background for s in spectra], 1.0),
            background_err=padded([s.background_err for s in spectra], 1.0),
            variance=padded(
                [gaussian_variance(s) if c else np.ones(s.counts.size) for s, c in zip(spectra, chi2, strict=True)], 1.0
            ),
            subtracted=padded(
                [background_in_source(s) if c else None for s, c in zip(spectra, chi2, strict=True)], 0.0
            ),
        )

    def value(self, expected: Expected) -> Float[Tensor, "source draw"]:
        """The statistic."""
        return self.per_bin(expected).sum(-1)

    def per_bin(self, expected: Expected) -> Expected:
        """What each bin contributes; 0 in padded bins."""
        result = torch.zeros_like(expected)
        for name in dict.fromkeys(self.names):
            rows = torch.tensor([i for i, own in enumerate(self.names) if own == name])
            result = result.index_copy(0, rows, self.select(rows)._formula(name, expected[rows]))
        return torch.where(self.used[:, None, :] > 0, result, 0.0)

    def slopes(self, expected: Expected) -> tuple[Expected, Expected]:
        """d (-statistic / 2) / d expected of each bin, and its Fisher weight."""
        at = expected.detach().clone().requires_grad_(True)
        with torch.enable_grad():
            slope = torch.autograd.grad(0.5 * self.per_bin(at).sum(), at)[0]
        variance = self._variance(expected, slope)
        known = (variance > 0) & (self.used[:, None, :] > 0)
        return torch.where(known, -slope, 0.0), torch.where(known, 1.0 / variance.clamp(min=1e-300), 0.0)

    def select(self, sources: Int[Tensor, " chosen"]) -> FitStatistic:
        """The statistics of some of the sources."""
        return FitStatistic(
            tuple(self.names[i] for i in sources.tolist()),
            *(
                tensor[sources]
                for tensor in (
                    self.counts,
                    self.used,
                    self.source_exposure,
                    self.background_exposure,
                    self.background,
                    self.background_err,
                    self.variance,
                    self.subtracted,
                )
            ),
        )

    def _formula(self, name: str, expected: Expected) -> Expected:
        counts, ts, tb = self.counts[:, None], self.source_exposure[:, None], self.background_exposure[:, None]
        background, err = self.background[:, None], self.background_err[:, None]
        if name == "cstat":
            return formulas.cstat(counts, expected)
        if name == "chi2":
            return formulas.chi2(counts, expected, self.variance[:, None], self.subtracted[:, None])
        if name == "pstat":
            return formulas.pstat(counts, expected, ts, background, tb)
        if name == "wstat":
            return formulas.wstat(counts, expected, ts, background, tb)
        return formulas.pgstat(counts, expected, ts, background, err, tb, as_xspec=name == "pgstat-xspec")

    def _variance(self, expected: Expected, slope: Tensor) -> Expected:
        """See the module's docstring."""

        def share(*names: str) -> Tensor:
            return torch.tensor([own in names for own in self.names])[:, None, None]

        counts, scale = self.counts[:, None], (self.source_exposure / self.background_exposure)[:, None]
        background = torch.where(share("cstat"), 0.0, self.background[:, None])
        total = expected + background * scale
        profiled = torch.where(counts > 0, counts / (1.0 - slope), total)
        with_w = profiled + scale * (profiled - expected).clamp(min=0.0)
        err2 = self.background_err[:, None] ** 2
        err2 = torch.where(share("pgstat-xspec"), err2 / self.background_exposure[:, None], err2)
        variance = torch.where(share("wstat"), with_w, total)
        variance = torch.where(share("pgstat", "pgstat-xspec"), profiled + scale**2 * err2, variance)
        return torch.where(share("chi2"), self.variance[:, None].expand_as(variance), variance)
