"""Matrices of single binnings: which are kept, and under which name; what is in them is tested by what they fold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from calibration_zoo import bright
from xrayflow.folding.matrix import FoldingMatrix, MatrixCache, binning_of


def test_the_least_recently_used_matrices_are_forgotten_first() -> None:
    one = FoldingMatrix(0, torch.zeros((4, 5), dtype=torch.float64))
    cache = MatrixCache(2 * 4 * 5 * 8)
    cache.put("a", one)
    cache.put("b", one)
    assert cache.get("a") is one
    cache.put("c", one)
    assert [cache.get(key) is one for key in "abc"] == [True, False, True]


def test_a_fold_whose_edges_moved_is_another_one_in_the_cache() -> None:
    spectrum = bright(1e6).spectrum
    assert binning_of(spectrum) != binning_of(replace(spectrum, gain=(0.01, 0.0)))


@pytest.mark.parametrize("rows", [1, 7, 8, 400])
def test_a_product_by_blocks_is_that_of_the_whole_matrix(rows: int) -> None:
    """A staircase, as a detector's is: nothing above it, one empty row; the same to rounding, and fewer elements."""
    random = torch.Generator().manual_seed(1)
    energy, channel = torch.arange(4000)[:, None], torch.arange(900)
    values = torch.rand((4000, 900), generator=random, dtype=torch.float64) * (4000 * channel <= 900 * energy)
    values[2000] = 0.0
    matrix = FoldingMatrix(0, values)
    photons = torch.rand((rows, 4000), generator=random, dtype=torch.float64)
    np.testing.assert_allclose(matrix.product(photons[None])[0], photons @ values, rtol=1e-13)
    assert 0 < sum(block.numel() for _, _, block in matrix.blocks) < 0.6 * values.numel()
    assert FoldingMatrix(0, torch.ones_like(values)).blocks == ()
