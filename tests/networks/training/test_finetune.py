"""A training that begins from the weights of another network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import xrayflow.networks.training.loop as training
from network_zoo import CALIBRATED, PAPER, SMALL, stirred, toy_network, toy_recipe, trained
from xrayflow.errors import NetworkError, TrainingError
from xrayflow.networks import load_network
from xrayflow.networks.store import save_network

QUIET = {"rate": 1e-12, "epochs": 1, "weight_decay": 0.0}
"""A stage that leaves the weights where they were."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder with a network to begin from, whose weights no seed gives."""
    monkeypatch.setattr(training, "SCALING_SPECTRA", 300)
    network, _ = toy_network(tmp_path / "run", toy_recipe(network=SMALL | PAPER | {"decoder": "recurrent"}))
    stirred(network.core)
    save_network(network, tmp_path / "run" / "first.safetensors")
    return tmp_path / "run"


def begun(folder: Path, network: dict[str, Any], **changes: Any) -> Any:
    """The network that a quiet training makes of the first one."""
    recipe = toy_recipe(QUIET, network=SMALL | PAPER | network, start="first.safetensors", seed=99, **changes)
    trained(recipe, folder, folder / "out")
    return load_network(folder / "out" / "toy.safetensors")


@pytest.mark.parametrize("decoder", ["recurrent", "none"])
def test_it_has_the_others_weights(folder: Path, decoder: str) -> None:
    first, second = load_network(folder / "first.safetensors"), begun(folder, {"decoder": decoder})
    own, other = second.core.state_dict(), first.core.state_dict()
    assert {name.split(".")[0] for name in other if name not in own} == (
        set() if decoder == "recurrent" else {"decoder"}
    )
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, other[name], rtol=1e-5, atol=1e-8)
    assert second.trained["start"]["name"] == "toy"
    assert len(second.trained["start"]["sha256"]) == 64


def test_a_part_of_another_kind_begins_anew(folder: Path) -> None:
    first = load_network(folder / "first.safetensors")
    second = begun(folder, {"latent": "gaussian", "decoder": "none"})
    assert type(second.core.flow).__name__ == "Gaussian"
    encoder = {name: tensor for name, tensor in second.core.state_dict().items() if name.startswith("encoder")}
    for name, tensor in encoder.items():
        torch.testing.assert_close(tensor, first.core.state_dict()[name], rtol=1e-5, atol=1e-8)


def test_a_network_without_an_amplitude_starts_none_that_knows_one(folder: Path) -> None:
    message = "training_prior.calibration is nicer-v1, its is none; only one knows an amplitude"
    with pytest.raises(TrainingError, match=message):
        begun(folder, {}, training_prior=CALIBRATED)


def test_a_stopped_training_does_not_begin_again(folder: Path) -> None:
    recipe = toy_recipe({"epochs": 2}, network=SMALL | PAPER, start="first.safetensors")
    whole, stopped = folder / "whole", folder / "stopped"
    trained(recipe, folder, whole)
    run = training.train(recipe, stopped, folder)
    while next(run).validation is None:
        pass
    run.close()
    trained(recipe, folder, stopped)
    one, other = (load_network(out / "toy.safetensors").core.state_dict() for out in (whole, stopped))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"network": {"hidden": [8]}}, "its flow is another one"),
        ({"network": {"scaling": "paper"}}, "network.scaling is 'paper', its is 'paper-centred'"),
        ({"layout": {"widths": [8, 10]}}, "its bins are not those"),
        ({"model": {"freeze": {"powerlaw.PhoIndex": 2.0}, "prior": []}}, "it was made with powerlaw.PhoIndex free"),
    ],
)
def test_another_kind_of_network_is_refused(folder: Path, changes: dict[str, Any], said: str) -> None:
    table = {**changes, "network": SMALL | PAPER | changes.get("network", {})}
    recipe = toy_recipe(QUIET, start="first.safetensors", **table)
    with pytest.raises(TrainingError, match=said):
        trained(recipe, folder, folder / "out")


def test_a_network_that_is_not_there_is_one_line(folder: Path) -> None:
    with pytest.raises(NetworkError, match="No such file"):
        trained(toy_recipe(QUIET, start="gone.safetensors"), folder, folder / "out")
