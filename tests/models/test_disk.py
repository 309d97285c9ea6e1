"""Discs: the table, the quadrature, laws."""

from __future__ import annotations

from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrayflow.errors import ModelError
from xrayflow.models import parse_model
from xrayflow.models.disk import (
    DISK_CONSTANT,
    LOG_X_HIGH,
    LOG_X_LOW,
    disk_integral,
    disk_table,
    ring_temperature_diskbb,
    ring_temperature_zero_torque,
)

# torch 2.13 warns of its own torch.jit.script on the first forward-mode derivative
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
RINGS = (ring_temperature_zero_torque, ring_temperature_diskbb)


def exact_density(energy: float, temperature: float, zero_torque: bool) -> float:
    """photons/cm^2/s/keV of norm 1, by mpmath from the published integral."""
    hottest = mpmath.mpf(6) / 7
    peak = hottest ** mpmath.mpf(1.5) * (1 - hottest) ** mpmath.mpf(0.25)

    def ring(u: mpmath.mpf) -> mpmath.mpf:
        return u ** mpmath.mpf(1.5) * ((1 - u) ** mpmath.mpf(0.25) / peak if zero_torque else 1)

    def integrand(u: mpmath.mpf) -> mpmath.mpf:
        return (
            2 / u**5 / mpmath.expm1(energy / temperature / ring(u)) if 0 < u < 1 or not zero_torque else mpmath.mpf(0)
        )

    start = min(0.5, (energy / temperature / 700.0) ** (2.0 / 3.0))
    integral = mpmath.quad(integrand, [start, min(4 * start, 0.6), 0.7, hottest, 0.95, 1])
    return float(mpmath.mpf(DISK_CONSTANT) * energy**2 * integral)


@pytest.mark.parametrize("energy", [0.01, 0.3, 3.0])
@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize(("name", "zero_torque"), [("ezdiskbb", True), ("diskbb", False)])
def test_the_density_is_the_published_integral_to_1e_6(
    name: str, zero_torque: bool, energy: float, temperature: float
) -> None:
    width = 1e-4 * energy
    edges = torch.tensor([energy - width, energy + width], dtype=torch.float64)
    found = parse_model(name).photon_flux(torch.tensor([temperature, 1.0], dtype=torch.float64), edges)
    assert float(found) / (2.0 * width) == pytest.approx(exact_density(energy, temperature, zero_torque), rel=1e-6)


@pytest.mark.parametrize("ring", RINGS)
def test_the_table_is_good_to_1e_8_between_its_nodes(ring: object) -> None:
    log_x = np.random.default_rng(1).uniform(LOG_X_LOW + 1.0, LOG_X_HIGH - 1.0, 200)
    found = disk_table(ring)(torch.as_tensor(log_x)).numpy()  # type: ignore[arg-type]
    np.testing.assert_allclose(found, disk_integral(log_x, ring), rtol=0.0, atol=1e-8)  # type: ignore[arg-type]


def test_the_constant_is_that_of_the_design() -> None:
    assert pytest.approx(2.0760149e-3, rel=1e-7) == DISK_CONSTANT


@given(
    temperature=st.floats(0.025, 4.0),
    cuts=st.lists(st.floats(0.05, 15.0), min_size=3, max_size=12, unique=True).map(sorted),
    splits=st.integers(2, 5),
)
@settings(deadline=None, max_examples=30)
@pytest.mark.parametrize("name", ["ezdiskbb", "diskbb"])
def test_splitting_bins_keeps_the_photons(name: str, temperature: float, cuts: list[float], splits: int) -> None:
    edges = np.array([cut for cut, before in zip(cuts, [0.0, *cuts], strict=False) if cut > 1.001 * before])
    if edges.size < 2:
        return
    fine = np.unique(np.concatenate([np.linspace(a, b, splits + 1) for a, b in pairwise(edges)]))
    theta = torch.tensor([temperature, 1.0], dtype=torch.float64)
    model = parse_model(name)
    whole = model.photon_flux(theta, torch.as_tensor(edges)).numpy()
    parts = np.add.reduceat(model.photon_flux(theta, torch.as_tensor(fine)).numpy(), np.arange(whole.size) * splits)
    # beyond, the spectrum is below 1e-12 of its maximum
    seen = edges[:-1] < 30.0 * temperature
    np.testing.assert_allclose(whole[seen], parts[seen], rtol=1e-6)


def test_gradients_are_right_in_both_modes() -> None:
    flux = parse_model("ezdiskbb").on(torch.logspace(-1, 1, 7, dtype=torch.float64))
    theta = torch.tensor([[0.3, 2.0], [1.0, 3.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(flux, (theta,), check_forward_ad=True)


def test_far_beyond_the_temperature_there_are_no_photons_and_no_nans() -> None:
    flux = parse_model("ezdiskbb").on(torch.logspace(0, 3, 50, dtype=torch.float64))
    photons, slope = torch.func.jvp(flux, (torch.tensor([0.01, 1.0], dtype=torch.float64),), (torch.ones(2).double(),))
    assert bool(torch.isfinite(photons).all() and torch.isfinite(slope).all())
    assert float(photons[-1]) == 0.0


def test_a_grid_below_the_table_is_refused() -> None:
    with pytest.raises(ModelError, match="start at 1e-12 keV; discs need"):
        parse_model("ezdiskbb").on(torch.tensor([1e-12, 1.0], dtype=torch.float64))
