"""nthComp: its norm, its bins, its redshift, its derivatives, and the compiled library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from xrayflow.errors import ModelError
from xrayflow.models import parse_model
from xrayflow.models.components import COMPONENTS
from xrayflow.models.edges import EnergyBins
from xrayflow.models.jacobian import flux_and_jacobian
from xrayflow.models.xspec import XspecLibrary

EDGES = torch.logspace(-1, 2, 1501, dtype=torch.float64)
SHAPES = (
    (1.7, 100.0, 0.1),
    (2.4, 12.0, 1.0),
    (1.05, 5.0, 0.01),
    (4.0, 50.0, 0.5),
    (1.5, 500.0, 5.0),
    (3.0, 20.0, 0.002),
)


def photons(
    shape: tuple[float, float, float], seed: float = 0.0, redshift: float = 0.0, edges: torch.Tensor = EDGES
) -> np.ndarray:
    """Of norm 1, per bin."""
    component = next(component for component in COMPONENTS if component.name == "nthComp")
    gamma, electrons, temperature, moved, one = (
        torch.tensor(value, dtype=torch.float64) for value in (*shape, redshift, 1.0)
    )
    return component.bind(EnergyBins(edges), "wilm")(gamma, electrons, temperature, seed, moved, one).numpy()


@pytest.mark.parametrize("redshift", [0.0, 2.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_norm_is_the_density_at_1_kev(shape: tuple[float, float, float], redshift: float) -> None:
    narrow = torch.tensor([1.0 - 1e-5, 1.0 + 1e-5], dtype=torch.float64)
    assert photons(shape, redshift=redshift, edges=narrow)[0] == pytest.approx(2e-5, rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_splitting_a_bin_keeps_the_photons(shape: tuple[float, float, float]) -> None:
    fine, coarse = photons(shape), photons(shape, edges=EDGES[::150])
    together = fine.reshape(10, 150).sum(axis=1)
    seen = together > 1e-8 * together.max()
    assert_allclose(coarse[seen], together[seen], rtol=1e-7)


def test_a_redshift_moves_the_whole_spectrum() -> None:
    near, far = photons(SHAPES[1], edges=2.0 * EDGES), photons(SHAPES[1], redshift=1.0)
    bright = near > 1e-8 * near.max()
    ratio = far[bright] / near[bright]
    assert_allclose(ratio, ratio[0], rtol=1e-12)


def test_beyond_the_nodes_there_is_nothing_above_and_a_constant_below() -> None:
    far = photons((2.0, 5.0, 1.0), edges=torch.tensor([190.0, 205.0, 300.0, 1000.0], dtype=torch.float64))
    assert (far[1:] == 0.0).all()
    below = photons((2.0, 5.0, 10.0), edges=torch.tensor([1e-6, 2e-6, 4e-6], dtype=torch.float64))
    assert_allclose(below[0], 2.0 * below[1], rtol=1e-9)


@pytest.mark.parametrize("seed", [0.0, 1.0])
def test_the_compiled_library_has_the_same_spectrum_by_its_own_rule(seed: float) -> None:
    """The mean of the edges' densities, from bins so narrow that they are densities."""
    pytest.importorskip("xspectrampoline")
    edges = EDGES.numpy()
    generator = np.random.default_rng(int(seed))
    shapes = [*SHAPES, *np.exp(generator.uniform(np.log([1.05, 5.0, 1e-3]), np.log([6.0, 1000.0, 10.0]), (40, 3)))]
    tiny = torch.stack([EDGES * (1.0 - 1e-6), EDGES * (1.0 + 1e-6)], dim=1).flatten()
    with XspecLibrary() as library:
        for shape in shapes:
            density = photons(tuple(shape), seed, edges=tiny)[::2] / (2e-6 * edges)
            ours = 0.5 * (density[1:] + density[:-1]) * np.diff(edges)
            theirs = library.call("nthComp", [[*shape, seed, 0.0]], edges)[0]
            seen = ours * edges[1:] / np.diff(edges) > 1e-10 * (ours * edges[1:] / np.diff(edges)).max()
            # the library's bin widths are in single precision, and its disc scatters by 1e-4
            assert_allclose(ours[seen], theirs[seen], rtol=1.5e-4)
            assert np.median(np.abs(ours / np.where(seen, theirs, ours) - 1.0)) < 5e-5


