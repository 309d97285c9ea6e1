"""The bins of a network: fixed groups of a detector's own channels, filled from any spectrum of that detector.

Users group and notice as they like; a network needs the same numbers each time. So its bins are filled from the raw
channels, and each has beside its counts the part of its channels that the user notices. They serve the proposal only:
likelihood, statistic and degrees of freedom keep the user's bins.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field, ModelWrapValidatorHandler, TypeAdapter, model_validator
from pydantic.dataclasses import dataclass

from xrayflow.errors import DataError, MismatchError, in_words
from xrayflow.ogip import RMF, Spectrum

TOLERANCE = 0.1
"""Part of a channel's width by which EBOUNDS may be off the layout's."""
MOST_RUNS = 1000
"""The most runs of groups of one width."""
MOST_CHANNELS = 1_000_000

Channel = Annotated[int, Field(strict=True, ge=0, le=MOST_CHANNELS)]
Count = Annotated[int, Field(strict=True, ge=1, le=MOST_CHANNELS)]
Energy = Annotated[float, Field(strict=True, allow_inf_nan=False)]


@dataclasses.dataclass(frozen=True, eq=False)
class Filled:
    """What one spectrum gives to a network.

    Attributes:
        counts: (bin,) in the noticed channels, the background included.
        background: (bin,) counts of the background file in the noticed channels, scaled to the source's exposure and
            region; zeros without one.
        noticed: (bin,) noticed channels / channels of the bin, 0 .. 1.
        exposure: EXPOSURE x AREASCAL [s].
    """

    counts: NDArray[np.float64] = dataclasses.field(repr=False)
    background: NDArray[np.float64] = dataclasses.field(repr=False)
    noticed: NDArray[np.float64] = dataclasses.field(repr=False)
    exposure: float


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Layout:
    """Groups of native channels, and what tells the detector that they belong to.

    Attributes:
        starts: First channel of each run of groups of one width; the last run goes on to the last channel.
        widths: Channels in a group of each run; the last group of a run may be shorter.
        band: keV; groups whose mean channel centre lies inside are bins, both ends included.
        channels: How many channels the detector has.
        energies: E_MIN of each of `starts` and E_MAX of the last channel [keV].
        bins: At most so many bins, from the lowest energy; None for all.
    """

    starts: Annotated[tuple[Channel, ...], Field(min_length=1, max_length=MOST_RUNS)]
    widths: Annotated[tuple[Count, ...], Field(max_length=MOST_RUNS)]
    band: tuple[Energy, Energy]
    channels: Count
    energies: Annotated[tuple[Energy, ...], Field(max_length=MOST_RUNS + 1)]
    bins: Count | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        starts, ends = self.starts, (*self.starts[1:], self.starts[0] + self.channels)
        if any(start >= end for start, end in zip(starts, ends, strict=True)):
            raise ValueError(f"starts {starts} for {self.channels} channels; give ascending ones below the last")
        if len(self.widths) != len(starts):
            raise ValueError(f"widths {self.widths}; give one for each of the {len(starts)} starts")
        if len(self.energies) != len(starts) + 1 or any(lo >= hi for lo, hi in pairwise(self.energies)):
            raise ValueError(f"energies {self.energies}; give one for each start and one more, ascending")
        lo, hi = self.band
        if not 0.0 < lo <= hi:
            raise ValueError(f"band {lo:g} .. {hi:g}; give lo <= hi, above 0")
        return self

    @model_validator(mode="wrap")
    @classmethod
    def _in_words(cls, values: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        with in_words(DataError, lambda _: [one.name for one in dataclasses.fields(Layout)], "layout"):
            return read(values)

    @classmethod
    def paper(cls) -> Layout:
        """NICER's 10 eV channels in 240 bins of 30, 40 and 50 eV, channels 29 .. 994.

        Source: Redmen et al., the network's input.

        >>> Layout.paper().starts
        (0, 20, 248, 600, 1200, 1494)
        """
        starts = (0, 20, 248, 600, 1200, 1494)
        energies = (*(start / 100.0 for start in starts), 15.01)
        return cls(starts, (2, 3, 4, 5, 6, 2), (0.3, 10.0), 1501, energies, 240)

    @classmethod
    def of(
        cls,
        rmf: RMF,
        starts: tuple[int, ...],
        widths: tuple[int, ...],
        band: tuple[float, float],
        bins: int | None = None,
    ) -> Layout:
        """A layout for the detector of a matrix.

        Args:
            rmf: Gives channels and EBOUNDS.
            starts: First channel of each run, the first channel of the matrix among them.
            widths: Channels in a group of each run.
            band: keV.
            bins: At most so many.

        Raises:
            DataError: Starts, widths or band cannot be, or no channel group lies in the band.
        """
        known = {int(number): row for row, number in enumerate(rmf.channel)}
        if not starts or starts[0] != int(rmf.channel[0]) or any(start not in known for start in starts):
            raise DataError(
                f"layout: starts {starts} of channels {rmf.channel[0]}-{rmf.channel[-1]}; begin with the first of them"
            )
        energies = (*(float(rmf.e_min[known[start]]) for start in starts), float(rmf.e_max[-1]))
        layout = cls(starts, widths, band, int(rmf.channel.size), energies, bins)
        layout.groups(rmf.channel, rmf.e_min, rmf.e_max)
        return layout

    @classmethod
    def of_detector(cls, rmf: RMF, band: tuple[float, float] = (0.3, 10.0), bins: int = 240) -> Layout:
        """The paper's layout where the detector is NICER's, else groups of equal width, about `bins` of them.

        Args:
            rmf: Gives channels and EBOUNDS.
            band: keV, for other detectors.
            bins: At most so many, for other detectors.

        Raises:
            DataError: No channel lies in the band.
        """
        paper = cls.paper()
        try:
            paper.groups(rmf.channel, rmf.e_min, rmf.e_max)
        except MismatchError:
            middle = 0.5 * (rmf.e_min + rmf.e_max)
            inside = int(((middle >= band[0]) & (middle <= band[1])).sum())
            return cls.of(rmf, (int(rmf.channel[0]),), (max(math.ceil(inside / bins), 1),), band, bins)
        return paper

    def groups(
        self, channel: ArrayLike, e_min: ArrayLike, e_max: ArrayLike
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The bins.

        Args:
            channel: All channel numbers of the detector, ascending by one.
            e_min: Their lower energies [keV].
            e_max: Their upper energies [keV].

        Returns:
            (bin,) first and last channel of each.

        Raises:
            MismatchError: The channels are not those of the layout.
            DataError: No group lies in the band.
        """
        number = np.asarray(channel, dtype=np.int64)
        low, high = np.asarray(e_min, dtype=np.float64), np.asarray(e_max, dtype=np.float64)
        self._check_channels(number, low, high)
        ends = (*self.starts[1:], int(number[-1]) + 1)
        first = np.concatenate(
            [np.arange(start, end, wide) for start, end, wide in zip(self.starts, ends, self.widths, strict=True)]
        )
        last = np.append(first[1:] - 1, number[-1])
        centre = np.concatenate([[0.0], np.cumsum(0.5 * (low + high))])
        place = first - number[0], last - number[0] + 1
        mean = (centre[place[1]] - centre[place[0]]) / (last - first + 1)
        inside = np.flatnonzero((mean >= self.band[0]) & (mean <= self.band[1]))[: self.bins]
        if not inside.size:
            raise DataError(f"layout: no group of channels in {self.band[0]:g}-{self.band[1]:g} keV; widen the band")
        return first[inside].astype(np.int64), last[inside].astype(np.int64)

    def fill(self, spectrum: Spectrum) -> Filled:
        """The bins of a spectrum, from the raw channels that it notices.

        Args:
            spectrum: The user's bins.

        Raises:
            MismatchError: Its channels are not those of the layout, or AREASCAL differs from channel to channel.
        """
        observation = spectrum.observation
        rmf, pha, background = observation.rmf, observation.pha, observation.background
        try:
            first, last = self.groups(rmf.channel, rmf.e_min, rmf.e_max)
        except MismatchError as error:
            raise MismatchError(f"{pha.where}: {error}") from None
        used = spectrum.bin_of_channel >= 0
        scale = pha.areascal[used]
        if np.ptp(scale) > 1e-6 * scale.max():
            raise MismatchError(
                f"{pha.where}: AREASCAL runs from {scale.min():g} to {scale.max():g}; a network knows one for all"
            )
        number = rmf.channel[observation.channel_row]
        bin_of_number = np.full(rmf.channel.size, -1, dtype=np.int64)
        for index, (low, high) in enumerate(zip(first - rmf.channel[0], last - rmf.channel[0] + 1, strict=True)):
            bin_of_number[low:high] = index
        index = bin_of_number[number - rmf.channel[0]]
        kept = used & (index >= 0)

        def total(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.asarray(np.bincount(index[kept], weights=values[kept], minlength=first.size), dtype=np.float64)

        scaled = np.zeros(first.size)
        if background is not None:
            source_time, background_time = pha.exposure * pha.areascal, background.exposure * background.areascal
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = source_time * pha.backscal / (background_time * background.backscal)
            scaled = total(background.counts * ratio)
        noticed = total(np.ones(number.size)) / (last - first + 1)
        return Filled(total(pha.counts), scaled, noticed, float(pha.exposure * scale.mean()))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a header in JSON."""
        found: dict[str, Any] = TypeAdapter(Layout).dump_python(self, mode="json")
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Layout:
        """The inverse of `to_dict`.

        Raises:
            DataError: Unknown or missing names, or values that cannot be.
        """
        return TypeAdapter(Layout).validate_python(values)

    def _check_channels(self, number: NDArray[np.int64], low: NDArray[np.float64], high: NDArray[np.float64]) -> None:
        """Refuse another detector, or a file whose channels were summed before."""
        if number.size != self.channels:
            raise MismatchError(
                f"{number.size} channels, the network's detector has {self.channels}; its bins cannot be made of them"
            )
        if int(number[0]) != self.starts[0]:
            raise MismatchError(
                f"channels from {number[0]}, the network's detector counts from {self.starts[0]}; "
                "its bins cannot be made of them"
            )
        found = np.append(low[np.array(self.starts) - number[0]], high[-1])
        width = np.append((high - low)[np.array(self.starts) - number[0]], high[-1] - low[-1])
        off = np.abs(found - np.array(self.energies))
        if not math.isfinite(float(off.sum())) or (off > TOLERANCE * width).any():
            at = int(np.argmax(off))
            raise MismatchError(
                f"EBOUNDS has {found[at]:.4g} keV where the network's detector has {self.energies[at]:.4g}; "
                "its bins cannot be made of these channels"
            )
