"""How densely the edges of the energy grid stand: closely where absorption is steep, and at both sides of a jump."""

from __future__ import annotations

import numpy as np
import pytest

from xrayflow.folding import density
from xrayflow.folding.density import ABSORPTION_EDGES, BINS_PER_DECADE, FINE_STRUCTURE, RANGE, count_bins


def per_decade(energy: float) -> float:
    """Bins of a decade's width there."""
    place, number = count_bins()
    ends = np.interp(np.log10(energy) + np.array([-0.002, 0.002]), np.log10(place), number)
    return float(np.diff(ends)[0] / 0.004)


def test_the_number_of_bins_grows_with_the_energy() -> None:
    place, number = count_bins()
    assert place.shape == number.shape
    assert (np.diff(place) > 0).all()
    # a bin that holds a jump has no width worth cutting
    assert (np.diff(number) >= 0).all()
    assert (np.diff(number) == 0).sum() == len(ABSORPTION_EDGES)
    assert (place[0], place[-1]) == pytest.approx(RANGE, rel=0.2)


@pytest.mark.parametrize("energy", [0.3, 1.0, 3.0, 9.0])
def test_everywhere_are_as_many_bins_as_smooth_spectra_need(energy: float) -> None:
    assert per_decade(energy) >= 0.99 * BINS_PER_DECADE


def test_bins_stand_closer_in_the_fine_structure_of_oxygen_than_beside_it() -> None:
    lo, hi = FINE_STRUCTURE[0]
    assert per_decade(0.5 * (lo + hi)) > 2.0 * per_decade(2.2)


def test_the_absorption_edges_are_in_order_and_within_the_range() -> None:
    assert list(ABSORPTION_EDGES) == sorted(ABSORPTION_EDGES)
    assert RANGE[0] < ABSORPTION_EDGES[0] < ABSORPTION_EDGES[-1] < RANGE[1]
    assert 0.0 < density.JUMP_WIDTH < 1e-5
