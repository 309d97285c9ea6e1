"""Decoders: the simulator in a decoder's place is the simulator."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from network_zoo import PAPER, WHOLE, toy_network, toy_recipe
from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.nn.decoder import Decoder, Physical, Recurrent
from xrayflow.networks.nn.scaling import LogRateScaler
from xrayflow.seeds import generator_for

PHYSICAL = toy_recipe({"latent": 1.0}, network=PAPER | {"decoder": "physical"})


def test_a_recurrent_decoder_gives_a_value_for_every_bin_from_every_parameter(tmp_path: Path) -> None:
    network, simulator = toy_network(tmp_path, toy_recipe(network=PAPER | {"decoder": "recurrent"}))
    assert isinstance(network.core.decoder, Recurrent)
    inputs = NetworkInput.of(simulator.sample(4, generator_for(0, "spectra")))
    x = torch.randn(4, 2, requires_grad=True)
    value = network.core.decoder(x, inputs)
    assert value.shape == (4, network.bins)
    value.square().sum().backward()
    assert x.grad is not None
    assert bool((x.grad != 0).all())


def test_a_physical_decoder_of_the_truth_gives_the_expected_spectrum(tmp_path: Path) -> None:
    network, simulator = toy_network(tmp_path, PHYSICAL)
    drawn = simulator.sample(20, generator_for(3, "spectra"))
    assert bool((drawn.noticed < 1).any())
    # the counts that are expected in the noticed channels, so that the data's own value is the truth's
    inputs = replace(NetworkInput.of(drawn), counts=drawn.expected + drawn.background)
    assert isinstance(network.core.decoder, Physical)
    assert isinstance(network.core.scaling, LogRateScaler)
    with torch.no_grad():
        value = network.core.decoder(network.core.coordinates.from_theta(drawn.theta), inputs)
        seen = drawn.noticed > 0
        torch.testing.assert_close(value[seen], network.core.scaling.target(inputs)[0][seen], rtol=1e-4, atol=1e-5)
        counts = network.core.scaling.to_counts(value, inputs)
    torch.testing.assert_close(counts[seen], drawn.expected[seen], rtol=1e-4, atol=1e-6)


def test_the_gradient_of_a_physical_decoder_is_that_of_finite_differences(tmp_path: Path) -> None:
    recipe = toy_recipe({"latent": 1.0}, network=PAPER | {"decoder": "physical"}, training_prior=WHOLE)
    network, simulator = toy_network(tmp_path, recipe)
    drawn = simulator.sample(3, generator_for(3, "spectra"))
    inputs = NetworkInput.of(drawn)
    assert isinstance(network.core.decoder, Physical)
    x = network.core.coordinates.from_theta(drawn.theta).requires_grad_(True)
    weights = torch.linspace(0.5, 1.5, network.bins)
    (network.core.decoder(x, inputs) * weights).sum().backward()
    assert x.grad is not None
    step = 1e-2
    with torch.no_grad():
        for i in range(2):
            shift = torch.zeros(2, dtype=torch.float64)
            shift[i] = step
            up, down = (network.core.decoder(x + sign * shift, inputs) for sign in (1.0, -1.0))
            slope = ((up - down) * weights).sum(-1) / (2.0 * step)
            torch.testing.assert_close(x.grad[:, i].float(), slope, rtol=2e-3, atol=2e-4)


def test_a_draw_far_outside_the_box_counts_as_its_edge_and_teaches_nothing(tmp_path: Path) -> None:
    network, simulator = toy_network(tmp_path, PHYSICAL)
    drawn = simulator.sample(2, generator_for(3, "spectra"))
    inputs = NetworkInput.of(drawn)
    assert network.core.decoder is not None
    edge = torch.tensor([[one.hi for one in simulator.training_prior.prior.marginals]] * 2, dtype=torch.float64)
    far = torch.full((2, 2), 60.0, dtype=torch.float64, requires_grad=True)
    value = network.core.decoder(far, inputs)
    torch.testing.assert_close(value, network.core.decoder(network.core.coordinates.from_theta(edge), inputs))
    value.sum().backward()
    assert far.grad is not None
    assert bool((far.grad == 0).all())


def test_a_network_without_a_simulator_has_no_physical_decoder(tmp_path: Path) -> None:
    network, _ = toy_network(tmp_path, PHYSICAL)
    from xrayflow.networks.network import build_core

    assert build_core(PHYSICAL, network.training_prior, torch.ones(network.bins), None).decoder is None


def test_a_decoder_of_no_kind_reconstructs_nothing() -> None:
    with pytest.raises(NotImplementedError):
        Decoder()(torch.zeros(1, 2), None)
