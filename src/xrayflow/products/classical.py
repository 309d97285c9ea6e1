"""XSPEC's `error` and `steppar` beside the posterior: the same data, the same box, and what each of them says.

The statistic is minimised and profiled, as XSPEC does it: no prior but its box, the response at its word, the
background as the statistic has it. An interval of a rise of 2.706 and a 90 % interval of a posterior are of the same
size where a parameter is well measured; where they are not, prior, background or response made the difference.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xrayflow.errors import DataError, ModelError, misused, nearest
from xrayflow.fitting import BestFit, Interval, Profile, error, steppar
from xrayflow.inference import Posterior
from xrayflow.products.numbers import significant, with_uncertainty

NINETY = 2.706
"""Rise of a statistic that means 90 % for one parameter."""

LIMIT = "*"
"""Marks the end of an interval that is the edge of the box."""

MOST_STEPS = 10_000
"""Points of a grid."""


@dataclass(frozen=True)
class Intervals:
    """What both say of some parameters.

    Attributes:
        posterior: The answer.
        fit: The minimum of the statistic; of a lower one, where the search for intervals found that.
        delta: The rise.
        intervals: XSPEC's, in the order asked for.
    """

    posterior: Posterior
    fit: BestFit
    delta: float
    intervals: tuple[Interval, ...]

    def rows(self) -> list[dict[str, Any]]:
        """As plain numbers and words."""
        summary = self.posterior.summary()["parameters"]
        return [
            {
                "name": one.name,
                "unit": one.unit,
                "statistic": {
                    "value": one.value,
                    "lower": one.lo,
                    "upper": one.hi,
                    "lower_pegged": one.lo_pegged,
                    "upper_pegged": one.hi_pegged,
                    "found": one.found,
                },
                "posterior": {key: summary[one.name][key] for key in ("best", "median", "lower90", "upper90")},
            }
            for one in self.intervals
        ]

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the two differ beside chance, in words."""
        if self.posterior.likelihood.calibration is None:
            return ()
        return ("the response is at its word here: the calibration modes are the posterior's alone",)

    def table(self) -> RenderableType:
        """For a terminal."""
        table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), header_style="bold")
        table.add_column("parameter", no_wrap=True)
        table.add_column("minimum", justify="right", no_wrap=True)
        table.add_column(f"rise of {self.delta:g}", no_wrap=True)
        table.add_column("median", justify="right", no_wrap=True)
        table.add_column("posterior, 90 %", no_wrap=True)
        for row in self.rows():
            ours, theirs = row["posterior"], row["statistic"]
            ends = theirs["lower"], theirs["upper"]
            value, low, high = with_uncertainty((theirs["value"], *ends), *ends)
            marks = [LIMIT * theirs[f"{end}_pegged"] for end in ("lower", "upper")]
            between = ours["lower90"], ours["upper90"]
            median, lower, upper = with_uncertainty((ours["median"], *between), *between)
            told = f"{low}{marks[0]} .. {high}{marks[1]}" + ("" if theirs["found"] else " ?")
            cells = (row["name"], value, told, median, f"{lower} .. {upper}")
            table.add_row(*(Text(cell) for cell in cells))
        told = self.posterior.statistic.name
        parts: list[RenderableType] = [
            Text(f"{self.posterior.data[0].pha.name}: {self.posterior.model.text}"),
            Text(f"{told} {self.fit.value:.2f} / {self.fit.dof} at its minimum"),
            Text(""),
            table,
        ]
        parts += [Text(note) for note in self.notes]
        if any(one.lo_pegged or one.hi_pegged for one in self.intervals):
            parts.append(Text(f"{LIMIT} the edge of the box: the statistic does not rise so far", style="dim"))
        if not all(one.found for one in self.intervals):
            parts.append(Text("? not found to its last digits", style="dim"))
        return Group(*parts)


