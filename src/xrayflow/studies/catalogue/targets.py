"""Best fits of real spectra as training targets, for a library that `train` takes as a stage's `spectra`.

Each spectrum is fitted from many cold starts with XSPEC's statistic (or to the mode of the posterior) in its own bins,
and kept in the network's bins. A spectrum that cannot be read or is not the network's kind is left out with its reason;
a library that has some is written all the same.

Spectra of one observation are alike, so a set is split by what they belong to (`group`), never by spectrum: the group
stands in the file and `train` keeps groups whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from xrayflow.errors import DataError, MismatchError, NetworkError, XrayflowError
from xrayflow.fitting import BestFit, optimise_problem
from xrayflow.inference import NO_NETWORK, find_network
from xrayflow.models import Model
from xrayflow.networks import Network, NetworkInput, Recipe, load_network, prepare, read_recipe
from xrayflow.ogip import Observation
from xrayflow.setup import TOGETHER, FitSetup, problem_of
from xrayflow.studies.catalogue.library import Target, Targets, read_partial, write_targets
from xrayflow.studies.catalogue.sources import Progress, Reader, Source, batches

KEPT = 100
"""Spectra after which what is fitted is kept: so many are lost at most where a command is killed."""

STARTS = 16


class GroupBy(StrEnum):
    """What keeps spectra together; where a header does not say, the folder of the file does."""

    obsid = "obsid"
    object = "object"
    folder = "folder"


@dataclass(frozen=True)
class TargetsConfig:
    """What is asked of the fits.

    Attributes:
        energies: [(lo, hi)] keV; None: the band of the network.
        grouping: What `infer` takes.
        statistic: XSPEC's; "auto" takes what suits the data.
        systematic: Fractional systematic error of the source model; with objective "posterior" only.
        objective: "statistic" (XSPEC's fit) or "posterior".
        starts: Cold starts of each spectrum.
        group_by: What keeps spectra together.
        seed: Decides the starts.
        network: A network whose draws give some of the starts, as in `infer`; "none" without.
    """

    energies: Sequence[tuple[float, float]] | None = None
    grouping: str = "file"
    statistic: str = "auto"
    systematic: float = 0.0
    objective: str = "statistic"
    starts: int = STARTS
    group_by: GroupBy = GroupBy.obsid
    seed: int = 0
    network: str = NO_NETWORK


def find_targets(
    recipe: Path,
    sources: Sequence[Source],
    rmf: str | None,
    wanted: TargetsConfig,
    progress: Progress | None = None,
    partial: Path | None = None,
) -> Targets:
    """Fit a catalogue.

    Args:
        recipe: Run file of the network that is to learn from it: model, prior, bins.
        sources: The spectra.
        rmf: Of all of them, instead of what their headers name.
        wanted: How to fit them.
        progress: Called with (step, fraction).
        partial: Where the targets are kept after every `KEPT` spectra, and gone on from; None: nowhere.

    Raises:
        XrayflowError: A run file or a response that cannot be, or a file of spectra that cannot be fitted.
        DataError: No spectrum is left; the first reason stands in it. Or the partial file is of another question.
    """
    if not sources:
        raise DataError("no spectra; give PHA files, or --list FILE")
    run = read_recipe(recipe)
    network, simulator = prepare(run, recipe.parent)
    energies = wanted.energies or [network.recipe.layout.energies]
    setup = FitSetup(
        model=network.model,
        prior=network.training_prior.prior,
        systematic=wanted.systematic,
        energies=energies,
        grouping=wanted.grouping,
        statistic=wanted.statistic,
    )
    starting = _starting(network.model, wanted.network)
    asked = _asked(run, sources, rmf, wanted)
    found = Targets(simulator, asked) if partial is None else read_partial(partial, simulator, asked)
    reader = Reader(rmf)
    while found.done < len(sources):
        some = sources[found.done : found.done + KEPT]
        for batch in batches(_readable(reader, some, found), TOGETHER):
            seen = [
                (one, inputs) for one in batch if (inputs := _seen(network, one, energies, wanted, found)) is not None
            ]
            for (observation, inputs), fit in zip(seen, _fits(seen, setup, starting, wanted, found), strict=True):
                if fit is not None:
                    found.rows.append(Target.of(fit, inputs, group_of(observation, wanted.group_by)))
        found.done += len(some)
        if partial is not None and found.rows:
            write_targets(partial, found)
        if progress is not None:
            progress("fitting", found.done / len(sources))
    if not found.rows:
        first = f"; the first: {found.left_out[0][1]}" if found.left_out else ""
        raise DataError(f"none of {len(sources)} spectra gives a target{first}")
    return found


def group_of(observation: Observation, group_by: GroupBy) -> str:
    """What a spectrum belongs to.

    Args:
        observation: The spectrum.
        group_by: The word of its header that decides.
    """
    pha = observation.pha
    named = {GroupBy.obsid: pha.obs_id, GroupBy.object: pha.object, GroupBy.folder: ""}[group_by]
    return named or pha.path.resolve().parent.name


def _asked(run: Recipe, sources: Sequence[Source], rmf: str | None, wanted: TargetsConfig) -> dict[str, Any]:
    """What is asked, as a library's header keeps it."""
    listed = [[str(source.pha), source.arf, source.background] for source in sources]
    question = {**asdict(wanted), "rmf": rmf, "recipe": run.sha256, "sources": listed}
    text = json.dumps(question, sort_keys=True)
    plain = {name: question[name] for name in ("objective", "starts", "network", "seed", "group_by")}
    return {**plain, "asked_sha256": hashlib.sha256(text.encode()).hexdigest()}


def _starting(model: Model, name: str) -> Network | str:
    """The network that gives starts, read once and refused here where it is for another model."""
    if name == NO_NETWORK:
        return NO_NETWORK
    network = load_network(name)
    try:
        network.refuse_model(model)
    except MismatchError as error:
        raise NetworkError(f"network {network.name}: {error}; use --network none") from None
    return network


def _readable(reader: Reader, sources: Sequence[Source], found: Targets) -> Iterator[Observation]:
    """The spectra that can be read."""
    for source in sources:
        try:
            yield reader.read(source)
        except XrayflowError as error:
            found.left_out.append((source.pha.name, str(error)))


def _seen(
    network: Network,
    observation: Observation,
    energies: Sequence[tuple[float, float]],
    wanted: TargetsConfig,
    found: Targets,
) -> NetworkInput | None:
    """What the network sees of a spectrum; None, with the reason, where that is nothing that it could learn from."""
    try:
        spectrum = observation.bin(energies=energies, grouping=wanted.grouping)
        return network.inputs(spectrum, wanted.systematic)
    except XrayflowError as error:
        found.left_out.append((observation.pha.path.name, str(error)))
        return None


def _fits(
    seen: list[tuple[Observation, NetworkInput]],
    setup: FitSetup,
    starting: Network | str,
    wanted: TargetsConfig,
    found: Targets,
) -> list[BestFit | None]:
    """The best fits of a batch; where one spectrum spoils it, of each by itself."""
    observations = [one for one, _ in seen]
    if not observations:
        return []
    try:
        spectra = [setup.bin(one) for one in observations]
        problem = problem_of(spectra, *setup.model_and_prior(), setup, objective=wanted.objective)
        proposal = find_network(starting, problem, spectra).posterior
        return list(optimise_problem(problem, wanted.objective, wanted.starts, wanted.seed, proposal))
    except XrayflowError as error:
        if len(seen) == 1:
            found.left_out.append((observations[0].pha.path.name, str(error)))
            return [None]
    return [fit for one in seen for fit in _fits([one], setup, starting, wanted, found)]
