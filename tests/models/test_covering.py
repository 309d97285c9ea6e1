"""Absorbers over a part of the source."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from xrayflow.errors import ModelError
from xrayflow.models import parse_model, without_absorbers
from xrayflow.models.components import COMPONENTS
from xrayflow.models.edges import EnergyBins
from xrayflow.models.jacobian import flux_and_jacobian
from xrayflow.models.xspec import XspecLibrary

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EDGES = torch.logspace(-1, 1, 401, dtype=torch.float64)
FULL = {"pcfabs": "phabs", "TBpcf": "TBabs"}


def factor(name: str, *parameters: float, edges: torch.Tensor = EDGES, abund: str = "wilm") -> np.ndarray:
    component = next(component for component in COMPONENTS if component.name == name)
    switches = [parameter.value for parameter in component.parameters if parameter.is_switch]
    values = [torch.tensor(value, dtype=torch.float64) for value in parameters]
    return component.bind(EnergyBins(edges), abund)(*values, *switches).numpy()


@pytest.mark.parametrize("name", FULL)
def test_all_covered_is_the_absorber_itself_and_nothing_covered_is_plain_view(name: str) -> None:
    assert_array_equal(factor(name, 3.0, 1.0), factor(FULL[name], 3.0))
    assert (factor(name, 3.0, 0.0) == 1.0).all()
    assert_allclose(factor(name, 1e6, 0.4)[:50], 0.6, rtol=1e-12)


@pytest.mark.parametrize("name", FULL)
def test_a_part_is_the_mean_of_covered_and_uncovered(name: str) -> None:
    assert_allclose(factor(name, 0.7, 0.3), 0.3 * factor(FULL[name], 0.7) + 0.7, rtol=1e-14)


@pytest.mark.parametrize("abund", ["wilm", "angr"])
@pytest.mark.parametrize("column", [0.02, 1.0, 40.0])
def test_the_compiled_library_has_the_same_factors_with_all_its_abundances_and_redshifts(
    abund: str, column: float
) -> None:
    pytest.importorskip("xspectrampoline")
    edges = EDGES.numpy()
    with XspecLibrary(abund=abund) as library:
        for fraction in (0.05, 0.5, 0.95):
            theirs = library.call("pcfabs", [[column, fraction]], edges)[0]
            # the library is in single precision
            assert_allclose(factor("pcfabs", column, fraction, abund=abund), theirs, rtol=5e-6)
            for redshift in (0.0, 0.5, 3.0):
                theirs = library.call("TBpcf", [[column, fraction, redshift]], edges)[0]
                model = parse_model("TBpcf*powerlaw", abund).freeze({"TBpcf.redshift": redshift})
                theta = torch.tensor([[column, fraction, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
                photons = model.on(EDGES)(theta)
                assert_allclose((photons[0] / photons[1]).numpy(), theirs, rtol=5e-6)


def test_a_source_at_a_redshift_is_absorbed_at_its_own_energies() -> None:
    moved = parse_model("TBpcf*powerlaw").freeze({"TBpcf.redshift": 1.0}).on(EDGES)
    rest = parse_model("TBpcf*powerlaw").on(2.0 * EDGES)
    theta = torch.tensor([2.0, 0.6, 0.0, 1.0], dtype=torch.float64)
    assert_allclose(2.0 * moved(theta).numpy(), rest(theta).numpy(), rtol=1e-12)


@pytest.mark.parametrize("text", ["TBpcf*powerlaw", "phabs*pcfabs*(bbody+powerlaw)"])
def test_stated_derivatives_are_those_of_forward_mode(text: str) -> None:
    flux = parse_model(text).on(EDGES)
    theta = torch.tensor([[p.value for p in flux.model.free]] * 3, dtype=torch.float64)
    theta *= torch.tensor([[0.6], [1.0], [1.6]], dtype=torch.float64)
    photons, jacobian = flux_and_jacobian(flux, theta)
    assert_allclose(photons.numpy(), flux(theta).numpy(), rtol=1e-13)
    exact = torch.func.vmap(torch.func.jacfwd(flux))(theta).movedim(-1, 0)
    for ours, theirs in zip(jacobian, exact, strict=True):
        assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, atol=1e-9 * float(theirs.abs().max()))


def test_an_unabsorbed_flux_leaves_them_out_and_a_redshift_cannot_be_free() -> None:
    whole = parse_model("pcfabs*TBpcf*powerlaw")
    theta = torch.tensor([3.0, 0.5, 2.0, 0.7, 1.7, 1.0], dtype=torch.float64)
    bare = parse_model("powerlaw").on(EDGES)(theta[4:])
    assert_allclose(without_absorbers(whole.on(EDGES))(theta).numpy(), bare.numpy(), rtol=1e-12)
    with pytest.raises(ModelError, match=r"TBpcf\.redshift selects a formula"):
        whole.thaw("TBpcf.redshift")
    with pytest.raises(ModelError, match=r"TBpcf\.redshift: -1 is outside its limits -0\.99 \.\. 10"):
        whole.freeze({"TBpcf.redshift": -1.0})
