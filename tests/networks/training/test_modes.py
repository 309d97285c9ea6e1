"""Modes of simulated spectra are modes, and their curvature is the likelihood's."""

from __future__ import annotations

import pytest
import torch

from network_zoo import toy_network, toy_recipe
from xrayflow.networks.inputs import ModeFeatures, mode_numbers
from xrayflow.networks.training.modes import SimulatedTarget, find_modes
from xrayflow.seeds import generator_for
from xrayflow.simulate import SimulatedSpectra, Simulator


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Simulator, SimulatedSpectra, ModeFeatures, torch.Tensor]:
    _, simulator = toy_network(tmp_path_factory.mktemp("homes"), toy_recipe(training_prior={"rate": [5.0, 1000.0]}))
    exact = simulator.in_float64()
    drawn = exact.sample(60, generator_for(3, "homes"))
    homes, rested = find_modes(exact, drawn)
    return exact, drawn, homes, rested


def minus_log_posterior(simulator: Simulator, drawn: SimulatedSpectra, v: torch.Tensor) -> torch.Tensor:
    """(source,) by the simulator's own expected counts."""
    theta = simulator.training_prior.prior.to_theta(v)
    expected = simulator.expected(theta, drawn.exposure, drawn.area) * drawn.noticed
    return -drawn.likelihood().log_density(expected[:, None])[:, 0] + 0.5 * v.square().sum(-1)


def test_almost_every_search_comes_to_rest(
    found: tuple[Simulator, SimulatedSpectra, ModeFeatures, torch.Tensor],
) -> None:
    assert found[3].double().mean() > 0.9


def test_no_place_near_a_home_is_better(found: tuple[Simulator, SimulatedSpectra, ModeFeatures, torch.Tensor]) -> None:
    simulator, drawn, homes, rested = found
    at_home = minus_log_posterior(simulator, drawn, homes.v)
    assert (at_home <= minus_log_posterior(simulator, drawn, drawn.v) + 1e-6)[rested].all()
    width = torch.linalg.inv(homes.information).diagonal(dim1=-2, dim2=-1).sqrt()
    for parameter in range(2):
        for side in (-0.3, 0.3):
            moved = homes.v.clone()
            moved[:, parameter] += side * width[:, parameter]
            assert (minus_log_posterior(simulator, drawn, moved) > at_home - 5e-3)[rested].all()


def test_the_information_is_fishers(found: tuple[Simulator, SimulatedSpectra, ModeFeatures, torch.Tensor]) -> None:
    simulator, drawn, homes, _ = found
    variance = drawn.likelihood().variance
    for source in range(6):
        exposure, area = drawn.exposure[source], drawn.area[source]

        def expected(v: torch.Tensor, source: int = source, exposure=exposure, area=area) -> torch.Tensor:  # type: ignore[no-untyped-def]
            theta = simulator.training_prior.prior.to_theta(v)
            return simulator.expected(theta, exposure, area) * drawn.noticed[source]

        mean = expected(homes.v[source])
        slope = torch.autograd.functional.jacobian(expected, homes.v[source])
        everywhere = mean.expand(60, 1, -1)
        weight = torch.where(drawn.noticed[source] > 0, 1.0 / variance(everywhere)[source, 0], 0.0)
        fisher = slope.T @ (weight[:, None] * slope) + torch.eye(2, dtype=torch.float64)
        assert torch.allclose(fisher, homes.information[source], rtol=1e-5)


def test_a_spectrum_of_which_little_is_noticed_is_the_same_alone(
    found: tuple[Simulator, SimulatedSpectra, ModeFeatures, torch.Tensor],
) -> None:
    simulator, drawn, _, _ = found
    scale = (drawn.exposure * drawn.area)[:, None] * drawn.noticed
    target = SimulatedTarget(simulator, drawn.likelihood(), scale)
    least = (drawn.noticed > 0).sum(-1).argmin()[None]
    assert drawn.noticed[least].min() == 0.0
    together = target.log_likelihood(drawn.theta[:, None])[least]
    alone = target.select(least).log_likelihood(drawn.theta[least, None])
    assert float(alone) == pytest.approx(float(together), abs=1e-9)


def test_numbers_of_a_home_by_hand() -> None:
    numbers = mode_numbers(torch.tensor([99.0, 0.0]), torch.tensor([9.9, 1.0]), torch.tensor([0.015, 0.0]))
    assert numbers.flatten().tolist() == pytest.approx([2.0, 0.1, 1.5, 0.0, 1.0, 0.0])
