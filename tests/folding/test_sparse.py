"""A matrix stored by its filled elements folds as the same one stored whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from ogip_zoo import ENERGY_EDGES, toy_observation
from xrayflow.folding import Fold, Grid, fold, sparse
from xrayflow.folding.matrix import MatrixCache
from xrayflow.folding.sparse import SparseMatrix
from xrayflow.ogip import ARF, RMF, Observation, blank_pha

GRIDS = (Grid.of_response(ENERGY_EDGES), Grid.log(0.05, 20.0, 777))


@pytest.fixture
def toy(tmp_path: Path) -> Observation:
    return toy_observation(tmp_path)


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch, toy: Observation, grid: Grid, dtype: torch.dtype) -> tuple[Fold, Fold]:
    """The fold of two spectra of different areas and bins, stored whole and by its filled elements."""
    assert toy.arf is not None
    wave = toy.arf.area * (1.0 + 0.3 * np.sin(np.arange(toy.arf.area.size) / 9.0))
    other = replace(toy, arf=replace(toy.arf, area=wave))
    spectra = [toy.bin([(0.5, 8.0)]), other.bin([(1.0, 6.0)], grouping="bin:3")]
    monkeypatch.setattr(fold, "_CACHE", MatrixCache())
    whole = Fold.of(spectra, grid, dtype)
    monkeypatch.setattr(fold, "_CACHE", MatrixCache())
    monkeypatch.setattr(sparse, "FEW_ELEMENTS", 0)
    monkeypatch.setattr(sparse, "FILLED", 1.0)
    return whole, Fold.of(spectra, grid, dtype)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_counts_are_the_same(both: tuple[Fold, Fold], grid: Grid, dtype: torch.dtype) -> None:
    whole, stored = both
    assert {type(one) for one in stored.matrices} == {SparseMatrix}
    assert [one.shape for one in stored.matrices] == [one.shape for one in whole.matrices]
    tolerance = {"rtol": 1e-12 if dtype == torch.float64 else 3e-6, "atol": 0.0}
    photons = torch.rand((2, 5, grid.energy_edges.size - 1), generator=torch.Generator().manual_seed(1), dtype=dtype)
    assert torch.allclose(stored(photons), whole(photons), **tolerance)
    assert torch.allclose(stored.summed()(photons), whole.summed()(photons), **tolerance)
    alone = torch.tensor([1])
    assert torch.allclose(stored.select(alone)(photons[1:]), whole.select(alone)(photons[1:]), **tolerance)
    assert stored.to(torch.float32).dtype == torch.float32


@pytest.mark.parametrize(("grid", "dtype"), [(GRIDS[0], torch.float64)])
def test_gradients_pass(both: tuple[Fold, Fold], grid: Grid) -> None:
    photons = torch.rand((2, 3, grid.energy_edges.size - 1), dtype=torch.float64)
    slopes = []
    for one in both:
        leaf = photons.clone().requires_grad_()
        (one(leaf) ** 2).sum().backward()
        slopes.append(leaf.grad)
    assert slopes[0] is not None
    assert slopes[1] is not None
    assert torch.allclose(slopes[0], slopes[1], rtol=1e-12)


def test_wider_energies_are_the_same(monkeypatch: pytest.MonkeyPatch, toy: Observation) -> None:
    grid = Grid.of_response(ENERGY_EDGES)
    wide = Grid(np.append(grid.energy_edges[:-1:7], grid.energy_edges[-1]), "wide")
    photons = torch.rand((1, 4, wide.energy_edges.size - 1), dtype=torch.float64)
    found = []
    for few, filled in ((1 << 40, 0.1), (0, 1.0)):
        monkeypatch.setattr(sparse, "FEW_ELEMENTS", few)
        monkeypatch.setattr(sparse, "FILLED", filled)
        monkeypatch.setattr(fold, "_CACHE", MatrixCache())
        merged = Fold.of([toy.bin([(0.5, 8.0)])], grid).on(wide, torch.float64)
        assert merged is not None
        found.append(merged(photons))
    assert torch.allclose(found[0], found[1], rtol=1e-12)


def test_a_large_matrix_with_hardly_an_element_is_stored_by_these() -> None:
    """6000 energies and channels: 36 million elements, of which one in 600 is filled."""
    size = 6000
    edges = np.linspace(0.5, 9.5, size + 1)
    place = (
        np.repeat(np.arange(size), 9),
        np.clip(np.repeat(np.arange(size), 9) + np.tile(np.arange(-4, 5), size), 0, size - 1),
    )
    matrix = csr_array((np.full(9 * size, 1.0 / 9.0), place), shape=(size, size))
    rmf = RMF(Path("fine.rmf"), edges, matrix, np.arange(size), edges[:-1], edges[1:], False, "fine")
    arf = ARF(Path("fine.arf"), edges, np.full(size, 100.0), "")
    observation = Observation(blank_pha(rmf), rmf, arf, None, np.arange(size))
    folded = Fold.of([observation.bin([(0.5, 9.5)])], Grid(edges, "the response's"))
    (stored,) = folded.matrices
    assert isinstance(stored, SparseMatrix)
    assert stored.nbytes < 2e6
    photons = torch.ones((1, 2, size), dtype=torch.float64)
    assert folded(photons)[0].sum(-1).tolist() == pytest.approx([100.0 * (size - 1)] * 2, rel=1e-3)
