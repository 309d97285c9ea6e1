r"""A detector that is not quite what its response says: calibration modes, marginalised.

The source's counts mu are those of the response times exp(eta), in all bins together:

    eta = A Psi z,      z ~ N(0, I),      ln A ~ N(ln A0, SPREAD),

Psi the modes of `xrayflow.calibration` in the bins of the spectrum, A their amplitude, which is a nuisance; the
background is not touched. z is integrated out about its peak (Laplace),

    ln L(theta, A) = max_z [ln p(counts | mu exp(eta)) - |z|^2 / 2] - 1/2 ln det H,     H = I + A^2 Psi' W Psi,

with W = mu^2 / variance, mu as the peak has it. The exponential keeps the counts positive and makes the integrand in z
nearly normal: without a background W is what the model expects, so that Fisher's information is the curvature itself.

* *Basis.* Psi is turned once into the eigenvectors of Psi' W0 Psi, W0 of the smoothed counts, and those that no count
  can tell from nothing are left out. H is nearly diagonal then, at any A.
* *Peak.* Conjugate gradients with (I + A^2 Lambda)^-1 before them and the curvature along each way; from a decrement
  of `SETTLED` on, half of it, with the exact slopes of ln p, is added to ln p instead of another step.
* *Determinant.* ln det (I + c A^2 Lambda), c the trace of Psi' W Psi over that of Psi' W0 Psi, weighed by what the
  data say of each mode: exact to first order in W - W0, to all orders where they are proportional.
* *Energy scale.* Its modes depend on the model: T mu / mu stands beside the fixed part of the basis, per draw.

What is left out of eta would show as a scatter of ln L of `LEFT_OUT`. Fisher's information of the model's parameters
is that of the bins with the modes projected out.

Source: derived here. Drake et al. 2006 and Lee et al. 2011 (ApJ 731, 126) on calibration errors that are common to many
bins; Tierney & Kadane 1986 (JASA 81, 82) on Laplace's approximation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from xrayflow.calibration import BinModes, ModeSet, gain_moved
from xrayflow.prior import Marginal
from xrayflow.statistics.likelihood import Curvature, Expected, Likelihood, Nuisance, trimmed

AMPLITUDE = "calibration.lnA"
"""Name of the nuisance: ln (A / A0)."""

SPREAD, FARTHEST = math.log(1.6), math.log(10.0)
"""Standard deviation of ln A before the data are seen, and the edge of its box."""

LEFT_OUT = 0.01
"""Sum of the eigenvalues that are left out, at `STRONGEST` times the nominal amplitude."""

STRONGEST = 2.0

SETTLED = 1e-4
"""Newton decrement below which a peak in z is found: what is left of ln L is its square."""

FAR_SETTLED = 1e-9
"""The same as a part of the first decrement, where that is more: far from the data nothing hangs on the last digits."""

MOST_DECREMENT = 1.0
"""Of what is added to ln p."""

STEPS, ROUNDS = 8, 3
"""Of conjugate gradients in a round, and rounds, at most: a draw that the data rule out may not settle."""

MOST_ETA = 1.0
"""|eta|: no detector is off by a factor e, and a step may be."""


@dataclass(frozen=True)
class _Peak:
    """Where z stands for draws of theta.

    Attributes:
        z: (source, draw, mode)
        bent: (source, draw, bin) exp(eta).
        expected: (source, draw, bin) mu exp(eta).
        gain: (gain, source, draw, bin) T mu / mu, less what the basis has of it.
    """

    z: Tensor
    bent: Tensor
    expected: Tensor
    gain: Tensor


@dataclass(frozen=True)
class CalibratedLikelihood(Likelihood):
    """A likelihood of counts seen through a response that has errors.

    Attributes:
        inner: The likelihood behind a response without errors.
        modes: The set of modes.
        psi: (source, bin, mode) fixed part of the modes, in the basis.
        strength: (source, mode) Lambda.
        weight: (source, bin) W0.
        gain: (source, gain, bin, 3) T.
        mixing: (source, gain, mode) the energy scale's modes in the basis.
        moved: (source, gain, bin) what `psi` has of T mu / mu.
        nominal: (source,) A0.
    """

    inner: Likelihood
    modes: ModeSet
    psi: Float[Tensor, "source bin mode"]
    strength: Float[Tensor, "source mode"]
    weight: Float[Tensor, "source bin"]
    gain: Float[Tensor, "source gain bin three"]
    mixing: Float[Tensor, "source gain mode"]
    moved: Float[Tensor, "source gain bin"]
    nominal: Float[Tensor, " source"]

    @classmethod
    def of(cls, inner: Likelihood, modes: Sequence[BinModes]) -> CalibratedLikelihood:
        """About a likelihood.

        Args:
            inner: Of the batch.
            modes: Of each source, all of one set.
        """
        bins = inner.used.shape[-1]
        shape = torch.from_numpy(np.stack([_padded(one.shape, bins) for one in modes]))[:, None]
        nothing = torch.zeros_like(shape)
        source = torch.clamp(shape - inner.total(nothing), min=0.0) + 1e-3 * shape
        weight = (source**2 / inner.variance(source).clamp(min=1e-300) * inner.used[:, None])[:, 0]
        gain = torch.from_numpy(np.stack([_padded(one.gain, bins, axis=1) for one in modes]))
        moved = gain_moved(source, gain)[:, :, 0].transpose(0, 1) / source.clamp(min=1e-300)
        moved = moved.clamp(-MOST_ETA, MOST_ETA) * inner.used[:, None]
        parts = []
        for i, one in enumerate(modes):
            fixed = torch.from_numpy(_padded(one.psi, bins, axis=1).T)
            parts.append(_basis(torch.cat([fixed, moved[i].T], dim=1), weight[i], STRONGEST * one.nominal))
        most = max(part.shape[1] for _, part, _ in parts)
        psi = torch.stack([_wide(one, most) for one, _, _ in parts])
        mixing = torch.stack([_wide(part[part.shape[0] - gain.shape[1] :], most) for _, part, _ in parts])
        strength = torch.stack([_wide(one, most) for _, _, one in parts])
        nominal = torch.tensor([one.nominal for one in modes], dtype=torch.float64)
        return cls(inner, modes[0].modes, psi, strength, weight, gain, mixing, moved, nominal)

    @property
    def counts(self) -> Tensor:  # type: ignore[override]
        """(source, data, bin) what was observed."""
        return self.inner.counts

    @property
    def systematic(self) -> Tensor:  # type: ignore[override]
        """(source, 1) s of the inner likelihood."""
        return self.inner.systematic

    @property
    def used(self) -> Tensor:  # type: ignore[override]
        """(source, bin)"""
        return self.inner.used

    @property
    def shortfalls(self):  # type: ignore[no-untyped-def, override]
        """What the inner likelihood of each lacks."""
        return self.inner.shortfalls

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
        return (*self.inner.nuisances, Marginal(AMPLITUDE, "", -FARTHEST, FARTHEST, "linear", 0.0, SPREAD))

    def as_judged(self, nuisance: Nuisance) -> Nuisance:
        """At the nominal amplitude: a larger one would take in what the model lacks."""
        return torch.cat([nuisance[..., :-1], torch.zeros_like(nuisance[..., -1:])], dim=-1)

    def total(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """Mean of the counts with the likeliest errors of the response."""
        return self.inner.total(self._peak(expected, nuisance).expected, self._inner(nuisance))

    def variance(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """Variance of the counts about `total`."""
        return self.inner.variance(self._peak(expected, nuisance).expected, self._inner(nuisance))

    def log_density(self, expected: Expected, nuisance: Nuisance | None = None) -> Float[Tensor, "source draw"]:
        """ln p(counts | expected, nuisance) with z integrated out."""
        peak, inner = self._peak(expected, nuisance), self._inner(nuisance)
        amplitude = self._amplitude(nuisance)
        gradient = self._gradient(peak, self.inner.slope(peak.expected, inner), amplitude)
        # a draw that the data rule out may not have settled: what is there bounds its ln p from below
        decrement = (gradient**2 * self._inverse(amplitude)).sum(-1).clamp(max=MOST_DECREMENT)
        value = self.inner.log_density(peak.expected, inner) - 0.5 * (peak.z**2).sum(-1)
        return value + 0.5 * decrement - 0.5 * self._log_determinant(peak, inner, amplitude)

    def log_density_per_bin(self, expected: Expected) -> Expected:
        """ln p of each bin about the likeliest errors, at the nominal amplitude; the modes' own part is in no bin."""
        return self.inner.log_density_per_bin(self._peak(expected, None).expected)

    def log_saturated(self) -> Float[Tensor, "source draw"]:
        """That of the inner likelihood: z = 0."""
        return self.inner.log_saturated()

    def deviance(self, expected: Expected, nuisance: Nuisance | None = None) -> Float[Tensor, "source draw"]:
        """min_z (deviance of the inner likelihood + |z|^2)."""
        peak = self._peak(expected, nuisance)
        return self.inner.deviance(peak.expected, self._inner(nuisance)) + (peak.z**2).sum(-1)

    def slope(self, expected: Expected, nuisance: Nuisance | None = None) -> Expected:
        """d ln L / d mu, bin by bin, z following mu; the determinant is held."""
        peak = self._peak(expected, nuisance)
        return self.inner.slope(peak.expected, self._inner(nuisance)) * peak.bent

    def curvature(
        self,
        expected: Expected,
        jacobian: Float[Tensor, "source draw bin parameter"],
        nuisance: Nuisance | None = None,
    ) -> Curvature:
        """Gradient of `log_density` with the determinant held, and Fisher's information with the modes projected out."""
        peak, inner = self._peak(expected, nuisance), self._inner(nuisance)
        amplitude, own = self._amplitude(nuisance), jacobian.shape[-1]
        # z stands among the parameters of the inner likelihood, and is projected out
        psi = amplitude[..., None] * self._psi(peak)
        columns = torch.cat([self._bent_jacobian(peak, expected, jacobian, amplitude), psi * peak.expected[..., None]], -1)
        found = self.inner.curvature(peak.expected, columns, inner)
        modes = torch.arange(own, own + psi.shape[-1])
        rest = torch.cat([torch.arange(own), torch.arange(own + psi.shape[-1], found.gradient.shape[-1])])
        coupled = found.information[..., modes[:, None], rest]
        among = found.information[..., modes[:, None], modes] + torch.eye(psi.shape[-1], dtype=psi.dtype)
        information = found.information[..., rest[:, None], rest] - coupled.mT @ torch.linalg.solve(among, coupled)
        told = self._told(amplitude)
        by_amplitude = (peak.z**2).sum(-1, keepdim=True) - told.sum(-1, keepdim=True)
        return Curvature(
            torch.cat([found.gradient[..., rest], by_amplitude], -1),
            _bordered(information, 2.0 * (told**2).sum(-1).expand(expected.shape[:2])),
        )

    def score(
        self,
        expected: Expected,
        jacobian: Float[Tensor, "source bin parameter"],
        nuisance: Nuisance | None = None,
    ) -> Tensor:
        """(source, draw, parameter) gradient with one Jacobian for all draws; the energy scale's own slope is left out.

        It is 0 for the amplitude, which is not free where a fit is judged.
        """
        peak, inner = self._peak(expected, nuisance), self._inner(nuisance)
        found = (self.inner.pull(peak.expected, inner) * peak.bent) @ jacobian
        behind = self.inner.score(peak.expected, jacobian, inner)[..., found.shape[-1] :]
        return torch.cat([found, behind, torch.zeros_like(found[..., :1])], dim=-1)

    def replicate(
        self, expected: Expected, generator: torch.Generator, nuisance: Nuisance | None = None
    ) -> CalibratedLikelihood:
        """Another detector, and another observation with it: z drawn anew, then the counts."""
        z = torch.randn((*expected.shape[:2], self.strength.shape[-1]), generator=generator, dtype=expected.dtype)
        gain, amplitude = self._moves(expected), self._amplitude(nuisance)
        seen = _seen(z, self._eta(z, gain, amplitude), expected, gain)
        return replace(self, inner=self.inner.replicate(seen.expected, generator, self._inner(nuisance)))

    def centred(self, expected: Float[Tensor, "source one bin"], nuisance: Nuisance | None = None) -> CalibratedLikelihood:
        """With the basis that is exact where a model fits.

        Args:
            expected: mu there.
            nuisance: As for `log_density`.
        """
        peak = self._peak(expected, nuisance)
        weight = self._weight(peak, self._inner(nuisance))[:, 0]
        modes = self._psi(peak)[:, 0]
        strength, turn = _eigen(modes.mT @ (weight[..., None] * modes))
        moved = self.moved + peak.gain[:, :, 0].transpose(0, 1)
        return replace(
            self, psi=modes @ turn, strength=strength, weight=weight, mixing=self.mixing @ turn, moved=moved
        )

    def select(self, sources: Int[Tensor, " chosen"]) -> CalibratedLikelihood:
        """The likelihood of some of the sources."""
        bins = trimmed(self.used, sources)
        modes = int((self.strength[sources] > 0).sum(-1).max()) if sources.numel() else self.strength.shape[-1]
        return replace(
            self,
            inner=self.inner.select(sources),
            psi=self.psi[sources, :bins, :modes],
            strength=self.strength[sources, :modes],
            weight=self.weight[sources, :bins],
            gain=self.gain[sources, :, :bins],
            mixing=self.mixing[sources, :, :modes],
            moved=self.moved[sources, :, :bins],
            nominal=self.nominal[sources],
        )

    def _inner(self, nuisance: Nuisance | None) -> Tensor | None:
        """The nuisances of the inner likelihood."""
        return None if nuisance is None or nuisance.shape[-1] == 1 else nuisance[..., :-1]

    def _amplitude(self, nuisance: Nuisance | None) -> Tensor:
        """(source, draw, 1) A; one draw where nobody says."""
        nominal = self.nominal[:, None, None]
        return nominal if nuisance is None else nominal * torch.exp(nuisance[..., -1:])

    def _inverse(self, amplitude: Tensor) -> Tensor:
        """(source, draw, mode) 1 / (1 + A^2 Lambda)."""
        return 1.0 / (1.0 + amplitude**2 * self.strength[:, None])

    def _told(self, amplitude: Tensor) -> Tensor:
        """(source, draw, mode) what part of a mode the data tell."""
        return 1.0 - self._inverse(amplitude)

    def _moves(self, expected: Expected) -> Tensor:
        """(gain, source, draw, bin) T mu / mu less what the basis has of it."""
        found = gain_moved(expected, self.gain) / expected.clamp(min=1e-300)
        away = found.clamp(-MOST_ETA, MOST_ETA) - self.moved.transpose(0, 1)[:, :, None]
        return away * self.used[:, None]

    def _eta(self, z: Tensor, gain: Tensor, amplitude: Tensor) -> Tensor:
        """(source, draw, bin) A Psi z."""
        eta = z @ self.psi.mT
        for moves, mixing in zip(gain, self.mixing.transpose(0, 1), strict=True):
            eta = eta + moves * (z @ mixing[:, :, None])
        return amplitude * eta

    def _gradient(self, peak: _Peak, slope: Tensor, amplitude: Tensor) -> Tensor:
        """(source, draw, mode) of ln p - |z|^2 / 2."""
        by_eta = slope * peak.expected
        found = by_eta @ self.psi
        for moves, mixing in zip(peak.gain, self.mixing.transpose(0, 1), strict=True):
            found = found + (by_eta * moves).sum(-1, keepdim=True) * mixing[:, None]
        return amplitude * found - peak.z

    def _peak(
        self, expected: Expected, nuisance: Nuisance | None, start: Tensor | None = None, left: int = ROUNDS
    ) -> _Peak:
        """The likeliest errors of the response, for each draw by itself: conjugate gradients, the basis going before.

        Args:
            expected, nuisance: As for `log_density`.
            start: z to begin with; None is 0.
            left: Rounds that may be taken.
        """
        amplitude, inner = self._amplitude(nuisance), self._inner(nuisance)
        gain, inverse = self._moves(expected), self._inverse(amplitude)
        z = expected.new_zeros((*expected.shape[:2], self.strength.shape[-1])) if start is None else start
        eta = self._eta(z, gain, amplitude)
        way, before, old = torch.zeros_like(z), torch.zeros_like(z), expected.new_ones((*expected.shape[:2], 1))
        enough: Tensor | float = SETTLED
        for number in range(STEPS + 1):
            at = _seen(z, eta, expected, gain)
            gradient = self._gradient(at, self.inner.pull(at.expected, inner), amplitude)
            ahead = gradient * inverse
            decrement = (gradient * ahead).sum(-1, keepdim=True)
            if number == 0:
                # far from the data nothing hangs on the last digits
                enough = (FAR_SETTLED * decrement).clamp(min=SETTLED)
            moving = decrement > enough
            if not bool(moving.any()):
                return at
            if number == STEPS:
                break
            way = ahead + ((decrement - (before * ahead).sum(-1, keepdim=True)) / old).clamp(min=0.0) * way
            along = self._eta(way, gain, amplitude)
            bends = (way**2).sum(-1) + (self._weight(at, inner) * along**2).sum(-1)
            step = (gradient * way).sum(-1, keepdim=True) / bends[..., None].clamp(min=1e-300)
            step = torch.where(moving, step, 0.0)
            z, eta, before, old = z + step * way, eta + step * along, gradient, decrement.clamp(min=1e-300)
        return at if left <= 1 else self._finished(at, moving[..., 0], expected, nuisance, left - 1)

    def _finished(self, at: _Peak, moving: Tensor, expected: Expected, nuisance: Nuisance | None, left: int) -> _Peak:
        """What has not settled goes on without the rest."""
        z, bent = at.z.clone(), at.bent.clone()
        if self.strength.shape[0] > 1:
            rows = moving.any(-1).nonzero()[:, 0]
            own = None if nuisance is None else nuisance[rows]
            some = self.select(rows)
            bins, modes = some.used.shape[-1], some.strength.shape[-1]
            deeper = some._peak(expected[rows, :, :bins], own, z[rows, :, :modes], left)
            z[rows, :, :modes], bent[rows, :, :bins] = deeper.z, deeper.bent
        elif self.counts.shape[1] == 1:
            draws = moving[0].nonzero()[:, 0]
            own = None if nuisance is None else nuisance[:, draws]
            deeper = self._peak(expected[:, draws], own, z[:, draws], left)
            z[:, draws], bent[:, draws] = deeper.z, deeper.bent
        else:
            return self._peak(expected, nuisance, z, left)
        return _Peak(z, bent, expected * bent, at.gain)

    def _weight(self, peak: _Peak, inner: Tensor | None) -> Tensor:
        """(source, draw, bin) W."""
        variance = self.inner.variance(peak.expected, inner)
        return torch.where(variance > 0, peak.expected**2 / variance.clamp(min=1e-300), 0.0) * self.used[:, None]

    def _log_determinant(self, peak: _Peak, inner: Tensor | None, amplitude: Tensor) -> Float[Tensor, "source draw"]:
        """ln det H."""
        strength = amplitude**2 * self.strength[:, None]
        share = amplitude**2 / (1.0 + strength)  # A^2 H0^-1
        leverage = share @ (self.psi**2).mT
        for g, (moves, mixing) in enumerate(zip(peak.gain, self.mixing.transpose(0, 1), strict=True)):
            leverage = leverage + 2.0 * moves * ((share * mixing[:, None]) @ self.psi.mT)
            for other, beside in zip(peak.gain, self.mixing.transpose(0, 1)[: g + 1], strict=False):
                twice = 1.0 if other is moves else 2.0
                leverage = leverage + twice * moves * other * (share * (mixing * beside)[:, None]).sum(-1, keepdim=True)
        told = (strength / (1.0 + strength)).sum(-1)
        c = (self._weight(peak, inner) * leverage).sum(-1) / told.clamp(min=1e-300)
        return torch.log1p(c[..., None] * strength).sum(-1)

    def _psi(self, peak: _Peak) -> Float[Tensor, "source draw bin mode"]:
        """The modes at each draw."""
        found = self.psi[:, None].expand(-1, peak.z.shape[1], -1, -1)
        for moves, mixing in zip(peak.gain, self.mixing.transpose(0, 1), strict=True):
            found = found + moves[..., None] * mixing[:, None, None]
        return found

    def _bent_jacobian(self, peak: _Peak, expected: Expected, jacobian: Tensor, amplitude: Tensor) -> Tensor:
        """d (mu exp(eta)) / d parameter at the peak's z; the energy scale's modes follow mu."""
        columns = jacobian.mT
        found = columns
        relative = peak.gain + self.moved.transpose(0, 1)[:, :, None]
        for g, mixing in enumerate(self.mixing.transpose(0, 1)):
            level = amplitude * (peak.z @ mixing[:, :, None])
            own = torch.stack(
                [gain_moved(columns[:, :, k], self.gain[:, g : g + 1])[0] for k in range(columns.shape[2])], 2
            )
            found = found + level[..., None] * (own - relative[g][:, :, None] * columns)
        return (found * peak.bent[:, :, None]).mT


