r"""Calibration modes of some spectra in the basis that makes them cheap.

Psi is turned into the eigenvectors of Psi' W0 Psi, W0 = mu^2 / variance of the smoothed counts or of a model that fits,
and what no count can tell from nothing is left out. For coefficients z with z ~ N(0, I) and amplitude A,

    eta = A Psi z,      mu exp(eta),      H = I + A^2 Psi' W Psi,

H is nearly the diagonal matrix I + A^2 Lambda, at any A (`mode_peak` finds the likeliest z with it, and with what
`mode_inverse` adds for the energy scale).

* *Determinant*: ln det (I + c A^2 Lambda), c the trace of Psi' W Psi over that of Psi' W0 Psi, weighed by what the data
  tell of each mode: exact to first order in W - W0, to all orders where they are proportional.
* *Energy scale*: its modes T mu / mu depend on the model. The basis has them as they were where it was made; what they
  differ by is carried beside it.

Sources stand in one batch; those with fewer bins and modes are padded with bins and modes of nothing.

Source: derived here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from xrayflow.calibration import MOST_ETA, BinModes, gain_moved
from xrayflow.statistics.likelihood import Likelihood
from xrayflow.statistics.seen import Seen

LEFT_OUT = 0.01
"""Sum of the eigenvalues that are left out, at `STRONGEST` times the nominal amplitude."""

STRONGEST = 2.0

LEAST_WEIGHT = 1e-6
"""Of W beside W0."""

SMALLEST = 1e-3
"""Part of the smoothed counts that is the source's at least."""

LEAST_COUNTS = 1e-150
"""Of a bin whose neighbours are seen in units of it."""

Draws = Float[Tensor, "source draw bin"]
Coefficients = Float[Tensor, "source draw mode"]
Amplitude = Float[Tensor, "source draw one"]


@dataclass(frozen=True)
class Peak:
    """Where z stands for draws of theta.

    Attributes:
        z: Coefficients of the modes.
        eta: A Psi z, less what the folds have of it.
        expected: mu exp(eta).
        away: (source, draw, gain, bin) T mu / mu, less what the basis has of it.
        decrement: (source, draw) Newton's: twice what ln p may still rise.
    """

    z: Coefficients
    eta: Draws
    expected: Draws
    away: Tensor
    decrement: Tensor

    @property
    def bent(self) -> Draws:
        """exp(eta)."""
        return factor(self.eta)


