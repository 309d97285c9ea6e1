"""Each term of the loss by hand, and every choice of latent space and decoder trains its encoder."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from network_zoo import PAPER, WHOLE, stirred, toy_network, toy_recipe
from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.nn.core import PosteriorEstimator, freeze_all_but
from xrayflow.networks.nn.scaling import LogRateScaler
from xrayflow.networks.sections import StageSection
from xrayflow.networks.training.losses import LEAST_VARIANCE, loss_terms, reconstruction, total
from xrayflow.seeds import generator_for
from xrayflow.simulate import SimulatedSpectra

ALL = {"flow": 1.0, "latent": 2.0, "reconstruction": 3.0}


def paper_network(
    folder: Path, decoder: str = "recurrent", space: str = "coupling", **stage: Any
) -> tuple[PosteriorEstimator, StageSection, SimulatedSpectra]:
    """A stirred network of the paper's kind, its stage, and a batch of spectra."""
    losses = {name: weight for name, weight in ALL.items() if decoder != "none" or name != "reconstruction"}
    if space == "point":
        losses["flow"] = 0.0
    recipe = toy_recipe(losses | stage, network=PAPER | {"decoder": decoder, "latent": space})
    network, simulator = toy_network(folder, recipe)
    return stirred(network.core), recipe.stage[0], simulator.sample(24, generator_for(4, "spectra"))


def test_terms_by_hand(tmp_path: Path) -> None:
    core, stage, drawn = paper_network(tmp_path, draws=2)
    inputs = NetworkInput.of(drawn)
    with torch.no_grad():
        terms = loss_terms(core, stage, inputs, drawn.theta, generator_for(0, "draws"))
        x = core.coordinates.from_theta(drawn.theta)
        context = core.context(inputs)
        base = torch.randn((24, 2, 2), generator=generator_for(0, "draws"))
        draws = core.flow.draw(base, context)
        flow = -sum(float(core.flow.log_density(x[i : i + 1, None], context[i : i + 1])) for i in range(24)) / 24
        latent = sum(float((draws[:, j] - x).square().mean()) for j in range(2)) / 2
        rebuilt = sum(float(reconstruction(core, stage, inputs, draws[:, j])) for j in range(2)) / 2
    assert set(terms) == {"flow", "latent", "reconstruction"}
    assert float(terms["flow"]) == pytest.approx(flow, rel=1e-5)
    assert float(terms["latent"]) == pytest.approx(latent, rel=1e-5)
    assert float(terms["reconstruction"]) == pytest.approx(rebuilt, rel=1e-5)
    assert float(total(terms, stage)) == pytest.approx(flow + 2.0 * latent + 3.0 * rebuilt, rel=1e-5)


def test_only_terms_with_a_weight_are_computed(tmp_path: Path) -> None:
    core, stage, drawn = paper_network(tmp_path)
    only = stage.model_copy(update={"flow": 0.0, "latent": 0.0, "reconstruction": 0.0, "decoder": 0.5})
    with torch.no_grad():
        terms = loss_terms(core, only, NetworkInput.of(drawn), drawn.theta, generator_for(0, "draws"))
        wanted = reconstruction(core, only, NetworkInput.of(drawn), core.coordinates.from_theta(drawn.theta))
    assert set(terms) == {"decoder"}
    assert float(terms["decoder"]) == pytest.approx(float(wanted))
    assert float(total(terms, only)) == pytest.approx(0.5 * float(wanted))


def test_the_papers_reconstruction_is_a_gaussian_with_the_datas_sigma(tmp_path: Path) -> None:
    core, stage, drawn = paper_network(tmp_path)
    inputs, x = NetworkInput.of(drawn), core.coordinates.from_theta(drawn.theta)
    assert isinstance(core.scaling, LogRateScaler)
    assert core.decoder is not None
    with torch.no_grad():
        target, sigma = core.scaling.target(inputs)
        variance = sigma.square().clamp(min=LEAST_VARIANCE)
        wanted = 0.5 * ((core.decoder(x, inputs) - target).square() / variance + variance.log()).mean()
        assert float(reconstruction(core, stage, inputs, x)) == pytest.approx(float(wanted), rel=1e-6)


