"""Which network starts an answer: the one that the user names, else a shipped one that was made for the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xrayflow.errors import MismatchError, NetworkError, XrayflowError
from xrayflow.models import Model, parse_model
from xrayflow.networks import Amortised, Network, load_network, read_header, shipped_networks
from xrayflow.networks.recipe import parse_recipe
from xrayflow.problem import Problem
from xrayflow.statistics import Choice

NO_NETWORK = "none"


@dataclass(frozen=True)
class Guidance:
    """What a network says of a batch of sources, and what there is to say about it.

    Attributes:
        amortised: Its posteriors; None where no network was made for the model.
        notes: (source,) why a source has none; "" where it has one, or where there is no network.
        outside: (source,) whether it lies outside the training.
    """

    amortised: Amortised | None
    notes: tuple[str, ...]
    outside: tuple[bool, ...]

    def name(self, source: int) -> str | None:
        """The network that starts a source's answer."""
        if self.amortised is None or not bool(self.amortised.present[source]):
            return None
        return self.amortised.name


def find_guidance(network: str | Path | Network | None, problem: Problem, choices: list[Choice]) -> Guidance:
    """The network of a question, and what it makes of the spectra.

    Args:
        network: A shipped one's name, a file, a network, "none", or None for the shipped one that fits.
        problem: The batch.
        choices: The statistic of each source.

    Raises:
        NetworkError: The named network does not exist, is broken, or was made for another model.
    """
    nothing = Guidance(None, ("",) * problem.sources, (False,) * problem.sources)
    if network == NO_NETWORK:
        return nothing
    found = _fitting(problem.model) if network is None else network
    if found is None:
        return nothing
    if not isinstance(found, Network):
        found = load_network(found)
    systematic = problem.noise.systematic[:, 0].tolist()
    try:
        if any(choice.gaussian for choice in choices):
            raise MismatchError("it takes counts, and these data come with Gaussian errors")
        amortised = Amortised.of(found, problem.model, problem.prior, problem.spectra, systematic)
    except MismatchError as other:
        if network is not None:
            raise NetworkError(f"network {found.name}: {other}; use --network none, or train one") from None
        note = f"started without the network {found.name}: {other}"
        return Guidance(None, (note,) * problem.sources, nothing.outside)
    whys = [amortised.absence(source) for source in range(problem.sources)]
    notes = tuple(f"started without the network {found.name}: {why}" if why else "" for why in whys)
    return Guidance(amortised, notes, tuple(bool(outside) for outside in amortised.outside))


def require_network(guidance: Guidance, problem: Problem) -> Amortised:
    """The network's posteriors, where it alone must answer.

    Raises:
        NetworkError: There is no network, or a source is not of its kind.
    """
    if guidance.amortised is None:
        why = next((note for note in guidance.notes if note), f"no shipped network was made for {problem.model.text}")
        raise NetworkError(f"--amortised: {why}; give one with --network, or leave --amortised out")
    amortised = guidance.amortised
    for source, spectrum in enumerate(problem.spectra):
        if why := amortised.absence(source):
            where = spectrum.observation.pha.path.name
            raise NetworkError(
                f"{where}: the network {amortised.name} cannot answer alone: {why}; leave --amortised out"
            )
    return amortised


def _fitting(model: Model) -> Path | None:
    """The first shipped network that was made for a model's expression; its file is read when it is used."""
    for path in shipped_networks().values():
        recipe = parse_recipe(read_header(path)["recipe"], str(path))
        try:
            made_for = parse_model(recipe.model.expression, recipe.model.abund)
        except XrayflowError as error:
            raise NetworkError(f"{path}: {error}") from None
        if made_for.text == model.text:
            return path
    return None
