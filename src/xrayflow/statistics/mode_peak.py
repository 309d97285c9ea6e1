"""The likeliest errors of a response: the peak in z of ln p(counts | mu exp(A Psi z)) - |z|^2 / 2, for each draw.

Conjugate gradients with the inverse of I + A^2 Lambda before them and the curvature along each way, until Newton's
decrement says that what is left of ln p is `SETTLED`, for each draw by itself. All sources go together; after every
`STEPS` those that have settled, and those that the data rule out, are left behind.

Source: derived here; Hestenes & Stiefel 1952 (conjugate gradients).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from xrayflow.calibration import MOST_ETA
from xrayflow.statistics.mode_basis import Amplitude, Coefficients, Draws, ModeBasis, Peak
from xrayflow.statistics.seen import Seen

SETTLED = 1e-3
"""Newton's decrement below which a peak in z is found."""

FAR_SETTLED = 1e-9
"""The same as a part of the first decrement, where that is more: far from the data nothing hangs on the last digits."""

STEPS, ROUNDS = 4, 6
"""Of conjugate gradients in a round, and rounds, at most."""

HOPELESS, PROGRESS = 1e3, 0.1
"""Decrement after a round from which the data rule a draw out, whatever the rest, unless it is this part of what it was
before: it stays where it is."""


class _Climb(NamedTuple):
    """Where conjugate gradients stand, (source, draw, ...).

    Attributes:
        z: Coefficients.
        eta: A Psi z, less what the folds have of it.
        way: The last one.
        before: Gradient where it began.
        old: Newton's decrement there.
        enough: Decrement at which a draw has settled.
        begun: Decrement where the round began.
        moving: Whether it goes on.
    """

    z: Tensor
    eta: Tensor
    way: Tensor
    before: Tensor
    old: Tensor
    enough: Tensor
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
    away = basis.away(expected)
    z = expected.new_zeros((*expected.shape[:2], basis.strength.shape[1]))
    one = torch.ones_like(z[..., :1])
    start = _Climb(z, -basis.in_fold(away).expand_as(expected), z, z, one, one, one, one.bool())
    whole = _stepped(basis, start, expected, away, amplitude, seen, is_first=True)
    for _ in range(ROUNDS - 1):
        moving = whole.moving[..., 0]
        if not bool(moving.any()):
            break
        sources = moving.any(1).nonzero()[:, 0]
        first = (~moving[sources]).to(torch.int8).argsort(dim=1, stable=True)
        draws = first[:, : int(moving.sum(1).max())]  # a source with fewer takes some along that stay where they are
        at = sources[:, None], draws
        own = amplitude[at] if amplitude.shape[1] > 1 else amplitude[sources]
        some = _Climb(*(each[at] for each in whole))
        some = _stepped(basis.at(sources), some, expected[at], away[at], own, seen.at(sources, draws))
        whole = _Climb(*(each.index_put(at, part) for each, part in zip(whole, some, strict=True)))
    return _bent(whole.z, whole.eta, expected, away)


def gradient(basis: ModeBasis, peak: Peak, slope: Draws, amplitude: Amplitude) -> Coefficients:
    """Of ln p - |z|^2 / 2 in z.

    Args:
        basis: Of the sources.
        peak: Where.
        slope: d ln p / d ln mu there.
        amplitude: A.
    """
    return basis.by_z(slope, peak.away, amplitude) - peak.z


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
    return _bent(z, basis.eta(z, away, amplitude) - basis.in_fold(away), expected, away).expected


def _stepped(
    basis: ModeBasis,
    state: _Climb,
    expected: Draws,
    away: Tensor,
    amplitude: Amplitude,
    seen: Seen,
    is_first: bool = False,
) -> _Climb:
    """After a round."""
    inverse = basis.inverse(amplitude)
    z, eta, way, before, old, enough, begun, may_move = state
    for number in range(STEPS + 1):
        mean = expected * _factor(eta)
        share = seen.share(mean)
        slope = basis.by_z((seen.net - mean) * share, away, amplitude) - z
        ahead = slope * inverse
        decrement = (slope * ahead).sum(-1, keepdim=True)
        if number == 0:
            begun = decrement
            enough = (FAR_SETTLED * decrement).clamp(min=SETTLED) if is_first else enough
        moving = may_move & (decrement > enough)
        if number == STEPS or not bool(moving.any()):
            break
        way = ahead + ((decrement - (before * ahead).sum(-1, keepdim=True)) / old).clamp(min=0.0) * way
        along = basis.eta(way, away, amplitude)
        bends = (way**2).sum(-1, keepdim=True) + (mean * share * along**2).sum(-1, keepdim=True)
        step = torch.where(moving, (slope * way).sum(-1, keepdim=True) / bends.clamp(min=1e-300), 0.0)
        z, eta, before, old = z + step * way, eta + step * along, slope, decrement.clamp(min=1e-300)
    moving = moving & ((decrement < HOPELESS) | (decrement < PROGRESS * begun))
    return _Climb(z, eta, way, before, old, enough, begun, moving)


def _factor(eta: Draws) -> Draws:
    """exp(eta), kept from running away."""
    return torch.exp(eta.clamp(-MOST_ETA, MOST_ETA))


def _bent(z: Coefficients, eta: Draws, expected: Draws, away: Tensor) -> Peak:
    """The source's counts at z."""
    bent = _factor(eta)
    return Peak(z, bent, expected * bent, away)
