"""Verbs on a catalogue's table: population."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from xrayflow.cli import options
from xrayflow.cli.options import ANSWER, DATA, FILES, OUTPUT, option
from xrayflow.cli.terminal import answering, leaving_no_folder, print_document, show_progress


class ShapeName(StrEnum):
    """The names of `--shape`; those of `studies.population`, which loads torch."""

    normal = "normal"
    two_normals = "two-normals"
    histogram = "histogram"


class Ending(StrEnum):
    """The formats of figures."""

    png = "png"
    pdf = "pdf"
    svg = "svg"


CatalogueFile = Annotated[
    Path,
    typer.Argument(metavar="TABLE", help="Of xrayflow catalogue: .fits, .ecsv or .parquet.", show_default=False),
]
Parameters = Annotated[
    list[str] | None,
    option("--parameter", metavar="NAME", help="As simpl.Gamma; given twice: the two together.", panel=ANSWER),
]
ShapeOf = Annotated[ShapeName, option("--shape", help="What it is distributed like.", panel=ANSWER)]
Bins = Annotated[
    int | None, option("--bins", metavar="N", min=2, max=200, help="Of a histogram; default by sources.", panel=ANSWER)
]
SelectionFile = Annotated[
    Path | None,
    option(
        "--selection",
        metavar="FILE",
        help="Table of the (first) parameter and `found`, the part of such sources that is found; else ignored.",
        panel=DATA,
    ),
]
Certified = Annotated[bool, option("--certified", help="Take certified rows alone.", panel=DATA)]
DrawsDir = Annotated[
    Path | None,
    option("--draws-dir", metavar="DIR", help="Where the draws lie, if not where the rows say.", panel=FILES),
]
FigureFormat = Annotated[Ending, option("--format", help="Of the figure.", panel=OUTPUT)]


def population(
    table: CatalogueFile,
    parameter: Parameters = None,
    shape: ShapeOf = ShapeName.normal,
    bins: Bins = None,
    selection: SelectionFile = None,
    certified: Certified = False,
    draws_dir: DrawsDir = None,
    seed: options.Seed = 0,
    out: options.Out = None,
    figure: FigureFormat = Ending.png,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """How a parameter is distributed over the sources of a catalogue, from their draws; two parameters: together."""
    names = parameter or []
    if not 1 <= len(names) <= 2:
        raise typer.BadParameter("give one parameter, as simpl.Gamma, or two", param_hint="--parameter")
    if bins is not None and shape is not ShapeName.histogram:
        raise typer.BadParameter("goes with --shape histogram", param_hint="--bins")
    with answering(debug), leaving_no_folder(out):
        from xrayflow.studies.catalogue import USABLE, read_catalogue, read_draws, read_priors
        from xrayflow.studies.population import (
            PopulationConfig,
            SourceDraws,
            axis_of,
            find_population,
            population_lines,
            read_selection,
            write_population,
        )

        read = read_catalogue(table)
        priors = read_priors(read)
        axes = [axis_of(priors, name) for name in names]
        chosen = None if selection is None else read_selection(selection, axes[0])
        wanted = USABLE[:1] if certified else USABLE
        with show_progress() as progress:
            sources = read_draws(read, [axis.marginal.name for axis in axes], draws_dir, wanted)
            draws = SourceDraws.of(axes, sources, seed)
            found = find_population(draws, PopulationConfig(shape.value, bins, seed), chosen, progress)
        left_out = {verdict: number for verdict, number in read.verdicts().items() if verdict not in wanted}
        about = {"table": str(table), "left_out": left_out}
        told = found.summary() | about if out is None else write_population(found, out, about, figure.value)
        if as_json:
            print_document(told)
            return
        print("\n".join(population_lines(found, about)))
        if out is not None:
            print(f"written  {out}: {told['products']['figure']}, population.json")


VERBS = (population,)
"""In the order of the help."""
