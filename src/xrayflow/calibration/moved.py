"""Channels of a detector whose energy scale is off: counts that are read too high, or too low, by a part of a channel.

With C the running sum of counts over channels, known at their edges E_k, and x_k the energies that are read as E_k,

    counts read in channel k = C(x_k+1) - C(x_k),        C(x) = sum_m w_m(x) C_m over the four edges around x,

w Lagrange's weights. A detector resolves no less than a few channels, so C is smooth there: the cubic is right to 2e-5
of a bin, where counts that lie evenly in a channel are off by 2e-3.

Source: Abramowitz & Stegun 25.2.13 (four points).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from xrayflow.errors import DataError
from xrayflow.ogip import Spectrum

POINTS = 4


def moved_channels(spectrum: Spectrum) -> sp.csr_array:
    """(channel, channel) the share of each that is read in each, the energy scale off by the spectrum's gain.

    Args:
        spectrum: With `gain`, an offset in keV and a slope.

    Raises:
        DataError: Its channels do not increase in energy.
    """
    rmf, (offset, slope) = spectrum.observation.rmf, spectrum.gain
    edges = np.append(rmf.e_min, rmf.e_max[-1])
    if not (np.diff(edges) > 0).all():
        raise DataError(
            f"{spectrum.observation.pha.path.name}: its channels do not increase in energy, and an energy scale that "
            "is off needs that; give --systematic modes:generic-v1"
        )
    return read_elsewhere(edges, edges - offset - slope * edges)


def read_elsewhere(edges: NDArray[np.float64], at: NDArray[np.float64]) -> sp.csr_array:
    """(channel, read channel) shares, the running sum of counts interpolated.

    Args:
        edges: (channel + 1,) ascending.
        at: (channel + 1,) the energies that are read as these; beyond the ends there is nothing.
    """
    channels = edges.size - 1
    points = min(POINTS, edges.size)
    at = at.clip(edges[0], edges[-1])
    first = (np.searchsorted(edges, at, side="right") - points // 2).clip(0, edges.size - points)
    # the running sum at an edge is all channels before its stencil, and of those inside what the later points weigh
    later = np.cumsum(_lagrange(edges[first[:, None] + np.arange(points)], at)[:, ::-1], axis=1)[:, -2::-1]
    start = np.minimum(first[:-1], first[1:])
    width = int((np.maximum(first[:-1], first[1:]) - start).max()) + points - 1
    channel = start[:, None] + np.arange(width)

    def summed(edge: slice) -> NDArray[np.float64]:
        inside = channel - first[edge, None]
        part = np.take_along_axis(later[edge], inside.clip(0, points - 2), axis=1)
        return np.where(inside < 0, 1.0, np.where(inside > points - 2, 0.0, part))

    share = np.where(channel < channels, summed(slice(1, None)) - summed(slice(None, -1)), 0.0)
    used = share != 0.0
    read = np.broadcast_to(np.arange(channels)[:, None], share.shape)
    return sp.csr_array((share[used], (channel[used], read[used])), shape=(channels, channels))


def _lagrange(points: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """(place, point) the weight of each point's value at each place."""
    away = at[:, None, None] - points[:, None, :]
    apart = points[:, :, None] - points[:, None, :]
    own = np.eye(points.shape[1], dtype=bool)
    found: NDArray[np.float64] = np.where(own, 1.0, away / np.where(own, 1.0, apart)).prod(axis=2)
    return found
