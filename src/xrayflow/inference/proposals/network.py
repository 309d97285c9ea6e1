"""A trained network as a proposal: which one starts an answer, and what it says of every source of a batch.

It is read, never trusted: it gives some of the optimiser's starts and a share of every proposal, its density is part of
the weights, and where it is wrong the other components carry the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xrayflow.errors import MismatchError, NetworkError, XrayflowError
from xrayflow.folding import SEARCH
from xrayflow.inference.proposals.density import Density
from xrayflow.models import Model, parse_model
from xrayflow.networks import (
    Level,
    ModeFeatures,
    Network,
    NeuralPosterior,
    load_network,
    parse_recipe,
    read_header,
    shipped_networks,
)
from xrayflow.ogip import Spectrum
from xrayflow.problem import Problem
from xrayflow.simulate import TrainingPrior
from xrayflow.statistics import MODES

NO_NETWORK = "none"

_LOADED: dict[Path, tuple[bytes, Network]] = {}
"""The network that was used last."""


class Guide(Protocol):
    """Normalised densities of the model's parameters in probit coordinates of the answer's prior, one per source."""

    @property
    def name(self) -> str:
        """What it goes by in products."""
        ...

    @property
    def present(self) -> Bool[Tensor, " source"]:
        """Whether this source has one; the others are never asked."""
        ...

    def sample(self, draws: int, generators: list[torch.Generator]) -> Float[Tensor, "source draw parameter"]:
        """Draws, one generator per source; finite for the sources that have one."""
        ...

    def log_density(self, v: Float[Tensor, "source draw parameter"]) -> Float[Tensor, "source draw"]:
        """Natural log of the density that `sample` draws from; -inf where it cannot draw, and for absent sources."""
        ...

    def seen(self, source: int) -> Density:
        """What the guide says of one source that has one, before its modes are known.

        Args:
            source: Its number in the batch.
        """
        ...

    def seen_from_modes(self, source: int, modes: ModeFeatures, level: Level) -> Sequence[Density]:
        """What the guide says of one source when its modes are known: a part for each; none where it knows no more.

        Args:
            source: Its number in the batch.
            modes: Its distinct modes.
            level: Of this source.
        """
        ...

    def select(self, sources: Tensor) -> Guide:
        """The guide of some of the sources."""
        ...


@dataclass(frozen=True)
class NetworkProposal:
    """What a network says of a batch of sources, and what there is to say about it.

    Attributes:
        posterior: Its posteriors; None where no network was made for the model.
        notes: (source,) why a source has none; "" where it has one, or where there is no network.
        outside: (source,) whether it lies outside the training.
    """

    posterior: NeuralPosterior | None
    notes: tuple[str, ...]
    outside: tuple[bool, ...]

    def name(self, source: int) -> str | None:
        """The network that starts a source's answer."""
        if self.posterior is None or not bool(self.posterior.present[source]):
            return None
        return self.posterior.name


def find_network(
    network: str | Path | Network | None, problem: Problem, spectra: Sequence[Spectrum]
) -> NetworkProposal:
    """The network that a user names, or the shipped one that fits, and what it makes of the spectra.

    Args:
        network: A shipped one's name, a file, a network, "none", or None for the shipped one that fits.
        problem: The batch.
        spectra: The same sources' spectra: a network sees raw channels, in bins of its own.

    Raises:
        NetworkError: The named network does not exist, is broken, or was made for another model.
    """
    nothing = NetworkProposal(None, ("",) * problem.sources, (False,) * problem.sources)
    if network == NO_NETWORK:
        return nothing
    found = default_network(problem.model) if network is None else network
    if found is None:
        return nothing
    if not isinstance(found, Network):
        found = _loaded(found)
    facts = problem.data.facts
    try:
        if not bool(facts.are_counts.all()):
            raise MismatchError("it takes counts, and these data come with Gaussian errors")
        believed = facts.systematic.tolist(), facts.amplitude.tolist()
        amortised = NeuralPosterior.of(found, problem.model, problem.model_prior, spectra, *believed)
    except MismatchError as other:
        if network is not None:
            raise NetworkError(f"network {found.name}: {other}; use --network none, or train one") from None
        note = f"started without the network {found.name}: {other}"
        return NetworkProposal(None, (note,) * problem.sources, nothing.outside)
    whys = [amortised.absence(source) for source in range(problem.sources)]
    notes = tuple(f"started without the network {found.name}: {why}" if why else "" for why in whys)
    return NetworkProposal(amortised, notes, tuple(bool(outside) for outside in amortised.outside))


