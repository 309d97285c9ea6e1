"""Energy grids and the number of quadrature nodes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from xrayflow.errors import ModelError
from xrayflow.models.edges import EnergyBins, nodes_needed


@pytest.mark.parametrize("edges", [[0.0, 1.0], [1.0, 1.0], [2.0, 1.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_edges_that_are_no_grid_are_refused(edges: list[float]) -> None:
    with pytest.raises(ModelError, match="energy_edges: not finite, increasing and above 0 keV"):
        EnergyBins(torch.tensor(edges, dtype=torch.float64))


@pytest.mark.parametrize("shape", [(1,), (2, 2)])
def test_edges_of_the_wrong_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="give one axis of at least 2 edges"):
        EnergyBins(torch.ones(shape, dtype=torch.float64))


def test_widths_keep_their_digits_in_single_precision() -> None:
    bins = EnergyBins(torch.tensor([1.0, 1.0 + 1e-6], dtype=torch.float64), torch.float32)
    assert bins.log_width.dtype == torch.float32
    assert float(bins.log_width) == pytest.approx(1e-6, rel=1e-5)


@pytest.mark.parametrize("decay", [0.1, 1.0, 5.0, 20.0])
def test_the_nodes_that_are_said_to_suffice_do(decay: float) -> None:
    position, weight = np.polynomial.legendre.leggauss(nodes_needed(decay))
    found = 0.5 * weight @ np.exp(-decay * 0.5 * (position + 1.0))
    assert found == pytest.approx(-math.expm1(-decay) / decay, abs=1e-7)
