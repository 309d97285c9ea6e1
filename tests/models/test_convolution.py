"""simpl: conservation, splitting, its direct double sum, the limit Gamma = 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xrayflow.models.convolution import simpl
from xrayflow.models.edges import EnergyBins

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
EDGES = np.geomspace(1e-3, 1e3, 301)
BINS = EnergyBins(torch.as_tensor(EDGES))
NO_LOSS = {"rtol": 1e-12, "atol": 0.0}


def seed() -> torch.Tensor:
    middle = torch.as_tensor(np.sqrt(EDGES[1:] * EDGES[:-1]))
    return middle**2 * torch.exp(-middle)


def tensor(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def double_sum(photons: np.ndarray, gamma: float, fraction: float, up_only: bool) -> np.ndarray:
    """Every seed bin into every bin, by the integrals of Steiner et al. 2009."""
    middle, out = 0.5 * (EDGES[1:] + EDGES[:-1]), (1.0 - fraction) * photons
    share = 1.0 if up_only else (gamma + 2.0) / (1.0 + 2.0 * gamma)
    for energy, count in zip(middle, photons, strict=True):
        higher = np.clip(EDGES, energy, None) / energy
        out = out + fraction * share * count * -np.diff(higher ** (1.0 - gamma))
        lower = np.clip(EDGES, None, energy) / energy
        out = out + fraction * (1.0 - share) * count * np.diff(lower ** (gamma + 2.0))
    return out


@pytest.mark.parametrize("up_only", [True, False])
@pytest.mark.parametrize("gamma", [1.0, 1.0001, 1.3, 2.3, 4.0])
def test_the_cumulative_sum_is_the_double_sum(gamma: float, up_only: bool) -> None:
    found = simpl(seed(), tensor(gamma), tensor(0.3), up_only, BINS).numpy()
    np.testing.assert_allclose(found, double_sum(seed().numpy(), gamma, 0.3, up_only), rtol=1e-10, atol=1e-14)


@given(gamma=st.floats(1.5, 4.0), fraction=st.floats(0.0, 1.0), up_only=st.booleans())
@settings(deadline=None)
def test_photons_are_conserved_on_a_wide_grid(gamma: float, fraction: float, up_only: bool) -> None:
    photons = seed()
    total = simpl(photons, tensor(gamma), tensor(fraction), up_only, BINS).sum()
    share = 1.0 if up_only else (gamma + 2.0) / (1.0 + 2.0 * gamma)
    leave_above = fraction * share * (photons * (EDGES[-1] / BINS.mid) ** (1.0 - gamma)).sum()
    leave_below = fraction * (1.0 - share) * (photons * (EDGES[0] / BINS.mid) ** (gamma + 2.0)).sum()
    assert float((total + leave_above + leave_below) / photons.sum()) == pytest.approx(1.0, abs=1e-12)


def test_no_scattering_changes_nothing() -> None:
    torch.testing.assert_close(simpl(seed(), tensor(2.0), tensor(0.0), True, BINS), seed(), **NO_LOSS)


@pytest.mark.parametrize("up_only", [True, False])
@pytest.mark.parametrize("gamma", [1.0, 1.5, 3.0])
def test_gradients_are_right_through_gamma_1(gamma: float, up_only: bool) -> None:
    bins = EnergyBins(torch.logspace(-1, 1, 9, dtype=torch.float64))
    inputs = (torch.rand(8, dtype=torch.float64), tensor(gamma), tensor(0.4))
    inputs = tuple(value.requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(lambda n, g, f: simpl(n, g, f, up_only, bins), inputs, check_forward_ad=True)


@pytest.mark.parametrize("up_only", [True, False])
@pytest.mark.parametrize("gamma", [1.3, 4.0])
def test_single_precision_is_good_to_1e_4(gamma: float, up_only: bool) -> None:
    exact = simpl(seed(), tensor(gamma), tensor(0.1), up_only, BINS)
    bins = EnergyBins(torch.as_tensor(EDGES), torch.float32)
    rough = simpl(seed().float(), tensor(gamma).float(), tensor(0.1).float(), up_only, bins)
    torch.testing.assert_close(rough.double(), exact, rtol=1e-4, atol=1e-12)
