"""A population as files and words: JSON, a figure, and what a terminal shows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xrayflow.files import OTHER_OUT, make_folder, to_json, write_folder
from xrayflow.products import with_uncertainty
from xrayflow.products.figures import Along, correlation_figure, image, population_figure
from xrayflow.studies.population.population import IGNORED, Population

FIGURES = ("png", "pdf", "svg")
SUMMARY = "population.json"
"""Written last."""

ELLIPSES = 400
"""Draws that a figure of two parameters is told from."""


def write_population(
    found: Population, folder: Path, about: Mapping[str, Any] | None = None, figure: str = "png"
) -> dict[str, Any]:
    """A population as `population.json` and a figure.

    Args:
        found: The population.
        folder: Made where it is missing.
        about: What else is said of it: the table, rows left out.
        figure: Of `FIGURES`.

    Returns:
        What the JSON says.

    Raises:
        FileError: The folder or a file in it cannot be written.
    """
    name = f"population.{figure}"
    summary = found.summary() | dict(about or {}) | {"products": {"figure": name}}
    contents = {name: image(drawn(found), figure), SUMMARY: to_json(summary).encode() + b"\n"}
    write_folder(make_folder(folder, tuple(contents)), contents, OTHER_OUT)
    return summary


def drawn(found: Population) -> Any:
    """The figure of a population."""
    along = [_along(found, axis) for axis in range(len(found.draws.axes))]
    words = [f"{found.draws.sources} sources, {found.computation.status}"]
    if len(along) == 1:
        if found.edges is None:  # beside a curve there is no column to keep
            words += [" ".join(line.split()).replace("90 % ", "") for line in _numbers(found, 90)]
        return population_figure(along[0], words)
    rows = np.random.default_rng(0).choice(found.weights.size, ELLIPSES, p=found.weights)
    rho = found.quantiles()["rho"]
    said = with_uncertainty((rho["median"], rho["lower90"], rho["upper90"]), rho["lower90"], rho["upper90"])
    said_words = f"rho = {said[0]} [{said[1]}, {said[2]}] (90 %)"
    return correlation_figure(along[0], along[1], found.values[rows], [words[0], said_words])


def population_lines(found: Population, about: Mapping[str, Any] | None = None) -> list[str]:
    """What a terminal shows of a population, in lines.

    Args:
        found: The population.
        about: What else is said of it: rows left out.
    """
    lines = [f"{found.kind}: {', '.join(axis.label for axis in found.draws.axes)}, {found.draws.sources} sources"]
    if left := (about or {}).get("left_out"):
        lines.append(f"left out: {', '.join(f'{number} {verdict}' for verdict, number in left.items())}")
    lines += ["", *_numbers(found, 90, 68), ""]
    if found.edges is not None:
        lines.pop()
    if len(found.draws.axes) == 1 and found.draws.axes[0].is_log and "mean" in found.names:
        middle = found.quantiles()["mean"]["median"]
        marginal = found.draws.axes[0].marginal
        lines.append(f"the mean is that of {marginal.name} = {10.0**middle:.4g} {marginal.unit}".rstrip())
    if "log_evidence_one_normal" in found.facts:
        gain = found.facts["log_evidence"] - found.facts["log_evidence_one_normal"]
        better = "two normals" if gain > 0 else "one normal"
        lines.append(f"{better}: evidence larger by a factor of {math.exp(min(abs(gain), 50.0)):.3g}")
    lines.append(f"computation  {found.computation.status}: {'; '.join(found.computation.reasons)}")
    path, least = found.poorest[0]
    lines.append(f"fewest effective draws under the population: {least:.0f}, {path}")
    if not found.selection:
        lines.append(IGNORED)
    return lines


def _numbers(found: Population, *levels: int) -> list[str]:
    """A line for each parameter of the distribution."""
    lines = []
    for (name, row), unit in zip(found.quantiles().items(), found.units, strict=True):
        ends = [row[f"{end}{level}"] for level in levels for end in ("lower", "upper")]
        middle, *said = with_uncertainty((row["median"], *ends), ends[0], ends[1])
        where = name
        if found.edges is not None:
            number = int(name.rpartition("_")[2])
            where = f"{found.edges[number - 1]:.4g} .. {found.edges[number]:.4g}"
        pairs = (f"{level} % [{lo}, {hi}]" for level, lo, hi in zip(levels, said[::2], said[1::2], strict=True))
        lines.append(f"{where:<18} {middle:>10} {unit:<4} {'  '.join(pairs)}".rstrip())
    return lines


def _along(found: Population, number: int) -> Along:
    axis = found.draws.axes[number]
    place, density = found.density() if len(found.draws.axes) == 1 else (found.span(number), np.empty((0, 0)))
    low, middle, high = (found.draws.quantile(q, number) for q in (0.16, 0.5, 0.84))
    marginal = axis.marginal
    return Along(marginal.name, marginal.unit, axis.is_log, place, density, low, middle, high)
