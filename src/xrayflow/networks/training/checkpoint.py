"""What a training writes after every epoch, so that it can go on: checkpoint and log."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xrayflow.errors import NetworkError, TrainingError
from xrayflow.files import OTHER_OUT, write_file
from xrayflow.networks.nn.core import PosteriorEstimator
from xrayflow.networks.recipe import Recipe
from xrayflow.networks.sections import StageSection
from xrayflow.networks.store import FORMAT_VERSION, SUFFIX, read_tensors, write_tensors
from xrayflow.networks.training.losses import TERMS

CHECKPOINT = "checkpoint" + SUFFIX
LOG = "log.csv"

OTHER_RECIPE = "of another recipe"
OTHER_FILES = "of a response, library or starting network that has changed since"

COLUMNS = (
    *("stage", "epoch", "steps", "rate", "cpu_seconds", "spectra", "loss", "validation_loss"),
    *(f"{kind}{term}" for kind in ("", "validation_") for term in TERMS),
)


@dataclass(frozen=True)
class MadeOf:
    """What a training is made of: with the same, it goes on.

    Attributes:
        recipe: Hash of the run file.
        files: Hash of what the files say that it names: responses, libraries, the network it starts from.
    """

    recipe: str
    files: str

    @classmethod
    def of(cls, recipe: Recipe, files: Mapping[str, Any]) -> MadeOf:
        """From a run file and what its files say.

        Args:
            recipe: The run file.
            files: A value of JSON's kinds.
        """
        return cls(recipe.sha256, hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest())


@dataclass
class State:
    """Where a training stands; what a checkpoint holds beside the weights.

    Attributes:
        stage, epoch: Next to do.
        rate: Learning rate of the plateau schedule.
        best, waited: Lowest validation loss of the stage, and epochs since; of a plateau schedule.
        rows: Lines of the log.
        spectra: Seen so far.
        cpu_seconds: Spent so far, validation included.
    """

    stage: int = 0
    epoch: int = 0
    rate: float = 0.0
    best: float = math.inf
    waited: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    spectra: int = 0
    cpu_seconds: float = 0.0


def log_row(
    stage: StageSection,
    state: State,
    steps: int,
    rate: float,
    losses: Mapping[str, float],
    validation: Mapping[str, float],
) -> dict[str, Any]:
    """A row of the log.

    Args:
        stage: That the epoch belongs to.
        state: After the epoch.
        steps: Batches of the epoch.
        rate: Learning rate of its last step.
        losses: Means over the epoch, "loss" and every term.
        validation: The same of the validation set.
    """
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
    row.update(stage=stage.name, epoch=state.epoch, steps=steps, rate=rate)
    row.update(cpu_seconds=round(state.cpu_seconds, 2), spectra=state.spectra)
    row.update(losses)
    row.update({f"validation_{name}": value for name, value in validation.items()})
    return row


def write_checkpoint(
    out: Path,
    made_of: MadeOf,
    core: PosteriorEstimator,
    optimiser: torch.optim.Optimizer | None,
    state: State,
    best: Mapping[str, Tensor],
) -> None:
    """Everything that going on needs, and the log.

    Args:
        out: Folder of the run.
        made_of: What the checkpoint belongs to.
        core: Its weights.
        optimiser: The stage's; None between stages.
        state: Where the training stands.
        best: Weights that a plateau schedule goes back to.

    Raises:
        FileError: The log cannot be written.
        NetworkError: The checkpoint cannot be written.
    """
    tensors = {f"core.{name}": tensor for name, tensor in core.state_dict().items()}
    tensors.update({f"best.{name}": tensor for name, tensor in best.items()})
    for index, moments in (optimiser.state_dict()["state"] if optimiser is not None else {}).items():
        tensors.update({f"optimiser.{index}.{name}": tensor for name, tensor in moments.items()})
    plain = {**state.__dict__, "best": None if math.isinf(state.best) else state.best}
    header = {
        "format_version": FORMAT_VERSION,
        "recipe_sha256": made_of.recipe,
        "files_sha256": made_of.files,
        "state": plain,
    }
    write_tensors(out / CHECKPOINT, tensors, header)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(state.rows)
    write_file(out / LOG, text.getvalue().encode(), OTHER_OUT)


def read_checkpoint(out: Path, made_of: MadeOf, core: PosteriorEstimator) -> tuple[State, dict[str, Tensor]]:
    """Where an earlier run stopped.

    Args:
        out: Folder of the run.
        made_of: What the checkpoint must belong to.
        core: Gets the weights.

    Returns:
        The state and all tensors of the checkpoint; a fresh state and none where there is no checkpoint.

    Raises:
        NetworkError: The checkpoint is broken.
        TrainingError: It is of another recipe, or of other files.
    """
    path = out / CHECKPOINT
    if not path.exists():
        return State(), {}
    tensors, header = read_tensors(path)
    found = header.get("recipe_sha256"), header.get("files_sha256")
    for own, wanted, what in zip(found, (made_of.recipe, made_of.files), (OTHER_RECIPE, OTHER_FILES), strict=True):
        if own != wanted:
            raise TrainingError(f"{path}: {what}; give another --out, or --restart to start this one anew")
    try:
        plain = dict(header["state"])
        state = State(**{**plain, "best": math.inf if plain["best"] is None else plain["best"]})
        core.load_state_dict(named("core.", tensors))
    except (KeyError, TypeError, ValueError, RuntimeError):
        raise NetworkError(f"{path}: not a checkpoint of this version; --restart starts anew") from None
    return state, tensors


def load_optimiser(optimiser: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Give an optimiser the moments of an earlier run, where there are some.

    Args:
        optimiser: Over the same weights in the same order.
        saved: Tensors of the checkpoint.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in named("optimiser.", saved).items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = tensor
    if state:
        optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, without that.

    Args:
        prefix: The beginning, its dot included.
        tensors: The checkpoint's.
    """
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
