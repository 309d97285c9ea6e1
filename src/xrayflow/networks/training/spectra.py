"""Where training spectra come from: simulated anew for every batch, a fixed set, or a library on disk.

A local flow trains on modes of spectra instead (`modes`), which take 1.5 ms each and are kept in the run's folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Tensor

from xrayflow.errors import TrainingError
from xrayflow.networks.inputs import ModeFrames, NetworkInput
from xrayflow.networks.level import Level
from xrayflow.networks.nn.coordinates import Coordinates
from xrayflow.networks.recipe import Recipe
from xrayflow.networks.sections import StageSection
from xrayflow.networks.store import FORMAT_VERSION, read_tensors, write_tensors
from xrayflow.networks.training.library import held_apart, read_library
from xrayflow.networks.training.modes import find_modes
from xrayflow.seeds import generator_for
from xrayflow.simulate import Simulator

Batch = tuple[NetworkInput | ModeFrames, Tensor]

PIECE = 2048
"""Spectra that are simulated together for a fixed set."""

VALIDATION_BATCH = 1024
"""The same in every stage, so that float32 sums compare."""

VALIDATION_SHARE = 0.2
"""Largest part of a library that measures."""

MODES_TOGETHER = 1024
"""Spectra whose modes are found together."""


@dataclass(frozen=True)
class Spectra:
    """Training and validation spectra of a stage.

    Attributes:
        simulator: For batches that are made anew.
        noisy: Whether counts scatter.
        fixed: A set to train on; None simulates.
        held: The validation set.
    """

    simulator: Simulator
    noisy: bool
    fixed: Batch | None
    held: Batch

    def steps(self, stage: StageSection) -> int:
        """Batches per epoch: what the stage says, else as often as a fixed set holds a batch.

        Args:
            stage: One with `steps`, or on a fixed set.
        """
        if stage.steps is not None:
            return stage.steps
        return 0 if self.fixed is None else max(self.fixed[0].size // stage.batch, 1)

    def batches(self, stage: StageSection, generator: torch.Generator) -> Iterator[Batch]:
        """The batches of one epoch, in an order or from noise that the generator decides.

        Args:
            stage: Says how many and how large.
            generator: Source of randomness.
        """
        if self.fixed is None:
            for _ in range(self.steps(stage)):
                drawn = self.simulator.sample(stage.batch, generator)
                yield NetworkInput.of(drawn, self.noisy), drawn.theta
            return
        inputs, theta = self.fixed
        order = torch.randperm(inputs.size, generator=generator)
        for step in range(self.steps(stage)):
            rows = order[torch.arange(step * stage.batch, (step + 1) * stage.batch) % inputs.size]
            yield inputs.select(rows), theta[rows]

    def validation_batches(self) -> Iterator[Batch]:
        """The validation set, always the same."""
        inputs, theta = self.held
        for rows in torch.split(torch.arange(inputs.size), VALIDATION_BATCH):
            yield inputs.select(rows), theta[rows]


def simulated_spectra(recipe: Recipe, simulator: Simulator) -> Spectra:
    """The spectra of [data]: the same for every stage, so they are made once.

    Args:
        recipe: Says how many, and whether they scatter.
        simulator: Makes them.
    """
    noisy = recipe.data.noise
    held = _simulated(simulator, recipe.data.validation, noisy, generator_for(recipe.seed, "validation"))
    fixed = None
    if recipe.data.spectra > 0:
        fixed = _simulated(simulator, recipe.data.spectra, noisy, generator_for(recipe.seed, "training"))
    return Spectra(simulator, noisy, fixed, held)


def library_spectra(recipe: Recipe, path: Path, simulator: Simulator, coordinates: Coordinates) -> Spectra:
    """The spectra of a library: as many as `data.validation` says, at most one in five, measure; the others train.

    The spectra of one group (an observation, a source) stand on one side, see `held_apart`.

    Args:
        recipe: Says how many measure.
        path: The library.
        simulator: The network's.
        coordinates: Its flow's.

    Raises:
        NetworkError: The file cannot be read.
        TrainingError: A library of something else, of one group, or with numbers that cannot be.
    """
    inputs, theta, group = read_library(path, simulator, coordinates)
    if torch.unique(group).numel() < 2:
        raise TrainingError(f"{path}: all spectra belong to one group; some must train and some must measure")
    held, teach = held_apart(group, _held(recipe, inputs.size))
    fixed, apart = ((inputs.select(rows), theta[rows]) for rows in (teach, held))
    return Spectra(simulator, recipe.data.noise, fixed, apart)


def mode_spectra(recipe: Recipe, simulator: Simulator, kept: Path) -> Iterator[float | Spectra]:
    """The modes of simulated spectra whose responses are right: the done fraction while they are found, then the set.

    They are simulated and found on the grid of searches: a posterior of some curvature looks much the same from its
    mode on any grid, if data and model are on the same. Likewise whatever widened it: counts, the response, or errors
    of the background, so these are taken at their word.

    Args:
        recipe: Says how many, and in which coordinates the flow works.
        simulator: Of the network; the modes are found in float64.
        kept: A file that holds them, or will.
    """
    made_for = {"spectra_sha256": recipe.spectra_sha256, "coordinates": recipe.network.local_coordinates}
    if kept.exists():
        tensors, header = read_tensors(kept)
        if all(header.get(key) == value for key, value in made_for.items()):
            yield _split(tensors, recipe, simulator)
            return
    exact = simulator.for_searches().at_its_word()
    prior = exact.training_prior.prior
    level = Level.of(exact.model, prior, lambda theta: exact.rates(theta).sum(-1))
    if recipe.network.local_coordinates == "probit":
        level = replace(level, norms=())
    generator = generator_for(recipe.seed, "modes")
    parts, places, found = [], [], 0
    while found < recipe.data.modes:
        drawn = exact.sample(MODES_TOGETHER, generator)
        modes, rested = find_modes(exact, drawn)
        rows = rested.nonzero()[:, 0][: recipe.data.modes - found]
        parts.append(level.frames(modes.select(rows)))
        places.append(level.into(drawn.v[rows]))
        found += rows.numel()
        yield found / recipe.data.modes
    frames = ModeFrames.stack(parts)
    tensors = {one.name: getattr(frames, one.name) for one in fields(frames)} | {"truth": torch.cat(places)}
    write_tensors(kept, tensors, {"format_version": FORMAT_VERSION, **made_for})
    yield _split(tensors, recipe, simulator)


def _split(tensors: Mapping[str, Tensor], recipe: Recipe, simulator: Simulator) -> Spectra:
    """The first modes measure, the others teach."""
    frames, truth = ModeFrames(*(tensors[one.name] for one in fields(ModeFrames))), tensors["truth"]
    held = _held(recipe, frames.size)
    order = torch.arange(frames.size)
    fixed, apart = ((frames.select(rows), truth[rows]) for rows in (order[held:], order[:held]))
    return Spectra(simulator, recipe.data.noise, fixed, apart)


def _held(recipe: Recipe, size: int) -> int:
    """The number of spectra of a set that measure."""
    return max(min(recipe.data.validation, int(VALIDATION_SHARE * size)), 1)


def _simulated(simulator: Simulator, count: int, noisy: bool, generator: torch.Generator) -> Batch:
    """A set in memory: 0.6 GB for 100 000 spectra of 240 bins."""
    parts, theta = [], []
    for start in range(0, count, PIECE):
        drawn = simulator.sample(min(PIECE, count - start), generator)
        parts.append(NetworkInput.of(drawn, noisy))
        theta.append(drawn.theta)
    return NetworkInput.stack(parts), torch.cat(theta)
