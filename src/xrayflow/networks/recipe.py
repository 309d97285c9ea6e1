"""Run files: everything that a training depends on, in TOML. The recipe travels inside the network's file.

Its tables and their settings are those of `sections`; unknown keys are refused with the nearest known one.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from xrayflow.errors import DataError, FormatError, Place, RecipeError, explain
from xrayflow.networks.sections import (
    MOST_VALUES,
    DataSection,
    Finite,
    InstrumentSection,
    LayoutSection,
    ModelSection,
    NetworkSection,
    Section,
    StageSection,
)
from xrayflow.prior import Prior
from xrayflow.simulate import TrainingPrior

LARGEST_FILE = 1_000_000
"""The largest run file [bytes]."""

TAKEN = ("checkpoint", "modes", "not-finite")
"""Names of other files in a run's folder."""


class Recipe(Section):
    """A run file.

    Attributes:
        name: What the network and its file are called.
        description: For people.
        seed: Decides weights, spectra, order and draws.
        start: A network whose weights the training begins from: a shipped one's name, or a file, relative to the run
            file. None: random weights.
        model: The table [model], and so on.
        training_prior: Changes of `simulate.TrainingPrior`, by its names; its box is the model's.
        stage: The tables [[stage]], in turn.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    description: str = ""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**62)] = 0
    start: str | None = None
    model: ModelSection
    instrument: InstrumentSection = InstrumentSection()
    layout: LayoutSection = LayoutSection()
    training_prior: dict[
        str, Finite | Annotated[tuple[Finite, ...], Field(max_length=MOST_VALUES)] | Annotated[str, Field(strict=True)]
    ] = Field(default_factory=dict)
    data: DataSection = DataSection()
    network: NetworkSection = NetworkSection()
    stage: Annotated[tuple[StageSection, ...], Field(min_length=1, max_length=20)]

    @field_validator("name")
    @classmethod
    def _is_free(cls, name: str) -> str:
        if name in TAKEN:
            raise ValueError(f"'{name}' is another file of the run's folder; give another name")
        return name

    @field_validator("training_prior", mode="before")
    @classmethod
    def _has_no_box(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and "prior" in values:
            raise ValueError("its box is that of the model; change it in [model], prior = ['NAME=lo:hi']")
        return values

    @field_validator("training_prior")
    @classmethod
    def _is_possible(cls, values: dict[str, Any]) -> dict[str, Any]:
        TrainingPrior.from_dict({**values, "prior": Prior(())})  # the model's box is not known here
        return values

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        names = [stage.name for stage in self.stage]
        if len(set(names)) < len(names):
            raise ValueError("stage: two have one name; logs and checkpoints need different ones")
        for stage in self.stage:
            asked = stage.decoder > 0 or "decoder" in stage.trains
            if self.network.decoder == "none" and (asked or stage.reconstruction > 0):
                raise ValueError(f"stage {stage.name}: it needs a decoder; set network.decoder = 'recurrent'")
            if self.network.decoder == "physical" and asked:
                raise ValueError(f"stage {stage.name}: a physical decoder has nothing to train; leave decoder out")
            if stage.flow > 0 and self.network.latent == "point":
                raise ValueError(f"stage {stage.name}: a point has no density; set flow = 0 and latent = 1")
            if stage.local > 0 and not (self.network.local and self.data.modes > 0):
                raise ValueError(f"stage {stage.name}: it needs network.local = true and data.modes above 0")
            if stage.steps is None and self.data.spectra == 0 and stage.spectra is None and stage.local == 0:
                raise ValueError(f"stage {stage.name}: batches are simulated anew, so say steps = (batches per epoch)")
        return self

    @property
    def sha256(self) -> str:
        """Of the whole recipe: a checkpoint belongs to one."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    @property
    def spectra_sha256(self) -> str:
        """Of all that decides which spectra are simulated: sets that were made for one recipe serve another."""
        parts = {"seed", "model", "instrument", "layout", "training_prior", "data"}
        return hashlib.sha256(self.model_dump_json(include=parts).encode()).hexdigest()


def read_recipe(path: str | Path) -> Recipe:
    """A run file.

    Args:
        path: The TOML file.

    Raises:
        FormatError: It is missing, not TOML, or larger than 1 MB.
        RecipeError: A key or a value that cannot be, with the nearest known key.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise FormatError(f"{path}: {error.strerror or error}; give a run file, as recipes/nicer-bhb.toml") from None
    if len(raw) > LARGEST_FILE:
        raise FormatError(f"{path}: larger than {LARGEST_FILE} bytes: not a run file")
    try:
        table = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:  # of tomllib, of the decoding, of numbers with thousands of digits
        raise FormatError(f"{path}: not TOML: {error}") from None
    return parse_recipe(table, str(path))


def parse_recipe(table: Mapping[str, Any], where: str) -> Recipe:
    """A recipe from a table, of a run file or of a network's header.

    Args:
        table: What TOML or JSON gives.
        where: The file, for the error line.

    Raises:
        RecipeError: A key or a value that cannot be.
    """
    try:
        return Recipe.model_validate(table)
    except ValidationError as error:
        place = [repr(str(part))[1:-1] for part in error.errors()[0]["loc"]]
        if place[:1] == ["training_prior"] and len(place) > 1:
            raise RecipeError(
                f"{where}: {'.'.join(place[:2])}: give a number, numbers in brackets, or a name"
            ) from None
        raise RecipeError(f"{where}: {explain(error, _known)}") from None
    except DataError as error:  # of the training prior
        raise RecipeError(f"{where}: {error}") from None


def _known(place: Place) -> list[str]:
    """The keys of the section that a place lies in."""
    section: type[BaseModel] = Recipe
    sections: dict[str, type[BaseModel]] = {
        "model": ModelSection,
        "instrument": InstrumentSection,
        "layout": LayoutSection,
        "data": DataSection,
        "network": NetworkSection,
        "stage": StageSection,
    }
    for part in place[:-1]:
        section = sections.get(str(part), section)
    return list(section.model_fields)
