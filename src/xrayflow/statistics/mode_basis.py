r"""Calibration modes of some spectra in the basis that makes them cheap.

Psi is turned into the eigenvectors of Psi' W0 Psi, W0 = mu^2 / variance of the smoothed counts or of a model that fits,
and what no count can tell from nothing is left out. For coefficients z with z ~ N(0, I) and amplitude A,

    eta = A Psi z,      mu exp(eta),      H = I + A^2 Psi' W Psi,

H is nearly the diagonal matrix I + A^2 Lambda, at any A (`mode_peak` finds the likeliest z with it).

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

import torch
from jaxtyping import Float, Int
from torch import Tensor

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

Draws = Float[Tensor, "source draw bin"]
Coefficients = Float[Tensor, "source draw mode"]
Amplitude = Float[Tensor, "source draw one"]


@dataclass(frozen=True)
class Peak:
    """Where z stands for draws of theta.

    Attributes:
        z: Coefficients of the modes.
        bent: exp(eta).
        expected: mu exp(eta).
        away: (source, draw, gain, bin) T mu / mu, less what the basis has of it.
    """

    z: Coefficients
    bent: Draws
    expected: Draws
    away: Tensor


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
            return [torch.nn.functional.pad(getattr(one, f.name), edges.get(f.name, (0, 0))) for f in fields(cls)]

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
        return relative(expected, self.gain) - self.moved[:, None]

    def eta(self, z: Coefficients, away: Tensor, amplitude: Amplitude) -> Draws:
        """A Psi z.

        Args:
            z: Coefficients.
            away: Of `away`.
            amplitude: A.
        """
        found = z @ self.psi.mT
        if away.shape[2]:
            found = found + ((z @ self.mixing.mT)[..., None] * away).sum(2)
        return amplitude * found

    def by_z(self, by_eta: Draws, away: Tensor, amplitude: Amplitude) -> Coefficients:
        """A Psi' of what stands in bins.

        Args:
            by_eta: d / d eta.
            away: Of `away`.
            amplitude: A.
        """
        found = by_eta @ self.psi
        if away.shape[2]:
            found = found + (by_eta[:, :, None] * away).sum(-1) @ self.mixing
        return amplitude * found

    def in_fold(self, away: Tensor) -> Draws:
        """What the folds have of eta already, and z stands for too.

        Args:
            away: Of `away`.
        """
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
        leverage = share @ (self.psi**2).mT
        for moves, mixing in self._scales(peak.away):
            leverage = leverage + 2.0 * moves * ((share * mixing) @ self.psi.mT)
            for others, beside in self._scales(peak.away):
                leverage = leverage + moves * others * (share * mixing * beside).sum(-1, keepdim=True)
        told = (strength / (1.0 + strength)).sum(-1)
        c = (weight * leverage).sum(-1) / told.clamp(min=1e-300)
        return torch.log1p(c[..., None] * strength).sum(-1)

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
        for moves, mixing in self._scales(peak.away):
            found = found + moves[..., None] * mixing[:, :, None]
        return found

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

    def _scales(self, away: Tensor) -> list[tuple[Draws, Float[Tensor, "source one mode"]]]:
        """Each part of the energy scale: what the basis lacks of it, and its place there."""
        return [(away[:, :, k], self.mixing[:, None, k]) for k in range(away.shape[2])]


def relative(expected: Draws, gain: Float[Tensor, "source gain bin three"]) -> Float[Tensor, "source draw gain bin"]:
    """T mu / mu.

    Args:
        expected: mu.
        gain: T.
    """
    moved = gain_moved(expected, gain)
    return (moved / expected.clamp(min=1e-300)[:, :, None]).clamp(-MOST_ETA, MOST_ETA)


def _eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, largest first, and eigenvectors, with signs that do not depend on the machine."""
    value, vector = torch.linalg.eigh(matrix)
    value, vector = value.flip(0).clamp(min=0.0), vector.flip(1)
    return value, vector * torch.sign(vector.gather(0, vector.abs().argmax(0, keepdim=True)))
