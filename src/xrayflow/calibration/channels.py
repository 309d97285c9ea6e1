r"""Calibration modes in the bins of one spectrum.

A mode is a relative error of the source's counts in each PI channel, made of phi(E) and the response R once, with a
spectrum of photon index 2:

    psi_i = sum_{c in i} [R (phi E^-2)]_c / sum_{c in i} [R E^-2]_c.

The energy scale is another kind: where the true scale reads delta(E) keV more than the nominal one, the counts of a bin
change by

    T m = -(rho(hi) delta(hi) - rho(lo) delta(lo)),

rho the counts per keV at the ends of the bin. It depends on the model, so what is kept is T itself, three numbers a
bin: rho at an end is the mean of the densities of the two bins that meet there (of the bin alone where none does),
times what the same mean is off by in the detector's own channels, for the observed counts, smoothed, or for the counts
of the model that fits. Errors in T look like a scale that is right: what modes and model leave of it is small.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from scipy.ndimage import convolve1d, gaussian_filter1d
from torch import Tensor

from xrayflow.calibration.modes import ModeSet
from xrayflow.calibration.moved import moved_channels
from xrayflow.ogip import Spectrum

REFERENCE_INDEX = 2.0
"""Photon index of the reference spectrum."""

WINDOWS, FAR = (31, 11), 30.0
"""Channels: windows in which cubics smooth the observed counts, and the reach of what tells the reference's level."""

FEW = 1000.0
"""Counts of a window below which the wider one, or the reference spectrum, tells the shape rather."""

DENSE = 64 * 1024 * 1024
"""Elements of a response's part up to which it is multiplied as a dense matrix."""

