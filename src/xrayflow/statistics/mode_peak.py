"""The likeliest errors of a response: the peak in z of ln p(counts | mu exp(A Psi z)) - |z|^2 / 2, for each draw.

The search begins where the peak would be if ln p were a parabola in eta, which is nearly there. Conjugate gradients go
on, with `mode_inverse` before them and the curvature along each way, until Newton's decrement says that what is left of
ln p is `SETTLED`, for each draw by itself. All sources go together; draws that have settled, and those that the data
rule out, are left behind on the way.

Source: derived here; Hestenes & Stiefel 1952 (conjugate gradients).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xrayflow.statistics.mode_basis import Amplitude, Draws, ModeBasis, Peak, factor
from xrayflow.statistics.mode_inverse import ModeInverse
from xrayflow.statistics.seen import Seen

SETTLED = 2e-4
"""Newton's decrement below which a peak in z is found."""

FAR_SETTLED = 1e-9
"""The same as a part of the first decrement, where that is more: far from the data nothing hangs on the last digits."""

MOST_STEPS, ROUND = 24, 4
"""Of conjugate gradients, and those after which a draw is given up that has not come nearer."""

HOPELESS, PROGRESS = 1e3, 0.1
"""Decrement after a round from which the data rule a draw out, whatever the rest, unless it is this part of what it was
before: it stays where it is."""

LEFT = 0.75
"""Part of the draws below which those that still move go on by themselves."""

Places = tuple[Tensor, Tensor]
"""(chosen, 1) sources, and (chosen, draw) draws of each."""


@dataclass(frozen=True)
class _Fixed:
    """What stays as it is while z is looked for.

    Attributes:
        basis: Of the sources.
        seen: The spectra.
        expected: mu.
        away: (source, draw, gain, bin) of `ModeBasis.away`.
        amplitude: (source, draw, 1) A.
        inverse: About that of the curvature.
        enough: (source, draw, 1) decrement at which a draw has settled.
    """

    basis: ModeBasis
    seen: Seen
    expected: Draws
    away: Tensor
    amplitude: Amplitude
    inverse: ModeInverse
    enough: Tensor

    def at(self, places: Places) -> _Fixed:
        """Of some draws of some sources."""
        sources = places[0][:, 0]
        basis = self.basis if sources.numel() == self.expected.shape[0] else self.basis.at(sources)
        expected, away, amplitude = (each[places] for each in (self.expected, self.away, self.amplitude))
        seen, inverse = self.seen.at(sources, places[1]), self.inverse.at(places)
        return _Fixed(basis, seen, expected, away, amplitude, inverse, self.enough[places])


class _Climb(NamedTuple):
    """Where conjugate gradients stand, (source, draw, ...).

    Attributes:
        z: Coefficients.
        eta: A Psi z, less what the folds have of it.
        mean: mu exp(eta).
        weight: W.
        slope: Of ln p - |z|^2 / 2 in z.
        ahead: The same times the inverse.
        decrement: Newton's.
        way: The last one.
        before: Slope where it began.
        old: Decrement there.
        begun: Decrement where the round began.
        moving: Whether it goes on.
    """

    z: Tensor
    eta: Tensor
    mean: Tensor
    weight: Tensor
    slope: Tensor
    ahead: Tensor
    decrement: Tensor
    way: Tensor
    before: Tensor
    old: Tensor
    begun: Tensor
    moving: Tensor


def find_peak(basis: ModeBasis, expected: Draws, amplitude: Amplitude, seen: Seen) -> Peak:
    """The likeliest errors of the response, for each draw by itself.

    Args:
        basis: Of the sources.
        expected: mu.
        amplitude: A.
        seen: The spectra.
    """
    fixed, here = _begun(basis, expected, amplitude, seen)
    away, whole = fixed.away, None
    for number in range(1, MOST_STEPS + 1):
        if not bool(here.moving.any()):
            break
        some = _left(here.moving[..., 0])
        if some[1].numel() <= LEFT * here.moving.numel():
            whole, at = (here, some) if whole is None else (_put(whole, at, here), _within(at, some))
            fixed, here = fixed.at(some), _Climb(*(each[some] for each in here))
        here = _stepped(fixed, here)
        here = here._replace(moving=here.moving & (here.decrement > fixed.enough))
        if number % ROUND == 0:
            hopeful = (here.decrement < HOPELESS) | (here.decrement < PROGRESS * here.begun)
            here = here._replace(moving=here.moving & hopeful, begun=here.decrement)
    found = here if whole is None else _put(whole, at, here)
    return Peak(found.z, found.eta, found.mean, away, found.decrement[..., 0])


