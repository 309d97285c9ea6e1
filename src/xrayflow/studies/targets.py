"""Best fits of real spectra as training targets: a library that `train` takes as a stage's `spectra`.

Each spectrum is fitted from many cold starts with XSPEC's statistic (or to the mode of the posterior) in its own bins,
and kept in the network's bins. A spectrum that cannot be read or is not the network's kind is left out with its reason;
a library that has some is written all the same.

Spectra of one observation are alike, so a set is split by what they belong to (`group`), never by spectrum: the group
stands in the file and `train` keeps groups whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from xrayflow.errors import DataError, MismatchError, NetworkError, XrayflowError
from xrayflow.inference.best_fit import BestFit
from xrayflow.inference.build import Question, build_problem
from xrayflow.inference.guidance import NO_NETWORK, find_guidance
from xrayflow.inference.optimiser import optimise_problem
from xrayflow.models import Model
from xrayflow.networks import Network, load_network, read_recipe
from xrayflow.networks.inputs import Inputs
from xrayflow.networks.network import prepare
from xrayflow.ogip import Observation
from xrayflow.ogip.write import write_whole
from xrayflow.simulate import Simulator
from xrayflow.simulate.describe import SCHEMA_VERSION, versions
from xrayflow.simulate.files import OTHER_OUT
from xrayflow.studies.sources import Progress, Reader, Source, batches

TOGETHER = 100
"""Spectra that are fitted together."""

STARTS = 16


class GroupBy(StrEnum):
    """What keeps spectra together; where a header does not say, the folder of the file does."""

    obsid = "obsid"
    object = "object"
    folder = "folder"


@dataclass(frozen=True)
class Wanted:
    """What is asked of the fits.

    Attributes:
        energies: [(lo, hi)] keV; None: the band of the network.
        grouping: As `infer` takes it.
        statistic: XSPEC's; "auto" takes what suits the data.
        systematic: Fractional systematic error of the source model; with objective "posterior" only.
        objective: "statistic" (XSPEC's fit) or "posterior".
        starts: Cold starts of each spectrum.
        group_by: What keeps spectra together.
        seed: Of the starts.
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


@dataclass
class Targets:
    """What was fitted, one row per spectrum.

    Attributes:
        simulator: Of the network: model, bins, response.
        fits: Best fits.
        inputs: The spectra in the network's bins, a batch of one each.
        groups: What they belong to.
        left_out: (file, reason) of the others.
    """

    simulator: Simulator
    fits: list[BestFit] = field(default_factory=list)
    inputs: list[Inputs] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    @property
    def at_limit(self) -> int:
        """Spectra of which a parameter sits at an edge of its box."""
        return sum(any(fit.limits) for fit in self.fits)

    @property
    def theta(self) -> Float[Tensor, "source parameter"]:
        """Best fits, in the parameters' units."""
        return torch.stack([torch.from_numpy(fit.theta) for fit in self.fits])


def find_targets(
    recipe: Path, sources: Sequence[Source], rmf: str | None, wanted: Wanted, progress: Progress | None = None
) -> Targets:
    """Fit a catalogue.

    Args:
        recipe: Run file of the network that is to learn from it: model, prior, bins.
        sources: The spectra.
        rmf: Of all of them, instead of what their headers name.
        wanted: How to fit them.
        progress: Called with (step, fraction).

    Raises:
        XrayflowError: A run file or a response that cannot be, or a file of spectra that cannot be fitted.
        DataError: No spectrum is left; the first reason stands in it.
    """
    if not sources:
        raise DataError("no spectra; give PHA files, or --list FILE")
    network, simulator = prepare(read_recipe(recipe), recipe.parent)
    energies = wanted.energies or [network.recipe.layout.energies]
    question = Question(
        model=network.model,
        prior=network.training_prior.prior,
        systematic=wanted.systematic,
        energies=energies,
        grouping=wanted.grouping,
        statistic=wanted.statistic,
        network=_starting(network.model, wanted.network),
    )
    found, done = Targets(simulator), 0
    for batch in batches(_readable(Reader(rmf), sources, found), TOGETHER):
        seen = [(one, inputs) for one in batch if (inputs := _seen(network, one, energies, wanted, found)) is not None]
        for (observation, inputs), fit in zip(seen, _fits(seen, question, wanted, found), strict=True):
            if fit is None:
                continue
            found.fits.append(fit)
            found.inputs.append(inputs)
            found.groups.append(group_of(observation, wanted.group_by))
        done += len(batch)
        if progress is not None:
            progress("fitting", min(done / len(sources), 1.0))
    if not found.fits:
        first = f"; the first: {found.left_out[0][1]}" if found.left_out else ""
        raise DataError(f"none of {len(sources)} spectra gives a target{first}")
    return found


def write_targets(out: Path, targets: Targets, wanted: Wanted) -> Path:
    """The targets as a library of spectra.

    Tensors: those of `write_library`, and `theta_error` (source, parameter), `statistic`, `dof` (source,), `group`
    (source,), a number into the header's `groups`.

    Args:
        out: The file; an existing one is replaced when the new one is complete.
        targets: What was fitted.
        wanted: How.

    Raises:
        FileError: The file cannot be written.
    """
    names = sorted(set(targets.groups))
    inputs, fits = Inputs.stack(targets.inputs), targets.fits
    error = torch.stack([torch.from_numpy(fit.errors) for fit in fits])
    net = (inputs.counts - inputs.background).sum(-1) / (inputs.exposure * inputs.area)
    tensors = {
        "theta": targets.theta,
        "theta_error": error,
        "statistic": torch.tensor([fit.value for fit in fits], dtype=torch.float64),
        "dof": torch.tensor([fit.dof for fit in fits], dtype=torch.float64),
        "group": torch.tensor([names.index(group) for group in targets.groups]),
        "counts": inputs.counts,
        "background": inputs.background.float(),
        "noticed": inputs.noticed.float(),
        "exposure": inputs.exposure,
        "area": inputs.area,
        "systematic": inputs.systematic,
        "rate": net,
        "first_channel": torch.from_numpy(targets.simulator.first).double(),
        "last_channel": torch.from_numpy(targets.simulator.last).double(),
    }
    header: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        **targets.simulator.describe(),
        "rows": len(fits),
        "noise": True,
        "seed": wanted.seed,
        "objective": wanted.objective,
        "starts": wanted.starts,
        "network": wanted.network,
        "statistics": sorted({fit.choice.name for fit in fits}),
        "group_by": wanted.group_by.value,
        "groups": names,
        "spectra": [[pha.path.name, pha.sha256] for pha in (fit.problem.spectra[0].observation.pha for fit in fits)],
        "left_out": [list(one) for one in targets.left_out],
        "versions": versions(),
    }
    kept = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_whole(out, save(kept, metadata={"format": "pt", "xrayflow": json.dumps(header)}), OTHER_OUT)
    return out