def intervals(posterior: Posterior, names: Sequence[str] = (), delta: float = NINETY) -> Intervals:
    """XSPEC's intervals beside the posterior's.

    Args:
        posterior: The answer; its files are read again.
        names: Which parameters; none is all of the model's.
        delta: The rise.

    Raises:
        ModelError: A parameter that is not free.
        DataError: delta is not positive.
        FileError: A file is gone, or another one now.
    """
    wanted = [known_name(posterior, name) for name in names]
    found = error(posterior.statistic_fit(), wanted or None, delta)
    return Intervals(posterior, found.fit, delta, found.intervals)


@dataclass(frozen=True)
class Axis:
    """One axis of a grid, as `TBabs.nH=0.1:0.5:20`, or `...:log`.

    Attributes:
        name: Of the parameter.
        lo, hi: First and last value.
        steps: One less than the values.
        log: Whether the steps are logarithmic.
    """

    name: str
    lo: float
    hi: float
    steps: int = 10
    log: bool = False

    @classmethod
    def parse(cls, text: str) -> Axis:
        """As typed.

        Args:
            text: NAME=LO:HI[:STEPS][:log].

        Raises:
            DataError: It cannot be read.

        >>> Axis.parse("TBabs.nH=0.1:0.5:20:log")
        Axis(name='TBabs.nH', lo=0.1, hi=0.5, steps=20, log=True)
        """
        match = re.fullmatch(r"\s*([^=\s]+)\s*=\s*([^:\s]+):([^:\s]+)(?::(\d{1,6}))?(:log)?\s*", text)
        try:
            if match is None:
                raise ValueError
            return cls(match[1], float(match[2]), float(match[3]), int(match[4] or 10), bool(match[5]))
        except ValueError:
            raise misused(
                DataError(f"'{text}': write NAME=LO:HI or NAME=LO:HI:STEPS, as TBabs.nH=0.1:0.5:20")
            ) from None


def profile(posterior: Posterior, axes: Sequence[Axis]) -> Profile:
    """XSPEC's `steppar` of an answer.

    Args:
        posterior: The answer; its files are read again.
        axes: One or two.

    Raises:
        ModelError: A parameter that is not free, more than two, or values outside the box.
        DataError: More points than anybody looks at.
        FileError: A file is gone, or another one now.
    """
    points = 1
    for axis in axes:
        points *= axis.steps + 1
    if points > MOST_STEPS:
        raise misused(DataError(f"steppar: {points} points; give at most {MOST_STEPS}"))
    names = [known_name(posterior, axis.name) for axis in axes]
    settings = zip(*((axis.lo, axis.hi, axis.steps, axis.log) for axis in axes), strict=True)
    lo, hi, steps, log = (list(one) for one in settings)
    return steppar(posterior.statistic_fit(), names, lo, hi, steps, log)


def profile_lines(posterior: Posterior, found: Profile) -> list[str]:
    """The grid as lines, first the values of the parameters, then the statistic and its rise.

    Args:
        posterior: The answer.
        found: Of `profile`.
    """
    name = posterior.statistic.name
    lines = [f"# {name} {found.fit.value:.4f} at its minimum", "# " + "  ".join([*found.names, name, "rise"])]
    points: list[list[float]] = [[]]
    for axis in found.axes:
        points = [[*point, float(value)] for point in points for value in axis]
    for point, value, rise in zip(points, found.value.ravel(), found.rise.ravel(), strict=True):
        lines.append("  ".join([*(significant(one, 6) for one in point), f"{value:.4f}", f"{rise:.4f}"]))
    return lines


def known_name(posterior: Posterior, name: str) -> str:
    """A free parameter of the model by its name in any case, or by XSPEC's number.

    Args:
        posterior: The answer.
        name: As typed.

    Raises:
        ModelError: It is not free, or there is none.
    """
    model = posterior.model
    asked = name.strip()
    if asked.isdigit() and 1 <= int(asked) <= len(model.parameters):
        asked = model.parameters[int(asked) - 1].name
    for own in model.names:
        if own.lower() == asked.lower():
            return own
    for parameter in model.parameters:
        if parameter.name.lower() == asked.lower():
            raise ModelError(
                f"{parameter.name} is {'frozen' if parameter.frozen else 'linked'}; free are {', '.join(model.names)}"
            )
    raise ModelError(f"{model.text} has no parameter '{name}'{nearest(asked, model.names)}")