@dataclass(frozen=True)
class ModeBasis:
    """Of some sources.

    Attributes:
        psi: The modes, those of the energy scale as they were where the basis was made.
        strength: Lambda.
        weight: W0.
        gain: T.
        mixing: The energy scale's modes in the basis.
        moved: What `psi` has of T mu / mu.
        nominal: A0.
        held: Standard deviations of the energy scale that the folds of the spectra have already.
        own: How many modes each source has.
    """

    psi: Float[Tensor, "source bin mode"]
    strength: Float[Tensor, "source mode"]
    weight: Float[Tensor, "source bin"]
    gain: Float[Tensor, "source gain bin three"]
    mixing: Float[Tensor, "source gain mode"]
    moved: Float[Tensor, "source gain bin"]
    nominal: Float[Tensor, " source"]
    held: Float[Tensor, "source gain"]
    own: Int[Tensor, " source"]

    @classmethod
    def of(cls, modes: BinModes, likelihood: Likelihood) -> ModeBasis:
        """Of one source, about the smoothed counts.

        Args:
            modes: Of the spectrum.
            likelihood: Of the source.
        """
        shape = torch.from_numpy(modes.shape)
        seen = Seen.of(likelihood)
        behind = likelihood.counts[0, 0] - seen.net[0, 0]
        source = torch.clamp(shape - behind, min=0.0) + SMALLEST * shape
        gain = torch.from_numpy(modes.gain)[None]
        moved = relative(source[None, None], gain)[:, 0]
        psi = torch.cat([torch.from_numpy(modes.psi).T, moved[0].T], dim=1)
        weight = seen.weight(source[None, None])[:, 0]
        value, vector = _eigen(psi.T @ (weight[0, :, None] * psi))
        rest = value.sum() - value.cumsum(0)
        keep = int((rest * (STRONGEST * modes.nominal) ** 2 > LEFT_OUT).sum()) + 1
        vector = vector[:, :keep]
        return cls(
            psi=(psi @ vector)[None],
            strength=value[None, :keep],
            weight=weight,
            gain=gain,
            mixing=vector[None, vector.shape[0] - gain.shape[1] :],
            moved=moved,
            nominal=torch.tensor([modes.nominal], dtype=torch.float64),
            held=torch.zeros((1, gain.shape[1]), dtype=torch.float64),
            own=torch.tensor([keep]),
        )

    @classmethod
    def joined(cls, each: Sequence[ModeBasis]) -> ModeBasis:
        """Of several, padded.

        Args:
            each: Of one set of modes.
        """
        bins, modes = (max(one.psi.shape[axis] for one in each) for axis in (1, 2))

        def padded(one: ModeBasis) -> list[Tensor]:
            more, wide = bins - one.psi.shape[1], modes - one.psi.shape[2]
            edges = {
                "psi": (0, wide, 0, more),
                "strength": (0, wide),
                "weight": (0, more),
                "gain": (0, 0, 0, more),
                "mixing": (0, wide),
                "moved": (0, more),
            }
            return [pad(getattr(one, f.name), edges.get(f.name, (0, 0))) for f in fields(cls)]

        return cls(*(torch.cat(parts) for parts in zip(*(padded(one) for one in each), strict=True)))

    def at(self, sources: Int[Tensor, " chosen"]) -> ModeBasis:
        """The basis of some of the sources, as wide as it is.

        Args:
            sources: Their numbers; repeats are allowed.
        """
        return ModeBasis(*(getattr(self, one.name)[sources] for one in fields(self)))

    def select(self, sources: Int[Tensor, " chosen"], bins: int) -> ModeBasis:
        """The basis of some of the sources, as wide as they need.

        Args:
            sources: Their numbers; repeats are allowed.
            bins: That they have.
        """
        found = self.at(sources)
        modes = int(found.own.max()) if sources.numel() else 0
        return replace(
            found,
            psi=found.psi[:, :bins, :modes].contiguous(),
            strength=found.strength[:, :modes],
            weight=found.weight[:, :bins],
            gain=found.gain[:, :, :bins],
            mixing=found.mixing[:, :, :modes],
            moved=found.moved[:, :, :bins],
        )

    def about(self, peak: Peak, seen: Seen) -> ModeBasis:
        """The basis that is exact where the model of one source fits.

        Args:
            peak: There.
            seen: The spectrum.
        """
        psi, weight = self.psi_at(peak)[0, 0], seen.weight(peak.expected)[:, 0]
        value, vector = _eigen(psi.T @ (weight[0, :, None] * psi))
        moved = self.moved + peak.away[:, 0]
        return replace(
            self,
            psi=(psi @ vector)[None],
            strength=value[None],
            weight=weight,
            mixing=self.mixing @ vector,
            moved=moved,
        )

    def inverse(self, amplitude: Amplitude) -> Coefficients:
        """1 / (1 + A^2 Lambda)."""
        return 1.0 / (1.0 + amplitude**2 * self.strength[:, None])

    def told(self, amplitude: Amplitude) -> Coefficients:
        """What part of each mode the data tell."""
        return 1.0 - self.inverse(amplitude)

    def away(self, expected: Draws) -> Float[Tensor, "source draw gain bin"]:
        """T mu / mu, less what the basis has of it.

        Args:
            expected: mu.
        """
        return relative(expected, self.gain).sub_(self.moved[:, None])

    def eta(self, z: Coefficients, away: Tensor, amplitude: Amplitude) -> Draws:
        """A Psi z.

        Args:
            z: Coefficients.
            away: Of `away`.
            amplitude: A.
        """
        # A where there are few numbers; the bins then in place, which costs less than the memory of every sum
        scaled = amplitude * z
        found, levels = scaled @ self.psi.mT, scaled @ self.mixing.mT
        for k in range(away.shape[2]):
            found.addcmul_(levels[..., k, None], away[:, :, k])
        return found

    def by_z(self, by_eta: Draws, away: Tensor, amplitude: Amplitude) -> Coefficients:
        """A Psi' of what stands in bins.

        Args:
            by_eta: d / d eta.
            away: Of `away`.
            amplitude: A.
        """
        found = by_eta @ self.psi
        if away.shape[2]:
            found += torch.linalg.vecdot(by_eta[:, :, None], away) @ self.mixing
        return found.mul_(amplitude)

    def in_fold(self, away: Tensor) -> Draws:
        """What the folds have of eta already, and z stands for too.

        Args:
            away: Of `away`.
        """
        if not bool(self.held.any()):
            return away.new_zeros((*away.shape[:2], away.shape[3]))
        return (self.held[:, None, :, None] * (away + self.moved[:, None])).sum(2)

    def log_determinant(self, peak: Peak, weight: Draws, amplitude: Amplitude) -> Float[Tensor, "source draw"]:
        """ln det H.

        Args:
            peak: Where.
            weight: W there.
            amplitude: A.
        """
        strength = amplitude**2 * self.strength[:, None]
        share = amplitude**2 / (1.0 + strength)  # A^2 H0^-1
        # the trace of H0^-1 A^2 Psi' W Psi, mode by mode
        met = weight @ self._squared
        if peak.away.shape[2]:
            beside, square = self.coupled(weight, peak.away)
            met += ((2.0 * beside + square @ self.mixing[:, None]) * self.mixing[:, None]).sum(2)
        told = (strength / (1.0 + strength)).sum(-1)
        c = (share * met).sum(-1) / told.clamp(min=1e-300)
        return torch.log1p(c[..., None] * strength).sum(-1)

    def coupled(
        self, weight: Draws, away: Tensor
    ) -> tuple[Float[Tensor, "source draw gain mode"], Float[Tensor, "source draw gain gain"]]:
        """a' W Psi and a' W a.

        Args:
            weight: W.
            away: a, of `away`.
        """
        weighed = weight[:, :, None] * away
        beside = (weighed.flatten(1, 2) @ self.psi).reshape(*weighed.shape[:3], self.psi.shape[2])
        return beside, weighed @ away.mT

    @cached_property
    def _squared(self) -> Float[Tensor, "source bin mode"]:
        """Psi^2, element by element."""
        return self.psi**2

    def projected(
        self, relative: Float[Tensor, "source draw bin parameter"], weight: Draws, amplitude: Amplitude
    ) -> Float[Tensor, "source draw parameter parameter"]:
        """Fisher's information of what changes ln mu, the modes projected out.

        W is taken as proportional to that of the basis, which keeps the information positive wherever a draw stands.

        Args:
            relative: d ln (mu exp(eta)) / d parameter.
            weight: W.
            amplitude: A.
        """
        c = (weight.sum(-1, keepdim=True) / self.weight.sum(-1)[:, None, None]).clamp(min=LEAST_WEIGHT)
        weighed = self.weight[:, None, :, None] * relative
        coupled = (weighed.mT.flatten(1, 2) @ self.psi).reshape(*relative.mT.shape[:3], -1)
        share = c * amplitude**2 / (1.0 + c * amplitude**2 * self.strength[:, None])
        return c[..., None] * (relative.mT @ weighed - (coupled * share[:, :, None]) @ coupled.mT)

    def psi_at(self, peak: Peak) -> Float[Tensor, "source draw bin mode"]:
        """The modes at each draw."""
        found = self.psi[:, None].expand(-1, peak.z.shape[1], -1, -1)
        return found + peak.away.mT @ self.mixing[:, None]

    def gain_at(self, peak: Peak) -> Float[Tensor, "source draw gain bin"]:
        """T mu / mu at each draw."""
        return peak.away + self.moved[:, None]

    def bent_jacobian(
        self, peak: Peak, jacobian: Float[Tensor, "source draw bin parameter"], amplitude: Amplitude
    ) -> Float[Tensor, "source draw bin parameter"]:
        """d (mu exp(eta)) / d parameter at the peak's z; the energy scale's modes follow mu.

        Args:
            peak: Where.
            jacobian: d mu / d parameter.
            amplitude: A.
        """
        columns = jacobian.mT
        found = columns
        if self.gain.shape[1]:
            level = amplitude * (peak.z @ self.mixing.mT) - self.held[:, None]
            moved = gain_moved(columns.flatten(1, 2), self.gain).reshape(*columns.shape[:3], *self.gain.shape[1:3])
            follows = moved - self.gain_at(peak)[:, :, None] * columns[..., None, :]
            found = found + (level[:, :, None, :, None] * follows).sum(3)
        return (found * peak.bent[:, :, None]).mT


def factor(eta: Draws) -> Draws:
    """exp(eta), kept from running away."""
    return eta.clamp(-MOST_ETA, MOST_ETA).exp_()


def relative(expected: Draws, gain: Float[Tensor, "source gain bin three"]) -> Float[Tensor, "source draw gain bin"]:
    """T mu / mu.

    Args:
        expected: mu.
        gain: T.
    """
    inverse = 1.0 / expected.clamp(min=LEAST_COUNTS)
    before = pad(expected[..., :-1] * inverse[..., 1:], (1, 0))
    after = pad(expected[..., 1:] * inverse[..., :-1], (0, 1))
    below, own, above = gain.movedim(-1, 0).contiguous()[:, :, None]
    found = torch.addcmul(own, before[:, :, None], below)
    return found.addcmul_(after[:, :, None], above).clamp_(-MOST_ETA, MOST_ETA)


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, largest first, and eigenvectors, with signs that do not depend on the machine."""
    value, vector = torch.linalg.eigh(matrix)
    value, vector = value.flip(0).clamp(min=0.0), vector.flip(1)
    return value, vector * torch.sign(vector.gather(0, vector.abs().argmax(0, keepdim=True)))