def summary(targets: Targets) -> dict[str, Any]:
    """What a reader wants to know first."""
    reduced = torch.tensor([fit.value / fit.dof for fit in targets.fits if fit.dof > 0], dtype=torch.float64)
    return {
        "spectra": len(targets.fits),
        "groups": len(set(targets.groups)),
        "left_out": [{"pha": path, "reason": reason} for path, reason in targets.left_out],
        "at_limit": targets.at_limit,
        "not_converged": sum(not fit.converged for fit in targets.fits),
        "reduced_statistic_10_50_90": reduced.quantile(reduced.new_tensor([0.1, 0.5, 0.9])).tolist()
        if reduced.numel()
        else [math.nan] * 3,
    }


def group_of(observation: Observation, group_by: GroupBy) -> str:
    """What a spectrum belongs to.

    Args:
        observation: The spectrum.
        group_by: By which word of its header.
    """
    pha = observation.pha
    named = {GroupBy.obsid: pha.obs_id, GroupBy.object: pha.object, GroupBy.folder: ""}[group_by]
    return named or pha.path.resolve().parent.name


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
    wanted: Wanted,
    found: Targets,
) -> Inputs | None:
    """What the network sees of a spectrum; None, with the reason, where that is nothing that it could learn from."""
    try:
        spectrum = observation.bin(energies=energies, grouping=wanted.grouping)
        return network.inputs(spectrum, wanted.systematic)
    except XrayflowError as error:
        found.left_out.append((observation.pha.path.name, str(error)))
        return None


def _fits(
    seen: list[tuple[Observation, Inputs]], question: Question, wanted: Wanted, found: Targets
) -> list[BestFit | None]:
    """The best fits of a batch; where one spectrum spoils it, of each by itself."""
    observations = [one for one, _ in seen]
    if not observations:
        return []
    try:
        problem, choices = build_problem(observations, question)
        guide = find_guidance(question.network, problem, choices).amortised
        return list(optimise_problem(problem, choices, wanted.objective, wanted.starts, wanted.seed, guide))
    except XrayflowError as error:
        if len(seen) == 1:
            found.left_out.append((observations[0].pha.path.name, str(error)))
            return [None]
    return [fit for one in seen for fit in _fits([one], question, wanted, found)]
