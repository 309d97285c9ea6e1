"""Modes in the bins of a spectrum: against folding by hand, and against channels whose edges are shifted exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from scipy.ndimage import convolve1d
from scipy.signal import savgol_filter

from calibration_zoo import bright, detector
from xrayflow.calibration import BinModes, channels, find_mode_set, gain_moved
from xrayflow.folding import Forward
from xrayflow.ogip import Spectrum


@pytest.fixture(scope="module")
def grouped() -> Spectrum:
    return bright().spectrum


def test_a_mode_is_what_an_area_with_that_error_changes(grouped: Spectrum) -> None:
    """A power law of index 2 folded with an area that is off by the mode, by the fold that all models use."""
    modes = find_mode_set("nicer-v1")
    found = BinModes.of(grouped, modes)
    own = detector().arf
    assert own is not None
    middle = np.sqrt(np.maximum(own.energy_edges[1:] * own.energy_edges[:-1], 1e-6))
    from xrayflow.models import parse_model

    theta = torch.tensor([[[2.0, 1.0]]], dtype=torch.float64)
    model = parse_model("powerlaw")

    def counts(factor: np.ndarray) -> np.ndarray:
        observation = replace(grouped.observation, arf=replace(own, area=own.area * factor))
        spectrum = observation.bin(grouping="optimal")
        return Forward.of(model, [replace(grouped, observation=spectrum.observation)]).expected(theta)[0, 0].numpy()

    plain = counts(np.ones_like(middle))
    for mode in (0, 3, 40, modes.names.index("Si K")):
        changed = counts(1.0 + modes.at(middle)[mode]) / plain - 1.0
        assert found.psi[mode] == pytest.approx(changed, abs=2e-4)


def test_bins_that_are_merged_see_the_mean_of_their_modes() -> None:
    fine, wide = bright(grouping="none").spectrum, bright().spectrum
    modes = find_mode_set("nicer-v1")
    a, b = BinModes.of(fine, modes), BinModes.of(wide, modes)
    used = (fine.bin_of_channel >= 0) & (wide.bin_of_channel >= 0)
    of = wide.bin_of_channel[used]
    expected = bright(grouping="none").expected()[0, 0].numpy()[fine.bin_of_channel[used]]
    merged = np.stack(
        [np.bincount(of, expected * row[fine.bin_of_channel[used]]) / np.bincount(of, expected) for row in a.psi]
    )
    whole = np.bincount(of, minlength=wide.counts.size) == np.bincount(wide.bin_of_channel[wide.bin_of_channel >= 0])
    assert b.psi[:, whole] == pytest.approx(merged[:, whole], abs=1.5e-3)


@pytest.mark.parametrize("grouping", ["none", "optimal"])
@pytest.mark.parametrize(("total", "worst", "typical"), [(1e5, 0.1, 0.01), (1e7, 0.05, 0.002)])
def test_the_energy_scale_moves_counts_as_shifted_edges_do(
    grouping: str, total: float, worst: float, typical: float
) -> None:
    """Against the counts of a fine fold, summed and read at shifted edges by a spline; parts of the bin's counts."""
    one = bright(total, grouping)
    spectrum = one.spectrum
    found = BinModes.of(spectrum, find_mode_set("nicer-v1"))
    expected = one.expected()
    moved = gain_moved(expected, torch.from_numpy(found.gain)[None])[0, 0].numpy()
    whole = detector().bin(energies=[(0.0, 15.0)], grouping="none")
    channels = one.scale * Forward.of(one.model, [whole]).expected(one.theta[None, None])[0, 0].numpy()
    running = CubicSpline(np.append(whole.energy_lo, whole.energy_hi[-1]), np.concatenate([[0.0], np.cumsum(channels)]))
    lo, hi = spectrum.energy_lo, spectrum.energy_hi
    step = 1e-3
    for k, (below, above) in enumerate([(0.01 + 0 * lo, 0.01 + 0 * hi), (0.005 * lo, 0.005 * hi)]):
        exact = ((running(hi - step * above) - running(lo - step * below)) - (running(hi) - running(lo))) / step
        error = np.abs(moved[k] - exact) / expected[0, 0].numpy()
        assert error.max() < worst
        assert np.average(error, weights=spectrum.counts) < typical


def test_a_set_without_gain_has_none(grouped: Spectrum) -> None:
    assert BinModes.of(grouped, find_mode_set("generic-v1")).gain.shape == (0, grouped.counts.size, 3)


def test_the_shape_is_near_the_counts(grouped: Spectrum) -> None:
    found = BinModes.of(grouped, find_mode_set("nicer-v1"))
    assert found.shape.sum() == pytest.approx(grouped.counts.sum(), rel=0.01)
    assert np.abs(found.shape - grouped.counts).max() < 8 * np.sqrt(grouped.counts.max())


@pytest.mark.parametrize("size", [1, 3, 11, 31])
def test_the_window_fits_cubics(size: int) -> None:
    counts = np.random.default_rng(size).poisson(1e4, 200).astype(float)
    wanted = savgol_filter(counts, size, min(3, size - 1), mode="nearest")
    assert convolve1d(counts, channels._of_cubic(size), mode="nearest") == pytest.approx(wanted, rel=1e-12)