def _seen(z: Tensor, eta: Tensor, expected: Expected, gain: Tensor) -> _Peak:
    """The source's counts at z."""
    bent = torch.exp(eta.clamp(-MOST_ETA, MOST_ETA))
    return _Peak(z, bent, expected * bent, gain)


def _basis(modes: Tensor, weight: Tensor, amplitude: float) -> tuple[Tensor, Tensor, Tensor]:
    """Modes in the eigenvectors of Psi' W0 Psi, those vectors, and their eigenvalues.

    Args:
        modes: (bin, mode) Psi.
        weight: (bin,) W0.
        amplitude: At which what is left out counts.
    """
    value, vector = _eigen(modes.mT @ (weight[:, None] * modes))
    rest = value.sum() - value.cumsum(0)
    keep = int((rest * amplitude**2 > LEFT_OUT).sum()) + 1
    return modes @ vector[:, :keep], vector[:, :keep], value[:keep]


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, largest first, and eigenvectors, with signs that do not depend on the machine."""
    value, vector = torch.linalg.eigh(matrix)
    value, vector = value.flip(-1).clamp(min=0.0), vector.flip(-1)
    return value, vector * torch.sign(vector.gather(-2, vector.abs().argmax(-2, keepdim=True)))


def _padded(array: NDArray[np.float64], bins: int, axis: int = 0) -> NDArray[np.float64]:
    """With zeros up to the longest of a batch."""
    width = [(0, 0)] * array.ndim
    width[axis] = (0, bins - array.shape[axis])
    return np.pad(array, width)


def _wide(part: Tensor, modes: int) -> Tensor:
    """With zeros up to the most modes of a batch."""
    return torch.nn.functional.pad(part, (0, modes - part.shape[-1]))


def _bordered(information: Tensor, last: Tensor) -> Tensor:
    """With one more parameter, which no other one tells of.

    Args:
        information: (source, draw, parameter, parameter)
        last: (source, draw) its own.
    """
    wide = torch.nn.functional.pad(information, (0, 1, 0, 1))
    wide[..., -1, -1] = last
    return wide
