"""XSPEC's rules for bins, each on channels of 1 keV: channel i covers i to i + 1 keV."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ogip_zoo import toy_observation, write_rmf
from xrayflow.data import bundled_rmf
from xrayflow.errors import DataError
from xrayflow.ogip import RMF, Bins, Spectrum, form_bins, read_rmf
from xrayflow.ogip.grouping import notice_channels, notice_energies, undecided
from xrayflow.ogip.regroup import group_min, group_optimal, regroup, resolution


def bins_of(grouping: list[int], quality: list[int] | None = None, *, descending: bool = False) -> Bins:
    low = np.arange(len(grouping), dtype=np.float64)
    low = low[::-1].copy() if descending else low
    return form_bins(
        np.arange(10, 10 + len(grouping)), np.array(grouping), np.array(quality or [0] * len(grouping)), low, low + 1.0
    )


@pytest.mark.parametrize(
    ("grouping", "expected"),
    [
        ([1, -1, -1, 1, -1], [0, 0, 0, 1, 1]),
        ([0, 0, 0, 0, 0], [0, 1, 2, 3, 4]),
        ([1, 1, 1, 1, 1], [0, 1, 2, 3, 4]),
        ([-1, -1, 1, -1, 0], [0, 0, 1, 1, 2]),
        ([1, -1, 0, -1, -1], [0, 0, 1, 2, 2]),
        ([1, -1, 3, -1, 1], [0, 0, 1, 2, 3]),
    ],
)
def test_grouping_begins_continues_or_stands_alone(grouping: list[int], expected: list[int]) -> None:
    assert bins_of(grouping).bin_of_channel.tolist() == expected


def test_channels_of_quality_one_vanish_before_the_numbering() -> None:
    bins = bins_of([0, 0, 0, 0], [0, 1, 0, 0])
    assert bins.bin_of_channel.tolist() == [0, -1, 1, 2]
    assert bins.first_channel.tolist() == [10, 12, 13]


def test_a_bin_goes_on_across_a_vanished_channel() -> None:
    bins = bins_of([1, -1, -1, 1], [0, 1, 0, 0])
    assert bins.bin_of_channel.tolist() == [0, -1, 0, 1]
    assert (bins.e_min.tolist(), bins.e_max.tolist()) == ([0.0, 3.0], [3.0, 4.0])


def test_a_bin_whose_first_channel_vanishes_is_still_a_bin_of_its_own() -> None:
    assert bins_of([1, -1, 1, -1], [0, 0, 1, 0]).bin_of_channel.tolist() == [0, 0, -1, 1]


def test_a_bad_run_begins_a_bin_and_so_does_the_first_good_channel_after_it() -> None:
    bins = bins_of([1, -1, -1, -1, -1, -1], [0, 0, 2, 2, 0, 0])
    assert bins.bin_of_channel.tolist() == [0, 0, 1, 1, 2, 2]
    assert bins.quality.tolist() == [0, 2, 0]


def test_bad_runs_of_different_quality_are_different_bins() -> None:
    bins = bins_of([1, -1, -1, -1], [5, 5, 2, 0])
    assert bins.bin_of_channel.tolist() == [0, 0, 1, 2]
    assert bins.quality.tolist() == [5, 2, 0]


def test_bad_channels_keep_their_own_grouping() -> None:
    assert bins_of([0, 0, 1, -1], [2, 2, 2, 2]).bin_of_channel.tolist() == [0, 1, 2, 2]


def test_a_spectrum_of_vanished_channels_has_no_bins() -> None:
    bins = bins_of([0, 0], [1, 1])
    assert bins.bin_of_channel.tolist() == [-1, -1]
    assert len(bins.quality) == 0
    assert len(notice_energies(bins, [(0.5, 1.5)])) == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.sampled_from([0, 0, 0, 1, 2, 5])), min_size=1, max_size=40))
def test_bins_are_runs_of_kept_channels_of_one_quality(channels: list[tuple[int, int]]) -> None:
    grouping, quality = (list(column) for column in zip(*channels, strict=True))
    bins = bins_of(grouping, quality)
    kept = bins.bin_of_channel >= 0
    assert kept.tolist() == [q != 1 for q in quality]
    assert set(np.diff(bins.bin_of_channel[kept]).tolist()) <= {0, 1}
    assert bins.quality[bins.bin_of_channel[kept]].tolist() == [q for q in quality if q != 1]
    assert np.all(bins.e_min < bins.e_max)


@pytest.mark.parametrize(
    ("energies", "kept"),
    [
        ([(1.5, 3.5)], [2]),  # the bins that hold the ends go too
        ([(1.0, 4.0)], [1, 2]),  # E_MIN < E <= E_MAX: 1.0 belongs to the first bin, 4.0 to the fourth
        ([(1.0000001, 4.0000001)], [2, 3]),
        ([(0.0, 5.0)], [0, 1, 2, 3]),  # nothing lies at or below 0; 5.0 is in the last bin
        ([(0.0, 99.0)], [0, 1, 2, 3, 4]),
        ([(7.0, 99.0)], []),
        ([(0.5, 2.5), (3.5, 5.5)], [1, 4]),  # of the gap, the bins of 2.5 and 3.5 and all between go
        ([(0.5, 1.5), (1.6, 9.0)], [2, 3, 4]),
    ],
)
def test_a_range_is_what_xspec_leaves_after_ignoring_around_it(
    energies: list[tuple[float, float]], kept: list[int]
) -> None:
    assert np.flatnonzero(notice_energies(bins_of([0] * 5), energies)).tolist() == kept


def test_an_energy_in_a_gap_of_the_channels_belongs_to_the_next_bin() -> None:
    low = np.array([0.0, 1.0, 5.0, 6.0])
    bins = form_bins(np.arange(4), np.zeros(4, int), np.zeros(4, int), low, low + 1.0)
    assert np.flatnonzero(notice_energies(bins, [(3.0, 99.0)])).tolist() == [3]
    assert np.flatnonzero(notice_energies(bins, [(0.0, 3.0)])).tolist() == [0, 1]


def test_energies_may_decrease_with_channel() -> None:
    kept = notice_energies(bins_of([0] * 5, descending=True), [(1.0, 4.0)])
    assert np.flatnonzero(kept).tolist() == [2, 3]


@pytest.mark.parametrize(
    "energies", [[], [(2.0, 1.0)], [(1.0, 3.0), (2.0, 4.0)], [(1.0, float("nan"))], [(-1.0, 2.0)], [(1.0, 1.0)]]
)
def test_ranges_that_do_not_increase_are_refused(energies: list[tuple[float, float]]) -> None:
    with pytest.raises(DataError, match=r"energies .* are no increasing ranges; write them like 0\.5-1\.5,2\.3-10"):
        notice_energies(bins_of([0] * 5), energies)


@pytest.mark.parametrize(("channels", "kept"), [((11, 13), [1, 2, 3]), ((0, 10), [0]), ((14, 99), [4]), ((90, 99), [])])
def test_a_range_of_channels_keeps_both_ends(channels: tuple[int, int], kept: list[int]) -> None:
    assert np.flatnonzero(notice_channels(bins_of([0] * 5), channels)).tolist() == kept


def test_a_range_of_channels_keeps_the_whole_bins_of_its_ends() -> None:
    assert np.flatnonzero(notice_channels(bins_of([1, -1, 1, -1, 0]), (11, 12))).tolist() == [0, 1]


def test_channels_that_do_not_increase_are_refused() -> None:
    with pytest.raises(DataError, match="channels 13-11 do not increase"):
        notice_channels(bins_of([0] * 5), (13, 11))


def test_a_bin_that_good_channels_cannot_fill_is_bad() -> None:
    grouping, quality = group_min(np.array([0, 0, 5, 0, 0]), np.array([4.0, 1.0, 9.0, 2.0, 2.0]), 4)
    assert grouping.tolist() == [1, 1, 0, 1, -1]
    assert quality.tolist() == [0, 2, 5, 0, 0]


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(1, 50))
def test_good_bins_hold_the_least_counts_and_all_counts_are_in_some_bin(counts: list[int], least: int) -> None:
    values = np.array(counts, dtype=np.float64)
    grouping, quality = group_min(np.zeros(len(values), dtype=np.int64), values, least)
    low = np.arange(len(values), dtype=np.float64)
    bins = form_bins(np.arange(len(values)), grouping, quality, low, low + 1.0)
    total = np.bincount(bins.bin_of_channel, weights=values)
    assert total.sum() == values.sum()
    assert np.all(total[bins.quality == 0] >= least)
    assert set(np.flatnonzero(bins.quality).tolist()) <= {len(total) - 1}


def widths(grouping: np.ndarray) -> list[int]:
    return np.diff(np.append(np.flatnonzero(grouping == 1), len(grouping))).tolist()


def test_optimal_bins_of_a_faint_spectrum_are_one_resolution_element_wide() -> None:
    grouping = group_optimal(np.zeros(100, int), np.full(100, 0.01), np.full(100, 10.0))
    assert widths(grouping) == [10] * 10


def test_optimal_bins_of_a_bright_spectrum_follow_the_formula_of_the_paper() -> None:
    # 1.314 x 13 x 1e4 counts in each of 30 resolution elements
    x = np.log(1.314 * 13e4 * (1 + 0.2 * np.log(30)))
    share = (0.08 + 7.0 / x + 1.8 / x**2) / (1 + 5.9 / x)
    assert 13 * share == pytest.approx(5.8, abs=0.1)
    grouping = group_optimal(np.zeros(390, int), np.full(390, 1e4), np.full(390, 13.0))
    assert set(widths(grouping)[2:-2]) == {6}


def test_optimal_bins_do_not_cross_bad_channels() -> None:
    quality = np.zeros(20, dtype=np.int64)
    quality[5] = 2
    assert np.flatnonzero(group_optimal(quality, np.zeros(20), np.full(20, 10.0)) == 1).tolist() == [0, 6, 16]


def test_the_resolution_is_the_width_of_the_response(tmp_path: Path) -> None:
    rmf = read_rmf(write_rmf(tmp_path / "a.rmf"))
    energy = (rmf.e_min + rmf.e_max) / 2
    expected = 2.3548 * (0.03 + 0.03 * np.sqrt(energy)) / 0.1
    inside = (energy > 1.0) & (energy < 11.0)
    assert resolution(rmf)[inside] == pytest.approx(expected[inside], rel=0.35)
    assert np.median(resolution(rmf)[inside] / expected[inside]) == pytest.approx(1.0, abs=0.1)


def test_a_matrix_without_response_has_channels_of_their_own(tmp_path: Path) -> None:
    rmf = read_rmf(write_rmf(tmp_path / "a.rmf", matrix=np.zeros((150, 120)), elements="fixed"))
    assert resolution(rmf).tolist() == [1.0] * 120


def grouped(folder: Path, kind: str) -> Spectrum:
    return toy_observation(folder, grouping=np.tile([1, -1, -1], 40)).bin(((0.0, 99.0),), grouping=kind)


@pytest.mark.parametrize("kind", ["file", "none", "optimal", "min:30"])
def test_grouping_keeps_the_counts(tmp_path: Path, kind: str) -> None:
    spectrum = grouped(tmp_path, kind)
    used = spectrum.bin_of_channel >= 0
    assert spectrum.counts.sum() == spectrum.observation.pha.counts[used].sum()
    assert used.sum() >= 90
    assert spectrum.grouping == kind


def test_no_grouping_makes_every_channel_a_bin(tmp_path: Path) -> None:
    assert len(grouped(tmp_path, "none").counts) == 120
    assert len(grouped(tmp_path, "file").counts) == 40


@pytest.mark.parametrize("kind", ["min", "min:", "min:0", "min:-3", "min:2.5", "best", ""])
def test_an_unknown_grouping_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match=f"grouping '{kind}' is none of file, none, optimal, min:N"):
        grouped(tmp_path, kind)


# Groups that the counts decided.

Columns = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def nicer() -> RMF:
    """A response of 1501 channels, 9 to 19 of them in a FWHM."""
    return read_rmf(bundled_rmf())


def falling(total: float, seed: int, size: int = 1501) -> np.ndarray:
    """Counts of a spectrum that falls by e in a tenth of the channels."""
    mean = np.exp(-np.arange(size) / (0.1 * size))
    return np.random.default_rng(seed).poisson(total * mean / mean.sum()).astype(np.float64)


def loosened(nicer: RMF, kind: str, columns: Columns, counts: np.ndarray) -> Columns | None:
    return undecided(kind, *columns, counts, nicer, np.arange(len(counts)))


def at_least(minimum: int, width: int, counts: np.ndarray) -> Columns:
    """Groups of so many counts and so many channels at least, as specgroup makes them."""
    grouping, quality = np.full(len(counts), -1), np.zeros(len(counts), dtype=np.int64)
    first, total = 0, 0.0
    for index, value in enumerate(counts):
        total += value
        if index == first:
            grouping[index] = 1
        if total >= minimum and index - first + 1 >= width:
            first, total = index + 1, 0.0
    quality[first:] = 2
    return grouping, quality


@pytest.mark.parametrize("total", [300.0, 3e4, 3e6])
@pytest.mark.parametrize("minimum", [1, 5, 20, 25])
def test_a_file_grouped_by_its_counts_is_known(nicer: RMF, minimum: int, total: float) -> None:
    for seed in range(10):
        counts, none = falling(total, seed), np.zeros(1501, dtype=np.int64)
        found = loosened(nicer, "file", group_min(none, counts, minimum), counts)
        known = loosened(nicer, f"min:{minimum}", (none, none), counts)
        assert found is not None
        assert np.array_equal(found, known)


@pytest.mark.parametrize("total", [30.0, 300.0, 3e4, 3e6])
@pytest.mark.parametrize("kind", ["optimal", "by 2", "by 5", "by 20"])
def test_a_file_grouped_by_its_response_is_left_alone(nicer: RMF, kind: str, total: float) -> None:
    row, none = np.arange(1501), np.zeros(1501, dtype=np.int64)
    for seed in range(10):
        counts = falling(total, seed)
        grouping = np.where(row % int(kind[3:]) == 0, 1, -1) if kind != "optimal" else none
        columns = regroup("optimal" if kind == "optimal" else "file", grouping, none, counts, nicer, row)
        assert loosened(nicer, "file", columns, counts) is None


def test_groups_that_are_wide_for_the_response_stay_beside_those_that_the_counts_ended(nicer: RMF) -> None:
    counts = falling(3e4, 1)
    columns = at_least(20, 7, counts)
    found = loosened(nicer, "file", columns, counts)
    assert found is not None
    starts = np.flatnonzero(columns[0] == 1)
    total, ending = np.add.reduceat(counts, starts), counts[np.append(starts[1:], 1501) - 1]
    kept = np.repeat(total - ending >= 20, np.diff(np.append(starts, 1501)))
    assert 0.2 < kept.mean() < 0.9
    assert np.array_equal(found[0][kept], columns[0][kept])
    assert np.sum(found[0] != -1) > 1.2 * len(starts)


def test_pieces_are_a_fifth_of_the_resolution_and_do_not_depend_on_the_counts(nicer: RMF) -> None:
    found = [loosened(nicer, "min:1", (np.zeros(1501, dtype=np.int64),) * 2, falling(300.0, seed)) for seed in range(2)]
    assert found[0] is not None
    assert found[1] is not None
    assert np.array_equal(found[0], found[1])
    starts = np.flatnonzero(found[0][0] != -1)
    width = np.diff(np.append(starts, 1501))
    assert set(width.tolist()) == {1, 2, 3, 4}
    assert np.all(width <= np.maximum(resolution(nicer)[starts] / 5.0, 1.0))


def test_bright_channels_stay_bins_where_faint_groups_are_given_up(nicer: RMF) -> None:
    counts = np.where(np.arange(1501) < 700, 1000.0, falling(300.0, 3))
    found = loosened(nicer, "min:20", (np.zeros(1501, dtype=np.int64),) * 2, counts)
    assert found is not None
    assert np.all(found[0][:700] == 1)
    assert np.any(found[0][700:] == -1)


def test_what_a_tool_left_incomplete_comes_back_and_what_is_bad_does_not(nicer: RMF) -> None:
    counts, bad = falling(3000.0, 4), np.zeros(1501, dtype=np.int64)
    bad[:30], bad[200:210], bad[400] = 5, 5, 1
    grouping, quality = group_min(bad, counts, 25)
    assert np.any(quality != bad)
    for kind, given_quality in (("file", quality), ("min:25", bad)):
        found = loosened(nicer, kind, (grouping, given_quality), counts)
        assert found is not None
        assert np.array_equal(found[1], bad)


@pytest.mark.parametrize("kind", ["none", "optimal"])
def test_channels_and_optimal_bins_count_as_undecided(tmp_path: Path, kind: str) -> None:
    spectrum = grouped(tmp_path, kind)
    assert spectrum.undecided() is spectrum


def test_groups_of_the_band_become_its_channels_and_are_still_shown(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=0.5)
    asked = observation.bin(((1.0, 6.0),), grouping="min:5")
    found, channels = asked.undecided(), observation.bin(((1.0, 6.0),), grouping="none")
    assert asked.shown is None
    assert found.shown is asked
    assert (found.energies, found.grouping) == (asked.energies, asked.grouping)
    # a channel of 0.1 keV is wider than a fifth of the resolution
    assert np.array_equal(found.bin_of_channel, channels.bin_of_channel)
    assert np.sum(found.bin_of_channel >= 0) > np.sum(asked.bin_of_channel >= 0)


def test_groups_outside_the_band_change_nothing(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=1000.0)
    asked = observation.bin(((1.0, 3.0),), grouping="min:5")
    assert asked.undecided() is asked
    wide = observation.bin(((0.0, 99.0),), grouping="min:5")
    assert wide.undecided() is not wide


def test_channels_asked_for_by_number_stay_so(tmp_path: Path) -> None:
    asked = toy_observation(tmp_path, exposure=0.5).bin(channels=(20, 70), grouping="min:5")
    found = asked.undecided()
    assert found.channels == (20, 70)
    assert np.flatnonzero(found.bin_of_channel >= 0).tolist() == list(range(20, 71))


def test_groups_stay_where_smaller_bins_would_have_a_negative_background(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path, exposure=0.5, background=True)
    assert observation.background is not None
    modelled = np.where(np.arange(120) == 40, -0.01, 0.1)
    negative = replace(observation, background=replace(observation.background, counts=modelled))
    asked = negative.bin(((1.0, 6.0),), grouping="min:5")
    assert np.all(asked.background >= 0)
    assert asked.undecided() is asked
    positive = replace(observation, background=replace(observation.background, counts=np.abs(modelled)))
    assert positive.bin(((1.0, 6.0),), grouping="min:5").undecided().shown is not None
