"""Begin a training from the weights of another network: a shipped one learns an archive in minutes.

Scaling and coordinates must be the other's. Encoder, flow, decoder and local flow are taken where both networks have
the same kind; what is of another kind begins anew, so a flow's encoder serves a plain Gaussian latent space too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from xrayflow.errors import MismatchError, TrainingError
from xrayflow.networks.network import Network
from xrayflow.networks.store import load_network, shipped_networks

KINDS = {
    "scaling": "scaling",
    "coordinates": "coordinates",
    "encoder": "encoder",
    "flow": "latent",
    "decoder": "decoder",
    "local": "local",
}
"""The word of [network] that says of which kind a part is."""


def load_pretrained(network: Network, folder: Path) -> Network | None:
    """The network that a recipe begins from; None where it begins from random weights.

    Args:
        network: The recipe's.
        folder: Where its relative paths start.

    Raises:
        NetworkError: There is no such network.
        TrainingError: It was made for another model or other bins, or its features or coordinates are others.
    """
    name = network.recipe.start
    if name is None:
        return None
    found = load_network(name if name in shipped_networks() else folder / name)
    where = f"{network.name}: start = '{name}'"
    try:
        found.refuse_model(network.model)
    except MismatchError as error:
        raise TrainingError(f"{where}: {error}") from None
    if found.layout != network.layout:
        raise TrainingError(f"{where}: its bins are not those of [layout]")
    own, other = network.recipe.network, found.recipe.network
    for word in ("scaling", "coordinates"):
        if getattr(own, word) != getattr(other, word):
            raise TrainingError(f"{where}: network.{word} is '{getattr(own, word)}', its is '{getattr(other, word)}'")
    if found.core.scaling.calibrated != network.core.scaling.calibrated:
        mine, its = (one.training_prior.calibration or "none" for one in (network, found))
        raise TrainingError(f"{where}: training_prior.calibration is {mine}, its is {its}; only one knows an amplitude")
    return found


def warm_start(network: Network, start: Network) -> None:
    """Put the other's weights into a network, part by part.

    Args:
        network: The one that begins.
        start: What `load_pretrained` gave.

    Raises:
        TrainingError: A part that both have is of another size.
    """
    own, other = network.core.state_dict(), start.core.state_dict()
    taken: dict[str, Tensor] = {}
    for part, word in KINDS.items():
        if getattr(network.recipe.network, word) != getattr(start.recipe.network, word):
            continue
        theirs = {name: tensor for name, tensor in other.items() if name.split(".")[0] == part}
        mine = {name for name in own if name.split(".")[0] == part}
        if {name: own[name].shape for name in mine} != {name: tensor.shape for name, tensor in theirs.items()}:
            raise TrainingError(f"{network.name}: start = '{network.recipe.start}': its {part} is another one")
        taken |= theirs
    network.core.load_state_dict({**own, **taken})


def describe_pretrained(start: Network) -> dict[str, Any]:
    """Name and hash, for the header of what it becomes."""
    return {"name": start.name, "sha256": hashlib.sha256(Path(start.source).read_bytes()).hexdigest()}