MOST_ETA = 1.0
"""Of |eta|, the exponent of the errors: no detector is off by a factor e, and a step of a search may be."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BinModes:
    """What a set of modes does to the bins of one spectrum.

    Attributes:
        modes: The set.
        psi: (mode, bin) relative change of the source's counts, one standard deviation.
        gain: (gain, bin, 3) T / one standard deviation of offset and slope: weights of the counts of the bin before,
            of the bin itself and of the bin after; no rows where the set has no gain.
        shape: (bin,) the observed counts, smoothed: about what a fitting model expects.
        nominal: Amplitude that the modes are believed at: 1 where the file's SYS_ERR says how large they are.
    """

    modes: ModeSet
    psi: Array
    gain: Array
    shape: Array
    nominal: float

    @classmethod
    def of(cls, spectrum: Spectrum, modes: ModeSet, nominal: float | None = None) -> BinModes:
        """For one spectrum.

        Args:
            spectrum: Noticed bins.
            modes: The set.
            nominal: Amplitude; None takes the set's for the year of the response, or that of the file's SYS_ERR.
        """
        rmf, (psi, reference) = spectrum.observation.rmf, relative_errors(spectrum, modes)
        density = _density(spectrum, reference)
        shape = np.asarray((density * (rmf.e_max - rmf.e_min)) @ spectrum.summed_channels())
        ends = np.concatenate([density[:1], 0.5 * (density[:-1] + density[1:]), density[-1:]])
        return cls._believed(spectrum, modes, psi, ends, shape, nominal)

    @classmethod
    def of_fit(
        cls, spectrum: Spectrum, modes: ModeSet, channels: Array, shape: Array, nominal: float | None = None
    ) -> BinModes:
        """For one spectrum, with the energy scale's operator of a model that fits.

        Args:
            spectrum: Noticed bins; its `gain` is in the fold already.
            modes: The set.
            channels: (channel of the response,) the model's counts with the energy scale as it is believed.
            shape: (bin,) the same in the bins, with the gain.
            nominal: As for `of`.
        """
        psi, _ = relative_errors(spectrum, modes)
        ends = np.zeros(0)
        if modes.has_gain:
            from scipy.interpolate import CubicSpline  # a quarter of a second, which faint spectra do without

            rmf, (offset, slope) = spectrum.observation.rmf, spectrum.gain
            edges = np.append(rmf.e_min, rmf.e_max[-1])
            running = CubicSpline(edges, np.concatenate([[0.0], np.cumsum(channels)]))
            ends = np.maximum(running((edges - offset - slope * edges).clip(edges[0], edges[-1]), 1), 0.0)
        return cls._believed(spectrum, modes, psi, ends, shape, nominal)

    @classmethod
    def _believed(
        cls, spectrum: Spectrum, modes: ModeSet, psi: Array, ends: Array, shape: Array, nominal: float | None
    ) -> BinModes:
        """As large as the file says, where it does."""
        own = modes.nominal_of(spectrum.observation.rmf.year)
        if spectrum.sys_err is not None:
            psi, own = _as_large_as(spectrum.sys_err, psi), 1.0
        gain = _gain(spectrum, modes, ends, shape)
        return cls(modes, psi, gain, shape, own if nominal is None else nominal)

    def seen_by_others(
        self,
        expected: Float[Tensor, "source bin"],
        amplitude: Float[Tensor, " source"],
        generator: torch.Generator,
    ) -> Float[Tensor, "source bin"]:
        """Factors of the counts, exp(A (psi z + T m / m)): every source is seen by a detector of its own.

        The energy scale is linear in its shift, as in the likelihood.

        Args:
            expected: m, counts or counts/s of the source with the response as it is.
            amplitude: A.
            generator: Source of randomness.
        """
        rows, modes = expected.shape[0], self.psi.shape[0]
        z = torch.randn((rows, modes + self.gain.shape[0]), generator=generator, dtype=expected.dtype)
        eta = z[:, :modes] @ torch.from_numpy(self.psi)
        if self.modes.has_gain:
            moved = gain_moved(expected[None], torch.from_numpy(self.gain)[None])[0]
            eta = eta + (z[:, modes:, None] * moved).sum(1) / expected.clamp(min=1e-300)
        return torch.exp((amplitude[:, None] * eta).clamp(-MOST_ETA, MOST_ETA))


def relative_errors(spectrum: Spectrum, modes: ModeSet) -> tuple[Array, Array]:
    """(mode, bin) psi as the set has it, and (channel of the response,) the reference's counts.

    Args:
        spectrum: Noticed bins; where its `gain` moves channels, their errors move with them.
        modes: The set.
    """
    observation = spectrum.observation
    edges = np.maximum(observation.rmf.energy_edges, 1e-6)
    photons = np.diff(edges ** (1.0 - REFERENCE_INDEX)) / (1.0 - REFERENCE_INDEX)
    if observation.arf is not None:
        photons = photons * observation.arf.area
    grouping = spectrum.summed_channels()
    if spectrum.gain != (0.0, 0.0):
        grouping = sp.csr_array(moved_channels(spectrum) @ grouping)
    channel = observation.rmf.seen(photons)
    reference = np.asarray(channel @ grouping)
    response = sp.csr_array(observation.rmf.matrix @ grouping)
    lit = np.flatnonzero(np.diff(response.indptr) > 0)
    part = response[lit]
    phi = modes.at(np.sqrt(edges[1:] * edges[:-1])[lit]) * photons[lit]
    is_dense = part.shape[0] * part.shape[1] <= DENSE
    changed = phi @ part.toarray() if is_dense else np.asarray((part.T @ phi.T).T)
    for tail in observation.rmf.tails:
        shares = modes.at(np.sqrt(edges[1:] * edges[:-1])) * photons
        changed = changed + np.asarray(shares @ tail.of_rows()) @ tail.matrix @ grouping
    return np.where(reference > 0, changed / np.where(reference > 0, reference, 1.0), 0.0), channel


def _as_large_as(error: Array, psi: Array) -> Array:
    """The same modes, all together as large as a file says in each bin; where it says nothing they stay.

    Args:
        error: (bin,) standard deviation, a fraction of the counts.
        psi: (mode, bin).
    """
    whole = np.sqrt((psi**2).sum(axis=0))
    return psi * np.where((error > 0) & (whole > 0), error / np.where(whole > 0, whole, 1.0), 1.0)


def _gain(spectrum: Spectrum, modes: ModeSet, ends: Array, shape: Array) -> Array:
    """T of offset and slope.

    Args:
        spectrum: Noticed bins, of increasing energy.
        modes: The set.
        ends: (channel of the response + 1,) counts per keV where channels meet, smooth.
        shape: (bin,) the same counts summed over the bins.
    """
    lo, hi, bins = spectrum.energy_lo, spectrum.energy_hi, spectrum.counts.size
    if not modes.has_gain:
        return np.zeros((0, bins, 3))
    used = np.flatnonzero(spectrum.bin_of_channel >= 0)
    of, row = spectrum.bin_of_channel[used], spectrum.observation.channel_row[used]
    first = row[np.searchsorted(of, np.arange(bins))]
    last = row[np.searchsorted(of, np.arange(bins), side="right") - 1]
    width = np.where(hi > lo, hi - lo, 1.0)
    mean = shape / width
    meets = np.isclose(hi[:-1], lo[1:], rtol=1e-4, atol=0)

    def end(upper: bool) -> tuple[Array, Array]:
        """(bin,) weights of the counts of the bin itself and of the one that meets it, in rho at one end."""
        there = np.append(meets, False) if upper else np.insert(meets, 0, False)
        step = 1 if upper else -1
        beside = np.clip(np.arange(bins) + step, 0, bins - 1)
        own, other = np.where(there, 0.5, 1.0), np.where(there, 0.5, 0.0)
        at_end = ends[last + 1] if upper else ends[first]
        factor = at_end / np.maximum(own * mean + other * mean[beside], 1e-300)
        return factor * own / width, factor * other / width[beside]

    (low, before), (high, after) = end(upper=False), end(upper=True)
    found = []
    for d_lo, d_hi in (
        (np.full(bins, modes.gain_offset), np.full(bins, modes.gain_offset)),
        (modes.gain_slope * lo, modes.gain_slope * hi),
    ):
        found.append(np.stack([before * d_lo, low * d_lo - high * d_hi, -after * d_hi], axis=-1))
    return np.stack(found)


def _density(spectrum: Spectrum, reference: Array) -> Array:
    """(channel of the response,) counts per keV, smooth: what the observed ones look like."""
    rmf, pha = spectrum.observation.rmf, spectrum.observation.pha
    counts = np.zeros(rmf.channel.size)
    counts[spectrum.observation.channel_row] = np.maximum(pha.counts, 0.0)
    reference = np.maximum(reference, 1e-12 * max(float(reference.max(initial=0.0)), 1e-280))
    # edges of the effective area are sharper than any window: what is smoothed is divided by the same of the reference
    far = gaussian_filter1d(counts, FAR, mode="nearest")
    smooth = reference * (far + 1.0 / counts.size) / gaussian_filter1d(reference, FAR, mode="nearest")
    for window in WINDOWS:
        size = min(window, (counts.size - 1) // 2 * 2 + 1)
        near, like = (convolve1d(one, _of_cubic(size), mode="nearest") for one in (counts, reference))
        near = reference * np.maximum(near, 0.0) / np.maximum(like, 0.1 * reference)
        seen = size * gaussian_filter1d(counts, 0.5 * size, mode="nearest")
        smooth = (seen * near + FEW * smooth) / (seen + FEW)
    width = rmf.e_max - rmf.e_min
    return np.asarray(smooth / np.where(width > 0, width, 1.0))


def _of_cubic(size: int) -> Array:
    """(size,) weights that give the middle of a cubic fitted to an odd number of values.

    Source: Savitzky & Golay 1964, Anal. Chem. 36, 1627.
    """
    powers = np.vander(np.arange(size) - size // 2, min(3, size - 1) + 1, increasing=True)
    return np.asarray(np.linalg.pinv(powers)[0])


def gain_moved(
    counts: Float[Tensor, "source draw bin"], gain: Float[Tensor, "source gain bin three"]
) -> Float[Tensor, "source draw gain bin"]:
    """T m: what one standard deviation of each part of the energy scale changes.

    Args:
        counts: m, the source's expected counts.
        gain: T of `BinModes.gain`.
    """
    before = torch.nn.functional.pad(counts, (1, 0))[..., :-1]
    after = torch.nn.functional.pad(counts, (0, 1))[..., 1:]
    below, own, above = gain[:, None].unbind(-1)
    return before[:, :, None] * below + counts[:, :, None] * own + after[:, :, None] * above
