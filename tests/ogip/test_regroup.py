"""What a grouping tool makes: each kind holds what its name promises, and no bin crosses a bad channel."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from ogip_zoo import toy_observation
from xrayflow.errors import DataError
from xrayflow.ogip import RMF, form_bins
from xrayflow.ogip import regroup as file
from xrayflow.ogip.regroup import group_constant, group_optimal, group_optimal_min, regroup, resolution, row_fwhm

CHANNELS = st.lists(st.tuples(st.integers(0, 9), st.sampled_from([0, 0, 0, 0, 5, 1])), min_size=1, max_size=80)


def counts_of_bins(grouping: np.ndarray, quality: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    none = np.zeros(len(counts))
    bins = form_bins(np.arange(len(counts)), grouping, quality, none, none)
    kept = bins.bin_of_channel >= 0
    return np.bincount(bins.bin_of_channel[kept], counts[kept], len(bins.quality)), bins.quality


@settings(deadline=None, max_examples=100)
@given(channels=CHANNELS, least=st.integers(1, 30), width=st.floats(1.0, 9.0))
def test_merged_optimal_bins_hold_enough_and_are_unions_of_optimal_ones(
    channels: list[tuple[int, int]], least: int, width: float
) -> None:
    counts, quality = (np.array(column) for column in zip(*channels, strict=True))
    fwhm = np.full(len(counts), width)
    plain = group_optimal(quality, counts, fwhm)
    grouping, marked = group_optimal_min(quality, counts, fwhm, least)
    held, flag = counts_of_bins(grouping, marked, counts.astype(float))
    assert np.all(held[flag == 0] >= least)
    assert np.all(plain[(grouping == 1) & (quality == 0)] == 1)
    assert np.array_equal(marked[quality != 0], quality[quality != 0])
    # what was marked is what good channels could not fill: the end of a run, below the least
    assert np.all(held[flag == 2] < least)


def test_a_bright_spectrum_needs_no_merging() -> None:
    quality, counts, fwhm = np.zeros(60, dtype=np.int64), np.full(60, 1e4), np.full(60, 5.0)
    grouping, marked = group_optimal_min(quality, counts, fwhm, 20)
    assert np.array_equal(grouping, group_optimal(quality, counts, fwhm))
    assert not marked.any()


def test_constant_bins_begin_anew_after_a_bad_channel() -> None:
    assert group_constant(np.array([0, 0, 0, 2, 0, 0, 0, 0]), 3).tolist() == [1, -1, -1, 0, 1, -1, -1, 1]


def test_bins_that_counts_decided_are_given_up_for_a_likelihood(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=2.0)
    merged, optimal = observation.bin(grouping="optmin:25"), observation.bin(grouping="optimal")
    assert len(merged.counts) < len(optimal.counts)
    assert merged.counts.min() >= 25
    loose = merged.undecided()
    assert np.array_equal(loose.counts, optimal.counts)
    assert loose.shown is merged
    assert observation.bin(grouping="bin:4").undecided().shown is None


@pytest.mark.parametrize(
    "kind", ["min", "min:", "min:0", "min:-1", "optmin:x", "opt:3", "min:²", "min:" + "9" * 5000, ""]
)
def test_other_words_are_refused_in_a_short_line(tmp_path: Path, kind: str) -> None:
    observation = toy_observation(tmp_path)
    with pytest.raises(
        DataError, match=r"is none of file, none, optimal, min:N, optmin:N, bin:N; write it like min:20"
    ):
        observation.bin(grouping=kind)


def test_all_but_optimal_bins_need_no_response() -> None:
    zero, counts = np.zeros(6, dtype=np.int64), np.arange(6.0)
    for kind in ("none", "min:3", "bin:2", "file"):
        assert len(regroup(kind, zero, zero, counts, None, zero)[0]) == 6
    with pytest.raises(DataError):
        regroup("optimal", zero, zero, counts, None, zero)


def width_of(profile: np.ndarray) -> float:
    """Distance of the half-maximum crossings of one row, written out as it is defined."""
    padded = np.concatenate([[0.0], profile, [0.0]])
    peak = int(np.argmax(padded))
    half = padded[peak] / 2
    left, right = peak, peak
    while padded[left] >= half:
        left -= 1
    while padded[right] >= half:
        right += 1
    low = left + (half - padded[left]) / (padded[left + 1] - padded[left])
    high = right - (half - padded[right]) / (padded[right - 1] - padded[right])
    return max(high - low, 1.0)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), filled=st.sampled_from([0.2, 0.6, 1.0]), together=st.sampled_from([1, 5, 1000]))
def test_widths_are_those_of_each_row(seed: int, filled: float, together: int) -> None:
    random = np.random.default_rng(seed)
    dense = random.random((9, 14)) * (random.random((9, 14)) < filled)
    dense = np.round(dense, 1)  # equal elements too
    edges = np.arange(10.0)
    rmf = RMF(Path("none"), edges, csr_array(dense), np.arange(14), np.arange(14.0), np.arange(1.0, 15.0), False, "")
    rows = np.flatnonzero(dense.any(axis=1))
    if len(rows):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file, "TOGETHER", together)
            found = np.concatenate([file._widths(rmf, part) for part in file._parts(rmf, rows)])
        assert found == pytest.approx([width_of(dense[row]) for row in rows])
        assert row_fwhm(rmf, int(rows[-1])) == pytest.approx(width_of(dense[rows[-1]]))


def test_the_resolution_of_a_response_is_worked_out_once_and_goes_with_it() -> None:
    def diagonal(width: int) -> RMF:
        dense = np.minimum(1.0, np.eye(9) + (width - 1) * np.eye(9, k=1))
        channels = np.arange(9)
        edges = np.arange(10.0)
        return RMF(Path("none"), edges, csr_array(dense), channels, edges[:-1], edges[1:], False, "")

    narrow, wide = diagonal(1), diagonal(2)
    assert resolution(narrow) is resolution(narrow)
    assert resolution(wide)[:-1].tolist() != resolution(narrow)[:-1].tolist()
    before = len(file._RESOLUTIONS)
    del narrow
    gc.collect()
    assert len(file._RESOLUTIONS) == before - 1


def test_a_row_of_negative_elements_has_no_width() -> None:
    low, matrix = np.arange(2.0), csr_array([[-1.0, -2.0]])
    rmf = RMF(Path("none"), low, matrix, np.arange(2), low, low + 1.0, False, "")
    assert row_fwhm(rmf, 0) == 1.0
