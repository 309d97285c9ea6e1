"""A network comes back from its file exactly, or not at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import xrayflow.networks.store as room
from network_zoo import CALIBRATED, PAPER, stirred, toy_network, toy_recipe
from xrayflow.errors import NetworkError
from xrayflow.networks import Network, load_network, save_network, shipped_networks
from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.store import read_tensors, write_tensors
from xrayflow.seeds import generator_for


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    found, _ = toy_network(tmp_path_factory.mktemp("toy"))
    stirred(found.core)
    found.trained.update(spectra=512, last_epoch={"loss": 1.5})
    return found


@pytest.fixture
def path(network: Network, tmp_path: Path) -> Path:
    return save_network(network, tmp_path / "toy.safetensors")


def rewritten(path: Path, tensors: dict[str, Tensor] | None = None, **header: Any) -> Path:
    """The file with other tensors or words in its header, and hashes that fit; a word that is None is left out."""
    own, title = read_tensors(path)
    title = {name: value for name, value in {**title, **header}.items() if value is not None}
    return write_tensors(path, own if tensors is None else tensors, title)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        PAPER | {"decoder": "recurrent", "latent": "autoregressive"},
        PAPER | {"decoder": "physical", "latent": "gaussian", "scaling": "paper"},
    ],
)
def test_a_network_comes_back_exactly(tmp_path: Path, changes: dict[str, Any]) -> None:
    network, simulator = toy_network(tmp_path, toy_recipe(network=changes))
    stirred(network.core)
    loaded = load_network(save_network(network, tmp_path / "toy.safetensors"))
    own, found = network.core.state_dict(), loaded.core.state_dict()
    assert own.keys() == found.keys()
    assert all(torch.equal(own[name], found[name]) and own[name].dtype == found[name].dtype for name in own)
    for name in ("recipe", "training_prior", "layout", "response", "grid", "trained", "versions", "name", "weights"):
        assert getattr(loaded, name) == getattr(network, name), name
    assert loaded.model.text == network.model.text
    assert loaded.source == str(tmp_path / "toy.safetensors")
    drawn = simulator.sample(5, generator_for(0, "spectra"))
    with torch.no_grad():
        one, other = (n.core.log_density(drawn.theta[:, None], NetworkInput.of(drawn)) for n in (network, loaded))
    assert torch.equal(one, other)
    assert not any(weight.requires_grad for weight in loaded.core.parameters())
    assert not loaded.core.training


@pytest.mark.parametrize("changes", [{}, PAPER, PAPER | {"scaling": "paper"}])
def test_a_network_that_knows_an_amplitude_comes_back_exactly(tmp_path: Path, changes: dict[str, Any]) -> None:
    network, simulator = toy_network(tmp_path, toy_recipe(network=changes, training_prior=CALIBRATED))
    loaded = load_network(save_network(network, tmp_path / "toy.safetensors"))
    assert loaded.training_prior == network.training_prior
    assert loaded.training_prior.calibration == "nicer-v1"
    inputs = NetworkInput.of(simulator.sample(40, generator_for(0, "spectra")))
    one, other = (n.core.context(inputs) for n in (network, loaded))
    assert torch.equal(one, other)
    doubled = replace(inputs, amplitude=2.0 * inputs.amplitude)
    off = (loaded.core.context(doubled) - other).abs().amax(-1)
    assert torch.equal(off > 0, inputs.amplitude > 0)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"layout": None}, "its header lacks 'layout'; it is no network"),
        ({"bins": "many"}, "its header holds other kinds of values; it is no network"),
        ({"trained": 5}, "its header holds other kinds of values"),
        ({"recipe": 5}, "not a network of this version: recipe: Input should be a valid dictionary"),
        ({"recipe": {"name": "a"}}, "not a network of this version: recipe: 'model' is missing"),
        (
            {"training_prior": {"prior": []}},
            "a prior of no parameter for powerlaw; train it anew",
        ),
        ({"layout": {"starts": [0]}}, "not a network of this version: 'layout.widths' is missing; give it"),
        ({"response": {"probe": 3}}, "'response.rmf_sha256' is missing; give it"),
        ({"bins": 13}, "response: it has 14 bins, the network 13"),
    ],
)
def test_a_header_that_is_no_networks_is_refused(path: Path, header: dict[str, Any], message: str) -> None:
    rewritten(path, **header)
    with pytest.raises(NetworkError) as found:
        load_network(path)
    assert str(found.value).startswith(f"{path}: ")
    assert message in str(found.value)


def test_a_prior_of_other_parameters_is_refused(path: Path, network: Network) -> None:
    prior = network.training_prior.to_dict()
    rewritten(path, training_prior={**prior, "prior": prior["prior"][:1]})
    with pytest.raises(NetworkError, match=r"a prior of powerlaw\.PhoIndex for powerlaw; train it anew"):
        load_network(path)


def test_a_response_without_any_area_is_refused(path: Path, network: Network) -> None:
    response = network.response.to_dict()
    rewritten(path, response={**response, "probe": [[0.0] * network.bins] * 3})
    with pytest.raises(NetworkError, match="response: a probe is not counts in the 14 bins of its energies"):
        load_network(path)


def test_weights_for_other_bins_are_refused(path: Path, tmp_path: Path) -> None:
    wide, _ = toy_network(tmp_path / "wide", toy_recipe(layout={"widths": [8, 10]}))
    tensors, _ = read_tensors(save_network(wide, tmp_path / "wide.safetensors"))
    rewritten(path, tensors)
    with pytest.raises(NetworkError, match=r"weights scaling.mean: \(3, 9\) float64, its recipe asks for \(3, 14\)"):
        load_network(path)


def test_a_recipe_that_asks_for_many_more_weights_is_refused_before_they_are_made(path: Path, network: Network) -> None:
    recipe = network.recipe.model_dump(mode="json")
    there = sum(tensor.numel() for tensor in read_tensors(path)[0].values())
    rewritten(path, recipe={**recipe, "network": {**recipe["network"], "transforms": 64, "hidden": [1024]}})
    with pytest.raises(NetworkError, match=f"it has {there} weights, its recipe asks for more; it is broken"):
        load_network(path)


def test_weights_of_another_kind_are_refused(path: Path) -> None:
    tensors, _ = read_tensors(path)
    name = "encoder.first.weight"
    for changed, message in (
        ({**tensors, name: tensors[name].double()}, f"weights {name}: .* float64, its recipe asks for .* float32"),
        ({key: value for key, value in tensors.items() if key != name}, f"weights {name}: none, its recipe asks for"),
        ({**tensors, "more": torch.zeros(2)}, "weights more: .*, its recipe asks for none; it is broken"),
        ({}, "its weights are at most 0 wide, its recipe asks for more; it is broken"),
    ):
        rewritten(path, changed)
        with pytest.raises(NetworkError, match=message):
            load_network(path)


def test_a_model_that_is_not_of_this_version_is_refused(path: Path, network: Network) -> None:
    recipe = network.recipe.model_dump(mode="json")
    rewritten(path, recipe={**recipe, "model": {"expression": "powerlw"}})
    with pytest.raises(NetworkError, match=r"not a network of this version: .*powerlw"):
        load_network(path)


def test_a_broken_file_is_refused_before_it_is_a_network(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(NetworkError, match="cut, corrupted or no safetensors file"):
        load_network(str(path))


def test_a_shipped_network_is_found_by_name_and_the_nearest_is_offered(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "shipped_networks", lambda: {"nicer-toy": path})
    assert load_network("nicer-toy").name == "toy"
    with pytest.raises(NetworkError, match=r"^no network 'nicer-tyo'; did you mean 'nicer-toy'\?; or give the path"):
        load_network("nicer-tyo")
    with pytest.raises(NetworkError, match="No such file or directory"):
        load_network("nicer-tyo.safetensors")
    with pytest.raises(NetworkError, match="No such file or directory"):
        load_network(Path("nicer-tyo"))
    monkeypatch.setattr(room, "shipped_networks", dict)
    with pytest.raises(NetworkError, match=r"^no network 'any'; or give the path of a \.safetensors file$"):
        load_network("any")


def test_every_shipped_network_loads() -> None:
    for name, path in shipped_networks().items():
        network = load_network(name)
        assert network.name == name
        assert network.source == str(path)