def drawn_errors(basis: ModeBasis, expected: Draws, amplitude: Amplitude, generator: torch.Generator) -> Draws:
    """mu exp(eta) of other detectors of the same kind.

    Args:
        basis: Of the sources.
        expected: mu.
        amplitude: A.
        generator: Source of randomness.
    """
    shape = (*expected.shape[:2], basis.strength.shape[1])
    z, away = torch.randn(shape, generator=generator, dtype=expected.dtype), basis.away(expected)
    return expected * factor(basis.eta(z, away, amplitude) - basis.in_fold(away))


def _begun(basis: ModeBasis, expected: Draws, amplitude: Amplitude, seen: Seen) -> tuple[_Fixed, _Climb]:
    """Near the peak: where it would be if the slope were linear in eta, one step away, however large the errors."""
    away, one = basis.away(expected), torch.ones_like(expected[..., :1])
    amplitude, eta = amplitude.expand_as(one), -basis.in_fold(away)
    inverse = ModeInverse.of(basis, away, amplitude)
    slope = basis.by_z(seen.pull(expected, eta, basis.weight[:, None]), away, amplitude)
    z = inverse(slope)
    begun = (slope * z).sum(-1, keepdim=True)
    fixed = _Fixed(basis, seen, expected, away, amplitude, inverse, (FAR_SETTLED * begun).clamp(min=SETTLED))
    nothing = torch.zeros_like(z)
    here = _looked(fixed, z, eta.add_(basis.eta(z, away, amplitude)), nothing, nothing, one, begun, one.bool())
    return fixed, here._replace(moving=here.decrement > fixed.enough)


def _looked(
    fixed: _Fixed, z: Tensor, eta: Tensor, way: Tensor, before: Tensor, old: Tensor, begun: Tensor, moving: Tensor
) -> _Climb:
    """At z and eta; `_Climb` says what the rest is."""
    mean = factor(eta) * fixed.expected
    by_eta, weight = fixed.seen.slope_and_weight(mean)
    slope = fixed.basis.by_z(by_eta, fixed.away, fixed.amplitude).sub_(z)
    ahead = fixed.inverse(slope)
    decrement = (slope * ahead).sum(-1, keepdim=True)
    return _Climb(z, eta, mean, weight, slope, ahead, decrement, way, before, old, begun, moving)


def _stepped(fixed: _Fixed, here: _Climb) -> _Climb:
    """After a step of the draws that move."""
    turn = (here.decrement - (here.before * here.ahead).sum(-1, keepdim=True)) / here.old
    way = here.ahead + turn.clamp(min=0.0) * here.way
    along = fixed.basis.eta(way, fixed.away, fixed.amplitude)
    bends = (way**2).sum(-1, keepdim=True) + torch.linalg.vecdot(here.weight * along, along)[..., None]
    step = (here.slope * way).sum(-1, keepdim=True) / bends.clamp(min=1e-300)
    step = torch.where(here.moving, step, 0.0)
    z, eta, old = here.z + step * way, torch.addcmul(here.eta, step, along), here.decrement.clamp(min=1e-300)
    return _looked(fixed, z, eta, way, here.slope, old, here.begun, here.moving)


def _left(moving: Tensor) -> Places:
    """Draws that still move; a source with fewer takes some along that stay where they are.

    Args:
        moving: (source, draw).
    """
    sources = moving.any(1).nonzero()
    first = (~moving[sources[:, 0]]).to(torch.int8).argsort(dim=1, stable=True)
    return sources, first[:, : int(moving.sum(1).max())]


def _within(places: Places, some: Places) -> Places:
    """Places in the whole of some of the draws that stand at some places of it."""
    return places[0][some[0][:, 0]], places[1][some]


def _put(whole: _Climb, places: Places, some: _Climb) -> _Climb:
    """All draws, some of which have gone on."""
    names = "z", "eta", "mean", "decrement"
    return whole._replace(**{one: getattr(whole, one).index_put(places, getattr(some, one)) for one in names})
