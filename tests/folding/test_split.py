"""A response whose tails lie on wider energies folds as the sum of its parts on one grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ogip_zoo import ENERGY_EDGES, redistribution, toy_observation, write_parts
from xrayflow.calibration import find_mode_set, relative_errors
from xrayflow.folding import Fold, Grid, fold
from xrayflow.folding.matrix import MatrixCache
from xrayflow.folding.native import native_counts
from xrayflow.folding.split import SplitMatrix
from xrayflow.ogip import Observation, PackedMatrix, read_rmf, rmf

GRIDS = (Grid.of_response(ENERGY_EDGES), Grid.log(0.05, 20.0, 777))
CLOSE = {"rtol": 1e-6, "atol": 0.0}
"""Tails are multiplied in single precision."""


@pytest.fixture
def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Observation, Observation]:
    """The parts summed, and the tails on their own energies."""
    toy = toy_observation(tmp_path)
    assert toy.arf is not None
    tail = np.tril(np.random.default_rng(3).random((10, 120)), k=60).astype(np.float32) * 4e-4
    path = write_parts(tmp_path / "parts.rmf", [(ENERGY_EDGES, redistribution()), (ENERGY_EDGES[::15], tail)])
    summed = replace(toy, rmf=read_rmf(path))
    monkeypatch.setattr(rmf, "MOST_ELEMENTS", 2000)
    monkeypatch.setattr(rmf, "_KNOWN", rmf.KnownFiles())
    apart = replace(toy, rmf=read_rmf(path))
    assert len(apart.rmf.tails) == 1
    return summed, apart


def folded(monkeypatch: pytest.MonkeyPatch, toy: Observation, grid: Grid, areas: bool, **bins: Any) -> Fold:
    """Of one spectrum, or of two with areas of different shapes."""
    assert toy.arf is not None
    wave = toy.arf.area * (1.0 + 0.3 * np.sin(np.arange(toy.arf.area.size) / 9.0))
    spectra = [replace(toy.bin([(0.5, 8.0)]), **bins)]
    if areas:
        spectra.append(replace(toy, arf=replace(toy.arf, area=wave)).bin([(1.0, 6.0)], grouping="bin:3"))
    monkeypatch.setattr(fold, "_CACHE", MatrixCache())
    return Fold.of(spectra, grid)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("areas", [False, True])
@pytest.mark.parametrize("gain", [(0.0, 0.0), (0.02, 0.001)])
def test_counts_are_the_same(
    both: tuple[Observation, Observation],
    monkeypatch: pytest.MonkeyPatch,
    grid: Grid,
    areas: bool,
    gain: tuple[float, float],
) -> None:
    whole, apart = (folded(monkeypatch, one, grid, areas, gain=gain) for one in both)
    assert {type(one) for one in apart.matrices} == {SplitMatrix}
    assert [one.shape[1] for one in apart.matrices] == [one.shape[1] for one in whole.matrices]
    generator = torch.Generator().manual_seed(1)
    photons = torch.rand((1 + areas, 5, grid.energy_edges.size - 1), generator=generator, dtype=torch.float64)
    # where channels move, what swings below 0 is cut off in each part by itself
    close = CLOSE if gain == (0.0, 0.0) else {"rtol": 2e-3, "atol": 0.0}
    assert torch.allclose(apart(photons), whole(photons), **close)
    assert torch.allclose(apart.summed()(photons), whole.summed()(photons), **close)
    single = apart.to(torch.float32)
    assert single.dtype == torch.float32
    assert torch.allclose(single(photons.float()), apart(photons), rtol=3e-6, atol=0.0)
    assert all(one.nbytes > 0 for one in apart.matrices)


@pytest.mark.parametrize("grid", GRIDS)
def test_counts_are_the_same_on_wider_energies(
    both: tuple[Observation, Observation], monkeypatch: pytest.MonkeyPatch, grid: Grid
) -> None:
    wide = Grid(grid.energy_edges[::7], "every seventh edge")
    found = [folded(monkeypatch, one, grid, False).on(wide, torch.float64) for one in both]
    assert found[0] is not None
    assert found[1] is not None
    photons = torch.rand((1, 5, wide.energy_edges.size - 1), dtype=torch.float64)
    assert torch.allclose(found[1](photons), found[0](photons), **CLOSE)


def test_gradients_pass(both: tuple[Observation, Observation], monkeypatch: pytest.MonkeyPatch) -> None:
    slopes = []
    for one in both:
        photons = torch.ones((1, 2, GRIDS[0].energy_edges.size - 1), dtype=torch.float64, requires_grad=True)
        folded(monkeypatch, one, GRIDS[0], False)(photons).log().sum().backward()  # type: ignore[no-untyped-call]
        assert photons.grad is not None
        slopes.append(photons.grad)
    assert torch.allclose(slopes[1], slopes[0], rtol=1e-5, atol=0.0)


def test_counts_of_channels_are_the_same(both: tuple[Observation, Observation]) -> None:
    photons = np.random.default_rng(0).random(GRIDS[0].energy_edges.size - 1)
    whole, apart = (native_counts(one.bin([(0.5, 8.0)]), GRIDS[0], photons) for one in both)
    np.testing.assert_allclose(apart, whole, rtol=1e-12)


def test_a_grid_from_which_only_the_tail_is_reached_serves_its_bins(
    both: tuple[Observation, Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    high = Grid.log(8.5, 11.9, 50)
    for one in both:
        monkeypatch.setattr(fold, "_CACHE", MatrixCache())
        assert Fold.of([one.bin([(1.0, 2.0)])], high)(torch.ones((1, 1, 50), dtype=torch.float64)).min() > 0


def test_errors_of_the_area_reach_the_tail_too(both: tuple[Observation, Observation]) -> None:
    modes = find_mode_set("nicer-v1")
    (whole, counts), (apart, others) = (relative_errors(one.bin([(0.5, 8.0)]), modes) for one in both)
    np.testing.assert_allclose(others, counts, rtol=1e-12)
    np.testing.assert_allclose(apart, whole, rtol=1e-9, atol=1e-15)


def test_a_matrix_that_stays_packed_folds_as_the_same_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = toy_observation(tmp_path)
    monkeypatch.setattr("xrayflow.ogip.matrix.MOST_ELEMENTS", 100)
    monkeypatch.setattr(rmf, "_KNOWN", rmf.KnownFiles())
    packed = replace(toy, rmf=read_rmf(tmp_path / "toy.rmf"))
    assert isinstance(packed.rmf.matrix, PackedMatrix)
    photons = torch.rand((1, 3, GRIDS[0].energy_edges.size - 1), dtype=torch.float64)
    whole, same = (folded(monkeypatch, one, GRIDS[0], False)(photons) for one in (toy, packed))
    assert torch.allclose(same, whole, rtol=1e-12, atol=0.0)
    assert np.array_equal(packed.bins("optimal").bin_of_channel, toy.bins("optimal").bin_of_channel)


def test_a_tail_that_no_memory_holds_is_refused(
    both: tuple[Observation, Observation], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold, "MOST_ELEMENTS", 100)
    with pytest.raises(fold.DataError, match=r"the response between 10 energies and .* bins is too large for memory"):
        folded(monkeypatch, both[1], GRIDS[0], False)
