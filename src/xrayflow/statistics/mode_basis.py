r"""Calibration modes of one spectrum in the basis that makes them cheap, and where they stand for a model.

Psi is turned into the eigenvectors of Psi' W0 Psi, W0 = mu^2 / variance of the smoothed counts or of a model that fits,
and what no count can tell from nothing is left out. For coefficients z with z ~ N(0, I) and amplitude A,

    eta = A Psi z,      mu exp(eta),      H = I + A^2 Psi' W Psi,

H is nearly the diagonal matrix I + A^2 Lambda, at any A.

* *Peak*: conjugate gradients with the diagonal before them and the curvature along each way, until Newton's decrement
  says that what is left of ln p is `SETTLED`, for each draw by itself.
* *Determinant*: ln det (I + c A^2 Lambda), c the trace of Psi' W Psi over that of Psi' W0 Psi, weighed by what the data
  tell of each mode: exact to first order in W - W0, to all orders where they are proportional.
* *Energy scale*: its modes T mu / mu depend on the model. The basis has them as they were where it was made; what they
  differ by is carried beside it.

Source: derived here; Hestenes & Stiefel 1952 (conjugate gradients).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from xrayflow.calibration import MOST_ETA, BinModes, gain_moved
from xrayflow.statistics.likelihood import Likelihood

LEFT_OUT = 0.01
"""Sum of the eigenvalues that are left out, at `STRONGEST` times the nominal amplitude."""

STRONGEST = 2.0

SETTLED = 1e-3
"""Newton's decrement below which a peak in z is found."""

FAR_SETTLED = 1e-9
"""The same as a part of the first decrement, where that is more: far from the data nothing hangs on the last digits."""

STEPS, ROUNDS = 8, 3
"""Of conjugate gradients in a round, and rounds, at most."""

HOPELESS, PROGRESS = 1e3, 1e-2
"""Decrement after a round from which the data rule a draw out, whatever the rest, unless it is this part of the first
one: it stays where it is."""

STEP = 1e-4
"""Of the nuisances of the inner likelihood, for the slopes of its mean."""

LEAST_WEIGHT = 1e-6
"""Of W beside W0."""

SMALLEST = 1e-3
"""Part of the smoothed counts that is the source's at least."""

Draws = Float[Tensor, "draw bin"]


@dataclass(frozen=True)
class Seen:
    """A spectrum without errors of its response, for draws of theta.

    Attributes:
        likelihood: Of one source.
        nuisance: (1, draw, nuisance) its own; None where it has none.
        behind: (1 or draw, bin) mean of the counts that are not the source's.
        noise: (1 or draw, bin) variance of the counts without a source.
        counted: (bin,) what a count of the source adds to it: 1, or 0 where errors are given.
    """

    likelihood: Likelihood
    nuisance: Tensor | None
    behind: Draws
    noise: Draws
    counted: Float[Tensor, " bin"]

    @classmethod
    def of(cls, likelihood: Likelihood, nuisance: Tensor | None = None) -> Seen:
        """From the likelihood of one source.

        Args:
            likelihood: Without a systematic error of its own.
            nuisance: (1, draw, nuisance) its own.
        """
        nothing = torch.zeros((1, 1, likelihood.used.shape[-1]), dtype=torch.float64)
        noise = likelihood.variance(nothing, nuisance)[0]
        counted = (likelihood.variance(nothing + 1.0, nuisance)[0] - noise)[0]
        return cls(likelihood, nuisance, likelihood.total(nothing, nuisance)[0], noise, torch.round(counted))

    def pull(self, expected: Draws) -> Draws:
        """d ln p / d mu, by mean and variance of the counts."""
        away = self.likelihood.counts[0] - self.behind - expected
        return away / self._variance(expected) * self.likelihood.used[0]

    def slope(self, expected: Draws) -> Draws:
        """d ln p / d mu."""
        return self.likelihood.slope(expected[None], self.nuisance)[0]

    def weight(self, expected: Draws) -> Draws:
        """W = mu^2 / variance."""
        return expected**2 / self._variance(expected) * self.likelihood.used[0]

    @property
    def is_replica(self) -> bool:
        """Whether each draw has data of its own."""
        return self.likelihood.counts.shape[1] > 1

    def some(self, draws: Int[Tensor, " chosen"]) -> Seen:
        """For some of the draws."""
        if self.nuisance is None or self.nuisance.shape[1] == 1:
            return self
        behind, noise = (one[draws] if one.shape[0] > 1 else one for one in (self.behind, self.noise))
        return Seen(self.likelihood, self.nuisance[:, draws], behind, noise, self.counted)

    def behind_slopes(self) -> Float[Tensor, "draw bin nuisance"]:
        """d mean / d nuisance."""
        assert self.nuisance is not None
        nothing, found = torch.zeros((1, 1, self.noise.shape[-1]), dtype=torch.float64), []
        for step in STEP * torch.eye(self.nuisance.shape[-1], dtype=torch.float64):
            up, down = (self.likelihood.total(nothing, self.nuisance + sign * step)[0] for sign in (1.0, -1.0))
            found.append((up - down) / (2.0 * STEP))
        return torch.stack(found, dim=-1)

    def _variance(self, expected: Draws) -> Draws:
        return (self.noise + self.counted * expected).clamp(min=1e-300)


