"""Multiplicative components: absorption, edges, cut-offs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xrayflow.models.absorption import (
    ABUNDANCES,
    ELEMENTS,
    load_cross_sections,
    phabs_cross_section,
    shield_grains,
    tbabs_cross_section,
)
from xrayflow.models.components import COMPONENTS
from xrayflow.models.edges import EnergyBins

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EDGES = torch.logspace(-1, 1, 201, dtype=torch.float64)


def factor(name: str, *parameters: float, edges: torch.Tensor = EDGES, abund: str = "wilm") -> np.ndarray:
    component = next(component for component in COMPONENTS if component.name == name)
    bound = component.bind(EnergyBins(edges), abund)
    return bound(*(torch.tensor(value, dtype=torch.float64) for value in parameters)).numpy()


@pytest.mark.parametrize("name", ["TBabs", "phabs"])
def test_the_log_of_absorption_is_linear_in_the_column(name: str) -> None:
    np.testing.assert_allclose(factor(name, 0.3), factor(name, 0.1) ** 3, rtol=1e-12)


@pytest.mark.parametrize("name", ["TBabs", "phabs"])
def test_no_column_absorbs_nothing(name: str) -> None:
    assert (factor(name, 0.0) == 1.0).all()


@pytest.mark.parametrize("name", ["TBabs", "phabs"])
def test_the_abundances_matter(name: str) -> None:
    assert len({float(factor(name, 1.0, abund=abund)[100]) for abund in ABUNDANCES}) == len(ABUNDANCES)


def test_phabs_is_transparent_below_13_6_ev() -> None:
    assert (phabs_cross_section(np.linspace(5e-3, 13.5e-3, 10), "wilm") == 0.0).all()


def test_tbabs_jumps_where_the_elements_have_edges() -> None:
    for energy, jump in ((7.124, 2.0), (1.311, 1.05), (0.0136, 100.0)):
        sigma = tbabs_cross_section(energy * np.array([0.998, 0.999, 1.001, 1.002]), "wilm")
        assert sigma[2] / sigma[0] > jump


def test_cross_sections_of_every_element_are_known() -> None:
    tables = load_cross_sections()
    assert all(len(elements) == len(ELEMENTS) for elements in tables.elements.values())
    assert all(atoms[0] == 1.0 and atoms.shape == (len(ELEMENTS),) for atoms in tables.abundances.values())


def test_small_grains_shield_nothing_and_large_depths_saturate() -> None:
    assert shield_grains(np.array([1e-9]), 1.15)[0] == pytest.approx(1e-9, rel=1e-6)
    shielded = shield_grains(np.array([1.0, 10.0, 100.0]), 1.15)
    assert (np.diff(shielded) > 0.0).all()
    assert (shielded < np.array([1.0, 10.0, 100.0])).all()


def test_a_bin_across_an_edge_follows_the_threshold_smoothly() -> None:
    bins = torch.tensor([3.0, 4.0, 5.0, 6.0], dtype=torch.float64)
    below, inside, above = (factor("edge", energy, 0.7, edges=bins)[1] for energy in (4.0, 4.5, 5.0))
    assert below < inside < above == 1.0


def test_highecut_is_1_below_its_cutoff() -> None:
    found = factor("highecut", 4.0, 10.0)
    assert (found[EDGES.numpy()[1:] <= 4.0] == 1.0).all()
    assert found[-1] == pytest.approx(np.exp((4.0 - EDGES[-2:].numpy()) / 10.0).mean())


def test_gabs_takes_the_mean_over_wide_bins() -> None:
    fine = torch.linspace(1.0, 8.0, 701, dtype=torch.float64)
    coarse = factor("gabs", 4.0, 0.5, 0.7, edges=fine[::10])
    np.testing.assert_allclose(
        coarse, factor("gabs", 4.0, 0.5, 0.7, edges=fine).reshape(-1, 10).mean(axis=1), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("TBabs", (0.4,)),
        ("constant", (2.0,)),
        ("edge", (4.03, 0.7)),
        ("gabs", (4.0, 0.5, 0.7)),
        ("highecut", (4.03, 9.0)),
    ],
)
def test_gradients_are_right(name: str, parameters: tuple[float, ...]) -> None:
    component = next(component for component in COMPONENTS if component.name == name)
    bound = component.bind(EnergyBins(torch.linspace(2.0, 8.0, 9, dtype=torch.float64)), "wilm")
    inputs = tuple(torch.tensor(value, dtype=torch.float64, requires_grad=True) for value in parameters)
    assert torch.autograd.gradcheck(bound, inputs, check_forward_ad=True)
