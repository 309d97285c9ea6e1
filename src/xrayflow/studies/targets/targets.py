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
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

from xrayflow.errors import DataError, MismatchError, NetworkError, XrayflowError
from xrayflow.files import package_versions, sha256_of
from xrayflow.fitting import BestFit, optimise_problem
from xrayflow.inference import NO_NETWORK, find_network
from xrayflow.models import Model
from xrayflow.networks import Network, NetworkInput, Recipe, load_network, prepare, read_recipe, shipped_networks
from xrayflow.ogip import DEFAULT_BAND, Observation, read_rmf
from xrayflow.setup import FitSetup, problem_of
from xrayflow.simulate import Simulator
from xrayflow.studies.catalogue import COMPUTE
from xrayflow.studies.running import (
    Looked,
    Outcome,
    Source,
    Standing,
    Told,
    Workers,
    finished,
    make_listing,
    read_looked,
)
from xrayflow.studies.targets.library import Target, Targets

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

    def __post_init__(self) -> None:
        if self.energies is not None:  # a list could be no key of what is made once
            object.__setattr__(self, "energies", tuple((float(lo), float(hi)) for lo, hi in self.energies))


def find_targets(
    recipe: Path,
    sources: Sequence[Source],
    rmf: str | None,
    wanted: TargetsConfig,
    progress: Told | None = None,
    out: Path | None = None,
    workers: Workers | None = None,
    restart: bool = False,
) -> Targets:
    """Fit a catalogue.

    Args:
        recipe: Run file of the network that is to learn from it: model, prior, bins.
        sources: The spectra.
        rmf: Of all of them, instead of what their headers name.
        wanted: How to fit them.
        progress: Called with how far it is.
        out: What is made of them: a ledger stands beside it, from which the same call goes on; None: it is lost.
        workers: Who works on batches; None: this process.
        restart: Begin the ledger anew.

    Raises:
        XrayflowError: A run file or a response that cannot be, or settings that changed.
        DataError: No spectrum is left; the first reason stands in it.
        KeyboardInterrupt: It was stopped; what is done is in the ledger.
    """
    listing = make_listing(sources)
    if rmf is not None:
        read_rmf(rmf)
    task = Targeting(recipe, wanted, rmf)
    told = progress or _silent
    with finished(task, task.words(), listing, rmf, out, workers, restart, told=told) as ledger:
        found = Targets(task.room.simulator, _asked(task.room.recipe, sources, rmf, wanted))
        for kept in ledger.rows():
            if kept.error:
                found.left_out.append((listing.sources[kept.place].pha.name, kept.error))
            elif kept.record is not None and kept.extra is not None:
                found.rows.append(Target.from_row(kept.record, kept.extra))
    if not found.rows:
        first = f"; the first: {found.left_out[0][1]}" if found.left_out else ""
        raise DataError(f"none of {len(listing.sources)} spectra gives a target{first}")
    return found


@dataclass(frozen=True)
class Workroom:
    """What every batch needs, made once in a process.

    Attributes:
        recipe: The run file.
        network, simulator: That it says.
        setup: How a spectrum is fitted.
        starting: The network that gives starts, or its name where that is none.
    """

    recipe: Recipe
    network: Network
    simulator: Simulator
    setup: FitSetup
    starting: Network | str


@dataclass(frozen=True)
class Targeting:
    """Fits sources.

    Attributes:
        recipe: The run file.
        wanted: How to fit them.
        rmf: Of all of them, instead of what their headers name.
    """

    recipe: Path
    wanted: TargetsConfig
    rmf: str | None

    @property
    def room(self) -> Workroom:
        """What every batch needs."""
        return _workroom(self.recipe, sha256_of(self.recipe), self.wanted)

    def words(self) -> dict[str, Any]:
        """All that decides the numbers."""
        starting = self.room.starting
        sha256 = (
            ""
            if isinstance(starting, str)
            else sha256_of(shipped_networks().get(self.wanted.network, self.wanted.network))
        )
        asked = {"recipe": self.room.recipe.sha256, "rmf": self.rmf, "sha256 of network": sha256}
        return {**asdict(self.wanted), **asked, "version of": package_versions(*COMPUTE)}

    def read(self, sources: Sequence[Looked]) -> list[Observation | XrayflowError]:
        """The spectra; in the place of one that is gone, or another one now, the error."""
        return read_looked(self.rmf, sources)

    def work(self, read: list[Observation | XrayflowError]) -> list[Outcome]:
        """The best fit of each source."""
        found: list[Outcome] = [Outcome(error=str(one)) for one in read]
        seen: list[tuple[int, Observation, NetworkInput]] = []
        for place, one in enumerate(read):
            if isinstance(one, Observation):
                try:
                    seen.append((place, one, _seen(self.room, one, self.wanted)))
                except XrayflowError as error:
                    found[place] = Outcome(error=str(error))
        fits = _fits([one for _, one, _ in seen], self.room, self.wanted)
        for (place, observation, inputs), fit in zip(seen, fits, strict=True):
            if isinstance(fit, str):
                found[place] = Outcome(error=fit)
            else:
                found[place] = Outcome(*_row_of(Target.of(fit, inputs, group_of(observation, self.wanted.group_by))))
        return found


@lru_cache(maxsize=1)
def _workroom(recipe: Path, sha256: str, wanted: TargetsConfig) -> Workroom:
    """Made anew where the run file has other bytes."""
    run = read_recipe(recipe)
    network, simulator = prepare(run, recipe.parent)
    setup = FitSetup(
        model=network.model,
        prior=network.training_prior.prior,
        systematic=wanted.systematic,
        energies=wanted.energies or [network.recipe.layout.energies],
        grouping=wanted.grouping,
        statistic=wanted.statistic,
    )
    return Workroom(run, network, simulator, setup, _starting(network.model, wanted.network))


def _row_of(target: Target) -> tuple[dict[str, Any], str, bytes]:
    record, tensors = target.to_row()
    return record, "", tensors


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


def _seen(room: Workroom, observation: Observation, wanted: TargetsConfig) -> NetworkInput:
    """What the network sees of a spectrum."""
    spectrum = observation.bin(energies=room.setup.energies or DEFAULT_BAND, grouping=wanted.grouping)
    return room.network.inputs(spectrum, wanted.systematic)


def _fits(observations: list[Observation], room: Workroom, wanted: TargetsConfig) -> list[BestFit | str]:
    """The best fits of a batch; where one spectrum spoils it, of each by itself, or why there is none."""
    if not observations:
        return []
    setup = room.setup
    try:
        spectra = [setup.bin(one) for one in observations]
        problem = problem_of(spectra, *setup.model_and_prior(), setup, objective=wanted.objective)
        proposal = find_network(room.starting, problem, spectra).posterior
        return list(optimise_problem(problem, wanted.objective, wanted.starts, wanted.seed, proposal))
    except XrayflowError as error:
        if len(observations) == 1:
            return [str(error)]
    return [fit for one in observations for fit in _fits([one], room, wanted)]


def _silent(standing: Standing) -> None:
    """Tells nobody."""
