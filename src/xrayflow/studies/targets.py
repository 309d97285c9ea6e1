"""Best fits of real spectra as training targets: a library that `train` takes as a stage's `spectra`.

Each spectrum is fitted from many cold starts with XSPEC's statistic (or to the mode of the posterior) in its own bins,
and kept in the network's bins. A spectrum that cannot be read or is not the network's kind is left out with its reason;
a library that has some is written all the same.

Spectra of one observation are alike, so a set is split by what they belong to (`group`), never by spectrum: the group
stands in the file and `train` keeps groups whole.
"""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from xrayflow.errors import DataError, FileError, XrayflowError
from xrayflow.inference.best_fit import BestFit
from xrayflow.inference.build import Question, build_problem
from xrayflow.inference.guidance import NO_NETWORK, find_guidance
from xrayflow.inference.optimiser import optimise_problem
from xrayflow.networks import Network, read_recipe
from xrayflow.networks.inputs import Inputs
from xrayflow.networks.network import prepare
from xrayflow.ogip import ARF, RMF, Observation, read_arf, read_observation, read_rmf
from xrayflow.ogip.write import write_whole
from xrayflow.simulate import Simulator
from xrayflow.simulate.describe import SCHEMA_VERSION, versions
from xrayflow.simulate.files import OTHER_OUT

TOGETHER = 100
"""Spectra that are fitted together."""

STARTS = 16

Progress = Callable[[str, float], None]


class GroupBy(StrEnum):
    """What keeps spectra together; where a header does not say, the folder of the file does."""

    obsid = "obsid"
    object = "object"
    folder = "folder"


@dataclass(frozen=True)
class Source:
    """A spectrum and what its header does not say.

    Attributes:
        pha: The file.
        arf, background: Instead of those that its header names; a background may be "none".
    """

    pha: Path
    arf: str | None = None
    background: str | None = None


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
    )
    found, done = Targets(simulator), 0
    for batch in _batches(_readable(sources, rmf, found), TOGETHER):
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


def listed_sources(
    paths: Sequence[Path], listed: Path | None, arf: str | None = None, background: str | None = None
) -> list[Source]:
    """The spectra that were named, and those of a list.

    Args:
        paths: Spectra.
        listed: As `read_list` reads it.
        arf, background: For all that do not say.

    Raises:
        FileError: As `read_list`.
    """
    found = [Source(path, arf, background) for path in paths]
    return found if listed is None else found + read_list(listed, arf, background)


def read_list(path: Path, arf: str | None = None, background: str | None = None) -> list[Source]:
    """The spectra that a text file lists: a line is `PHA [ARF [BACKGROUND]]`, relative to it.

    Words are parted by spaces, quotes keep them together, and what follows a # is left out.

    Args:
        path: The text file.
        arf, background: For lines that do not say.

    Raises:
        FileError: It cannot be read, or a line has more than three words.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a text file"
        raise FileError(f"{path}: {why}; give --list a text file with a spectrum on each line") from None
    found = []
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise FileError(f"{path}: line {number}: {error}; write PHA [ARF [BACKGROUND]]") from None
        if len(words) > 3:
            raise FileError(f"{path}: line {number} has {len(words)} words; quote paths that hold spaces")
        if words:
            pha, *others = (word if word == "none" else str(path.parent / word) for word in words)
            own_arf, own_background = (*others, None, None)[:2]
            found.append(Source(Path(pha), own_arf or arf, own_background or background))
    return found


def matched(library: Path, listed: Sequence[Any], sources: Sequence[Source]) -> list[tuple[Source, str]]:
    """The sources that a library's header lists, with the hash of each.

    Args:
        library: For the error line.
        listed: [name, sha256] of each spectrum wanted, from the header.
        sources: Where they are.

    Raises:
        DataError: A spectrum is not among the sources, or the header is another's.
    """
    by_name: dict[str, list[Source]] = {}
    for source in sources:
        by_name.setdefault(source.pha.name, []).append(source)
    found = []
    for one in listed:
        if not (isinstance(one, list) and len(one) == 2 and all(isinstance(word, str) for word in one)):
            raise DataError(f"{library}: its list of spectra cannot be read; run xrayflow targets again")
        name, sha256 = one
        places = by_name.get(name, [])
        if len(places) > 1:
            places = [place for place in places if _sha256(place.pha) == sha256]
        if not places:
            raise DataError(f"{library}: {name} is not among the spectra; give the list that the targets were made of")
        found.append((places[0], sha256))
    return found


def _sha256(path: Path) -> str:
    """Of a file's bytes; "" where there is none to read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


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


def _readable(sources: Sequence[Source], rmf: str | None, found: Targets) -> Iterator[Observation]:
    """The spectra that can be read; files that serve many are read once."""
    matrix: RMF | None = None if rmf is None else read_rmf(rmf)
    areas: dict[str, ARF] = {}
    for source in sources:
        try:
            if source.arf is not None and source.arf not in areas:
                areas[source.arf] = read_arf(source.arf)
            arf = None if source.arf is None else areas[source.arf]
            yield read_observation(source.pha, rmf=matrix, arf=arf, background=source.background)
        except XrayflowError as error:
            found.left_out.append((source.pha.name, str(error)))


def _batches(observations: Iterator[Observation], most: int) -> Iterator[list[Observation]]:
    """Runs of spectra that share a matrix."""
    batch: list[Observation] = []
    for one in observations:
        if batch and (len(batch) == most or one.rmf.sha256 != batch[0].rmf.sha256):
            yield batch
            batch = []
        batch.append(replace(one, rmf=batch[0].rmf) if batch else one)
    if batch:
        yield batch


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
        guide = find_guidance(wanted.network, problem, choices).amortised
        return list(optimise_problem(problem, choices, wanted.objective, wanted.starts, wanted.seed, guide))
    except XrayflowError as error:
        if len(seen) == 1:
            found.left_out.append((observations[0].pha.path.name, str(error)))
            return [None]
    return [fit for one in seen for fit in _fits([one], question, wanted, found)]
