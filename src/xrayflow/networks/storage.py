"""Networks on disk, and the shipped ones by name.

The header of a file holds all that makes a network but its weights: recipe, training prior, layout, response, grid,
what the training came to, versions. It is checked against the weights before a network is made of it.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xrayflow.errors import NetworkError, XrayflowError, nearest
from xrayflow.models import parse_model
from xrayflow.networks.core import Core
from xrayflow.networks.network import Network, build_core
from xrayflow.networks.recipe import Recipe, parse_recipe
from xrayflow.networks.response import Response
from xrayflow.networks.tensors import FORMAT_VERSION, SUFFIX, read_tensors, write_tensors
from xrayflow.simulate import Layout, TrainingPrior


def save_network(network: Network, path: str | Path) -> Path:
    """Write a network.

    Args:
        network: To write.
        path: Of the file; an existing one is replaced.

    Raises:
        NetworkError: The place cannot be written.
    """
    header = {
        "format_version": FORMAT_VERSION,
        "recipe": network.recipe.model_dump(mode="json"),
        "training_prior": network.training_prior.to_dict(),
        "layout": network.layout.to_dict(),
        "response": network.response.to_dict(),
        "bins": network.bins,
        "grid": network.grid,
        "trained": network.trained,
        "versions": network.versions,
    }
    return write_tensors(path, network.core.state_dict(), header)


def load_network(name: str | Path) -> Network:
    """A network by the name of a shipped one, or from a file.

    Args:
        name: `nicer-bhb`, or the path of a file; with a `/` or the suffix `.safetensors` it is a path.

    Raises:
        NetworkError: There is no such network (the nearest name is offered), or its file is broken.
    """
    path = _locate(name)
    tensors, header = read_tensors(path)
    try:
        return _read(path, tensors, header)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except XrayflowError as error:
        raise NetworkError(f"{path}: not a network of this version: {error}") from None


def shipped_networks() -> dict[str, Path]:
    """Name -> file of the networks that come with xrayflow."""
    folder = Path(str(resources.files("xrayflow.data")))
    return {path.name.removesuffix(SUFFIX): path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _read(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> Network:
    """A network of what a file holds."""
    for key in ("recipe", "training_prior", "layout", "response", "bins", "grid", "trained", "versions"):
        if key not in header:
            raise NetworkError(f"its header lacks '{key}'; it is no network")
    bins, trained, versions = header["bins"], header["trained"], header["versions"]
    if not (isinstance(bins, int) and isinstance(trained, dict) and isinstance(versions, dict)):
        raise NetworkError("its header holds other kinds of values; it is no network")
    recipe = parse_recipe(header["recipe"], "recipe")
    model = parse_model(recipe.model.expression, recipe.model.abund).freeze(recipe.model.freeze)
    training_prior = TrainingPrior.from_dict(header["training_prior"])
    names = training_prior.prior.names
    if names != model.names:
        raise NetworkError(f"a prior of {', '.join(names) or 'no parameter'} for {model.text}; train it anew")
    layout = Layout.from_dict(header["layout"])
    network = Network(
        recipe,
        model,
        training_prior,
        layout,
        Response.from_dict(header["response"], bins),
        str(header["grid"]),
        _core(recipe, training_prior, bins, tensors),
        trained,
        {str(key): str(value) for key, value in versions.items()},
    )
    return replace(network, source=str(path))


def _core(recipe: Recipe, training_prior: TrainingPrior, bins: int, tensors: dict[str, Tensor]) -> Core:
    """The parts that a recipe asks for, with the weights of a file, which cannot be moved."""
    widest = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    if max(bins, recipe.network.context) > widest:
        raise NetworkError(f"its weights are at most {widest} wide, its recipe asks for more; it is broken")
    there = sum(tensor.numel() for tensor in tensors.values())
    if recipe.network.inner_weights > there:
        raise NetworkError(f"it has {there} weights, its recipe asks for more; it is broken")
    core = build_core(recipe, training_prior.prior, torch.ones(bins), None)
    own = core.state_dict()
    for name in [*own, *tensors]:
        found = _shape(tensors.get(name))
        wanted = _shape(own.get(name))
        if found != wanted:
            raise NetworkError(f"weights {name}: {found}, its recipe asks for {wanted}; it is broken")
    core.load_state_dict(tensors)
    for parameter in core.parameters():
        parameter.requires_grad_(False)
    return core.eval()


def _shape(tensor: Tensor | None) -> str:
    """For people."""
    return "none" if tensor is None else f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _locate(name: str | Path) -> Path:
    """The file of a name."""
    shipped = shipped_networks()
    text = str(name)
    if text in shipped:
        return shipped[text]
    if isinstance(name, Path) or "/" in text or text.endswith(SUFFIX):
        return Path(name)
    offer = nearest(text, shipped) if shipped else ""
    raise NetworkError(f"no network '{text}'{offer}; or give the path of a {SUFFIX} file")
