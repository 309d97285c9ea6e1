"""Thermal Comptonisation: the solver, the cross-section, and what the equation itself says of its solution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from xrayflow.models.kompaneets import (
    REST_ENERGY,
    comptonised,
    klein_nishina,
    marks,
    nodes,
    seeds,
    solve_tridiagonal,
)


def row(*values: float) -> tuple[torch.Tensor, ...]:
    """Parameters of one spectrum."""
    return tuple(torch.tensor([value], dtype=torch.float64) for value in values)


def spectrum(gamma: float, electrons: float, seed: float, disc: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Energies of the nodes [keV] and E^2 N_E there."""
    parameters = row(gamma, electrons, seed)
    values = comptonised(*parameters, disc, marks(*parameters[1:]))[0].numpy()
    return seed * nodes(values.size).numpy(), values


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 100, 581])
def test_the_tridiagonal_solution_is_that_of_the_whole_matrix(count: int) -> None:
    generator = torch.Generator().manual_seed(count)
    lower, upper = (-torch.rand(5, count, dtype=torch.float64, generator=generator) for _ in range(2))
    lower[:, 0], upper[:, -1] = 0.0, 0.0
    right = torch.rand(5, count, dtype=torch.float64, generator=generator)
    diagonal = 1e-3 - torch.nn.functional.pad(upper[:, :-1], (1, 0)) - torch.nn.functional.pad(lower[:, 1:], (0, 1))
    whole = torch.diag_embed(diagonal) + torch.diag_embed(upper[:, :-1], 1) + torch.diag_embed(lower[:, 1:], -1)
    found = solve_tridiagonal(lower, diagonal, upper, right)
    assert_allclose(found.numpy(), torch.linalg.solve(whole, right).numpy(), rtol=1e-9)


def test_the_cross_section_is_the_integral_of_klein_and_nishinas_over_angles() -> None:
    x = np.geomspace(1e-3, 10.0, 40)[:, None]
    cosine, weight = np.polynomial.legendre.leggauss(200)
    ratio = 1.0 / (1.0 + x * (1.0 - cosine))
    total = 3.0 / 8.0 * (ratio**2 * (ratio + 1.0 / ratio - 1.0 + cosine**2)) @ weight
    low = x[:, 0] <= 0.05
    found = klein_nishina(torch.as_tensor(x[:, 0]), torch.as_tensor(low)).numpy()
    assert_allclose(found[~low], total[~low], rtol=1e-10)
    assert_allclose(found[low], total[low], rtol=2e-3)  # the expansion has no cube


@pytest.mark.parametrize("disc", [False, True])
@pytest.mark.parametrize("shape", [(1.5, 100.0, 0.1), (2.4, 12.0, 1.0), (4.0, 3.0, 5.0), (1.05, 5.0, 0.01)])
def test_as_many_photons_escape_as_were_sown(shape: tuple[float, float, float], disc: bool) -> None:
    energy, values = spectrum(*shape, disc)
    y, source = energy / shape[2], seeds(disc).numpy()[: energy.size]
    sown = float(np.sum((source * y[: source.size])[1:]))
    # what is above the last node is lost where the seeds are hotter than the electrons
    assert float(np.sum((values / y)[1:])) == pytest.approx(sown, rel=1e-6 if shape[1] > shape[2] else 1e-3)


@pytest.mark.parametrize("gamma", [1.3, 1.7, 2.5, 3.5])
def test_far_from_its_seeds_and_its_turnover_it_is_a_power_law(gamma: float) -> None:
    energy, values = spectrum(gamma, 50.0, 1e-3)
    one, other = np.searchsorted(energy, [0.1, 0.3])
    slope = math.log(values[other] / values[one]) / math.log(energy[other] / energy[one])
    assert 2.0 - slope == pytest.approx(gamma, abs=0.02)


def test_photons_that_hardly_escape_have_the_temperature_of_the_electrons() -> None:
    """A Wien spectrum, N_E ~ E^2 exp(-E / kT_e): saturated Comptonisation."""
    energy, values = spectrum(1.001, 2.0, 0.5)
    inside = (energy > 2.0) & (energy < 12.0)
    fall = np.polyfit(energy[inside], np.log(values[inside] / energy[inside] ** 4), 1)[0]
    assert fall == pytest.approx(-1.0 / 2.0, rel=0.02)


def test_a_solver_of_boundary_value_problems_finds_the_same_balance() -> None:
    """On a mesh of its own, so that the error of our steps shows too."""
    from scipy.integrate import solve_bvp

    gamma, electrons, seed = 2.0, 4.0, 0.5
    theta, unit = electrons / REST_ENERGY, seed / REST_ENERGY
    depth = math.sqrt(2.25 + 3.0 / (theta * ((gamma + 0.5) ** 2 - 2.25))) - 1.5

    def cross_section(x: np.ndarray) -> np.ndarray:
        """Expanded where the nodes have it so."""
        energy = torch.as_tensor(x)
        return klein_nishina(energy, energy <= 0.05).numpy()

    def balance(log_x: np.ndarray, state: np.ndarray) -> np.ndarray:
        """u and the flow over x^3, by ln x, for x below 0.1."""
        x = np.exp(log_x)
        occupation, flow = state
        escape = 1.0 / (1.0 + depth * cross_section(x) / 3.0)
        rate = depth * x / (1.0 + 4.6 * x + 1.1 * x**2)
        source = np.exp(-x / unit) / -np.expm1(-x / unit) / unit**2
        slope = x / theta * (flow / rate - occupation)
        return np.stack([slope, -3.0 * flow + escape * occupation - source])

    log_x = np.log(np.geomspace(1e-2 * unit, 0.1, 400))
    start = np.stack([np.exp(-np.exp(log_x) / theta), np.zeros_like(log_x)])
    found = solve_bvp(balance, lambda low, high: np.array([low[1], high[0]]), log_x, start, tol=1e-4, max_nodes=50_000)
    assert found.success
    energy, values = spectrum(gamma, electrons, seed)
    inside = (energy > 0.1) & (energy < 20.0)
    x = energy[inside] / REST_ENERGY
    escape = 1.0 / (1.0 + depth * cross_section(x) / 3.0)
    ratio = values[inside] / (x**4 * escape * found.sol(np.log(x))[0])
    assert_allclose(ratio / ratio[0], 1.0, rtol=2e-3)
