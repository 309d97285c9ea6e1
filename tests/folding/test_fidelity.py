"""How exactly something is computed: each grid is made of the answer's own edges, and its purpose decides."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xrayflow.folding import EXACT, FINER, SEARCH, SINGLE, TRAINING, Fidelity, Grid
from xrayflow.folding.density import ABSORPTION_EDGES, JUMP_WIDTH
from xrayflow.folding.fidelity import COARSENESS, OUTSIDE, OXYGEN, PER_DECADE
from xrayflow.models import TOLERANCE

RMF = Grid.of_response(np.linspace(0.1, 15.0, 1501))
"""Of a detector with 10 eV bins."""


def test_exact_is_the_answers_own_grid_in_float64() -> None:
    assert EXACT.grid(RMF) is RMF
    assert [one.dtype for one in (EXACT, FINER, SEARCH, TRAINING)] == [torch.float64] * 3 + [torch.float32]


def test_the_finer_grid_cuts_every_bin_in_three() -> None:
    finer = FINER.grid(RMF).energy_edges
    np.testing.assert_array_equal(finer[::3], RMF.energy_edges)


def test_the_search_keeps_some_of_the_edges_and_no_bin_much_wider_than_it_says() -> None:
    thin = SEARCH.grid(RMF)
    assert set(thin.energy_edges) <= set(RMF.energy_edges)
    assert (thin.energy_edges[0], thin.energy_edges[-1]) == (RMF.energy_edges[0], RMF.energy_edges[-1])
    assert thin.energy_edges.size * 2 <= RMF.energy_edges.size
    # one step of the search's, and what the answer's own bin may overshoot
    own = np.diff(np.log10(RMF.energy_edges)).max()
    assert np.diff(np.log10(thin.energy_edges)).max() <= 1.0 / PER_DECADE + own + 1e-12
    assert "thinned for the search" in thin.description


def test_outside_the_response_the_search_keeps_fewer_edges() -> None:
    """There photons only come from to be scattered; inside, the grid is as fine as without a word of the response."""
    wide = Grid.of_response(np.linspace(0.1, 15.0, 1501), wide=True)
    response = (0.1, 15.0)
    everywhere, thin = SEARCH.grid(wide).energy_edges, SEARCH.grid(wide, response).energy_edges

    def per_decade(edges: np.ndarray, lo: float, hi: float) -> float:
        return float(((edges >= lo) & (edges < hi)).sum() / np.log10(hi / lo))

    for lo, hi in ((1e-3, 0.09), (16.0, 1e3)):
        assert 0.7 * OUTSIDE < per_decade(thin, lo, hi) < 1.2 * OUTSIDE
        assert per_decade(everywhere, lo, hi) > 2.0 * OUTSIDE
    assert per_decade(thin, 0.3, 14.0) == pytest.approx(per_decade(everywhere, 0.3, 14.0), rel=0.02)
    assert set(thin) <= set(wide.energy_edges)
    assert (thin[0], thin[-1]) == (wide.energy_edges[0], wide.energy_edges[-1])
    np.testing.assert_array_equal(SEARCH.grid(wide, (1e-3, 1e3)).energy_edges, everywhere)


def test_the_searchs_twin_differs_by_its_precision_alone() -> None:
    assert SINGLE.dtype == torch.float32
    np.testing.assert_array_equal(SINGLE.grid(RMF).energy_edges, SEARCH.grid(RMF).energy_edges)
    assert SINGLE.tolerance == SEARCH.tolerance
    assert [one.tolerance for one in (EXACT, FINER, TRAINING)] == [TOLERANCE] * 3
    assert SEARCH.tolerance > 100.0 * TOLERANCE


def test_a_grid_that_is_coarse_already_serves_the_search() -> None:
    coarse = Grid.log(0.1, 15.0, 200)
    assert SEARCH.grid(coarse) is coarse
    assert SEARCH.grid(SEARCH.grid(RMF)).energy_edges.size == SEARCH.grid(RMF).energy_edges.size


def test_training_keeps_one_edge_in_six_more_at_oxygen_and_both_sides_of_every_absorption_edge() -> None:
    thin = TRAINING.grid(RMF).energy_edges
    assert set(thin) <= set(RMF.energy_edges)
    assert (thin[0], thin[-1]) == (RMF.energy_edges[0], RMF.energy_edges[-1])
    assert set(RMF.energy_edges[::COARSENESS]) <= set(thin)

    def share(lo: float, hi: float) -> float:
        inside = [((edges > lo) & (edges < hi)).sum() for edges in (thin, RMF.energy_edges)]
        return float(inside[0] / inside[1])

    assert share(*OXYGEN) > 1.5 * share(8.0, 12.0)
    for edge in ABSORPTION_EDGES:
        sides = np.array([edge * (1.0 - JUMP_WIDTH), edge * (1.0 + JUMP_WIDTH)])
        own = np.isin(sides, RMF.energy_edges)
        assert np.isin(sides, thin)[own].all()
        assert own.all() or edge < 0.1


def test_a_fidelity_is_what_is_asked_for_and_can_be_a_key() -> None:
    assert Fidelity("finer", parts=3) == FINER
    assert len({EXACT, FINER, SEARCH, TRAINING, Fidelity("exact")}) == 4
    assert Fidelity("half", every=2).grid(RMF).energy_edges.size < RMF.energy_edges.size
