"""Bins that a grouping tool makes: GROUPING and QUALITY of the channels.

The names are those of HEASARC's ftgrouppha where it has them: `min`, `opt` (our `optimal`), `optmin`, `bin`.

Source: Kaastra & Bleeker 2016, A&A 587, A151, equations 36, 37 and appendix B (optimal bins).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from xrayflow.errors import DataError, misused
from xrayflow.ogip.rmf import RMF

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

TOGETHER = 1 << 20
"""Elements of a matrix whose widths are found together."""

KINDS = ("file", "none", "optimal", "min:N", "optmin:N", "bin:N")
"""Of `regroup`."""

INCOMPLETE = 2
"""Quality of a bin that `min:N` could not fill, as grppha writes it."""

COUNTS_PER_ELEMENT = 1.314
"""Counts of a Gaussian line over those within its full width at half maximum (Kaastra & Bleeker 2016, B.4)."""


def regroup(
    kind: str, grouping: IntArray, quality: IntArray, counts: FloatArray, rmf: RMF | None, channel_row: IntArray
) -> tuple[IntArray, IntArray]:
    """GROUPING and QUALITY of the wanted kind.

    Args:
        kind: "file" as it is; "none" every channel a bin; "optimal" the bins of Kaastra & Bleeker (2016); "min:N" at
            least N counts a bin, where good channels end before that the bin is bad; "optmin:N" both, optimal bins
            merged until they hold N; "bin:N" N channels a bin.
        grouping: GROUPING of the file.
        quality: QUALITY of the file. Bad channels end a bin and keep their quality.
        counts: Counts of each channel.
        rmf: The response, for its resolution; None serves all but optimal bins.
        channel_row: Row of the RMF's channels for each channel.

    Returns:
        GROUPING and QUALITY.

    Raises:
        DataError: `kind` is none of these.
    """
    if kind == "file":
        return grouping, quality
    if kind == "none":
        return np.zeros_like(grouping), quality
    if kind == "optimal" and rmf is not None:
        return group_optimal(quality, counts, resolution(rmf)[channel_row]), quality
    word, colon, text = kind.partition(":")
    number = int(text) if colon and len(text) < 10 and text.isascii() and text.isdigit() else 0
    if number > 0 and word == "min":
        return group_min(quality, counts, number)
    if number > 0 and word == "optmin" and rmf is not None:
        return group_optimal_min(quality, counts, resolution(rmf)[channel_row], number)
    if number > 0 and word == "bin":
        return group_constant(quality, number), quality
    raise misused(DataError(f"grouping {kind[:40]!r} is none of {', '.join(KINDS)}; write it like min:20"))


def group_min(quality: IntArray, counts: FloatArray, minimum: int) -> tuple[IntArray, IntArray]:
    """Bins of at least `minimum` counts.

    Args:
        quality: QUALITY of the channels.
        counts: Counts of the channels.
        minimum: Least counts of a bin.

    Returns:
        GROUPING, and QUALITY with 2 where good channels ended before the bin was full.

    >>> group_min(np.zeros(5, int), np.array([3.0, 1.0, 1.0, 5.0, 1.0]), 4)
    (array([ 1, -1,  1, -1,  1]), array([0, 0, 0, 0, 2]))
    """
    grouping = np.zeros(len(quality), dtype=np.int64)
    quality = quality.copy()
    for begin, end in _good_runs(quality):
        first, total = begin, 0.0
        for index in range(begin, end):
            grouping[index] = 1 if index == first else -1
            total += counts[index]
            if total >= minimum:
                first, total = index + 1, 0.0
        quality[first:end] = INCOMPLETE
    return grouping, quality


def group_optimal(quality: IntArray, counts: FloatArray, fwhm: FloatArray) -> IntArray:
    """The bins of Kaastra & Bleeker (2016): the fewer counts a resolution element holds, the wider its bins.

    With N_r counts in a resolution element and R elements in the spectrum, x = ln[N_r (1 + 0.20 ln R)], the best width
    is one FWHM for x <= 2.119, else FWHM (0.08 + 7.0/x + 1.8/x^2) / (1 + 5.9/x). A bin is as wide as the best width of
    every one of its channels allows.

    Args:
        quality: QUALITY of the channels; bins do not cross bad ones.
        counts: Counts of the channels.
        fwhm: Full width at half maximum of the response at each channel [channels].

    Returns:
        GROUPING.

    Source: equations 36, 37 and appendix B of the paper.
    """
    total = np.concatenate([[0.0], np.cumsum(counts)])
    edge = np.arange(len(total), dtype=np.float64)
    middle = edge[:-1] + 0.5
    within = np.interp(middle + fwhm / 2, edge, total) - np.interp(middle - fwhm / 2, edge, total)
    elements = max(float(np.sum(1.0 / fwhm)), 1.0)
    x = np.log(np.maximum(COUNTS_PER_ELEMENT * within * (1.0 + 0.20 * np.log(elements)), 1.0))
    safe = np.maximum(x, 2.119)
    share = np.where(x <= 2.119, 1.0, (0.08 + 7.0 / safe + 1.8 / safe**2) / (1.0 + 5.9 / safe))
    width = np.maximum(np.rint(fwhm * share), 1).astype(np.int64)
    grouping = np.zeros(len(quality), dtype=np.int64)
    for begin, end in _good_runs(quality):
        first = begin
        while first < end:
            last, allowed = first + 1, int(width[first])
            while last < end and last - first + 1 <= min(allowed, int(width[last])):
                allowed = min(allowed, int(width[last]))
                last += 1
            grouping[first], grouping[first + 1 : last] = 1, -1
            first = last
    return grouping


def group_optimal_min(
    quality: IntArray, counts: FloatArray, fwhm: FloatArray, minimum: int
) -> tuple[IntArray, IntArray]:
    """Optimal bins, merged with the next ones until each holds `minimum` counts (`optmin` of ftgrouppha).

    Args:
        quality: QUALITY of the channels; bins do not cross bad ones.
        counts: Counts of the channels.
        fwhm: Full width at half maximum of the response at each channel [channels].
        minimum: Least counts of a bin.

    Returns:
        GROUPING, and QUALITY with 2 where good channels ended before the bin was full.

    >>> group_optimal_min(np.zeros(5, int), np.array([3.0, 1.0, 1.0, 5.0, 1.0]), np.ones(5), 4)
    (array([ 1, -1,  1, -1,  1]), array([0, 0, 0, 0, 2]))
    """
    grouping, quality = group_optimal(quality, counts, fwhm), quality.copy()
    for begin, end in _good_runs(quality):
        first, total = begin, 0.0
        starts = (begin + np.flatnonzero(grouping[begin:end] == 1)).tolist()
        for start, stop in pairwise([*starts, end]):
            grouping[start] = 1 if start == first else -1
            total += float(counts[start:stop].sum())
            if total >= minimum:
                first, total = stop, 0.0
        quality[first:end] = INCOMPLETE
    return grouping, quality


def group_constant(quality: IntArray, channels: int) -> IntArray:
    """Bins of so many channels, counted anew in each run of good ones; the last of a run may have fewer.

    Args:
        quality: QUALITY of the channels.
        channels: Of each bin.

    >>> group_constant(np.array([0, 0, 0, 5, 0, 0]), 2)
    array([ 1, -1,  1,  0,  1, -1])
    """
    grouping = np.zeros(len(quality), dtype=np.int64)
    for begin, end in _good_runs(quality):
        grouping[begin:end] = np.where(np.arange(end - begin) % channels == 0, 1, -1)
    return grouping


def _good_runs(quality: IntArray) -> list[tuple[int, int]]:
    """Begin and end (exclusive) of every run of good channels."""
    good = np.concatenate([[False], quality == 0, [False]])
    step = np.flatnonzero(good[1:] != good[:-1])
    return list(zip(step[::2].tolist(), step[1::2].tolist(), strict=True))


def resolution(rmf: RMF) -> FloatArray:
    """Full width at half maximum of the response at the nominal energy of every channel [channels].

    Args:
        rmf: The response.

    Returns:
        At least 1 for each of the RMF's channels. A channel outside the photon energies, or at an energy without
        response, takes the width of the nearest one that has it.
    """
    if rmf not in _RESOLUTIONS:  # the spectra of an archive share a few responses
        _RESOLUTIONS[rmf] = _resolution(rmf)
    return _RESOLUTIONS[rmf]


_RESOLUTIONS: WeakKeyDictionary[RMF, FloatArray] = WeakKeyDictionary()


def _resolution(rmf: RMF) -> FloatArray:
    centre = (rmf.energy_edges[1:] + rmf.energy_edges[:-1]) / 2
    seen = np.flatnonzero(np.diff(rmf.matrix.indptr) > 0)
    nominal = (rmf.e_min + rmf.e_max) / 2
    if len(seen) == 0:
        return np.ones(len(nominal))
    nearest = seen[np.clip(np.searchsorted((centre[seen][1:] + centre[seen][:-1]) / 2, nominal), 0, len(seen) - 1)]
    rows, of_channel = np.unique(nearest, return_inverse=True)
    widths = np.concatenate([_widths(rmf, part) for part in _parts(rmf, rows)])
    return widths[of_channel]


def resolved_energies(bands: Sequence[tuple[RMF, float, float]], step: float, most: int) -> FloatArray:
    """Energies a part of the full width at half maximum apart, of the response that resolves best where several do.

    Args:
        bands: A response, and where its band begins and ends [keV], of each instrument.
        step: The part.
        most: So many energies at most; they are wider apart then.

    Returns:
        From the lowest to the highest of the bands [keV]; none between bands with a gap between them.
    """
    lo, hi = min(first for _, first, _ in bands), max(last for _, _, last in bands)
    fine = np.geomspace(max(lo, 1e-6), hi, 4096)
    apart = np.full(fine.shape, np.inf)
    for rmf, first, last in bands:
        nominal, order = (rmf.e_min + rmf.e_max) / 2, np.argsort(rmf.e_min)
        width = np.abs(np.asarray(rmf.e_max - rmf.e_min, dtype=np.float64)) * resolution(rmf)
        own = step * np.maximum(np.interp(fine, nominal[order], width[order]), 1e-4 * fine)
        apart = np.where((fine >= first) & (fine <= last), np.minimum(apart, own), apart)
    # elements from the lowest energy on, counted along the fine grid
    elements = np.concatenate([[0.0], np.cumsum(np.diff(fine) / (0.5 * (apart[1:] + apart[:-1])))])
    count = int(np.clip(np.ceil(elements[-1]) + 1, 2, most))
    return np.asarray(np.interp(np.linspace(0.0, elements[-1], count), elements, fine))


def row_fwhm(rmf: RMF, row: int) -> float:
    """Distance of the half-maximum crossings on both sides of the peak of one matrix row, interpolated [channels].

    Args:
        rmf: The response.
        row: Of the matrix, one that is not empty.
    """
    return float(_widths(rmf, np.array([row]))[0])


def _parts(rmf: RMF, rows: IntArray) -> list[IntArray]:
    """The rows in parts of some million elements."""
    elements = np.cumsum(np.diff(rmf.matrix.indptr).astype(np.int64)[rows])
    return np.split(rows, np.unique(np.searchsorted(elements, np.arange(TOGETHER, elements[-1], TOGETHER))))


def _widths(rmf: RMF, rows: IntArray) -> FloatArray:
    """`row_fwhm` of several rows at once, at least 1: no Python loop sees a row."""
    chosen = rmf.matrix[rows]
    count = np.diff(chosen.indptr).astype(np.int64)
    start = np.cumsum(count) - count
    value, column = chosen.data, chosen.indices.astype(np.int64)
    place = np.arange(len(value))
    top = np.maximum.reduceat(value, start)
    peak = np.minimum.reduceat(np.where(value == np.repeat(top, count), place, len(place)), start)
    below = value < np.repeat(top, count) / 2
    first = np.append(True, column[1:] != column[:-1] + 1)  # of a stretch: before it the row is 0
    first[start] = True
    last = np.append(first[1:], True)
    # the outermost elements around the peak that are not below the half
    left = np.maximum.accumulate(np.where(first | np.append(True, below[:-1]), place, 0))[peak]
    right = np.minimum.accumulate(np.where(last | np.append(below[1:], True), place, len(place))[::-1])[::-1][peak]
    before = np.where(first[left], 0.0, value[left - 1])
    after = np.where(last[right], 0.0, value[np.minimum(right + 1, len(place) - 1)])
    with np.errstate(divide="ignore", invalid="ignore"):
        low = column[left] - 1 + (top / 2 - before) / (value[left] - before)
        high = column[right] + 1 - (top / 2 - after) / (value[right] - after)
    # rows of negative elements alone have no width
    return np.where(top > 0.0, np.maximum(high - low, 1.0), 1.0)
