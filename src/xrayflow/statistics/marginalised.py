"""Counts on a background that is not known: its gamma distribution is integrated over, bin by bin.

What bins have in common, the level of the background and how it tilts with energy, are nuisances: ln A of a bin is a
sum of them, each times what `background` says, and they are sampled with the model's parameters. For a counted
background the probability of its counts, p(B | A), belongs to the likelihood, so that the background region says what A
is. `background` has what is believed of the background, `background_sum` the density of a bin.

What asks for one number per bin beside the density (deviance, the residuals of figures) takes the negative binomial of
the sum's mean and variance.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.prior import Marginal
from xrayflow.rows import runs
from xrayflow.statistics.background import BackgroundPrior, sample_cut_normal
from xrayflow.statistics.background_integral import Bins
from xrayflow.statistics.background_sum import BackgroundSum, pieces
from xrayflow.statistics.count_density import log_counts, log_saturated_poisson
from xrayflow.statistics.counts import CountLikelihood
from xrayflow.statistics.likelihood import Curvature, Expected, Likelihood, Nuisance, bin_by_bin, scattered, trimmed
from xrayflow.statistics.shortfall import Shortfall


@dataclass(frozen=True)
class MarginalisedCounts(Likelihood):
    """Poisson, or negative binomial with a systematic error, and a background that is integrated over.

    Attributes:
        counts: (source, data, bin) S.
        systematic: (source, 1) s, a fraction of the source model.
        used: (source, bin).
        alpha: (source, data, bin) shape of the background's gamma distribution.
        fixed, scaled: (source, bin) its rate is fixed + scaled / A.
        background: (source, data, bin) B; zeros where the background is modelled.
        mean: (source, bin) of B at A = 1 before it was seen; zeros where the background is modelled.
        shape: (source, 1) of the rates about the mean; 0 where the background is modelled.
        scale: Priors of the nuisances; empty where A is 1.
        basis: (source, bin, nuisance) what each adds to ln A of a bin.
        middle, error: (source, bin) of the cut normal in the place of the gamma distribution; error 0 elsewhere.
        sums: Of every source of the whole batch, its bins.
        rows: (source,) places in `sums`.
        shortfalls: Empty: it lacks nothing.
    """

    counts: Tensor
    systematic: Tensor
    used: Tensor
    alpha: Tensor
    fixed: Tensor
    scaled: Tensor
    background: Tensor
    mean: Tensor
    shape: Tensor
    scale: tuple[Marginal, ...]
    basis: Tensor
    middle: Tensor
    error: Tensor
    sums: tuple[BackgroundSum, ...]
    rows: Int[Tensor, " source"]
    shortfalls: tuple[Shortfall, ...] = ()

    @classmethod
    def of(
        cls,
        counts: Sequence[np.ndarray],
        priors: Sequence[BackgroundPrior],
        systematic: Sequence[float],
    ) -> MarginalisedCounts:
        """One data set of each source, padded to the longest.

        Args:
            counts: (bin,) S of each.
            priors: What is believed of the background of each; all with one prior of its scale.
            systematic: s of each.
        """
        most = max(one.size for one in counts)

        def padded(rows: Sequence[np.ndarray], value: float) -> Tensor:
            return torch.from_numpy(
                np.stack([np.pad(row, (0, most - row.size), constant_values=value) for row in rows])
            )

        sums = []
        for own, prior, s in zip(counts, priors, systematic, strict=True):
            bins = Bins(torch.from_numpy(own), torch.from_numpy(prior.alpha), s**2)
            middle, error = torch.from_numpy(prior.middle), torch.from_numpy(prior.error)
            rate = torch.from_numpy(prior.fixed + prior.scaled)
            sums.append(BackgroundSum.of(bins, rate, middle, error, prior.sd))
        return cls(
            counts=padded(counts, 0.0)[:, None],
            systematic=torch.tensor(list(systematic), dtype=torch.float64)[:, None],
            used=padded([np.ones(one.size) for one in counts], 0.0),
            alpha=padded([one.alpha for one in priors], 1.0)[:, None],
            fixed=padded([one.fixed for one in priors], 0.0),
            scaled=padded([one.scaled for one in priors], 1e12),
            background=padded([one.counts for one in priors], 0.0)[:, None],
            mean=padded([one.mean for one in priors], 0.0),
            shape=torch.tensor([[one.shape] for one in priors], dtype=torch.float64),
            scale=priors[0].scale,
            basis=torch.stack([padded([one.basis[k] for one in priors], 0.0) for k in range(len(priors[0].scale))], -1)
            if priors[0].scale
            else torch.zeros((len(counts), most, 0), dtype=torch.float64),
            middle=padded([one.middle for one in priors], 0.0),
            error=padded([one.error for one in priors], 0.0),
            sums=tuple(sums),
            rows=torch.arange(len(counts)),
        )

    @property
    def name(self) -> str:
        """For products."""
        name = "negative binomial" if bool((self.systematic > 0).any()) else "Poisson"
        return f"{name}, background marginalised"

    @property
    def nuisances(self) -> tuple[Marginal, ...]:
        """What ln A is made of."""
        return self.scale

    def total(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """mu + the mean of beta."""
        return expected + self.alpha / self._rate(nuisance) * self.used[:, None]

    def variance(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """Variance of the sum."""
        rate = self._rate(nuisance)
        behind = self.alpha / rate * (1.0 + 1.0 / rate) * self.used[:, None]
        return expected + behind + (self.systematic[:, None] * expected) ** 2

    def log_density(self, expected: Expected, nuisance: Nuisance | None = None) -> Float[Tensor, "source draw"]:
        """ln p(S, B | expected, A), all bins; of S alone where the background is modelled."""
        found = expected.new_empty(expected.shape[:2])
        for source, part in runs(self.rows):
            of = self.sums[source]
            mu = expected[part, :, : of.size].flatten(0, 1)
            own = None if nuisance is None or not self.scale else nuisance[part].flatten(0, 1)
            value = mu.new_empty(mu.shape[0])
            for some in pieces(*mu.shape):
                rate = self._rate_of(part, of.size, None if own is None else own[some])
                value[some] = of.total(mu[some], rate.expand(mu[some].shape))
            # draws with a bin beyond its series, all together: an integral of few takes as long as one of many
            late = value.isnan().nonzero()[:, 0]
            for some in pieces(late.numel(), of.size):
                at = late[some]
                rate = self._rate_of(part, of.size, None if own is None else own[at])
                value[at] = of.bare(mu[at], rate.expand(mu[at].shape)).sum(-1)
            found[part] = (value + self._behind(part, of, own)).reshape(found[part].shape)
        return found

    def log_density_per_bin(self, expected: Expected) -> Expected:
        """ln p(S) of each bin at A = 1."""
        found = torch.zeros_like(expected)
        for part, of, rate in self._runs(expected, None):
            own = found[part, :, : of.size]
            own.copy_(of.value(expected[part, :, : of.size].flatten(0, 1), rate).reshape(own.shape))
        return found

    def log_saturated(self) -> Float[Tensor, "source draw"]:
        """At A = 1 and a mean of S, by mean and variance of the sum."""
        phi = self._phi((self.counts - self.alpha / self._rate(None)).clamp(min=0.0), None)
        value = log_counts(self.counts, self.counts, phi, log_saturated_poisson(self.counts))
        return (value * self.used[:, None]).sum(-1)

    def deviance(self, expected: Expected, nuisance: Nuisance | None = None) -> Float[Tensor, "source draw"]:
        """That of S about mean and variance of the sum: a negative binomial's.

        A negative binomial cannot be as wide as a cut normal. Where there is one it is the squared distance from the
        normal before it was cut, which a bin without a usable error meets.
        """
        phi, total = self._phi(expected, nuisance), self.total(expected, nuisance)
        none = torch.zeros_like(self.counts)  # what counts that are met have is in both
        met = log_counts(self.counts, self.counts, phi, none)
        away = met - log_counts(self.counts, total.clamp(min=1e-300), phi, none)
        if bool((self.error > 0).any()):
            scale, middle = self._scale(nuisance), self.middle[:, None]
            spread = expected + scale * middle.clamp(min=0.0) + (scale * self.error[:, None]) ** 2
            spread = spread + (self.systematic[:, None] * expected) ** 2
            square = (self.counts - expected - scale * middle) ** 2 / spread.clamp(min=1e-300)
            away = torch.where(self.error[:, None] > 0, 0.5 * square, away)
        return 2.0 * (away * self.used[:, None]).sum(-1)

    def curvature(
        self,
        expected: Expected,
        jacobian: Float[Tensor, "source draw bin parameter"],
        nuisance: Nuisance | None = None,
    ) -> Curvature:
        """Gradient of `log_density`, exact, and Fisher's information by mean and variance of the sum."""
        by_mu, by_level = torch.zeros_like(expected), torch.zeros_like(expected)
        slope = self._slope(nuisance)
        for part, of, rate in self._runs(expected, nuisance):
            place = part, slice(None), slice(of.size)
            found = of(expected[place].flatten(0, 1), rate)
            by_mu[place] = found.by_mu.reshape(by_mu[place].shape)
            by_level[place] = found.by_rate.reshape(by_mu[place].shape) * slope[place]
        weight = self.used[:, None] / self.variance(expected, nuisance).clamp(min=1e-300)
        if not self.scale:
            return bin_by_bin(by_mu, weight, jacobian)
        own, known = self._of_background(nuisance)
        # d mean(beta) / d nuisance stands beside d mu / d theta
        behind = self._behind_slope(nuisance)[..., None] * self.basis[:, None]
        columns = torch.cat([jacobian, behind.expand(*jacobian.shape[:-1], -1)], dim=-1)
        whole, count = bin_by_bin(by_mu, weight, columns), len(self.scale)
        whole.gradient[..., -count:] = (by_level + own) @ self.basis
        whole.information[..., -count:, -count:] += self.basis[:, None].mT @ (known[..., None] * self.basis[:, None])
        return whole

    def slope(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """d ln p / d mu of each bin."""
        found = torch.zeros_like(expected)
        for part, of, rate in self._runs(expected, nuisance):
            own = found[part, :, : of.size]
            own.copy_(of(expected[part, :, : of.size].flatten(0, 1), rate).by_mu.reshape(own.shape))
        return found

    def pull(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """d ln p / d mu of each bin, by mean and variance of the sum."""
        away = (self.counts - self.total(expected, nuisance)) * self.used[:, None]
        return away / self.variance(expected, nuisance).clamp(min=1e-300)

    def score(
        self,
        expected: Expected,
        jacobian: Float[Tensor, "source bin parameter"],
        nuisance: Nuisance | None = None,
    ) -> Tensor:
        """(source, draw, parameter) gradient by mean and variance of the sum, with one Jacobian for all draws."""
        pull = self.pull(expected, nuisance)
        found = pull @ jacobian
        if not self.scale:
            return found
        own, _ = self._of_background(nuisance)
        return torch.cat([found, (pull * self._behind_slope(nuisance) + own) @ self.basis], dim=-1)

    def replicate(
        self, expected: Expected, generator: torch.Generator, nuisance: Nuisance | None = None
    ) -> MarginalisedCounts:
        """Both regions observed anew where the background was counted; else the source's, about what the model says."""
        scale = self._scale(nuisance)
        mean = scattered(expected, self.systematic, generator)
        is_counted = (self.mean > 0)[:, None]
        shape = torch.where(is_counted, self.shape[:, None].clamp(min=1e-3), self.alpha)
        unit = torch._standard_gamma(shape.expand(expected.shape).contiguous(), generator=generator)
        # counted: E[B] = A mean, beta = B's mean / fixed; modelled: rate scaled / A
        in_background = unit / self.shape[:, None].clamp(min=1e-3) * self.mean[:, None] * scale
        beta = torch.where(
            is_counted, in_background / self.fixed[:, None].clamp(min=1e-300), unit / self.scaled[:, None] * scale
        )
        if bool((self.error > 0).any()):
            middle, error = (one[:, None].expand(expected.shape) for one in (self.middle, self.error))
            drawn = scale * sample_cut_normal(middle, error.clamp(min=1e-300), generator)
            beta = torch.where(self.error[:, None] > 0, drawn, beta)
        used = self.used[:, None]
        counts = torch.poisson((mean + beta) * used, generator=generator)
        background = torch.poisson(torch.where(is_counted, in_background, 0.0) * used, generator=generator)
        alpha = torch.where(is_counted, background + self.shape[:, None], self.alpha)
        return replace(self, counts=counts, background=background, alpha=alpha)

    def roughly(self, rough: bool) -> MarginalisedCounts:
        """With cut normals beyond their series told by the peak of the integral alone."""
        sums = tuple(one.roughly(rough) for one in self.sums)
        return self if all(new is old for new, old in zip(sums, self.sums, strict=True)) else replace(self, sums=sums)

    def softened(self, error: float) -> CountLikelihood:
        """On a background that is known, with at least such a systematic error."""
        behind = self.total(self.used.new_zeros((self.used.shape[0], 1, self.used.shape[1])))[:, 0]
        s = self.systematic[:, 0].clamp(min=error)
        return CountLikelihood.of(self.counts[:, 0], behind, s, self.used)

    def select(self, sources: Int[Tensor, " chosen"]) -> MarginalisedCounts:
        """The likelihood of some of the sources."""
        bins = trimmed(self.used, sources)
        return replace(
            self,
            counts=self.counts[sources, :, :bins],
            systematic=self.systematic[sources],
            used=self.used[sources, :bins],
            alpha=self.alpha[sources, :, :bins],
            fixed=self.fixed[sources, :bins],
            scaled=self.scaled[sources, :bins],
            background=self.background[sources, :, :bins],
            mean=self.mean[sources, :bins],
            shape=self.shape[sources],
            basis=self.basis[sources, :bins],
            middle=self.middle[sources, :bins],
            error=self.error[sources, :bins],
            rows=self.rows[sources],
        )

    def _runs(self, expected: Expected, nuisance: Nuisance | None) -> Iterator[tuple[slice, BackgroundSum, Tensor]]:
        """Rows of one source that follow each other: which, its bins, and g of each draw and bin."""
        for source, part in runs(self.rows):
            bins = self.sums[source].size
            own = None if nuisance is None or not self.scale else nuisance[part].flatten(0, 1)
            draws = (part.stop - part.start) * expected.shape[1]
            yield part, self.sums[source], self._rate_of(part, bins, own).expand(draws, bins)

    def _rate_of(self, part: slice, bins: int, nuisance: Tensor | None) -> Tensor:
        """(draw, bin) g of draws of one source, whose row `part` begins with."""
        fixed, scaled, basis = (one[part][0, :bins] for one in (self.fixed, self.scaled, self.basis))
        if nuisance is None:
            return (fixed + scaled)[None]
        if len(self.scale) == 1:
            return torch.addcmul(fixed, scaled, torch.exp(-nuisance))
        return torch.addcmul(fixed, scaled, torch.exp(nuisance @ -basis.mT))

    def _behind(self, part: slice, of: BackgroundSum, nuisance: Tensor | None) -> Tensor:
        """What `BackgroundSum.bare` leaves out, with ln p(B | A): (draw,), and one number at A = 1.

        g(A)^alpha p(B | A) is A^-a times what it is at A = 1 for a counted background, whose g is
        fixed (1 + a / (A mean)); and that of a modelled one, scaled / A, is A^-alpha.
        """
        shape, basis = self.shape[part][0, 0], self.basis[part][0, : of.size]
        known = shape.new_zeros(())
        if float(shape) > 0.0:
            counts, ratio = self.background[part][0, 0, : of.size], self.mean[part][0, : of.size] / shape
            constant = torch.lgamma(counts + shape) - torch.lgamma(shape) - torch.lgamma(counts + 1.0)
            known = (constant + torch.xlogy(counts, ratio) - (counts + shape) * torch.log1p(ratio)).sum()
        if nuisance is None:
            return known
        weight = shape.expand(of.size) if float(shape) > 0.0 else of.level
        return known - nuisance @ (weight @ basis)

    def _of_background(self, nuisance: Nuisance | None) -> tuple[Tensor, Tensor]:
        """(source, draw, bin) slope of ln p(B | A) with ln A, and its information."""
        mean = self.mean[:, None] * self._scale(nuisance)
        part = mean / (self.shape[:, None] + mean).clamp(min=1e-300)
        return self.background * (1.0 - part) - self.shape[:, None] * part, mean * (1.0 - part)

    def _phi(self, expected: Expected, nuisance: Nuisance | None) -> Tensor:
        """(variance - M) / M^2 of the sum."""
        total = self.total(expected, nuisance).clamp(min=1e-300)
        return ((self.variance(expected, nuisance) - total) / total**2).clamp(min=0.0)

    def _scale(self, nuisance: Nuisance | None) -> Tensor:
        """(source, draw, bin) A, or (source, draw, 1) where all bins have one."""
        if nuisance is None or not self.scale:
            return self.counts.new_ones((1, 1, 1))
        if len(self.scale) == 1:
            return torch.exp(nuisance)
        return torch.exp(nuisance @ self.basis.mT)

    def _rate(self, nuisance: Nuisance | None) -> Tensor:
        """(source, draw, bin) g."""
        return self.fixed[:, None] + self.scaled[:, None] / self._scale(nuisance)

    def _slope(self, nuisance: Nuisance | None) -> Tensor:
        """(source, draw, bin) d g / d ln A."""
        return -self.scaled[:, None] / self._scale(nuisance)

    def _behind_slope(self, nuisance: Nuisance | None) -> Tensor:
        """(source, draw, bin) d mean(beta) / d ln A."""
        rate = self._rate(nuisance)
        return -self.alpha / rate**2 * self._slope(nuisance) * self.used[:, None]
