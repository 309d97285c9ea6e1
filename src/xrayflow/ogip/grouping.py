"""XSPEC's bins: how GROUPING, then QUALITY, make them of channels, and how a range of energies notices them.

1. GROUPING 1 begins a bin, -1 continues it, anything else is a bin of its own.
2. QUALITY is patched in before any numbering. Channels of quality 1 vanish. A run of channels of one equal quality
   above 1 begins a new bin, and so does the first good channel after it: the good half of a split bin stays.
3. Numbers run over these bins from 1, the bad ones included; `ignore bad` then removes those of quality not 0.
4. An energy E belongs to the bin with E_MIN < E <= E_MAX, and in a gap to the next one. `ignore a-b` removes the bins
   of a and of b and all between.

These rules give the noticed-bin lists of 160 published XSPEC logs number for number (tests/ogip).

A group that ends where the counts reach a number is no Poisson variable: of `min:1` every group holds one count,
whatever the model. `undecided` finds such groups and gives their channels back, in pieces far below the resolution. It
knows them by their last channel: without it they hold less than the number, with it enough. Any group can look so, with
a probability of at most

    q = max_lambda [ P(X < N; lambda (1 - 1/w)) - P(X < N; lambda) ]

for w channels of expected counts lambda together, X Poisson. Groups that the response decided look so no more often.
That tells a file grouped by its counts: the groups that look so, each weighed by ln 1/q, weigh W by chance at most with

    min_t exp(-t W) prod (1 - q + q^(1 - t))        (Chernoff).

Source: XSPEC 12 manual, commands `ignore` and `notice`; OGIP/92-007, sections on GROUPING and QUALITY. The bound:
Chernoff 1952, Ann. Math. Stat. 23, 493.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import pdtr

from xrayflow.errors import DataError
from xrayflow.ogip.regroup import INCOMPLETE, regroup, resolution
from xrayflow.ogip.rmf import RMF

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

CHANCE = 0.01
"""A file is taken as grouped by its counts where chance makes it look so less often than this. The bound is generous:
of 5000 files grouped by a response none is taken, and one that were would only be fitted in finer bins."""

PIECES = 5.0
"""Channels of groups that the counts decided are merged to this part of a FWHM: that widens the error of the energy of
the narrowest line by 1 % (w^2 / 24 sd^2 for bins of width w)."""


@dataclass(frozen=True, eq=False)
class Bins:
    """The bins of a spectrum before any of them is ignored.

    Args:
        bin_of_channel: Index of the bin of each channel from 0; -1 where the channel is in none (quality 1).
        quality: Quality of each bin: the worst of its channels; 0 is good.
        e_min: Lower nominal energy of each bin [keV].
        e_max: Upper nominal energy of each bin [keV].
        first_channel: Number of each bin's first channel, as in the file.
        last_channel: Number of each bin's last channel, as in the file.
    """

    bin_of_channel: IntArray = field(repr=False)
    quality: IntArray = field(repr=False)
    e_min: FloatArray = field(repr=False)
    e_max: FloatArray = field(repr=False)
    first_channel: IntArray = field(repr=False)
    last_channel: IntArray = field(repr=False)


def form_bins(channel: IntArray, grouping: IntArray, quality: IntArray, e_min: FloatArray, e_max: FloatArray) -> Bins:
    """Make XSPEC's bins of channels.

    Args:
        channel: Channel numbers.
        grouping: 1 begins a bin, -1 continues it, anything else stands alone.
        quality: 0 good, 1 vanishes, others bad.
        e_min: Lower nominal energies of the channels [keV].
        e_max: Upper nominal energies of the channels [keV].

    Returns:
        The bins.

    >>> one = np.arange(4)
    >>> bins = form_bins(one, np.array([1, -1, -1, 0]), np.array([0, 2, 0, 1]), one * 1.0, one + 1.0)
    >>> bins.bin_of_channel.tolist(), bins.quality.tolist()
    ([0, 1, 2, -1], [0, 2, 0])
    """
    group = np.cumsum(_begins(grouping))
    kept = np.flatnonzero(quality != 1)
    bin_of_channel = np.full(len(channel), -1, dtype=np.int64)
    if len(kept) == 0:
        none, nothing = np.empty(0, dtype=np.int64), np.empty(0)
        return Bins(bin_of_channel, none, nothing, nothing, none, none)
    begins = np.ones(len(kept), dtype=np.bool_)
    begins[1:] = (np.diff(group[kept]) != 0) | (np.diff(quality[kept]) != 0)
    bin_of_channel[kept] = np.cumsum(begins) - 1
    first = kept[begins]
    last = np.append(kept[np.flatnonzero(begins)[1:] - 1], kept[-1])
    return Bins(
        bin_of_channel=bin_of_channel,
        quality=quality[first],
        e_min=np.minimum(e_min[first], e_min[last]),
        e_max=np.maximum(e_max[first], e_max[last]),
        first_channel=channel[first],
        last_channel=channel[last],
    )


def _begins(grouping: IntArray) -> NDArray[np.bool_]:
    """Whether each channel begins a group: every one but those of -1 that follow a 1 or a -1."""
    begins: NDArray[np.bool_] = grouping != -1
    begins[1:] |= (grouping[:-1] != 1) & (grouping[:-1] != -1)
    begins[:1] = True
    return begins


def check_energies(energies: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The ranges as floats.

    Args:
        energies: Ranges [keV], increasing and apart.

    Returns:
        The same as a tuple of pairs of floats.

    Raises:
        DataError: No range, a range that does not increase, or ranges out of order.
    """
    ranges = tuple((float(low), float(high)) for low, high in energies)
    edges = [edge for pair in ranges for edge in pair]
    if not edges or not all(low < high for low, high in pairwise(edges)) or edges[0] < 0.0:
        text = ",".join(f"{low:g}-{high:g}" for low, high in ranges) or "nothing"
        raise DataError(f"energies {text} keV are no increasing ranges; write them like 0.5-1.5,2.3-10")
    return ranges