def default_network(model: Model) -> Path | None:
    """The first shipped network that was made for a model's expression; its file is read when it is used.

    Args:
        model: The spectral model.

    Returns:
        Its file; None where none was made for the model.
    """
    for path in shipped_networks().values():
        recipe = parse_recipe(read_header(path)["recipe"], str(path))
        try:
            made_for = parse_model(recipe.model.expression, recipe.model.abund)
        except XrayflowError as error:
            raise NetworkError(f"{path}: {error}") from None
        if made_for.text == model.text:
            return path
    return None


def level_of(problem: Problem, source: int) -> Level:
    """The level of one source of a batch, on the grid of searches.

    Args:
        problem: The batch.
        source: Its number.
    """
    own = problem.select(torch.tensor([source])).at(SEARCH)

    def counts(theta: Float[Tensor, "*batch parameter"]) -> Float[Tensor, "*batch"]:
        return own.expected_counts(theta.reshape(1, -1, theta.shape[-1])).reshape(theta.shape[:-1])

    return Level.of(problem.model, problem.model_prior, counts)


def training_of(network: str | Path | Network | None, model: Model) -> TrainingPrior | None:
    """What the network that `find_network` would take was trained on; None where there is none.

    Args:
        network: As there.
        model: The answer's.

    Raises:
        NetworkError: The named network does not exist, or is broken.
    """
    if network == NO_NETWORK:
        return None
    found = default_network(model) if network is None else network
    if found is None or isinstance(found, Network):
        return None if found is None else found.training_prior
    return _loaded(found).training_prior


def require_network(said: NetworkProposal, problem: Problem) -> NeuralPosterior:
    """The network's posteriors, where it alone must answer.

    Raises:
        NetworkError: There is no network, a source is not of its kind, or it knows nothing of the calibration modes.
    """
    if said.posterior is None:
        why = next((note for note in said.notes if note), f"no shipped network was made for {problem.model.text}")
        raise NetworkError(f"--amortised: {why}; give one with --network, or leave --amortised out")
    amortised, modes = said.posterior, problem.data.rests_on.calibration
    refuse_unknown_modes(amortised.network, "" if modes is None else modes.name)
    for source, where in enumerate(problem.data.facts.names):
        if why := amortised.absence(source):
            raise NetworkError(
                f"{where}: the network {amortised.name} cannot answer alone: {why}; leave --amortised out"
            )
    return amortised


def refuse_unknown_modes(network: Network, modes: str) -> None:
    """Refuse calibration modes that a network has not learned of: alone it cannot answer with them.

    Args:
        network: The network.
        modes: Set that is asked for: "" for none, `MODES` for the one that suits the instrument.

    Raises:
        NetworkError: It knows none, or another set.
    """
    known = network.training_prior.calibration
    if modes in ("", known) or (modes == MODES and known):
        return
    unknown = "calibration modes" if modes == MODES else f"calibration modes {modes}"
    others = f" or modes:{known}" if known else ""
    raise NetworkError(
        f"--amortised: network {network.name} knows no {unknown}; leave --amortised out, or give --systematic 0{others}"
    )


def _loaded(name: str | Path) -> Network:
    """A network by its name; a file that comes again, byte for byte, is not built again."""
    path = shipped_networks().get(str(name), Path(name))
    try:
        content = path.read_bytes()
    except OSError:
        return load_network(name)  # which says what is wrong
    before = _LOADED.get(path)
    if before is None or before[0] != content:
        _LOADED.clear()  # an archive is answered with one
        before = _LOADED[path] = content, load_network(name)
    return before[1]