def test_a_spectrum_without_counts_has_modes_too(grouped: Spectrum) -> None:
    empty = replace(
        grouped.observation, pha=replace(grouped.observation.pha, counts=0 * grouped.observation.pha.counts)
    )
    found = BinModes.of(empty.bin(grouping="none"), find_mode_set("nicer-v1"))
    assert np.isfinite(found.gain).all()
    assert np.isfinite(found.psi).all()
    assert (found.shape > 0).all()


def test_the_amplitude_is_the_sets_unless_a_user_says(grouped: Spectrum) -> None:
    modes = find_mode_set("nicer-v1")
    assert BinModes.of(grouped, modes).nominal == 2.0  # the bundled response is of 2020
    assert BinModes.of(grouped, modes, 0.5).nominal == 0.5


def test_other_detectors_scatter_as_the_modes_have_it(grouped: Spectrum) -> None:
    """Their energy scale left alone."""
    found = BinModes.of(grouped, replace(find_mode_set("nicer-v1"), gain_offset=0.0, gain_slope=0.0))
    expected, amplitude = torch.full((4000, grouped.counts.size), 1e4).double(), torch.full((4000,), 2.0).double()
    seen = found.seen_by_others(expected, amplitude, torch.Generator().manual_seed(1))
    sd = torch.log(seen).std(0).numpy()
    assert sd == pytest.approx(2.0 * np.sqrt((found.psi**2).sum(0)), rel=0.06)


def test_a_file_that_gives_its_systematic_error_says_how_large_the_modes_are() -> None:
    """niphasyserr writes NICER's into SYS_ERR; bins for which it says nothing keep the set's own."""
    spectrum, modes = bright().spectrum, find_mode_set("nicer-v1")
    error = np.where(spectrum.energy_lo < 2.0, 0.02, 0.0)
    plain, told = BinModes.of(spectrum, modes), BinModes.of(replace(spectrum, sys_err=error), modes)
    whole = np.sqrt((told.psi**2).sum(axis=0))
    assert whole[error > 0] == pytest.approx(0.02)
    np.testing.assert_array_equal(told.psi[:, error == 0], plain.psi[:, error == 0])
    correlation = (told.psi * plain.psi).sum(axis=0) / (whole * np.sqrt((plain.psi**2).sum(axis=0)))
    assert correlation == pytest.approx(1.0), "only their size is another"
    assert plain.nominal == modes.nominal_of(spectrum.observation.rmf.year)
    assert told.nominal == 1.0
    assert BinModes.of(replace(spectrum, sys_err=error), modes, 2.0).nominal == 2.0
    np.testing.assert_array_equal(told.gain, plain.gain)


@pytest.mark.parametrize(("nh", "gain"), [(0.1, (0.0, 0.0)), (4.0, (0.02, 0.004))])
def test_about_a_fit_the_energy_scale_is_exact(nh: float, gain: tuple[float, float]) -> None:
    """Moved a little further by the fold: in standard deviations of 1e7 counts, where observed counts cost 3 to 7."""
    one = bright(1e7)
    theta = torch.tensor([[[nh, 1.8, 1.0]]], dtype=torch.float64)

    def forward(offset: float, slope: float) -> Forward:
        return Forward.of(one.model, [replace(one.spectrum, gain=(gain[0] + offset, gain[1] + slope))])

    centre = forward(0.0, 0.0)
    plain = centre.expected(theta)[0, 0]
    spectrum = replace(one.spectrum, gain=gain)
    modes = find_mode_set("nicer-v1")
    fit = BinModes.of_fit(spectrum, modes, centre.native_counts(theta), plain.numpy(), 1.0)
    np.testing.assert_array_equal(fit.psi, BinModes.of(spectrum, modes, 1.0).psi)
    moved = gain_moved(plain[None, None], torch.from_numpy(fit.gain)[None])[0, 0].numpy()
    step, sd = 1e-2, np.sqrt(1e7 * plain.numpy() / float(plain.sum()))
    for row, further in zip(moved, ((step * 0.01, 0.0), (0.0, step * 0.005)), strict=True):
        exact = (forward(*further).expected(theta)[0, 0] - plain).numpy() / step
        error, size = ((one / plain.numpy() * sd) for one in (row - exact, exact))
        assert np.sqrt((error**2).sum()) < 0.7
        assert np.sqrt((size**2).sum()) > 20.0


def test_modes_move_with_the_channels_that_they_belong_to() -> None:
    """A step at the gold edge is read 40 eV higher by a detector that reads 40 eV too high."""
    spectrum, modes = bright(grouping="none").spectrum, find_mode_set("nicer-v1")
    k = modes.names.index("Au M5")
    plain, moved = (BinModes.of(replace(spectrum, gain=(offset, 0.0)), modes).psi[k] for offset in (0.0, 0.04))
    middle = 0.5 * (spectrum.energy_lo + spectrum.energy_hi)
    near = (middle > 1.8) & (middle < 3.0)
    assert moved[near] == pytest.approx(np.interp(middle[near] - 0.04, middle, plain), abs=2e-4)