@dataclass(frozen=True)
class Peak:
    """Where z stands for draws of theta.

    Attributes:
        z: (draw, mode)
        bent: (draw, bin) exp(eta).
        expected: (draw, bin) mu exp(eta).
        away: (gain, draw, bin) T mu / mu, less what the basis has of it.
    """

    z: Tensor
    bent: Draws
    expected: Draws
    away: Tensor


@dataclass(frozen=True)
class ModeBasis:
    """Of one source.

    Attributes:
        psi: (bin, mode) the modes, those of the energy scale as they were where the basis was made.
        strength: (mode,) Lambda.
        weight: (bin,) W0.
        gain: (gain, bin, 3) T.
        mixing: (gain, mode) the energy scale's modes in the basis.
        moved: (gain, bin) what `psi` has of T mu / mu.
        nominal: A0.
        held: (gain,) standard deviations of the energy scale that the fold of the spectrum has already.
    """

    psi: Float[Tensor, "bin mode"]
    strength: Float[Tensor, " mode"]
    weight: Float[Tensor, " bin"]
    gain: Float[Tensor, "gain bin three"]
    mixing: Float[Tensor, "gain mode"]
    moved: Float[Tensor, "gain bin"]
    nominal: float
    held: Float[Tensor, " gain"]

    @classmethod
    def of(cls, modes: BinModes, likelihood: Likelihood) -> ModeBasis:
        """About the smoothed counts.

        Args:
            modes: Of the spectrum.
            likelihood: Of one source.
        """
        shape = torch.from_numpy(modes.shape)[None]
        seen = Seen.of(likelihood)
        source = torch.clamp(shape - seen.behind, min=0.0) + SMALLEST * shape
        gain = torch.from_numpy(modes.gain)
        moved = _relative(source, gain)[:, 0]
        psi = torch.cat([torch.from_numpy(modes.psi).T, moved.T], dim=1)
        weight = seen.weight(source)[0]
        value, vector = _eigen(psi.T @ (weight[:, None] * psi))
        rest = value.sum() - value.cumsum(0)
        keep = int((rest * (STRONGEST * modes.nominal) ** 2 > LEFT_OUT).sum()) + 1
        vector = vector[:, :keep]
        mixing = vector[vector.shape[0] - gain.shape[0] :]
        held = torch.zeros(gain.shape[0], dtype=torch.float64)
        return cls(psi @ vector, value[:keep], weight, gain, mixing, moved, modes.nominal, held)

    def centred(self, expected: Float[Tensor, "one bin"], amplitude: Tensor, seen: Seen) -> ModeBasis:
        """The basis of a model that fits.

        Args:
            expected: mu.
            amplitude: (1, 1) A.
            seen: The spectrum.
        """
        peak = self.peak(expected, amplitude, seen)
        psi = self.psi_at(peak)[0]
        weight = seen.weight(peak.expected)[0]
        value, vector = _eigen(psi.T @ (weight[:, None] * psi))
        moved = self.moved + peak.away[:, 0]
        return replace(self, psi=psi @ vector, strength=value, weight=weight, mixing=self.mixing @ vector, moved=moved)

    def scale_of(self, expected: Float[Tensor, "one bin"], amplitude: Tensor, seen: Seen) -> Float[Tensor, " gain"]:
        """The energy scale of a model that fits, in standard deviations at A = 1.

        Args:
            expected: mu.
            amplitude: (1, 1) A.
            seen: The spectrum.
        """
        return amplitude[0, 0] * (self.mixing @ self.peak(expected, amplitude, seen).z[0])

    def inverse(self, amplitude: Float[Tensor, "draw one"]) -> Float[Tensor, "draw mode"]:
        """1 / (1 + A^2 Lambda)."""
        return 1.0 / (1.0 + amplitude**2 * self.strength)

    def told(self, amplitude: Float[Tensor, "draw one"]) -> Float[Tensor, "draw mode"]:
        """What part of each mode the data tell."""
        return 1.0 - self.inverse(amplitude)

    def peak(
        self,
        expected: Draws,
        amplitude: Float[Tensor, "draw one"],
        seen: Seen,
        start: Tensor | None = None,
        left: int = ROUNDS,
    ) -> Peak:
        """The likeliest errors of the response, for each draw by itself.

        Args:
            expected: mu.
            amplitude: A.
            seen: The spectrum.
            start: z to begin with; None is 0.
            left: Rounds that may be taken.
        """
        away, inverse = _relative(expected, self.gain) - self.moved[:, None], self.inverse(amplitude)
        z = expected.new_zeros((expected.shape[0], self.strength.numel())) if start is None else start
        eta = self._eta(z, away, amplitude) - self._held(away)
        way, before, old = torch.zeros_like(z), torch.zeros_like(z), expected.new_ones((expected.shape[0], 1))
        first, enough = torch.ones_like(old), SETTLED * torch.ones_like(old)
        for number in range(STEPS + 1):
            at = _bent(z, eta, expected, away)
            gradient = self.gradient(at, seen.pull(at.expected), amplitude)
            ahead = gradient * inverse
            decrement = (gradient * ahead).sum(-1, keepdim=True)
            if number == 0:
                first, enough = decrement, (FAR_SETTLED * decrement).clamp(min=SETTLED)
            moving = decrement > enough
            if not bool(moving.any()):
                return at
            if number == STEPS:
                moving &= (decrement < HOPELESS) | (decrement < PROGRESS * first)
                break
            way = ahead + ((decrement - (before * ahead).sum(-1, keepdim=True)) / old).clamp(min=0.0) * way
            along = self._eta(way, away, amplitude)
            bends = (way**2).sum(-1, keepdim=True) + (seen.weight(at.expected) * along**2).sum(-1, keepdim=True)
            step = torch.where(moving, (gradient * way).sum(-1, keepdim=True) / bends.clamp(min=1e-300), 0.0)
            z, eta, before, old = z + step * way, eta + step * along, gradient, decrement.clamp(min=1e-300)
        return (
            at
            if left <= 1 or not bool(moving.any())
            else self._finished(at, moving[:, 0], expected, amplitude, seen, left - 1)
        )

    def gradient(self, peak: Peak, slope: Draws, amplitude: Float[Tensor, "draw one"]) -> Float[Tensor, "draw mode"]:
        """Of ln p - |z|^2 / 2 in z.

        Args:
            peak: Where.
            slope: d ln p / d mu there.
            amplitude: A.
        """
        by_eta = slope * peak.expected
        found = by_eta @ self.psi
        for moves, mixing in zip(peak.away, self.mixing, strict=True):
            found = found + (by_eta * moves).sum(-1, keepdim=True) * mixing
        return amplitude * found - peak.z

    def log_determinant(
        self, peak: Peak, weight: Draws, amplitude: Float[Tensor, "draw one"]
    ) -> Float[Tensor, " draw"]:
        """ln det H.

        Args:
            peak: Where.
            weight: W there.
            amplitude: A.
        """
        strength = amplitude**2 * self.strength
        share = amplitude**2 / (1.0 + strength)  # A^2 H0^-1
        leverage = share @ (self.psi**2).T
        for moves, mixing in zip(peak.away, self.mixing, strict=True):
            leverage = leverage + 2.0 * moves * ((share * mixing) @ self.psi.T)
        for moves, mixing in zip(peak.away, self.mixing, strict=True):
            for others, beside in zip(peak.away, self.mixing, strict=True):
                leverage = leverage + moves * others * (share @ (mixing * beside))[:, None]
        told = (strength / (1.0 + strength)).sum(-1)
        c = (weight * leverage).sum(-1) / told.clamp(min=1e-300)
        return torch.log1p(c[:, None] * strength).sum(-1)

    def projected(
        self, relative: Float[Tensor, "draw bin parameter"], weight: Draws, amplitude: Float[Tensor, "draw one"]
    ) -> Float[Tensor, "draw parameter parameter"]:
        """Fisher's information of what changes ln mu, the modes projected out.

        W is taken as proportional to that of the basis, which keeps the information positive wherever a draw stands.

        Args:
            relative: d ln (mu exp(eta)) / d parameter.
            weight: W.
            amplitude: A.
        """
        c = (weight.sum(-1, keepdim=True) / self.weight.sum()).clamp(min=LEAST_WEIGHT)
        weighed = self.weight[:, None] * relative
        coupled = weighed.mT @ self.psi
        share = c * amplitude**2 / (1.0 + c * amplitude**2 * self.strength)
        return c[..., None] * (relative.mT @ weighed - (coupled * share[:, None]) @ coupled.mT)

    def psi_at(self, peak: Peak) -> Float[Tensor, "draw bin mode"]:
        """The modes at each draw."""
        found = self.psi.expand(peak.z.shape[0], -1, -1)
        for moves, mixing in zip(peak.away, self.mixing, strict=True):
            found = found + moves[..., None] * mixing
        return found

    def gain_at(self, peak: Peak) -> Float[Tensor, "gain draw bin"]:
        """T mu / mu at each draw."""
        return peak.away + self.moved[:, None]

    def bent_jacobian(
        self, peak: Peak, jacobian: Float[Tensor, "draw bin parameter"], amplitude: Float[Tensor, "draw one"]
    ) -> Float[Tensor, "draw bin parameter"]:
        """d (mu exp(eta)) / d parameter at the peak's z; the energy scale's modes follow mu.

        Args:
            peak: Where.
            jacobian: d mu / d parameter.
            amplitude: A.
        """
        columns = jacobian.mT
        found, relative = columns, self.gain_at(peak)
        for g, mixing in enumerate(self.mixing):
            level = amplitude * (peak.z @ mixing)[:, None] - self.held[g]
            moved = gain_moved(columns, self.gain[None, g : g + 1])[0]
            found = found + level[..., None] * (moved - relative[g][:, None] * columns)
        return (found * peak.bent[:, None]).mT

    def replicated(self, expected: Draws, amplitude: Float[Tensor, "draw one"], generator: torch.Generator) -> Draws:
        """mu exp(eta) of other detectors of the same kind.

        Args:
            expected: mu.
            amplitude: A.
            generator: Source of randomness.
        """
        z = torch.randn((expected.shape[0], self.strength.numel()), generator=generator, dtype=expected.dtype)
        away = _relative(expected, self.gain) - self.moved[:, None]
        return _bent(z, self._eta(z, away, amplitude) - self._held(away), expected, away).expected

    def _eta(self, z: Tensor, away: Tensor, amplitude: Tensor) -> Draws:
        """A Psi z."""
        eta = z @ self.psi.T
        for moves, mixing in zip(away, self.mixing, strict=True):
            eta = eta + moves * (z @ mixing)[:, None]
        return amplitude * eta

    def _held(self, away: Tensor) -> Draws:
        """What the fold has of eta already, and z stands for too."""
        found = away.new_zeros(away.shape[1:])
        for moves, moved, held in zip(away, self.moved, self.held, strict=True):
            found = found + held * (moves + moved)
        return found

    def _finished(
        self,
        at: Peak,
        moving: Bool[Tensor, " draw"],
        expected: Draws,
        amplitude: Tensor,
        seen: Seen,
        left: int,
    ) -> Peak:
        """What has not settled goes on without the rest."""
        if seen.is_replica:
            return self.peak(expected, amplitude, seen, at.z, left)
        draws = moving.nonzero()[:, 0]
        own = amplitude[draws] if amplitude.shape[0] > 1 else amplitude
        deeper = self.peak(expected[draws], own, seen.some(draws), at.z[draws], left)
        z, bent = at.z.index_copy(0, draws, deeper.z), at.bent.index_copy(0, draws, deeper.bent)
        return Peak(z, bent, expected * bent, at.away)


def _bent(z: Tensor, eta: Draws, expected: Draws, away: Tensor) -> Peak:
    """The source's counts at z."""
    bent = torch.exp(eta.clamp(-MOST_ETA, MOST_ETA))
    return Peak(z, bent, expected * bent, away)


def _relative(expected: Draws, gain: Tensor) -> Float[Tensor, "gain draw bin"]:
    """T mu / mu."""
    moved = gain_moved(expected[None], gain[None])[:, 0]
    return (moved / expected.clamp(min=1e-300)).clamp(-MOST_ETA, MOST_ETA)


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, largest first, and eigenvectors, with signs that do not depend on the machine."""
    value, vector = torch.linalg.eigh(matrix)
    value, vector = value.flip(0).clamp(min=0.0), vector.flip(1)
    return value, vector * torch.sign(vector.gather(0, vector.abs().argmax(0, keepdim=True)))
