"""The parts fit together, and the paper's recipe has the paper's sizes."""

from __future__ import annotations

from pathlib import Path

import torch

from network_zoo import toy_network
from xrayflow.models import parse_model
from xrayflow.networks import read_recipe
from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.nn.core import PosteriorEstimator, count_weights, freeze_all_but
from xrayflow.prior import Prior
from xrayflow.seeds import generator_for

RECIPES = Path(__file__).resolve().parents[3] / "recipes"


def test_the_papers_recipe_has_the_papers_weights() -> None:
    recipe = read_recipe(RECIPES / "paper" / "full.toml")
    prior = Prior.of(parse_model(recipe.model.expression))
    core = PosteriorEstimator(recipe.network, prior, torch.ones(240), recipe.instrument.detectors)
    assert count_weights(core.encoder) + count_weights(core.flow) == 721_766
    assert count_weights(core.decoder) == 217_854
    assert count_weights(None) == 0


def test_a_draw_and_its_density_are_in_the_units_of_theta(tmp_path: Path) -> None:
    network, simulator = toy_network(tmp_path)
    drawn = simulator.sample(3, generator_for(2, "spectra"))
    inputs = NetworkInput.of(drawn)
    with torch.no_grad():
        theta = network.core.draw(inputs, torch.randn((3, 4, 2), generator=generator_for(0, "base")).double())
        density = network.core.log_density(theta, inputs)
    assert bool(network.training_prior.prior.contains(theta).all())
    assert density.shape == (3, 4)
    # an untrained flow is near N(0, I) in probit coordinates, so its density per theta is near the prior's
    slope = network.training_prior.prior.slope(network.training_prior.prior.to_probit(theta)).log().sum(-1)
    v = network.training_prior.prior.to_probit(theta)
    normal = -0.5 * v.square().sum(-1) - torch.log(torch.tensor(2.0 * torch.pi))
    assert float((density + slope - normal).abs().max()) < 2.0


def test_only_the_weights_of_the_named_parts_move(tmp_path: Path) -> None:
    core = toy_network(tmp_path)[0].core
    moving = freeze_all_but(core, ("flow",))
    assert sum(weight.numel() for weight in moving) == count_weights(core.flow)
    assert {name.split(".")[0] for name, weight in core.named_parameters() if weight.requires_grad} == {"flow"}


def test_generators_of_two_purposes_differ_and_repeat() -> None:
    one, same, other = (torch.rand(3, generator=generator_for(5, name)) for name in ("a", "a", "b"))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
