"""The photon-energy grid: the response's own edges, both sides of every absorption edge, fine enough."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ogip_zoo import ENERGY_EDGES
from xrayflow.data import bundled_pha
from xrayflow.errors import ModelError
from xrayflow.folding import Fold, Grid
from xrayflow.folding.density import ABSORPTION_EDGES, BINS_PER_DECADE, JUMP_WIDTH, RANGE, count_bins
from xrayflow.models import parse_model
from xrayflow.models.absorption import ABUNDANCES, load_cross_sections
from xrayflow.ogip import Observation, read_observation
from xrayflow.prior import Prior


@pytest.fixture(scope="module")
def nicer() -> Observation:
    return read_observation(bundled_pha())


def widest_ratio(edges: NDArray[np.float64]) -> float:
    return float((edges[1:] / edges[:-1]).max())


def test_logarithmic_bins_are_xspecs() -> None:
    grid = Grid.log(0.01, 200.0, 1000)
    assert grid.energy_edges.size == 1001
    np.testing.assert_allclose(np.diff(np.log(grid.energy_edges)), np.log(200.0 / 0.01) / 1000)
    assert grid.description == "0.01-200 keV, 1000 logarithmic bins"


@pytest.mark.parametrize(("lo", "hi", "bins"), [(0.0, 1.0, 3), (2.0, 1.0, 3), (1.0, 2.0, 0), (1.0, np.inf, 3)])
def test_logarithmic_bins_that_cannot_be_are_refused(lo: float, hi: float, bins: int) -> None:
    with pytest.raises(ModelError, match="give 0 < lo < hi and at least one bin"):
        Grid.log(lo, hi, bins)


@pytest.mark.parametrize("edges", [[1.0], [0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [1.0, np.nan], [[1.0, 2.0]]])
def test_edges_that_are_no_grid_are_refused(edges: list[float]) -> None:
    with pytest.raises(ModelError, match="its edges must be positive, finite and ascending"):
        Grid(np.array(edges), "by hand")


@pytest.mark.parametrize("edges", [[1.0], [1.0, 1.0], [2.0, 1.0, 3.0], [-1.0, 1.0, 2.0]])
def test_response_edges_that_are_no_grid_are_refused(edges: list[float]) -> None:
    with pytest.raises(ModelError, match="its edges must be positive, finite and ascending"):
        Grid.of_response(np.array(edges))


@pytest.mark.parametrize("wide", [True, False])
def test_all_edges_of_the_response_are_kept(nicer: Observation, wide: bool) -> None:
    for edges in (nicer.rmf.energy_edges, ENERGY_EDGES):
        grid = Grid.of_response(edges, wide)
        assert np.isin(edges, grid.energy_edges).all()


def test_a_wide_grid_reaches_from_1_ev_to_1_mev_and_a_narrow_one_not(nicer: Observation) -> None:
    edges = nicer.rmf.energy_edges
    wide, narrow = Grid.of_response(edges), Grid.of_response(edges, wide=False)
    assert (wide.energy_edges[0], wide.energy_edges[-1]) == (1e-3, 1e3)
    assert (narrow.energy_edges[0], narrow.energy_edges[-1]) == (edges[0], edges[-1])
    assert np.isin(narrow.energy_edges, wide.energy_edges).all()
    assert "continued" in wide.description
    assert "continued" not in narrow.description


def test_no_bin_is_wider_than_its_share_of_a_decade(nicer: Observation) -> None:
    coarse = np.array([0.0, 0.005, 0.4, 3.0, 30.0, 2000.0])
    for edges in (nicer.rmf.energy_edges, ENERGY_EDGES, coarse):
        # a bin that needs hardly more than itself stays whole
        assert widest_ratio(Grid.of_response(edges).energy_edges) < 10.0 ** (1.02 / BINS_PER_DECADE)


def test_a_response_that_starts_at_zero_starts_above_it() -> None:
    assert Grid.of_response(np.array([0.0, 0.005, 0.01, 10.0])).energy_edges[0] == 1e-3
    # bins that are narrower still
    assert Grid.of_response(np.array([0.0, 1e-3, 10.0])).energy_edges[0] == 5e-4


def test_a_response_beyond_the_wide_range_is_not_continued() -> None:
    grid = Grid.of_response(np.array([1e-4, 1.0, 5e3]))
    assert (grid.energy_edges[0], grid.energy_edges[-1]) == (1e-4, 5e3)


def test_both_sides_of_every_absorption_edge_are_edges_of_the_grid(nicer: Observation) -> None:
    edges = Grid.of_response(nicer.rmf.energy_edges).energy_edges
    for jump in ABSORPTION_EDGES:
        below, above = edges[np.searchsorted(edges, jump) - 1], edges[np.searchsorted(edges, jump)]
        assert above - below <= 2.001 * JUMP_WIDTH * jump


@pytest.mark.parametrize("absorber", ["TBabs", "phabs"])
def test_every_jump_of_the_cross_sections_is_listed(absorber: str) -> None:
    sections = load_cross_sections()
    listed = np.array(ABSORPTION_EDGES)
    found = []
    for table in sections.elements[absorber]:
        with np.errstate(invalid="ignore"):
            steep = (np.diff(table.log_energy) < 3e-7) & (np.abs(np.diff(table.log_sigma)) > 5e-3)
        for i in np.flatnonzero(steep & (np.exp(table.log_energy[:-1]) > RANGE[0])):
            ends = table.log_energy[i : i + 2]
            rise = 0.0
            for abund in ABUNDANCES:
                weights = zip(sections.abundances[abund], sections.elements[absorber], strict=True)
                sigma = np.sum([weight * one(ends) for weight, one in weights if weight > 0], axis=0)
                rise = max(rise, abs(np.log(sigma[1] / sigma[0])))
            if rise > 3e-4:
                found.append(np.exp(ends))
    assert len(found) > 25
    for low, high in found:
        nearest = listed[np.abs(listed - low).argmin()]
        assert nearest * (1 - JUMP_WIDTH) < low < high < nearest * (1 + JUMP_WIDTH)


def test_the_number_of_bins_grows_with_energy() -> None:
    energy, number = count_bins()
    assert (np.diff(energy) > 0).all()
    assert (np.diff(number) >= 0).all()
    # O K holds many in little
    at = np.interp([0.52, 0.58, 2.0, 2.06], energy, number)
    assert at[1] - at[0] > 10 * (at[3] - at[2])


def test_nicer_has_few_bins_and_they_are_fine_enough(nicer: Observation) -> None:
    """The benchmark in small: 99 % of bins with counts within 1.5e-4 of every bin cut in 6."""
    model = parse_model("TBabs*simpl*ezdiskbb")
    grid = Grid.of_response(nicer.rmf.energy_edges)
    assert grid.energy_edges.size < 5500
    spectrum = nicer.bin()
    theta = Prior.of(model).sample((1, 60), torch.Generator().manual_seed(3))
    counts = []
    for one in (grid, grid.finer(6)):
        photons = torch.cat([model.on(torch.from_numpy(one.energy_edges))(part) for part in theta.split(10, 1)], 1)
        counts.append(Fold.of([spectrum], one)(photons)[0] * 20e3 / nicer.pha.exposure)
    rate = counts[1].sum(-1) / 20e3
    kept = (rate > 0.1) & (rate < 1e5)
    assert int(kept.sum()) > 12
    coarse, fine = (one[kept] for one in counts)
    error = (coarse / fine - 1).abs()[fine > 10].numpy()
    assert np.quantile(error, 0.99) < 1.5e-4
    assert float((((coarse - fine) ** 2 / fine).sum(-1)).median()) < 0.01


@pytest.mark.parametrize("text", ["TBabs*powerlaw", "phabs*(bbody+cutoffpl+gaussian)", "TBabs*simpl*diskbb"])
def test_models_stand_bins_of_no_width(text: str) -> None:
    model = parse_model(text)
    theta = torch.tensor([[p.value if p.value > 0 else 0.1 for p in model.free]], dtype=torch.float64)
    grid = Grid.of_response(ENERGY_EDGES)
    fine = model.photon_flux(theta, torch.from_numpy(grid.energy_edges))[0].numpy()
    assert np.isfinite(fine).all()
    assert (fine >= 0).all()
    # per energy, photons are smooth across both sides of an edge that the source itself does not have
    density = fine / np.diff(grid.energy_edges)
    below = np.searchsorted(grid.energy_edges, 2.477 * (1 - 2e-6)) - 1
    assert density[below : below + 3].min() > 0.8 * density[below : below + 3].max()


def test_a_finer_grid_keeps_every_edge() -> None:
    grid = Grid.of_response(ENERGY_EDGES)
    finer = grid.finer(4)
    assert finer.energy_edges.size == 4 * (grid.energy_edges.size - 1) + 1
    np.testing.assert_array_equal(finer.energy_edges[::4], grid.energy_edges)
    assert (np.diff(finer.energy_edges) > 0).all()
    assert finer.description.endswith("each bin in 4")
    np.testing.assert_array_equal(grid.finer(1).energy_edges, grid.energy_edges)


def test_a_grid_cannot_be_cut_into_no_parts() -> None:
    with pytest.raises(ModelError, match="bins cut into 0 parts; give 1 or more"):
        Grid.log(1.0, 2.0, 3).finer(0)
