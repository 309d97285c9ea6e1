"""Verbs on a catalogue's table: catalogue-plot, population."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from xrayflow.cli import options
from xrayflow.cli.options import ANSWER, DATA, FILES, OUTPUT, option
from xrayflow.cli.terminal import answering, leaving_no_folder, print_document, show_progress

PAGE = "catalogue.html"
WITH_DRAWS = ("certified", "approximate", "do-not-trust")
"""Verdicts of rows whose draws the page shows."""


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
Panels = Annotated[
    list[str] | None,
    option("--parameter", metavar="NAME", help="Along time; may be given again. Default: all.", panel=ANSWER),
]
Page = Annotated[
    bool, option("--page/--no-page", help="The page of small spectra and corner plots, from the files.", panel=OUTPUT)
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
        from xrayflow.studies.catalogue import USABLE, read_catalogue, read_draws, read_model
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
        _, priors = read_model(read)
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


def catalogue_plot(
    table: CatalogueFile,
    parameter: Panels = None,
    page: Page = True,
    rmf: options.Rmf = None,
    draws_dir: DrawsDir = None,
    out: options.Out = None,
    figure: FigureFormat = Ending.png,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Pictures of a catalogue: parameters along time, hardness and intensity, verdicts; a page of small spectra."""
    folder = table.with_suffix("") if out is None else out
    with answering(debug), leaving_no_folder(folder):
        from xrayflow.errors import DataError, FileError
        from xrayflow.files import OTHER_OUT, make_folder, write_folder
        from xrayflow.products.figures import image
        from xrayflow.studies.catalogue import (
            SpectrumReader,
            catalogue_figures,
            catalogue_page,
            read_catalogue,
            read_draws,
            read_model,
        )

        read = read_catalogue(table)
        with show_progress() as progress:
            made = catalogue_figures(read, parameter or ())
            contents = {f"{name}.{figure.value}": image(one, figure.value) for name, one in made.items()}
            if page:
                priors, draws = dict[str, Any](), dict[str, Any]()
                with suppress(FileError):
                    _, priors = read_model(read)
                with suppress(DataError):  # a catalogue without draws has a page without corners
                    found = read_draws(read, read.parameters, draws_dir, WITH_DRAWS)
                    draws = {path: (theta, log_weight) for path, theta, log_weight in found}
                contents[PAGE] = catalogue_page(read, priors, SpectrumReader(read, rmf), draws, progress)
        write_folder(make_folder(folder, tuple(contents)), contents, OTHER_OUT)
        if as_json:
            print_document({"table": str(table), "rows": read.rows, "products": {n: str(folder / n) for n in contents}})
            return
        print(f"{folder}: {', '.join(contents)}")


VERBS = (catalogue_plot, population)
"""In the order of the help."""
