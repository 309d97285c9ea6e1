"""Networks on disk, and the shipped ones by name: safetensors with a JSON header, nothing that could run.

The header of a network holds all that makes it but its weights: recipe, training prior, layout, response, grid, what
the training came to, versions. It is checked against the weights before a network is made of it.

Any file of ours is read whole or refused with one line: its size, its header, a hash over all tensors and one over the
header, and that all numbers are finite are checked. Files are written under a temporary name and renamed. Checkpoints
of trainings go this way too.

Source: https://github.com/huggingface/safetensors, "Format".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from xrayflow.errors import FileError, NetworkError, XrayflowError, nearest
from xrayflow.files import OTHER_OUT, write_file
from xrayflow.models import parse_model
from xrayflow.networks.network import Network, build_core
from xrayflow.networks.nn.core import PosteriorEstimator
from xrayflow.networks.recipe import Recipe, parse_recipe
from xrayflow.networks.response import Response
from xrayflow.simulate import Layout, TrainingPrior

FORMAT_VERSION = 1
HEADER = "xrayflow"
"""The key of our header among a file's metadata."""

SUFFIX = ".safetensors"
LARGEST_FILE = 512 * 1024 * 1024
"""Bytes of a network or checkpoint."""


def save_network(network: Network, path: str | Path) -> Path:
    """Write a network.

    Args:
        network: What is written.
        path: The file; an existing one is replaced.

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


def _core(recipe: Recipe, training_prior: TrainingPrior, bins: int, tensors: dict[str, Tensor]) -> PosteriorEstimator:
    """The parts that a recipe asks for, with the weights of a file, which cannot be moved."""
    widest = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    if max(bins, recipe.network.context) > widest:
        raise NetworkError(f"its weights are at most {widest} wide, its recipe asks for more; it is broken")
    there = sum(tensor.numel() for tensor in tensors.values())
    if recipe.network.inner_weights > there:
        raise NetworkError(f"it has {there} weights, its recipe asks for more; it is broken")
    core = build_core(recipe, training_prior, torch.ones(bins), None)
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
    """Shape and type of a tensor, for people."""
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


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], header: Mapping[str, Any]) -> Path:
    """Tensors with a JSON header; the hashes of both go into it.

    Args:
        path: The file; an existing one is replaced when the new one is complete. Its folder is made.
        tensors: What is written, by name.
        header: Values of JSON's kinds; numbers must be finite.

    Raises:
        NetworkError: The place cannot be written.
    """
    path = Path(path)
    kept = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    plain = json.loads(json.dumps({**header, "sha256": _hash(kept)}, allow_nan=False))
    text = json.dumps({**plain, "header_sha256": _hash_header(plain)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, save(kept, metadata={HEADER: text}), OTHER_OUT)
    except OSError as error:
        raise NetworkError(f"{path}: cannot be written ({error.strerror}); choose another --out") from None
    except FileError as error:
        raise NetworkError(str(error)) from None
    return path


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header, checked.

    Args:
        path: The file.

    Raises:
        NetworkError: The file is missing, too large, cut, corrupted, or not ours.
    """
    path = Path(path)
    with open_tensors(path, LARGEST_FILE) as file:
        header = _header(path, file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if header.get("sha256") != _hash(tensors):
        raise NetworkError(f"{path}: corrupted: its weights do not match their hash; fetch it anew")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise NetworkError(f"{path}: {name} holds numbers that are not finite; train it anew")
    return tensors, header


def read_header(path: str | Path) -> dict[str, Any]:
    """The header alone, quickly; the tensors are not checked.

    Args:
        path: The file.

    Raises:
        NetworkError: The file is missing, broken or not ours.
    """
    with open_tensors(Path(path), LARGEST_FILE) as file:
        return _header(Path(path), file.metadata())


def open_tensors(path: Path, largest: int) -> Any:
    """A safetensors file whose tensors are read one by one.

    Args:
        path: The file.
        largest: Bytes.

    Returns:
        What `safetensors.safe_open` returns, a context manager.

    Raises:
        NetworkError: It is missing, no file, too large, or no safetensors file.
    """
    try:
        size = path.stat().st_size
        is_file = path.is_file()
    except (OSError, ValueError) as error:  # a name may be too long, or hold a NUL
        why = error.strerror if isinstance(error, OSError) else error
        raise NetworkError(f"{path}: {why}; give the path of a {SUFFIX} file") from None
    if not is_file:
        raise NetworkError(f"{path}: not a file; give the path of a {SUFFIX} file")
    if size > largest:
        raise NetworkError(f"{path}: {size} bytes; at most {largest} are read")
    try:
        return safe_open(str(path), framework="pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise NetworkError(f"{path}: cut, corrupted or no safetensors file ({error}); fetch it anew") from None


def read_json(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    """Our header among the metadata of a safetensors file.

    Args:
        path: The file, for the error line.
        metadata: The file's.

    Raises:
        NetworkError: There is none.
    """
    try:
        header = json.loads((metadata or {})[HEADER])
    except (KeyError, ValueError, RecursionError):
        header = None
    if not isinstance(header, dict):
        raise NetworkError(f"{path}: a safetensors file, but without a header of xrayflow; it is not one of ours")
    return header


def _header(path: Path, metadata: Mapping[str, str] | None) -> dict[str, Any]:
    header = read_json(path, metadata)
    found = header.get("format_version")
    if found != FORMAT_VERSION:
        raise NetworkError(f"{path}: format {found!r}; this version reads {FORMAT_VERSION}; fetch or train it anew")
    if header.pop("header_sha256", None) != _hash_header(header):
        raise NetworkError(f"{path}: corrupted: its header does not match its hash; fetch it anew")
    return header


def _hash_header(header: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()


def _hash(tensors: Mapping[str, Tensor]) -> str:
    """Over names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()
