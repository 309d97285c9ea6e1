"""A network's bins: made of native channels, filled from any grouping and band, refused for other detectors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ogip_zoo
from xrayflow.data import bundled_rmf
from xrayflow.errors import DataError, MismatchError
from xrayflow.ogip import Observation, read_observation, read_rmf
from xrayflow.simulate import Layout


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Observation:
    return ogip_zoo.toy_observation(tmp_path_factory.mktemp("toy"), background=True)


@pytest.fixture(scope="module")
def layout(toy: Observation) -> Layout:
    return Layout.of(toy.rmf, (0, 20, 60), (2, 3, 7), (0.25, 11.0))


def test_groups_are_runs_of_one_width_with_centres_in_the_band(toy: Observation, layout: Layout) -> None:
    first, last = layout.groups(toy.rmf.channel, toy.rmf.e_min, toy.rmf.e_max)
    # group 0-1 has its centre at 0.1 keV, 2-3 at 0.3; the run from 20 ends with the short group 59
    assert first[:3].tolist() == [2, 4, 6]
    at = first.tolist().index(59)
    assert (int(last[at]), int(first[at + 1]), int(last[at + 1])) == (59, 60, 66)
    assert int(last[-1]) == 108  # 109-115 has its centre at 11.25 keV


def test_at_most_so_many_bins_are_made(toy: Observation, layout: Layout) -> None:
    few = replace(layout, bins=5).groups(toy.rmf.channel, toy.rmf.e_min, toy.rmf.e_max)
    every = layout.groups(toy.rmf.channel, toy.rmf.e_min, toy.rmf.e_max)
    assert few[0].tolist() == every[0][:5].tolist()


def test_raw_channels_fill_the_bins_whatever_the_grouping(toy: Observation, layout: Layout) -> None:
    first, last = layout.groups(toy.rmf.channel, toy.rmf.e_min, toy.rmf.e_max)
    for grouping in ("none", "min:20"):
        spectrum = toy.bin(channels=(0, 119), grouping=grouping)
        filled = layout.fill(spectrum)
        wanted = [toy.pha.counts[a : b + 1].sum() for a, b in zip(first, last, strict=True)]
        assert filled.counts.tolist() == wanted
        assert filled.noticed.tolist() == [1.0] * first.size
        assert toy.background is not None
        # the background's region is 4 times the source's, its exposure the same
        scaled = [toy.background.counts[a : b + 1].sum() / 4.0 for a, b in zip(first, last, strict=True)]
        np.testing.assert_allclose(filled.background, scaled, rtol=1e-12)
        assert filled.exposure == 1000.0


def test_only_noticed_channels_enter(toy: Observation, layout: Layout) -> None:
    spectrum = toy.bin(channels=(21, 40), grouping="none")
    filled = layout.fill(spectrum)
    first, last = layout.groups(toy.rmf.channel, toy.rmf.e_min, toy.rmf.e_max)
    at = first.tolist().index(20)
    assert filled.noticed[at] == pytest.approx(2 / 3)
    assert filled.counts[at] == toy.pha.counts[21:23].sum()
    assert filled.counts.sum() == toy.pha.counts[21:41].sum()
    assert filled.background[(last < 21) | (first > 40)].tolist() == [0.0] * int(((last < 21) | (first > 40)).sum())


def test_bad_channels_do_not_enter(tmp_path: Path, layout: Layout) -> None:
    quality = np.zeros(120)
    quality[30] = 1
    observation = ogip_zoo.toy_observation(tmp_path, quality=quality)
    filled = layout.fill(observation.bin())
    assert filled.noticed.tolist().count(pytest.approx(2 / 3)) == 1


def test_a_spectrum_without_a_background_has_zeros(toy: Observation, layout: Layout) -> None:
    assert not layout.fill(replace(toy, background=None).bin()).background.any()


def test_a_spectrum_that_lacks_rows_fills_what_it_has(tmp_path: Path, layout: Layout) -> None:
    ogip_zoo.toy_files(tmp_path)
    channel = np.arange(30, 100)
    ogip_zoo.write_pha(tmp_path / "part.pha", channel, np.full(70, 2.0), 10.0, detchans=120, first_channel=0)
    observation = read_observation(tmp_path / "part.pha", tmp_path / "toy.rmf", tmp_path / "toy.arf")
    filled = layout.fill(observation.bin(channels=(30, 99), grouping="none"))
    assert filled.counts.sum() == 140.0
    assert (filled.noticed == 0).any()


def test_exposure_times_areascal_is_the_exposure(toy: Observation, layout: Layout) -> None:
    half = replace(toy, pha=replace(toy.pha, areascal=np.full(120, 0.5)))
    filled = layout.fill(half.bin())
    assert filled.exposure == 500.0
    np.testing.assert_allclose(filled.background, 0.5 * layout.fill(toy.bin()).background, rtol=1e-12)


def test_the_region_of_the_source_scales_the_background(toy: Observation, layout: Layout) -> None:
    wide = replace(toy, pha=replace(toy.pha, backscal=np.full(120, 2.0)))
    np.testing.assert_allclose(layout.fill(wide.bin()).background, 2.0 * layout.fill(toy.bin()).background, rtol=1e-12)


def test_areascal_that_varies_is_refused(toy: Observation, layout: Layout) -> None:
    varied = replace(toy, pha=replace(toy.pha, areascal=np.linspace(0.5, 1.0, 120)))
    with pytest.raises(MismatchError, match=r"toy.pha.*AREASCAL runs from 0\.\d+ to 0\.\d+; a network knows one"):
        layout.fill(varied.bin())


def test_another_number_of_channels_is_refused(toy: Observation) -> None:
    with pytest.raises(MismatchError, match=r"toy.pha\[SPECTRUM\]: 120 channels, the network's detector has 1501"):
        Layout.paper().fill(toy.bin())


def test_other_channel_energies_are_refused(toy: Observation, layout: Layout) -> None:
    moved = replace(toy, rmf=replace(toy.rmf, e_min=toy.rmf.e_min * 1.1, e_max=toy.rmf.e_max * 1.1))
    with pytest.raises(MismatchError, match=r"EBOUNDS has .* keV where the network's detector has"):
        layout.fill(moved.bin())
    other = replace(toy, rmf=replace(toy.rmf, channel=toy.rmf.channel + 1))
    with pytest.raises(MismatchError, match="channels from 1, the network's detector counts from 0"):
        layout.fill(other.bin())


def test_a_layout_goes_through_json(layout: Layout) -> None:
    for one in (layout, Layout.paper()):
        assert Layout.from_dict(json.loads(json.dumps(one.to_dict()))) == one


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": [0]}, "unknown key 'layout.start'; did you mean 'starts'"),
        ({"starts": [0, 30, 20]}, "layout: starts .* for 120 channels; give ascending"),
        ({"starts": []}, "layout.starts: Tuple should have at least 1 item"),
        ({"starts": [0] * 1001}, "layout.starts: Tuple should have at most 1000 items"),
        ({"widths": [2, 0, 7]}, r"layout.widths.1: Input should be greater than or equal to 1 \(found 0\)"),
        ({"widths": [2, 1.5, 7]}, r"layout.widths.1: Input should be a valid integer \(found 1.5\)"),
        ({"widths": [2]}, r"layout: widths \(2,\); give one for each of the 3 starts"),
        ({"energies": [0.0, 1.0]}, "layout: energies .*; give one for each start and one more"),
        ({"band": [3.0, 1.0]}, "layout: band 3 .. 1; give lo <= hi"),
        ({"band": 3.0}, r"layout.band: Input should be a valid tuple \(found 3.0\)"),
        ({"band": [1.0, float("inf")]}, r"layout.band.1: Input should be a finite number \(found inf\)"),
        ({"bins": 0}, r"layout.bins: Input should be greater than or equal to 1 \(found 0\)"),
        ({"channels": "many"}, r"layout.channels: Input should be a valid integer \(found 'many'\)"),
        ({"channels": 10**7}, "layout.channels: Input should be less than or equal to 1000000"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(layout: Layout, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=f"^{message}"):
        Layout.from_dict(layout.to_dict() | changes)


def test_a_layout_without_all_its_values_is_refused(layout: Layout) -> None:
    values = layout.to_dict()
    del values["widths"]
    with pytest.raises(DataError, match=r"^'layout.widths' is missing; give it$"):
        Layout.from_dict(values)


def test_starts_of_other_channels_are_refused(toy: Observation) -> None:
    with pytest.raises(DataError, match=r"starts \(1, 20\) of channels 0-119; begin with the first"):
        Layout.of(toy.rmf, (1, 20), (2, 3), (0.3, 10.0))


def test_a_band_without_channels_is_refused(toy: Observation) -> None:
    with pytest.raises(DataError, match="no group of channels in 50-60 keV; widen the band"):
        Layout.of(toy.rmf, (0, 20), (2, 3), (50.0, 60.0))


def test_another_detector_gets_groups_of_equal_width(toy: Observation) -> None:
    layout = Layout.of_detector(toy.rmf, bins=50)
    first, last = layout.groups(toy.rmf.channel, toy.rmf.e_min, toy.rmf.e_max)
    assert first.size == 49
    assert (last - first).tolist() == [1] * 49


def test_nicer_gets_the_papers_bins() -> None:
    assert Layout.of_detector(read_rmf(bundled_rmf())) == Layout.paper()
