"""Additive components: integrals, singular points, laws."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from xrayflow.models import parse_model
from xrayflow.models.additive import expm1_over

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EDGES = np.geomspace(0.3, 10.0, 41)


def photons(name: str, *theta: float, edges: np.ndarray = EDGES) -> np.ndarray:
    return parse_model(name).photon_flux(torch.tensor(theta, dtype=torch.float64), torch.as_tensor(edges)).numpy()


@pytest.mark.parametrize("index", [-1.0, 0.999999, 1.0, 1.000001, 1.7, 4.0])
def test_a_power_law_is_its_integral_through_index_1(index: float) -> None:
    exact = [quad(lambda e: 2.0 * e**-index, a, b, epsabs=0.0)[0] for a, b in pairwise(EDGES)]
    np.testing.assert_allclose(photons("powerlaw", index, 2.0), exact, rtol=1e-13)


@pytest.mark.parametrize("index", [-3.0, 0.0, 1.0, 2.0, 10.0])
def test_both_forms_of_the_power_law_agree_on_narrow_bins(index: float) -> None:
    edges = np.geomspace(0.3, 10.0, 72)
    wide = photons("powerlaw", index, 2.0, edges=np.append(edges, 20.0))[:-1]
    np.testing.assert_allclose(photons("powerlaw", index, 2.0, edges=edges), wide, rtol=3e-11)


def test_a_broad_line_keeps_its_digits_on_narrow_bins_in_single_precision() -> None:
    flux = parse_model("gaussian")
    theta, edges = torch.tensor([6.5, 5.0, 1.0]), torch.logspace(-2, 1, 4001, dtype=torch.float64)
    torch.testing.assert_close(
        flux.photon_flux(theta, edges).double(), flux.photon_flux(theta.double(), edges), rtol=1e-4, atol=0.0
    )


@pytest.mark.parametrize("index", [0.0, 1.0, 1.0 + 1e-9, 2.0])
def test_the_gradient_of_a_power_law_is_right_through_index_1(index: float) -> None:
    flux = parse_model("powerlaw").on(torch.as_tensor(EDGES[::8].copy()))
    theta = torch.tensor([index, 1.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(flux, (theta,), check_forward_ad=True)


@pytest.mark.parametrize("y", [-30.0, -1.0, -1.0001e-2, -0.9999e-2, 0.0, 1e-9, 0.9999e-2, 1.0001e-2, 3.0])
def test_expm1_over_is_smooth_where_its_formula_changes(y: float) -> None:
    value = torch.tensor(y, dtype=torch.float64, requires_grad=True)
    exact = np.expm1(y) / y if y else 1.0
    assert expm1_over(value).item() == pytest.approx(exact, rel=1e-14)
    assert torch.autograd.gradcheck(expm1_over, (value,))


@pytest.mark.parametrize(("index", "cutoff"), [(1.7, 15.0), (-1.5, 1.0), (1.4897, 145.67), (4.0, 500.0)])
def test_a_cut_off_power_law_is_its_integral(index: float, cutoff: float) -> None:
    bounds = pairwise(EDGES)
    exact = [quad(lambda e: e**-index * np.exp(-e / cutoff), a, b, epsabs=0.0)[0] for a, b in bounds]
    np.testing.assert_allclose(photons("cutoffpl", index, cutoff, 1.0), exact, rtol=1e-7)


@pytest.mark.parametrize("temperature", [0.05, 0.7, 30.0])
def test_black_bodies_are_their_integrals(temperature: float) -> None:
    def density(energy: float) -> float:
        return energy**2 / np.expm1(energy / temperature)

    exact = np.array([quad(density, a, b, epsabs=0.0)[0] for a, b in pairwise(EDGES)])
    seen = exact > 1e-14 * exact.max()
    found = photons("bbodyrad", temperature, 1.0)
    np.testing.assert_allclose(found[seen], 1.0344e-3 * exact[seen], rtol=1e-7)
    found = photons("bbody", temperature, 1.0)
    np.testing.assert_allclose(found[seen], 8.0525 / temperature**4 * exact[seen], rtol=1e-7)


@pytest.mark.parametrize("temperature", [0.01, 1.0])
def test_black_bodies_have_finite_gradients_far_beyond_their_temperature(temperature: float) -> None:
    theta = torch.tensor([temperature, 1.0], dtype=torch.float64, requires_grad=True)
    parse_model("bbody").photon_flux(theta, torch.logspace(-1, 3, 30, dtype=torch.float64)).sum().backward()
    assert theta.grad is not None
    assert bool(torch.isfinite(theta.grad).all())


def test_the_wings_of_a_gaussian_keep_their_digits() -> None:
    edges = 6.5 + 0.1 * np.linspace(-9.0, 9.0, 37)
    z = (edges - 6.5) / 0.1
    exact = np.where(z[:-1] >= 0, norm.sf(z[:-1]) - norm.sf(z[1:]), norm.cdf(z[1:]) - norm.cdf(z[:-1]))
    np.testing.assert_allclose(photons("gaussian", 6.5, 0.1, 1.0, edges=edges), exact, rtol=1e-9)


def test_a_gaussian_at_low_energy_holds_its_norm_above_zero() -> None:
    assert photons("gaussian", 0.5, 2.0, 3.0, edges=np.linspace(1e-6, 40.0, 500)).sum() == pytest.approx(3.0, rel=1e-5)


def test_a_line_without_width_falls_into_the_bin_that_ends_at_it() -> None:
    assert photons("gaussian", 6.5, 0.0, 2.0, edges=np.array([1.0, 6.5, 7.0])).tolist() == [2.0, 0.0]


def test_the_gradient_of_a_line_is_right() -> None:
    flux = parse_model("gaussian").on(torch.linspace(5.0, 8.0, 7, dtype=torch.float64))
    theta = torch.tensor([6.45, 0.4, 1.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(flux, (theta,), check_forward_ad=True)


EXAMPLES = {
    "powerlaw": (1.3, 1.0),
    "cutoffpl": (1.3, 4.0, 1.0),
    "bbody": (0.6, 1.0),
    "bbodyrad": (0.6, 1.0),
    "gaussian": (3.0, 0.4, 1.0),
}


@given(splits=st.integers(2, 6), start=st.floats(0.2, 2.0))
@settings(deadline=None, max_examples=20)
@pytest.mark.parametrize("name", EXAMPLES)
def test_splitting_bins_keeps_the_photons(name: str, splits: int, start: float) -> None:
    edges = np.geomspace(start, 9.0, 30)
    fine = np.interp(np.arange(29 * splits + 1) / splits, np.arange(30), edges)
    whole = photons(name, *EXAMPLES[name], edges=edges)
    parts = np.add.reduceat(photons(name, *EXAMPLES[name], edges=fine), np.arange(29) * splits)
    np.testing.assert_allclose(whole, parts, rtol=2e-7, atol=1e-12 * parts.max())
