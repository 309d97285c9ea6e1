"""Channels whose energies are read too high: the running sum of counts, interpolated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.interpolate import CubicSpline
from scipy.special import ndtr

from calibration_zoo import bright
from xrayflow.calibration.moved import moved_channels, read_elsewhere
from xrayflow.errors import DataError

EDGES = np.cumsum(np.concatenate([[0.3], 0.01 * np.where(np.arange(400) < 200, 1.0, 1.3)]))


def line(energy: float, sd: float) -> np.ndarray:
    """Counts of a line in the channels."""
    return np.diff(ndtr((EDGES - energy) / sd))


@pytest.mark.parametrize(("offset", "slope"), [(0.004, 0.0), (-0.013, 0.003), (0.05, -0.01)])
def test_a_line_is_read_where_the_energy_scale_puts_it(offset: float, slope: float) -> None:
    """Six channels of the finer width are one standard deviation, as where a CCD resolves 150 eV."""
    read = line(2.0, 0.06) @ read_elsewhere(EDGES, EDGES - offset - slope * EDGES).toarray()
    at = EDGES - offset - slope * EDGES
    wanted = np.diff(ndtr((at - 2.0) / 0.06))
    assert np.abs(read - wanted).max() < 2e-4 * wanted.max()
    assert read.sum() == pytest.approx(1.0, abs=1e-9)


def test_an_energy_scale_that_is_right_changes_nothing() -> None:
    same = read_elsewhere(EDGES, EDGES).toarray()
    np.testing.assert_allclose(same, np.eye(EDGES.size - 1), atol=1e-12)


def test_whole_channels_move_whole() -> None:
    even = np.arange(12.0)
    moved = read_elsewhere(even, even - 2.0).toarray()
    counts = np.array([5.0, 1.0, 0.0, 2.0, 8.0, 3.0, 1.0, 1.0, 4.0, 6.0, 7.0])
    np.testing.assert_allclose(counts @ moved, [0.0, 0.0, *counts[:-2]], atol=1e-12)


def test_weights_are_those_of_a_cubic() -> None:
    """Any cubic running sum is met exactly, on uneven edges, away from the ends."""
    cubic = CubicSpline(EDGES, 2.0 + EDGES - 0.3 * EDGES**2 + 0.1 * EDGES**3)
    at = EDGES - 0.017
    read = np.diff(cubic(EDGES)) @ read_elsewhere(EDGES, at).toarray()
    np.testing.assert_allclose(read[4:-4], np.diff(cubic(at))[4:-4], rtol=1e-9)


def test_two_channels_are_enough() -> None:
    moved = read_elsewhere(np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.5, 2.5])).toarray()
    assert moved.shape == (2, 2)
    assert np.isfinite(moved).all()


def test_channels_that_fall_in_energy_are_refused() -> None:
    spectrum = bright(1e6).spectrum
    rmf = spectrum.observation.rmf
    fallen = replace(rmf, e_min=rmf.e_min[::-1].copy(), e_max=rmf.e_max[::-1].copy())
    damaged = replace(spectrum, observation=replace(spectrum.observation, rmf=fallen), gain=(0.01, 0.0))
    with pytest.raises(DataError, match="do not increase in energy"):
        moved_channels(damaged)
