"""What every loss did while a network was trained: the log of a run as curves."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xrayflow.errors import FormatError

VALIDATION = "validation_"


@dataclass(frozen=True)
class Curve:
    """One loss in one stage.

    Attributes:
        stage: Its name.
        loss: Of `networks.losses.TERMS`.
        epoch: Counted through all stages, from 1.
        training: Mean over each epoch.
        validation: On spectra that trained nothing, after it.
    """

    stage: str
    loss: str
    epoch: tuple[int, ...]
    training: tuple[float, ...]
    validation: tuple[float, ...]


def read_curves(path: str | Path) -> list[Curve]:
    """The curves of a training's log, in the order of its stages.

    Args:
        path: log.csv of the run's folder.

    Raises:
        FormatError: It is missing, or not the log of a training.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: cannot be read ({error}); give the log.csv of a training's folder") from None
    try:
        points = [
            (row["stage"], loss, epoch, float(row[loss]), float(row[VALIDATION + loss]))
            for epoch, row in enumerate(rows, start=1)
            for loss in _losses(row)
            if row[loss]
        ]
    except (KeyError, TypeError, ValueError):
        raise FormatError(f"{path}: not the log of a training; give the log.csv of its folder") from None
    if not points:
        raise FormatError(f"{path}: no epochs yet; wait for the first")
    curves = []
    for stage, loss in dict.fromkeys((stage, loss) for stage, loss, *_ in points):
        own = [one for one in points if one[:2] == (stage, loss)]
        epoch, training, validation = zip(*(one[2:] for one in own), strict=True)
        curves.append(Curve(stage, loss, epoch, training, validation))
    return curves


def _losses(row: Mapping[str, str]) -> list[str]:
    """The terms that a log has columns for, without their sum."""
    names = [name.removeprefix(VALIDATION) for name in row if name and name.startswith(VALIDATION)]
    return [name for name in names if name != "loss"]