def test_the_counts_reconstruction_is_the_exact_likelihood_of_the_noticed_bins(tmp_path: Path) -> None:
    core, stage, drawn = paper_network(tmp_path, decoder="physical", reconstruction_likelihood="counts")
    kinds = (drawn.noticed == 0).any(), (drawn.systematic > 0).any(), (drawn.background > 0).any()
    assert all(bool(kind) for kind in kinds)
    inputs = NetworkInput.of(drawn)
    with torch.no_grad():
        found = reconstruction(core, stage, inputs, core.coordinates.from_theta(drawn.theta))
        exact = drawn.likelihood().log_density(drawn.expected[:, None]).sum() / (drawn.noticed > 0).sum()
    assert float(found) == pytest.approx(-float(exact), rel=1e-5)


@pytest.mark.parametrize("likelihood", ["gaussian", "counts"])
@pytest.mark.parametrize("decoder", ["recurrent", "physical"])
@pytest.mark.parametrize("latent", ["coupling", "autoregressive", "gaussian", "point"])
def test_the_gradient_of_the_reconstruction_reaches_the_encoder(
    tmp_path: Path, latent: str, decoder: str, likelihood: str
) -> None:
    only = {"flow": 0.0, "latent": 0.0, "reconstruction_likelihood": likelihood}
    core, stage, drawn = paper_network(tmp_path, decoder, latent, **only)
    moving = freeze_all_but(core, ("encoder", "flow"))
    terms = loss_terms(core, stage, NetworkInput.of(drawn), drawn.theta, generator_for(0, "draws"))
    assert set(terms) == {"reconstruction"}
    terms["reconstruction"].backward()
    for name, weight in core.encoder.named_parameters():
        assert weight.grad is not None, name
        assert bool(torch.isfinite(weight.grad).all()), name
        assert float(weight.grad.abs().max()) > 0.0, name
    assert any(weight.grad is not None and float(weight.grad.abs().max()) > 0.0 for weight in moving)
    assert core.decoder is not None
    assert all(weight.grad is None for weight in core.decoder.parameters())


@pytest.mark.parametrize("likelihood", ["gaussian", "counts"])
def test_the_truth_is_a_likelier_spectrum_than_its_neighbours(tmp_path: Path, likelihood: str) -> None:
    recipe = toy_recipe(
        {"latent": 1.0, "reconstruction": 1.0, "reconstruction_likelihood": likelihood},
        network=PAPER | {"decoder": "physical"},
        training_prior=WHOLE | {"rate": [500.0, 1000.0]},
    )
    network, simulator = toy_network(tmp_path, recipe)
    drawn = simulator.sample(40, generator_for(4, "spectra"))
    inputs = replace(NetworkInput.of(drawn), counts=(drawn.expected + drawn.background).round())
    x = network.core.coordinates.from_theta(drawn.theta)
    at = [float(reconstruction(network.core, recipe.stage[0], inputs, x + 0.3 * shift)) for shift in (-1, 0, 1)]
    assert at[1] < min(at[0], at[2])


def test_a_reconstruction_without_a_decoder_is_the_programs_fault(tmp_path: Path) -> None:
    core, stage, drawn = paper_network(tmp_path, decoder="none")
    with pytest.raises(ValueError, match="a reconstruction needs a decoder"):
        reconstruction(core, stage, NetworkInput.of(drawn), torch.zeros(24, 2))


def test_a_flow_that_is_a_standard_normal_costs_its_entropy(tmp_path: Path) -> None:
    core, stage, drawn = paper_network(tmp_path, decoder="none", space="gaussian")
    with torch.no_grad():
        for weight in core.flow.parameters():
            weight.zero_()
        only = stage.model_copy(update={"latent": 0.0, "reconstruction": 0.0})
        terms = loss_terms(core, only, NetworkInput.of(drawn), drawn.theta, generator_for(0, "draws"))
        x = core.coordinates.from_theta(drawn.theta)
    wanted = 0.5 * x.square().sum(-1).mean() + math.log(2.0 * math.pi)
    assert float(terms["flow"]) == pytest.approx(float(wanted), rel=1e-5)
