"""Ends of many rows, and which of them are one place."""

from __future__ import annotations

import torch

from xrayflow.fitting import Minima
from xrayflow.fitting.minima import distances, leaders_of


def test_distances_are_measured_by_the_curvature_of_the_place_that_is_left() -> None:
    x = torch.tensor([[[0.0, 0.0], [2.0, 1.0]]], dtype=torch.float64)
    information = torch.diag_embed(torch.tensor([[[1.0, 4.0], [9.0, 0.5]]], dtype=torch.float64))
    assert distances(x, information)[0].tolist() == [[0.0, 36.5], [8.0, 0.0]]


def test_starts_follow_the_best_that_arrived_where_they_did() -> None:
    """Places within .3 sd and .05 are one, led by the lowest; one that has not converged leads itself."""
    x = torch.tensor([[[0.01], [0.0], [0.5], [0.02]]], dtype=torch.float64)
    value = torch.tensor([[1.02, 1.0, 9.0, 1.01]], dtype=torch.float64)
    information = torch.full((1, 4, 1, 1), 100.0, dtype=torch.float64)
    converged = torch.tensor([[True, True, True, False]])
    ends = Minima(x, value, information, converged, torch.zeros(1, dtype=torch.int64))
    assert leaders_of(ends).tolist() == [[1, 1, 2, 3]]
