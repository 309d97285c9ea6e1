"""Energy grids and the number of quadrature nodes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from xrayflow.errors import ModelError
from xrayflow.models import TOLERANCE, NativeFlux, parse_model
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


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, TOLERANCE])
@pytest.mark.parametrize("decay", [0.1, 1.0, 5.0, 20.0])
def test_a_larger_tolerance_takes_fewer_nodes_and_is_kept(decay: float, tolerance: float) -> None:
    count = nodes_needed(decay, tolerance)
    position, weight = np.polynomial.legendre.leggauss(count)
    found = 0.5 * weight @ np.exp(-decay * 0.5 * (position + 1.0))
    assert found == pytest.approx(-math.expm1(-decay) / decay, rel=10.0 * tolerance)
    assert count <= nodes_needed(decay)


@pytest.mark.parametrize("text", ["bbodyrad", "ezdiskbb"])
def test_the_tolerance_of_the_bins_reaches_the_components(text: str) -> None:
    """A cold blackbody, what is allowed decides how far off it is."""
    model = parse_model(text)
    theta = torch.tensor([[[0.1, 1.0]]], dtype=torch.float64)
    edges = torch.logspace(-1.0, 1.0, 121, dtype=torch.float64)
    finest = NativeFlux.of(model, edges, tolerance=1e-13)(theta)
    off = [
        float((NativeFlux.of(model, edges, tolerance=one)(theta) / finest - 1.0).abs().max())
        for one in (1e-2, 1e-3, TOLERANCE)
    ]
    assert off[0] > 10.0 * off[1] > 100.0 * off[2]
    assert torch.equal(NativeFlux.of(model, edges)(theta), NativeFlux.of(model, edges, tolerance=TOLERANCE)(theta))
