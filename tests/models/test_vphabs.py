"""phabs with free abundances."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from xrayflow.models import parse_model, without_absorbers
from xrayflow.models.absorption import ELEMENTS, PHABS_LOWEST, load_cross_sections, sum_elements
from xrayflow.models.components import COMPONENTS
from xrayflow.models.edges import EnergyBins
from xrayflow.models.jacobian import flux_and_jacobian
from xrayflow.models.xspec import XspecLibrary

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EDGES = torch.logspace(-1, 1.3, 801, dtype=torch.float64)
ONES = [1.0] * 17


def factor(name: str, *parameters: float, abund: str = "wilm") -> np.ndarray:
    component = next(component for component in COMPONENTS if component.name == name)
    return component.bind(EnergyBins(EDGES), abund)(*torch.tensor(parameters, dtype=torch.float64)).numpy()


@pytest.mark.parametrize("abund", ["wilm", "angr", "aspl", "grsa", "lodd"])
def test_with_the_abundances_of_the_table_it_is_phabs(abund: str) -> None:
    assert_allclose(factor("vphabs", 0.7, *ONES, abund=abund), factor("phabs", 0.7, abund=abund), rtol=1e-11)


@pytest.mark.parametrize("element", ELEMENTS[1:])
def test_more_of_an_element_is_more_of_its_own_cross_section(element: str) -> None:
    at = ELEMENTS.index(element)
    more = [3.0 if i == at else 1.0 for i in range(1, len(ELEMENTS))]
    alone = np.where(np.arange(len(ELEMENTS)) == at, load_cross_sections().abundances["angr"], 0.0)
    sigma = sum_elements(EDGES.numpy(), "phabs", alone, PHABS_LOWEST)
    ratio = factor("vphabs", 0.01, *more, abund="angr") / factor("phabs", 0.01, abund="angr")
    assert_allclose(ratio, np.exp(-0.02 * sigma), rtol=1e-12)


@pytest.mark.parametrize("abund", ["wilm", "angr", "lodd"])
def test_the_compiled_library_lets_the_same_through(abund: str) -> None:
    pytest.importorskip("xspectrampoline")
    rows = np.random.default_rng(5).uniform(np.log(0.2), np.log(5.0), (30, 18))
    rows[0] = np.log([4.701, *[1.0] * 14, 4.43477, 1.0, 1.0])  # a published one
    with XspecLibrary(abund=abund) as library:
        theirs = library.call("vphabs", np.exp(rows), EDGES.numpy())
    ours = np.array([factor("vphabs", *row, abund=abund) for row in np.exp(rows)])
    assert np.abs(ours - theirs).max() < 5e-6


def test_elements_are_held_at_1_until_thawed_and_an_unabsorbed_flux_leaves_it_out() -> None:
    model = parse_model("vphabs*powerlaw")
    assert model.names == ("vphabs.nH", "powerlaw.PhoIndex", "powerlaw.norm")
    assert model.thaw("vphabs.Fe").names[1] == "vphabs.Fe"
    theta = torch.tensor([2.0, 1.7, 1.0], dtype=torch.float64)
    bare = parse_model("powerlaw").on(EDGES)(theta[1:])
    assert_allclose(without_absorbers(model.on(EDGES))(theta).numpy(), bare.numpy(), rtol=1e-12)


def test_stated_derivatives_are_those_of_forward_mode() -> None:
    """A free, a linked and a frozen abundance."""
    model = parse_model("vphabs*powerlaw").thaw("vphabs.O").link({"vphabs.Fe": "2*vphabs.O"}).freeze({"vphabs.Si": 3.0})
    flux = model.on(EDGES)
    theta = torch.tensor([[0.5, 1.2, 1.7, 1.0], [3.0, 0.4, 2.2, 0.1]], dtype=torch.float64)
    photons, jacobian = flux_and_jacobian(flux, theta)
    assert_allclose(photons.numpy(), flux(theta).numpy(), rtol=1e-13)
    exact = torch.func.vmap(torch.func.jacfwd(flux))(theta).movedim(-1, 0)
    for ours, theirs in zip(jacobian, exact, strict=True):
        assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-9 * float(theirs.abs().max()))
