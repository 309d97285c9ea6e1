"""What a grouping tool makes: each kind holds what its name promises, and no bin crosses a bad channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ogip_zoo import toy_observation
from xrayflow.errors import DataError
from xrayflow.ogip import form_bins
from xrayflow.ogip.regroup import group_constant, group_optimal, group_optimal_min, regroup

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
