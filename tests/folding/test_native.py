"""Counts of a detector's own channels: against the fold of the same channels, one bin each."""

from __future__ import annotations

import numpy as np
import pytest

from calibration_zoo import bright, detector
from xrayflow.folding import Forward, Grid
from xrayflow.folding.native import native_counts


@pytest.mark.parametrize("grid", [None, Grid.log(0.05, 20.0, 700)])
def test_native_counts_are_those_of_a_fold_without_groups(grid: Grid | None) -> None:
    one = bright(1e6)
    whole = detector().bin(energies=[(0.0, 16.0)], grouping="none")
    forward = Forward.of(one.model, [whole], grid)
    wanted = forward.expected(one.theta[None, None])[0, 0].numpy()
    found = forward.native_counts(one.theta[None, None])
    photons = forward.flux(one.theta[None, None])[0, 0].numpy()
    np.testing.assert_array_equal(found, native_counts(whole, forward.grid, photons))
    assert found.shape == whole.observation.rmf.channel.shape
    used = whole.bin_of_channel >= 0
    np.testing.assert_allclose(found[whole.observation.channel_row[used]], wanted, rtol=1e-9)