def notice_energies(bins: Bins, energies: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    """The bins that stay after `ignore **-a b-**` of the outer ends and `ignore b-c` of the gaps between ranges.

    Args:
        bins: The bins.
        energies: The ranges a-b to keep [keV], increasing and apart.

    Returns:
        Whether each bin stays, bad ones too.

    Raises:
        DataError: The ranges do not increase.
    """
    ranges = check_energies(energies)
    size = len(bins.e_min)
    noticed = np.ones(size, dtype=np.bool_)
    if size == 0:
        return noticed
    descending = bins.e_min[0] > bins.e_min[-1]
    e_min, e_max = (bins.e_min[::-1], bins.e_max[::-1]) if descending else (bins.e_min, bins.e_max)

    def bin_of(energy: float) -> int:
        """First bin with E_MAX >= energy; -1 below all, `size` above all."""
        return -1 if energy <= e_min[0] else int(np.searchsorted(e_max, energy, side="left"))

    noticed[: bin_of(ranges[0][0]) + 1] = False
    noticed[max(bin_of(ranges[-1][1]), 0) :] = False
    for (_, low), (high, _) in pairwise(ranges):
        noticed[max(bin_of(low), 0) : bin_of(high) + 1] = False
    return noticed[::-1] if descending else noticed


def notice_channels(bins: Bins, channels: tuple[int, int]) -> NDArray[np.bool_]:
    """The bins that hold any channel from `channels[0]` to `channels[1]`, both included.

    Args:
        bins: The bins.
        channels: First and last channel number, as in the file.

    Returns:
        Whether each bin stays.

    Raises:
        DataError: The range does not increase.
    """
    low, high = channels
    if low > high:
        raise DataError(f"channels {low}-{high} do not increase; write them like 30-999")
    noticed: NDArray[np.bool_] = (bins.first_channel <= high) & (bins.last_channel >= low)
    return noticed


def undecided(
    kind: str, grouping: IntArray, quality: IntArray, counts: FloatArray, rmf: RMF, channel_row: IntArray
) -> tuple[IntArray, IntArray] | None:
    """GROUPING and QUALITY like those of `regroup`, but of bins that the counts did not decide.

    Groups that ended because they had enough counts are given up, and so are those that ended without: their channels
    are merged to pieces of `PIECES` to a FWHM, in places that do not depend on the counts. All others stay. The bins of
    "optimal" follow the counts so smoothly that they count as undecided (benchmarks/groupings.py).

    Args:
        kind: As for `regroup`.
        grouping: GROUPING of the file.
        quality: QUALITY of the file.
        counts: Counts of each channel.
        rmf: The response, for its resolution.
        channel_row: Row of the RMF's channels for each channel.

    Returns:
        GROUPING and QUALITY; None where the counts decided no bin of more than one channel.
    """
    word = kind.partition(":")[0]
    if word == "optmin":  # what optimal bins were merged for is given up
        merged, _ = regroup(kind, grouping, quality, counts, rmf, channel_row)
        optimal = regroup("optimal", grouping, quality, counts, rmf, channel_row)
        return None if np.array_equal(merged, optimal[0]) else optimal
    if word in ("none", "optimal", "bin"):
        return None
    asked, marked = regroup(kind, grouping, quality, counts, rmf, channel_row)
    groups = _Groups.of(asked, marked, counts)
    least = groups.least() if kind == "file" else int(kind.partition(":")[2])
    if least is None:
        return None
    good = quality if kind != "file" else np.where(_incomplete(quality, counts, least), 0, quality)
    loose = groups.decided(least) | (good != marked)
    if not np.any(loose & (groups.width_of_channel != 1)):
        return None
    piece = _pieces(resolution(rmf)[channel_row])
    # a piece that lies wholly in loose channels is a bin; the loose channels of the others stand alone
    whole = np.bincount(piece, weights=~loose) == 0
    begins = np.append(True, np.diff(piece) != 0)
    loosened = np.where(whole[piece], np.where(begins, 1, -1), 0)
    return np.where(loose, loosened, np.where(_begins(asked), 1, -1)), good


def least_counts(grouping: IntArray, quality: IntArray, counts: FloatArray) -> int | None:
    """The counts at which a grouping tool ended the groups of a file.

    Args:
        grouping: GROUPING of the file.
        quality: QUALITY of the file.
        counts: Counts of each channel.

    Returns:
        The number, as in grppha's `group min`; None where the counts did not decide the groups.

    >>> from xrayflow.ogip.regroup import group_min
    >>> counts = np.array([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    >>> least_counts(*group_min(np.zeros(14, int), counts, 1), counts)
    1
    >>> least_counts(np.tile([1, -1], 7), np.zeros(14, int), counts) is None
    True
    """
    return _Groups.of(grouping, quality, counts).least()


def _incomplete(quality: IntArray, counts: FloatArray, least: float) -> NDArray[np.bool_]:
    """Channels that a grouping tool marked because good ones ended before a group had enough counts.

    They are of quality `INCOMPLETE`, the good ones end where they begin, and where they end nothing good follows.
    """
    found = np.zeros(len(quality), dtype=np.bool_)
    edges = np.flatnonzero(np.diff(quality)) + 1
    for begin, end in pairwise([*edges.tolist(), len(quality)]):
        marked = quality[begin] == INCOMPLETE and quality[begin - 1] == 0
        closed = end == len(quality) or quality[end] != 0
        found[begin:end] = marked and closed and np.sum(counts[begin:end]) < least
    return found


def _pieces(fwhm: FloatArray) -> IntArray:
    """Number of the piece of each channel: so many channels as make 1 / `PIECES` of a FWHM."""
    piece = np.empty(len(fwhm), dtype=np.int64)
    first, number = 0, 0
    while first < len(fwhm):
        last = first + max(int(fwhm[first] / PIECES), 1)
        piece[first:last] = number
        first, number = last, number + 1
    return piece


@dataclass(frozen=True, eq=False)
class _Groups:
    """The groups of a spectrum and how their counts lie in them.

    Args:
        of_channel: Number of the group of each channel; -1 in none.
        good: Whether a group's quality is 0.
        followed: Whether the next channel begins a good group: such a group did not end for want of channels.
        width: Number of channels.
        total: Counts.
        ending: Counts of the last channel.
    """

    of_channel: IntArray
    good: NDArray[np.bool_]
    followed: NDArray[np.bool_]
    width: IntArray
    total: FloatArray
    ending: FloatArray

    @classmethod
    def of(cls, grouping: IntArray, quality: IntArray, counts: FloatArray) -> _Groups:
        """Of the channels of a spectrum."""
        row, none = np.arange(len(counts)), np.zeros(len(counts))
        bins = form_bins(row, grouping, quality, none, none)
        kept = bins.bin_of_channel >= 0
        index, size = bins.bin_of_channel[kept], len(bins.quality)
        last = bins.last_channel
        after = np.append(bins.first_channel[1:], -1)
        good = bins.quality == 0
        return cls(
            of_channel=bins.bin_of_channel,
            good=good,
            followed=(after == last + 1) & np.append(good[1:], False),
            width=np.bincount(index, minlength=size),
            total=np.asarray(np.bincount(index, weights=counts[kept], minlength=size), dtype=np.float64),
            ending=counts[last],
        )

    @property
    def width_of_channel(self) -> IntArray:
        """Channels in the group of each channel; 0 in none."""
        return np.append(self.width, 0)[self.of_channel]

    def _stopped(self, least: float) -> NDArray[np.bool_]:
        """Whether each group has enough counts with its last channel, and without it has not."""
        return (self.width > 1) & (self.total - self.ending < least) & (self.total >= least)

    def least(self) -> int | None:
        """The counts at which a grouping tool ended the groups; None where the counts did not decide them."""
        complete = self.good & self.followed
        several = complete & (self.width > 1)
        if not np.any(several) or np.any(self.total[several] < 0):
            return None
        lowest = np.unique(self.total[complete])
        lowest = lowest[(lowest >= 1) & (lowest <= max(np.quantile(self.total[complete], 0.05), lowest[0]))]
        chances = [self._chance(several, float(value)) for value in lowest]
        if chances and min(chances) * len(chances) < CHANCE:
            return int(np.ceil(lowest[int(np.argmin(chances))]))
        return self._other_rule(several)

    def _chance(self, several: NDArray[np.bool_], least: float) -> float:
        """How often chance makes so many groups end where they reach a number."""
        total, width = self.total[several][:, None], self.width[several][:, None]
        expected = np.maximum(total + np.sqrt(total) * np.linspace(-2.0, 2.0, 17), 0.0)
        below = np.ceil(least) - 1.0
        bound = np.max(pdtr(below, expected * (1.0 - 1.0 / width)) - pdtr(below, expected), axis=1)
        weight = -np.log(np.clip(bound, 1e-12, 1.0))
        seen = float(np.sum(weight[self._stopped(least)[several]]))
        t = np.geomspace(0.1, 10.0, 21)[:, None]
        log_chance = -t[:, 0] * seen + np.sum(np.log1p(np.exp(-weight) * np.expm1(t * weight)), axis=1)
        return float(np.exp(min(np.min(log_chance), 0.0)))

    def _other_rule(self, several: NDArray[np.bool_]) -> int | None:
        """The same of a rule of another kind, as a signal to noise: no group ends with an empty channel."""
        total = self.total[several]
        empty = np.exp(-(total + 2.0 * np.sqrt(total)) / self.width[several])
        chance = np.sum(np.log1p(-np.minimum(empty, 1.0 - 1e-12)))
        if np.any(self.ending[several] <= 0) or chance > 2.0 * np.log(CHANCE):
            return None
        return int(total.max()) + 1

    def decided(self, least: float) -> NDArray[np.bool_]:
        """Whether the counts decided the end of each channel's group, or could have decided it otherwise."""
        single = (self.width == 1) & (self.total < least + 5.0 * np.sqrt(least))
        loose = self.good & (single | self._stopped(least) | (self.total < least))
        return np.append(loose, False)[self.of_channel]
