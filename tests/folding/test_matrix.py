"""Matrices of single binnings: which are kept, and under which name; what is in them is tested by what they fold."""

from __future__ import annotations

from dataclasses import replace

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
