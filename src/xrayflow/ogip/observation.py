"""A spectrum with everything that belongs to it: response, area, background; and its bins.

With S the source's file and B the background's, the times of a bin are

    t_s = EXPOSURE_S x AREASCAL_S        t_b = EXPOSURE_B x AREASCAL_B x BACKSCAL_B / BACKSCAL_S

so that a model rate m gives t_s m counts, and a background rate b (in the source's region) t_b b counts in B. Errors of
a bin add in squares; its systematic error is the largest of its channels. Factors that vary inside a bin are averaged.

Source: XSPEC 12 manual, appendix B (statistics with a background); OGIP/92-007.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xrayflow.errors import DataError, XrayflowWarning
from xrayflow.ogip import grouping as rules
from xrayflow.ogip.arf import ARF
from xrayflow.ogip.grouping import Bins
from xrayflow.ogip.pha import PHA
from xrayflow.ogip.regroup import regroup
from xrayflow.ogip.rmf import RMF

DEFAULT_BAND = ((0.3, 10.0),)
"""Energies that are fitted unless the user says otherwise [keV]."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The bins of an observation that are fitted: what the likelihood sees.

    Args:
        observation: Where they come from.
        bin_of_channel: Index of the bin of each PHA row, from 0; -1 where the row is not used.
        number: XSPEC's numbers of the bins, from 1 over all bins of the grouping.
        energy_lo: Lower nominal energy [keV].
        energy_hi: Upper nominal energy [keV].
        counts: Counts.
        source_exposure: t_s = EXPOSURE x AREASCAL [s].
        stat_err: Root of the sum of the squared errors [counts]; None where the counts' own Poisson errors hold.
        sys_err: Largest systematic error, a fraction of the gross counts; None where the file gives none.
        background: Counts in the background file; None without one.
        background_err: Their error [counts]; None without a background or where its Poisson errors hold.
        background_exposure: t_b = EXPOSURE_B x AREASCAL_B x BACKSCAL_B / BACKSCAL_S [s]; None without a background.
        energies: The ranges that were noticed [keV]; of a choice by channels, from the first bin to the last.
        grouping: How the bins were made: file, none, optimal, min:N.
        background_sys_err: Largest systematic error of the background, a fraction of its counts; None if there is none.
        channels: First and last channel asked for, where the choice was by channels.
        shown: The bins that were asked for, where these are others because the counts had decided those: XSPEC's
            statistic, its degrees of freedom and figures are theirs. None where these are the bins asked for.
        gain: Offset [keV] and slope by which the energies of its channels are taken to read too high: the edges of its
            bins are lower than they say by offset + slope x energy.
    """

    observation: Observation = field(repr=False)
    bin_of_channel: NDArray[np.int64] = field(repr=False)
    number: NDArray[np.int64] = field(repr=False)
    energy_lo: NDArray[np.float64] = field(repr=False)
    energy_hi: NDArray[np.float64] = field(repr=False)
    counts: NDArray[np.float64] = field(repr=False)
    source_exposure: NDArray[np.float64] = field(repr=False)
    stat_err: NDArray[np.float64] | None = field(repr=False)
    sys_err: NDArray[np.float64] | None = field(repr=False)
    background: NDArray[np.float64] | None = field(repr=False)
    background_err: NDArray[np.float64] | None = field(repr=False)
    background_exposure: NDArray[np.float64] | None = field(repr=False)
    energies: tuple[tuple[float, float], ...]
    grouping: str
    background_sys_err: NDArray[np.float64] | None = field(default=None, repr=False)
    channels: tuple[int, int] | None = None
    shown: Spectrum | None = field(default=None, repr=False)
    gain: tuple[float, float] = (0.0, 0.0)

    def summed_channels(self, scale: NDArray[np.float64] | float = 1.0) -> csr_array:
        """(channel of the response, bin) sparse: what sums channels into bins.

        Args:
            scale: (row of the spectrum,) or one number: what each channel is multiplied by.
        """
        used = np.flatnonzero(self.bin_of_channel >= 0)
        place = (self.observation.channel_row[used], self.bin_of_channel[used])
        weight = np.broadcast_to(scale, self.bin_of_channel.shape)[used]
        return csr_array((weight, place), shape=(self.observation.rmf.channel.size, self.counts.size))

    def undecided(self) -> Spectrum:
        """The same band in bins that the counts did not decide, for a likelihood.

        Groups that end where the counts reach a number are no Poisson variables, and which of them lie in the band is
        decided by the counts too. The band is noticed anew, so a group that straddles its edge, or that was left
        incomplete, gives the channels that belong to it.

        Returns:
            `shown` in it is this spectrum. This spectrum itself where the counts decided nothing, or where its
            background is negative in the smaller bins and in none of these.
        """
        found = self.observation.undecided(self.energies, self.channels, self.grouping)
        if found is None or np.array_equal(found.bin_of_channel, self.bin_of_channel):
            return self
        if _goes_negative(found) and not _goes_negative(self):
            return self
        return replace(found, energies=self.energies, shown=self)


def _goes_negative(spectrum: Spectrum) -> bool:
    """Whether a background is negative anywhere, about which counts cannot scatter."""
    return spectrum.background is not None and bool(np.any(spectrum.background < 0))


@dataclass(frozen=True, eq=False)
class Observation:
    """A spectrum with its response and background, checked against each other.

    Args:
        pha: The spectrum.
        rmf: The redistribution matrix.
        arf: The effective area; None where the RMF includes it.
        background: The background spectrum, on the same channels; None if there is none.
        channel_row: Column of the RMF's matrix (row of EBOUNDS) of each PHA row.
    """

    pha: PHA
    rmf: RMF
    arf: ARF | None
    background: PHA | None
    channel_row: NDArray[np.int64] = field(repr=False)

    def bins(self, grouping: str = "file") -> Bins:
        """All bins of a grouping, before any is ignored.

        Args:
            grouping: file, none, optimal, min:N, optmin:N or bin:N.

        Returns:
            The bins, the bad ones included.

        Raises:
            DataError: There is no such grouping.
        """
        pha, rmf, row = self.pha, self.rmf, self.channel_row
        group, quality = regroup(grouping, pha.grouping, pha.quality, pha.counts, rmf, row)
        return rules.form_bins(pha.channel, group, quality, rmf.e_min[row], rmf.e_max[row])

    def bin(
        self,
        energies: Sequence[tuple[float, float]] = DEFAULT_BAND,
        channels: tuple[int, int] | None = None,
        grouping: str = "file",
    ) -> Spectrum:
        """Group the channels, ignore the bad bins, notice a band. The source's grouping and quality serve both files.

        Args:
            energies: Ranges a-b [keV] as XSPEC's `ignore **-a b-**`; the gaps between them are ignored alike.
            channels: First and last channel to keep, numbers as in the file; then `energies` is not used.
            grouping: file, none, optimal, min:N, optmin:N or bin:N.

        Returns:
            The bins to fit.

        Raises:
            DataError: No bin is left, or the ranges or the grouping cannot be.
        """
        return self._noticed(self.bins(grouping), energies, channels, grouping)

    def undecided(
        self, energies: Sequence[tuple[float, float]], channels: tuple[int, int] | None, grouping: str
    ) -> Spectrum | None:
        """The band in bins that the counts did not decide.

        Args:
            energies, channels, grouping: As for `bin`.

        Returns:
            The bins; None where the counts decided none of those that `bin` makes.

        Raises:
            DataError: As `bin`.
        """
        pha, rmf, row = self.pha, self.rmf, self.channel_row
        found = rules.undecided(grouping, pha.grouping, pha.quality, pha.counts, rmf, row)
        if found is None:
            return None
        bins = rules.form_bins(pha.channel, *found, rmf.e_min[row], rmf.e_max[row])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", XrayflowWarning)  # said of the bins asked for
            return self._noticed(bins, energies, channels, grouping)

    def _noticed(
        self, bins: Bins, energies: Sequence[tuple[float, float]], channels: tuple[int, int] | None, grouping: str
    ) -> Spectrum:
        noticed = rules.notice_energies(bins, energies) if channels is None else rules.notice_channels(bins, channels)
        good = bins.quality == 0
        if not np.any(good & noticed):
            raise DataError(self._nothing_left(bins, noticed, energies, channels))
        spectrum = self._sum(bins, self._has_exposure(bins, good & noticed), grouping)
        if channels is None:
            return replace(spectrum, energies=rules.check_energies(energies))
        return replace(spectrum, channels=(int(channels[0]), int(channels[1])))

    def _nothing_left(
        self,
        bins: Bins,
        noticed: NDArray[np.bool_],
        energies: Sequence[tuple[float, float]],
        channels: tuple[int, int] | None,
    ) -> str:
        of_channel = bins.bin_of_channel
        bad = (
            (of_channel < 0) | (self.pha.quality != 0) | (bins.quality[of_channel] != 0 if len(bins.quality) else True)
        )
        outside = ~bad & ~(noticed[of_channel] if len(noticed) else False)
        asked = ",".join(f"{low:g}-{high:g}" for low, high in energies) + " keV"
        option = "--energies"
        if channels is not None:
            asked, option = f"channels {channels[0]}-{channels[1]}", "--channels"
        return (
            f"{self.pha.where}: no channel left: of {len(of_channel)}, {int(np.sum(bad))} are bad (QUALITY or an "
            f"incomplete group) and {int(np.sum(outside))} lie out of {asked}; choose {option} or --grouping anew"
        )

    def _has_exposure(self, bins: Bins, keep: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Kept bins without those that have no exposure (AREASCAL or BACKSCAL of 0, as in grating spectra)."""
        source, background = self._times()
        live = source > 0.0
        if background is not None:
            live = live & (background > 0.0) & np.isfinite(background)
        dead = np.zeros(len(keep), dtype=np.bool_)
        dead[bins.bin_of_channel[~live & (bins.bin_of_channel >= 0)]] = True
        count = int(np.sum(dead & keep))
        if count and count == int(np.sum(keep)):
            where, remedy = self.pha.where, ""
            if self.background is not None and ((source > 0.0) & (self.pha.backscal > 0.0)).any():
                where, remedy = self.background.where, ", or give --background none"
            raise DataError(f"{where}: its AREASCAL or BACKSCAL leaves no exposure in any bin; correct it{remedy}")
        if count:
            warnings.warn(
                f"{self.pha.where}: {count} bins hold channels of zero AREASCAL or BACKSCAL; they are left out",
                XrayflowWarning,
                stacklevel=3,
            )
        return keep & ~dead

    def _times(self) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """t_s and t_b of every channel [s]."""
        pha, background = self.pha, self.background
        source = pha.exposure * pha.areascal
        if background is None:
            return source, None
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = background.backscal / pha.backscal
        return source, background.exposure * background.areascal * ratio

    def _sum(self, bins: Bins, keep: NDArray[np.bool_], grouping: str) -> Spectrum:
        kept = np.flatnonzero(keep)
        renumber = np.full(len(keep) + 1, -1, dtype=np.int64)  # the last entry serves the channels in no bin
        renumber[kept] = np.arange(len(kept))
        of_channel = renumber[bins.bin_of_channel]
        used = of_channel >= 0
        index, size = of_channel[used], len(kept)
        pha, background = self.pha, self.background
        source_time, background_time = self._times()

        def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(index, weights=values[used], minlength=size), dtype=np.float64)

        def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return total(values) / np.bincount(index, minlength=size)

        def largest(values: NDArray[np.float64] | None) -> NDArray[np.float64] | None:
            if values is None:
                return None
            result = np.zeros(size)
            np.maximum.at(result, index, values[used])
            return result

        def root_sum_square(file: PHA) -> NDArray[np.float64] | None:
            return None if file.poisserr or file.stat_err is None else np.sqrt(total(file.stat_err**2))

        return Spectrum(
            observation=self,
            bin_of_channel=of_channel,
            number=kept + 1,
            energy_lo=bins.e_min[kept],
            energy_hi=bins.e_max[kept],
            counts=total(pha.counts),
            source_exposure=mean(source_time),
            stat_err=root_sum_square(pha),
            sys_err=largest(pha.sys_err),
            background=None if background is None else total(background.counts),
            background_err=None if background is None else root_sum_square(background),
            background_exposure=None if background_time is None else mean(background_time),
            energies=((float(bins.e_min[kept].min()), float(bins.e_max[kept].max())),),
            grouping=grouping,
            background_sys_err=None if background is None else largest(background.sys_err),
        )
