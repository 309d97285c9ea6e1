"""A library of spectra on disk as training data: what `xrayflow simulate --prior-draws N` or `targets` writes.

A library belongs to a network if it has the same model, with the same parameters free and frozen, and the same bins.
Targets that no network could learn are refused, not skipped: they would be wrong in the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xrayflow.errors import DataError, TrainingError
from xrayflow.networks.inputs import NetworkInput
from xrayflow.networks.network import Network
from xrayflow.networks.nn.coordinates import Coordinates
from xrayflow.networks.store import open_tensors, read_json
from xrayflow.seeds import generator_for
from xrayflow.simulate import Layout, Simulator, describe_model

LARGEST_LIBRARY = 32_000_000_000
"""Bytes of the file; in memory it is half as large again."""

GROUP = "group"

SPLIT = 0
"""Seed of the order in which groups are held apart: not the recipe's, so that networks can be compared."""

AMPLITUDE = "amplitude"
"""Only in libraries whose responses have errors."""

PER_BIN, PER_SOURCE = ("counts", "background", "noticed"), ("exposure", "area", "systematic")


def read_library(
    path: Path, simulator: Simulator | Network, coordinates: Coordinates
) -> tuple[NetworkInput, Tensor, Tensor]:
    """The spectra of a library, what made them, and what they belong to.

    Args:
        path: The file.
        simulator: Of the network that learns from it, or the network: model and bins must be the library's.
        coordinates: Of its flow, to which every target must have a place.

    Returns:
        Spectra, theta (source, parameter) in the parameters' units, and group (source,): spectra of one group are alike
        and stay together; each its own where the file has no groups.

    Raises:
        NetworkError: The file is missing, cut or no safetensors file of xrayflow.
        TrainingError: It has another model or other bins, or numbers that cannot be.
    """
    with open_tensors(path, LARGEST_LIBRARY) as file:
        header = read_json(path, file.metadata())
        _refuse_header(path, header, simulator)
        names = ("theta", *PER_BIN, *PER_SOURCE)
        missing = [name for name in names if name not in file.keys()]  # noqa: SIM118
        if missing:
            raise TrainingError(f"{path}: holds no {', '.join(missing)}; it is no library of spectra")
        tensors = {name: file.get_tensor(name).double() for name in names}
        none = torch.zeros_like(tensors["systematic"])
        tensors[AMPLITUDE] = file.get_tensor(AMPLITUDE).double() if AMPLITUDE in file.keys() else none  # noqa: SIM118
        group = file.get_tensor(GROUP) if GROUP in file.keys() else torch.arange(len(tensors["theta"]))  # noqa: SIM118
    _refuse_shapes(path, tensors, simulator)
    if tuple(group.shape) != (len(tensors["theta"]),):
        raise TrainingError(f"{path}: {GROUP} has shape {tuple(group.shape)}, not {(len(tensors['theta']),)}")
    if header.get("noise") is False:
        tensors["counts"] = tensors["counts"].clamp(min=1.0)
    inputs = NetworkInput(**{name: tensors[name] for name in (*PER_BIN, *PER_SOURCE, AMPLITUDE)})
    _refuse_numbers(path, inputs, tensors["theta"], coordinates)
    return inputs, tensors["theta"], group


def held_apart(group: Tensor, wanted: int) -> tuple[Tensor, Tensor]:
    """The rows of a library that measure, and those that teach: the same for every network that learns from it.

    Whole groups measure, as many as come nearest to the wanted number, and never all of them.

    Args:
        group: (source,) what each spectrum belongs to, at least two different ones.
        wanted: Spectra that are to measure.
    """
    groups, member, sizes = torch.unique(group, return_inverse=True, return_counts=True)
    order = torch.randperm(groups.numel(), generator=generator_for(SPLIT, f"library:{groups.numel()}"))
    held = int((sizes[order].cumsum(0) - wanted).abs()[:-1].argmin()) + 1
    place = torch.empty_like(order)
    place[order] = torch.arange(groups.numel())
    rows = place[member].argsort(stable=True)
    size = int(sizes[order][:held].sum())
    return rows[:size], rows[size:]


def identify_library(path: Path, simulator: Simulator) -> list[Any]:
    """Check what a library is for, without reading its spectra.

    Args:
        path: The file.
        simulator: That of the network that is to learn from it.

    Returns:
        Its size in bytes and its header, which says what its spectra are.

    Raises:
        NetworkError, TrainingError: What `read_library` raises for its header.
    """
    with open_tensors(path, LARGEST_LIBRARY) as file:
        header = read_json(path, file.metadata())
    _refuse_header(path, header, simulator)
    return [path.stat().st_size, header]


def _refuse_header(path: Path, header: Mapping[str, Any], simulator: Simulator | Network) -> None:
    """Another model or other bins."""
    for name, own in describe_model(simulator.model).items():
        if header.get(name) != own:
            raise TrainingError(f"{path}: {name} {header.get(name)!r}, the run file's is {own!r}; simulate it anew")
    try:
        layout = Layout.from_dict(header.get("layout", {}))
    except DataError as error:
        raise TrainingError(f"{path}: {error}; simulate it anew") from None
    if layout != simulator.layout:
        raise TrainingError(f"{path}: its bins are not those of the run file's [layout]; simulate it anew")


def _refuse_shapes(path: Path, tensors: Mapping[str, Tensor], simulator: Simulator | Network) -> None:
    rows, parameters = tensors["counts"].shape[0] if tensors["counts"].dim() else 0, len(simulator.model.names)
    wanted = dict.fromkeys(PER_BIN, (rows, simulator.bins)) | dict.fromkeys((*PER_SOURCE, AMPLITUDE), (rows,))
    for name, shape in {"theta": (rows, parameters), **wanted}.items():
        if tuple(tensors[name].shape) != shape:
            raise TrainingError(f"{path}: {name} has shape {tuple(tensors[name].shape)}, not {shape}; simulate it anew")
    if rows < 2:
        raise TrainingError(f"{path}: {rows} spectra; some must train and some must measure")


def _refuse_numbers(path: Path, inputs: NetworkInput, theta: Tensor, coordinates: Coordinates) -> None:
    """Rows that hold what no spectrum or no target can be."""
    x = coordinates.from_theta(theta)
    placed = torch.isfinite(theta) & torch.isfinite(x) & torch.isfinite(coordinates.log_slope(theta))[:, None]
    wrong = {
        "targets that are not finite or lie outside the training prior": ~placed,
        "counts that are negative or not finite": ~_at_least_zero(inputs.counts),
        "a background that is negative or not finite": ~_at_least_zero(inputs.background),
        "noticed parts outside 0 .. 1": ~(_at_least_zero(inputs.noticed) & (inputs.noticed <= 1.0 + 1e-6)),
        "no exposure": ~(_at_least_zero(inputs.exposure) & (inputs.exposure > 0)),
        "no area": ~(_at_least_zero(inputs.area) & (inputs.area > 0)),
        "a systematic error that is negative or not finite": ~_at_least_zero(inputs.systematic),
        "an amplitude that is negative or not finite": ~_at_least_zero(inputs.amplitude),
    }
    for what, found in wrong.items():
        rows = found.flatten(1).any(1) if found.dim() > 1 else found
        if bool(rows.any()):
            first = int(rows.nonzero()[0])
            raise TrainingError(
                f"{path}: {int(rows.sum())} of {rows.numel()} spectra have {what}, the first is row {first}; leave "
                "them out"
            )


def _at_least_zero(values: Tensor) -> Tensor:
    return torch.isfinite(values) & (values >= 0)