def test_the_library_is_asked_so_that_its_last_spectrum_does_not_matter() -> None:
    pytest.importorskip("xspectrampoline")
    shape, edges = [4.5, 2.5, 2.4, 0.0, 0.3], EDGES.numpy()
    with XspecLibrary() as library:
        first = library.call("nthComp", [shape], edges)
        after = library.call("nthComp", [[1.7, 100.0, 0.001, 0.0, 0.0], shape], edges)[1:]
    assert_allclose(after, first, rtol=1e-6)


@pytest.mark.parametrize("text", ["nthComp", "phabs*(diskbb+nthComp)"])
def test_stated_derivatives_are_those_of_backward_mode(text: str) -> None:
    model = parse_model(text)
    if "diskbb" in text:
        model = model.link({"nthComp.kT_bb": "1.1*diskbb.Tin"}).freeze({"nthComp.inp_type": 1.0})
    else:
        model = model.thaw("nthComp.kT_bb", "nthComp.Redshift")
    flux = model.on(EDGES[:1000:2])
    theta = torch.tensor([[p.value if p.value != 0.0 else 0.3 for p in model.free]] * 3, dtype=torch.float64)
    theta *= torch.tensor([[0.8], [1.0], [1.3]], dtype=torch.float64)
    found, jacobian = flux_and_jacobian(flux, theta)
    assert_allclose(found.numpy(), flux(theta).numpy(), rtol=1e-12)
    for at, one in enumerate(theta):
        exact = torch.autograd.functional.jacobian(flux, one)
        for ours, theirs in zip(jacobian[:, at], exact.T, strict=True):
            assert_allclose(ours.numpy(), theirs.numpy(), rtol=2e-4, atol=2e-6 * float(theirs.abs().max()))


@pytest.mark.parametrize("mark", [0.05, 0.1])
def test_derivatives_pass_over_the_jumps_of_the_marks(mark: float) -> None:
    """A node passes the mark where kT_bb does; a difference across that would be a hundred times as large."""
    flux = parse_model("nthComp").thaw("nthComp.kT_bb").on(EDGES)
    jump = 511.0 * mark / (1e-4 * 10.0 ** (0.02 * 300))
    theta = torch.tensor([[1.7, 100.0, jump * (1.0 + away), 1.0] for away in (-1e-5, 1e-5)], dtype=torch.float64)
    across = ((flux(theta[1:]) - flux(theta[:1])) / (2e-5 * jump))[0]
    theta[:, 2] = torch.tensor([jump * (1.0 - 2e-4), jump * (1.0 - 1e-7)])
    before, at = flux_and_jacobian(flux, theta)[1][2]
    size = float(before.abs().max())
    assert float((at - before).abs().max()) < 0.02 * size
    high = EDGES[:-1] > 0.9 * 511.0 * mark
    assert float((across - before)[high].abs().max()) > 3.0 * float((at - before)[high].abs().max())


def test_what_selects_the_seeds_is_held_and_the_seeds_are_frozen_until_thawed() -> None:
    model = parse_model("nthComp")
    assert model.names == ("nthComp.Gamma", "nthComp.kT_e", "nthComp.norm")
    with pytest.raises(ModelError, match=r"nthComp\.inp_type selects a formula"):
        model.thaw("nthComp.inp_type")
    with pytest.raises(ModelError, match=r"nthComp\.Gamma: 1 is outside its limits 1\.001 \.\. 10"):
        model.freeze({"nthComp.Gamma": 1.0})
