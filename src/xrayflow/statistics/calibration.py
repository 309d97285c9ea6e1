r"""A detector that is not quite what its response says: calibration modes, marginalised.

The source's counts mu are those of the response times exp(eta), in all bins together:

    eta = A Psi z,      z ~ N(0, I),      ln A ~ N(ln A0, AMPLITUDE_SPREAD),

Psi the modes of `xrayflow.calibration` in the bins of the spectrum, A their amplitude, which is a nuisance; the
background is not touched. z is integrated out about its peak (Laplace; `mode_peak`, `mode_basis`),

    ln L(theta, A) = max_z [ln p(counts | mu exp(eta)) - |z|^2 / 2] - 1/2 ln det (I + A^2 Psi' W Psi),

with W = mu^2 / variance, mu as the peak has it. The exponential keeps counts positive and makes the integrand nearly
normal in z: without a background W is what the model expects, so that Fisher's information is the curvature itself.

Fisher's information of the model's parameters is that of the bins with the modes projected out: bins are not
independent, and nobody outside asks for the weight of one.

Source: derived here. Drake et al. 2006 and Lee et al. 2011 (ApJ 731, 126) on calibration errors that are common to many
bins; Tierney & Kadane 1986 (JASA 81, 82) on Laplace's approximation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.calibration import BinModes, ModeSet
from xrayflow.prior import Marginal
from xrayflow.rows import Layout
from xrayflow.statistics.likelihood import Curvature, Expected, Likelihood, Nuisance
from xrayflow.statistics.linear import LinearFit
from xrayflow.statistics.mode_basis import ModeBasis
from xrayflow.statistics.mode_peak import drawn_errors
from xrayflow.statistics.mode_rows import ModeRows
from xrayflow.statistics.seen import Seen
from xrayflow.statistics.shortfall import Shortfall

AMPLITUDE = "calibration.lnA"
"""Name of the nuisance: ln (A / A0)."""

AMPLITUDE_SPREAD, FARTHEST = math.log(1.6), math.log(10.0)
"""Standard deviation of ln A before the data are seen, and the edge of its box."""


@dataclass(frozen=True)
class CalibratedLikelihood(Likelihood):
    """A likelihood of counts seen through a response that has errors.

    Attributes:
        counts: (source, data, bin) what was observed.
        systematic: (source, 1) s of the inner likelihood.
        used: (source, bin).
        shortfalls: What the inner likelihood of each lacks.
        inner: The likelihood behind a response without errors.
        modes: The set of modes.
        basis: Of every source of the whole batch.
        rows: (source,) places in `basis`.
    """

    counts: Tensor
    systematic: Tensor
    used: Tensor
    shortfalls: tuple[Shortfall, ...]
    inner: Likelihood
    modes: ModeSet
    basis: ModeBasis
    rows: Int[Tensor, " source"]

    @classmethod
    def of(cls, inner: Likelihood, modes: Sequence[BinModes]) -> CalibratedLikelihood:
        """About a likelihood.

        Args:
            inner: Of the batch.
            modes: Of each source, all of one set.
        """
        every = range(len(modes))
        bases = [ModeBasis.of(modes[i], inner.select(torch.tensor([i]))) for i in every]
        return cls._about(inner, modes[0].modes, ModeBasis.joined(bases), torch.arange(len(modes)))

    @classmethod
    def _about(cls, inner: Likelihood, modes: ModeSet, basis: ModeBasis, rows: Tensor) -> CalibratedLikelihood:
        return cls(inner.counts, inner.systematic, inner.used, inner.shortfalls, inner, modes, basis, rows)

    @property
    def name(self) -> str:
        """For products."""
        return f"{self.inner.name}, calibration modes {self.modes.name} marginalised"

    @property
    def why(self) -> str:
        """Why the inner likelihood is not exact."""
        return self.inner.why

    @property
    def kind(self) -> str:
        """That of the inner likelihood."""
        return self.inner.kind

    @property
    def negligible(self) -> bool:
        """That of the inner likelihood."""
        return self.inner.negligible

    @property
    def nuisances(self) -> tuple[Marginal, ...]:
        """Those of the inner likelihood, and ln (A / A0)."""
        return (*self.inner.nuisances, Marginal(AMPLITUDE, "", -FARTHEST, FARTHEST, "linear", 0.0, AMPLITUDE_SPREAD))

    @property
    def nominal(self) -> Float[Tensor, " source"]:
        """A0."""
        return self.basis.nominal[self.rows]

    def as_judged(self, nuisance: Nuisance) -> Nuisance:
        """At the nominal amplitude: a larger one would take in what the model lacks."""
        return torch.cat([nuisance[..., :-1], torch.zeros_like(nuisance[..., -1:])], dim=-1)

    def total(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """Mean of the counts with the likeliest errors of the response."""
        return self.moments(expected, nuisance)[0]

    def variance(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """Variance of the counts about `total`."""
        return self.moments(expected, nuisance)[1]

    def moments(self, expected: Expected, nuisance: Nuisance | None = None) -> tuple[Expected, Expected]:
        """Both, with one search for the peaks."""
        return self.inner.moments(self._at_peaks(expected, nuisance), self._inner(nuisance))

    def log_density(self, expected: Expected, nuisance: Nuisance | None = None) -> Float[Tensor, "source draw"]:
        """ln p(counts | expected, nuisance) with z integrated out."""
        found = expected.new_empty(expected.shape[:2])
        for each in self._together(expected, nuisance):
            each.layout.put(found, each.log_density())
        return found

    def log_density_per_bin(self, expected: Expected) -> Expected:
        """ln p of each bin about the likeliest errors, at the nominal amplitude; the modes' own part is in no bin."""
        return self.inner.log_density_per_bin(self._at_peaks(expected, None))

    def log_saturated(self) -> Float[Tensor, "source draw"]:
        """That of the inner likelihood: z = 0."""
        return self.inner.log_saturated()

    def deviance(self, expected: Expected, nuisance: Nuisance | None = None) -> Float[Tensor, "source draw"]:
        """min_z (deviance of the inner likelihood + |z|^2)."""
        found = expected.new_empty(expected.shape[:2])
        for each in self._together(expected, nuisance):
            value = each.inner.deviance(each.peak.expected, each.nuisance) + (each.peak.z**2).sum(-1)
            each.layout.put(found, value)
        return found

    def slope(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """d ln L / d mu, bin by bin, z following mu; the determinant is held."""
        found = torch.zeros_like(expected)
        for each in self._together(expected, nuisance):
            own = each.inner.slope(each.peak.expected, each.nuisance) * each.peak.bent
            each.layout.put(found[..., : own.shape[-1]], own)
        return found

    def curvature(
        self,
        expected: Expected,
        jacobian: Float[Tensor, "source draw bin parameter"],
        nuisance: Nuisance | None = None,
    ) -> Curvature:
        """Gradient of `log_density`, the determinant held, and Fisher's information with the modes projected out."""
        parameters = jacobian.shape[-1] + len(self.nuisances)
        gradient = expected.new_empty((*expected.shape[:2], parameters))
        information = expected.new_empty((*expected.shape[:2], parameters, parameters))
        for each in self._together(expected, nuisance):
            own = each.layout.together(jacobian)[:, :, : each.expected.shape[-1]]
            found = each.curvature(own)
            each.layout.put(gradient, found.gradient)
            each.layout.put(information, found.information)
        return Curvature(gradient, information)

    def score(
        self,
        expected: Expected,
        jacobian: Float[Tensor, "source bin parameter"],
        nuisance: Nuisance | None = None,
    ) -> Tensor:
        """(source, draw, parameter) gradient with one Jacobian for all draws; the energy scale's own slope is left out.

        It is 0 for the amplitude, which is not free where a fit is judged.
        """
        free = jacobian.shape[-1]
        pulled = torch.zeros_like(expected)
        found = expected.new_zeros((*expected.shape[:2], free + len(self.nuisances)))
        for each in self._together(expected, nuisance):
            own = each.seen.by_eta(each.peak.expected) / each.expected.clamp(min=1e-300)
            each.layout.put(pulled[..., : own.shape[-1]], own)
            first = jacobian[each.layout.places[:, 0], : own.shape[-1]]
            behind = each.inner.score(each.peak.expected, first, each.nuisance)[..., free:]
            each.layout.put(found[..., free:-1], behind)
        found[..., :free] = pulled @ jacobian
        return found

    def linear(
        self,
        expected: Float[Tensor, "source draw bin"],
        jacobian: Float[Tensor, "source draw bin parameter"],
        coordinates: Float[Tensor, "source draw parameter"],
        nuisance: Nuisance | None = None,
    ) -> LinearFit:
        """A fit of a batch of one as linear, the modes among its columns."""
        (each,) = self._together(expected, nuisance)
        peak, basis = each.peak, each.basis
        modes = each.amplitude[..., None] * basis.psi_at(peak) * peak.expected[..., None]
        total = each.inner.total(peak.expected, each.nuisance)
        unit = float(basis.nominal) * self.modes.gain_offset, float(basis.nominal) * self.modes.gain_slope
        return LinearFit(
            residual=((self.counts - total) * self.used[:, None])[0, 0],
            variance=each.inner.variance(peak.expected, each.nuisance)[0, 0],
            columns=torch.cat([basis.bent_jacobian(peak, jacobian, each.amplitude), modes], -1)[0, 0],
            at=torch.cat([coordinates[0, 0], peak.z[0, 0]]),
            expected=peak.expected[0, 0],
            gain=(each.amplitude[0] * basis.gain_at(peak)[0, 0] * peak.expected[0, 0]).T,
            unit=unit,
        )

    def replicate(
        self, expected: Expected, generator: torch.Generator, nuisance: Nuisance | None = None
    ) -> CalibratedLikelihood:
        """Another detector, and another observation with it: z drawn anew, then the counts."""
        seen = torch.zeros_like(expected)
        for each in self._together(expected, nuisance):
            own = drawn_errors(each.basis, each.expected, each.amplitude, generator)
            each.layout.put(seen[..., : own.shape[-1]], own)
        inner = self.inner.replicate(seen, generator, self._inner(nuisance))
        return self._about(inner, self.modes, self.basis, self.rows)

    def centred(self, expected: Float[Tensor, "one one bin"], nuisance: Nuisance | None = None) -> CalibratedLikelihood:
        """With the basis that is exact where a model of one source fits.

        Args:
            expected: mu there.
            nuisance: As for `log_density`.
        """
        (each,) = self._together(expected, nuisance)
        return self._about(self.inner, self.modes, each.basis.about(each.peak, each.seen), torch.tensor([0]))

    def energy_scale(
        self, expected: Float[Tensor, "one one bin"], nuisance: Nuisance | None = None
    ) -> tuple[tuple[float, float], float]:
        """Offset [keV] and slope by which the channels of one source read too high where a model fits.

        Args:
            expected: mu there.
            nuisance: As for `log_density`.

        Returns:
            Both, and the larger of them in standard deviations of what is believed at the nominal amplitude.
        """
        (each,) = self._together(expected, nuisance)
        own = (each.amplitude[:, 0] * (each.peak.z @ each.basis.mixing.mT)[:, 0])[0]
        offset, slope = own.tolist() if own.numel() else (0.0, 0.0)
        sd = max(abs(offset), abs(slope)) / float(each.basis.nominal)
        return (offset * self.modes.gain_offset, slope * self.modes.gain_slope), sd

    def told(self, modes: BinModes, scale: tuple[float, float]) -> CalibratedLikelihood:
        """The same of one source with the modes of a fit, behind a fold that has its energy scale already.

        Args:
            modes: Of the spectrum.
            scale: As `energy_scale` has it.
        """
        basis = ModeBasis.of(modes, self.inner)
        unit = torch.tensor([self.modes.gain_offset, self.modes.gain_slope], dtype=torch.float64).clamp(min=1e-30)
        held = (torch.tensor(scale, dtype=torch.float64) / unit)[: basis.held.shape[1]]
        return self._about(self.inner, self.modes, replace(basis, held=held[None]), torch.tensor([0]))

    @classmethod
    def joined(cls, inner: Likelihood, each: Sequence[Likelihood]) -> CalibratedLikelihood:
        """Of a batch, from that of every source alone.

        Args:
            inner: Of the batch.
            each: One of each source.
        """
        own = [one for one in each if isinstance(one, CalibratedLikelihood)]
        basis = ModeBasis.joined([one.basis.select(one.rows, one.used.shape[-1]) for one in own])
        return cls._about(inner, own[0].modes, basis, torch.arange(len(own)))

    def roughly(self, rough: bool) -> Likelihood:
        """With the inner likelihood told roughly where it is dear."""
        inner = self.inner.roughly(rough)
        return self if inner is self.inner else replace(self, inner=inner)

    def softened(self, error: float) -> Likelihood:
        """Of a response without errors: what they do is less than that."""
        return self.inner.softened(error)

    def is_sharp(self, error: float) -> Bool[Tensor, " source"]:
        """Where the counts of some bin say more than a model that is off by so much can."""
        none = torch.zeros_like(self.used[:, None])
        net = (self.counts - self.inner.total(none)) * self.used[:, None]
        return ((error * net) ** 2 > self.inner.variance(net.clamp(min=0.0))).any(-1)[:, 0]

    def select(self, sources: Int[Tensor, " chosen"]) -> CalibratedLikelihood:
        """The likelihood of some of the sources."""
        return self._about(self.inner.select(sources), self.modes, self.basis, self.rows[sources])

    def _inner(self, nuisance: Nuisance | None) -> Tensor | None:
        """The nuisances of the inner likelihood."""
        return None if nuisance is None or nuisance.shape[-1] == 1 else nuisance[..., :-1]

    @cached_property
    def _placed(self) -> tuple[tuple[Layout, ModeBasis, Likelihood], ...]:
        """Rows that have the same source and data, together; and what those sources are."""
        if self.counts.shape[1] > 1:  # a replica: each row has data of its own
            layouts: tuple[Layout, ...] = (Layout.apart(self.rows),)
        else:
            layouts = Layout.of(self.rows)
        found = []
        for layout in layouts:
            inner = self.inner.select(layout.places[:, 0])
            found.append((layout, self.basis.select(layout.sources, inner.used.shape[-1]), inner))
        return tuple(found)

    def _together(self, expected: Expected, nuisance: Nuisance | None) -> Iterator[ModeRows]:
        """All rows, those of a source as its draws."""
        for layout, basis, inner in self._placed:
            bins = inner.used.shape[-1]
            mu, own, amplitude = layout.together(expected)[..., :bins], None, basis.nominal[:, None, None]
            if nuisance is not None:
                own = layout.together(nuisance.expand(-1, expected.shape[1], -1))
                amplitude, own = amplitude * torch.exp(own[..., -1:]), self._inner(own)
            yield ModeRows(layout, basis, inner, Seen.of(inner, own), mu, amplitude, own)

    def _at_peaks(self, expected: Expected, nuisance: Nuisance | None) -> Expected:
        """mu exp(eta) at the peaks."""
        found = torch.zeros_like(expected)
        for each in self._together(expected, nuisance):
            own = each.peak.expected
            each.layout.put(found[..., : own.shape[-1]], own)
        return found
