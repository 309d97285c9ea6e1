r"""A detector that is not quite what its response says: calibration modes, marginalised.

The source's counts mu are those of the response times exp(eta), in all bins together:

    eta = A Psi z,      z ~ N(0, I),      ln A ~ N(ln A0, AMPLITUDE_SPREAD),

Psi the modes of `xrayflow.calibration` in the bins of the spectrum, A their amplitude, which is a nuisance; the
background is not touched. z is integrated out about its peak (Laplace; `mode_basis` has peak and determinant),

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

import torch
from jaxtyping import Float, Int
from torch import Tensor

from xrayflow.calibration import BinModes, ModeSet
from xrayflow.prior import Marginal
from xrayflow.rows import runs
from xrayflow.statistics.likelihood import Curvature, Expected, Likelihood, Nuisance, trimmed
from xrayflow.statistics.linear import LinearFit
from xrayflow.statistics.mode_basis import ModeBasis, Peak, Seen
from xrayflow.statistics.shortfall import Shortfall

AMPLITUDE = "calibration.lnA"
"""Name of the nuisance: ln (A / A0)."""

AMPLITUDE_SPREAD, FARTHEST = math.log(1.6), math.log(10.0)
"""Standard deviation of ln A before the data are seen, and the edge of its box."""

MOST_DECREMENT = 1.0
"""Of what is added to ln p for a peak that is not quite reached."""


@dataclass(frozen=True)
class _Run:
    """Rows of one source that follow each other, all their draws in one axis.

    Attributes:
        part: The rows.
        basis: Of the source.
        seen: The source without errors of its response.
        expected: (draw, bin) mu of all rows.
        amplitude: (draw, 1) A.
        shape: (row, draw) of what belongs to the batch.
    """

    part: slice
    basis: ModeBasis
    seen: Seen
    expected: Float[Tensor, "draw bin"]
    amplitude: Float[Tensor, "draw one"]
    shape: tuple[int, int]

    def peak(self) -> Peak:
        """The likeliest errors of the response."""
        return self.basis.peak(self.expected, self.amplitude, self.seen)

    @property
    def bins(self) -> int:
        """How many the source has."""
        return self.expected.shape[1]


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
        bases: Of every source of the whole batch.
        rows: (source,) places in `bases`.
    """

    counts: Tensor
    systematic: Tensor
    used: Tensor
    shortfalls: tuple[Shortfall, ...]
    inner: Likelihood
    modes: ModeSet
    bases: tuple[ModeBasis, ...]
    rows: Int[Tensor, " source"]

    @classmethod
    def of(cls, inner: Likelihood, modes: Sequence[BinModes]) -> CalibratedLikelihood:
        """About a likelihood.

        Args:
            inner: Of the batch.
            modes: Of each source, all of one set.
        """
        every = range(len(modes))
        bases = tuple(ModeBasis.of(modes[i], inner.select(torch.tensor([i]))) for i in every)
        return cls._about(inner, modes[0].modes, bases, torch.arange(len(modes)))

    @classmethod
    def _about(
        cls, inner: Likelihood, modes: ModeSet, bases: tuple[ModeBasis, ...], rows: Tensor
    ) -> CalibratedLikelihood:
        return cls(inner.counts, inner.systematic, inner.used, inner.shortfalls, inner, modes, bases, rows)

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
        return torch.tensor([self.bases[row].nominal for row in self.rows.tolist()], dtype=torch.float64)

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
        for run in self._runs(expected, nuisance):
            peak, basis, seen = run.peak(), run.basis, run.seen
            gradient = basis.gradient(peak, seen.pull(peak.expected), run.amplitude)
            # a draw that the data rule out may not have settled: what is there bounds its ln p from below
            decrement = (gradient**2 * basis.inverse(run.amplitude)).sum(-1).clamp(max=MOST_DECREMENT)
            determinant = basis.log_determinant(peak, seen.weight(peak.expected), run.amplitude)
            value = seen.likelihood.log_density(peak.expected[None], seen.nuisance)[0]
            value = value + 0.5 * (decrement - (peak.z**2).sum(-1) - determinant)
            found[run.part] = value.reshape(run.shape)
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
        for run in self._runs(expected, nuisance):
            peak = run.peak()
            value = run.seen.likelihood.deviance(peak.expected[None], run.seen.nuisance)[0] + (peak.z**2).sum(-1)
            found[run.part] = value.reshape(run.shape)
        return found

    def slope(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """d ln L / d mu, bin by bin, z following mu; the determinant is held."""
        found = torch.zeros_like(expected)
        for run in self._runs(expected, nuisance):
            peak = run.peak()
            own = run.seen.slope(peak.expected) * peak.bent
            found[run.part, :, : run.bins] = own.reshape(*run.shape, -1)
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
        for run in self._runs(expected, nuisance):
            own = jacobian[run.part, :, : run.bins].flatten(0, 1)
            found = _curvature(run, own)
            gradient[run.part] = found.gradient.reshape(*run.shape, -1)
            information[run.part] = found.information.reshape(*run.shape, parameters, parameters)
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
        found = expected.new_zeros((*expected.shape[:2], jacobian.shape[-1] + len(self.nuisances)))
        for run in self._runs(expected, nuisance):
            peak, slope = run.peak(), jacobian[run.part, : run.bins]
            own = ((run.seen.pull(peak.expected) * peak.bent).reshape(*run.shape, -1)) @ slope
            behind = run.seen.likelihood.score(peak.expected[None], slope[:1], run.seen.nuisance)[0, :, own.shape[-1] :]
            found[run.part, :, :-1] = torch.cat([own, behind.reshape(*run.shape, -1)], dim=-1)
        return found

    def linear(
        self,
        expected: Float[Tensor, "source draw bin"],
        jacobian: Float[Tensor, "source draw bin parameter"],
        coordinates: Float[Tensor, "source draw parameter"],
        nuisance: Nuisance | None = None,
    ) -> LinearFit:
        """A fit of a batch of one as linear, the modes among its columns."""
        (run,) = self._runs(expected, nuisance)
        peak, basis, seen = run.peak(), run.basis, run.seen
        modes = run.amplitude[..., None] * basis.psi_at(peak) * peak.expected[..., None]
        total = seen.likelihood.total(peak.expected[None], seen.nuisance)
        return LinearFit(
            residual=((self.counts - total) * self.used[:, None])[0, 0],
            variance=seen.likelihood.variance(peak.expected[None], seen.nuisance)[0, 0],
            columns=torch.cat([basis.bent_jacobian(peak, jacobian[0], run.amplitude), modes], -1)[0],
            at=torch.cat([coordinates[0, 0], peak.z[0]]),
            expected=peak.expected[0],
            gain=(run.amplitude[0] * basis.gain_at(peak)[:, 0] * peak.expected[0]).T,
            unit=(self.modes.gain_offset * basis.nominal, self.modes.gain_slope * basis.nominal),
        )

    def replicate(
        self, expected: Expected, generator: torch.Generator, nuisance: Nuisance | None = None
    ) -> CalibratedLikelihood:
        """Another detector, and another observation with it: z drawn anew, then the counts."""
        seen = torch.zeros_like(expected)
        for run in self._runs(expected, nuisance):
            own = run.basis.replicated(run.expected, run.amplitude, generator)
            seen[run.part, :, : run.bins] = own.reshape(*run.shape, -1)
        inner = self.inner.replicate(seen, generator, self._inner(nuisance))
        return self._about(inner, self.modes, self.bases, self.rows)

    def centred(
        self, expected: Float[Tensor, "source one bin"], nuisance: Nuisance | None = None
    ) -> CalibratedLikelihood:
        """With the bases that are exact where a model fits.

        Args:
            expected: mu there, of each source of the whole batch.
            nuisance: As for `log_density`.
        """
        runs = self._runs(expected, nuisance)
        bases = tuple(run.basis.centred(run.expected[:1], run.amplitude[:1], run.seen) for run in runs)
        return replace(self, bases=bases, rows=torch.arange(len(bases)))

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
        (run,) = self._runs(expected, nuisance)
        own = run.basis.scale_of(run.expected[:1], run.amplitude[:1], run.seen)
        offset, slope = own.tolist() if own.numel() else (0.0, 0.0)
        sd = max(abs(offset), abs(slope)) / run.basis.nominal
        return (offset * self.modes.gain_offset, slope * self.modes.gain_slope), sd

    def told(self, modes: BinModes, scale: tuple[float, float]) -> CalibratedLikelihood:
        """The same of one source with the modes of a fit, behind a fold that has its energy scale already.

        Args:
            modes: Of the spectrum.
            scale: As `energy_scale` has it.
        """
        basis = ModeBasis.of(modes, self.inner)
        unit = torch.tensor([self.modes.gain_offset, self.modes.gain_slope], dtype=torch.float64).clamp(min=1e-30)
        held = (torch.tensor(scale, dtype=torch.float64) / unit)[: basis.held.numel()]
        return replace(self, bases=(replace(basis, held=held),), rows=torch.zeros(1, dtype=torch.int64))

    @classmethod
    def joined(cls, inner: Likelihood, each: Sequence[Likelihood]) -> CalibratedLikelihood:
        """Of a batch, from that of every source alone.

        Args:
            inner: Of the batch.
            each: One of each source.
        """
        own = [one for one in each if isinstance(one, CalibratedLikelihood)]
        bases = tuple(one.bases[int(one.rows[0])] for one in own)
        return cls._about(inner, own[0].modes, bases, torch.arange(len(bases)))

    def select(self, sources: Int[Tensor, " chosen"]) -> CalibratedLikelihood:
        """The likelihood of some of the sources."""
        return self._about(self.inner.select(sources), self.modes, self.bases, self.rows[sources])

    def _inner(self, nuisance: Nuisance | None) -> Tensor | None:
        """The nuisances of the inner likelihood."""
        return None if nuisance is None or nuisance.shape[-1] == 1 else nuisance[..., :-1]

    def _runs(self, expected: Expected, nuisance: Nuisance | None) -> Iterator[_Run]:
        """Rows of one source that follow each other, and have the same data, as draws of that source."""
        is_replica = self.counts.shape[1] > 1  # each row has data of its own then
        alike = ((row, slice(i, i + 1)) for i, row in enumerate(self.rows.tolist())) if is_replica else runs(self.rows)
        for source, part in alike:
            one = torch.tensor([part.start])
            basis, bins, inner = self.bases[source], trimmed(self.used, one), self.inner.select(one)
            own = None if nuisance is None else nuisance[part].flatten(0, 1)
            amplitude = torch.full((1, 1), basis.nominal, dtype=torch.float64)
            if own is not None:
                amplitude = amplitude * torch.exp(own[:, -1:])
            seen = Seen.of(inner, None if own is None or own.shape[-1] == 1 else own[None, :, :-1])
            mu = expected[part, :, :bins].flatten(0, 1)
            yield _Run(part, basis, seen, mu, amplitude, (part.stop - part.start, expected.shape[1]))

    def _at_peaks(self, expected: Expected, nuisance: Nuisance | None) -> Expected:
        """mu exp(eta) at the peaks."""
        found = torch.zeros_like(expected)
        for run in self._runs(expected, nuisance):
            found[run.part, :, : run.bins] = run.peak().expected.reshape(*run.shape, -1)
        return found


def _curvature(run: _Run, jacobian: Float[Tensor, "draw bin parameter"]) -> Curvature:
    """Of one source.

    Args:
        run: Its rows.
        jacobian: d mu / d parameter.
    """
    peak, basis, seen, amplitude = run.peak(), run.basis, run.seen, run.amplitude
    bent = basis.bent_jacobian(peak, jacobian, amplitude)
    told = basis.told(amplitude).expand(peak.z.shape[0], -1)
    found = seen.likelihood.curvature(peak.expected[None], bent[None], seen.nuisance)
    gradient, columns = found.gradient[0], bent
    if seen.likelihood.nuisances:
        columns = torch.cat([bent, seen.behind_slopes().expand(bent.shape[0], -1, -1)], -1)
    relative = columns / peak.expected.clamp(min=1e-300)[..., None]
    information = basis.projected(relative, seen.weight(peak.expected), amplitude)
    # what is known of the nuisances beside the counts of the source's region
    own = jacobian.shape[-1]
    weight = seen.weight(peak.expected)[..., None] / peak.expected.clamp(min=1e-300)[..., None] ** 2
    beside = found.information[0, :, own:, own:] - columns[..., own:].mT @ (weight * columns[..., own:])
    information[:, own:, own:] += beside
    by_amplitude = (peak.z**2).sum(-1, keepdim=True) - told.sum(-1, keepdim=True)
    wide = torch.nn.functional.pad(information, (0, 1, 0, 1))
    wide[:, -1, -1] = 2.0 * (told**2).sum(-1)
    return Curvature(torch.cat([gradient, by_amplitude], -1), wide)
