"""The options of verbs on an answer, each once, and what their words mean."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from xrayflow.cli.options import (
    ANSWER,
    DATA,
    FILES,
    MODEL,
    OUTPUT,
    assignments,
    bands,
    check_fit,
    check_systematic,
    option,
)


class TableKind(StrEnum):
    """The names of `table --format`."""

    latex = "latex"
    ecsv = "ecsv"
    csv = "csv"
    mrt = "mrt"


class ExportKind(StrEnum):
    """The names of `export --format`."""

    netcdf = "netcdf"
    pesummary = "pesummary"


class Figure(StrEnum):
    """The figures of `plot`."""

    spectrum = "spectrum"
    unfolded = "unfolded"
    corner = "corner"
    qq = "qq"


class PlotAxis(StrEnum):
    """The names of `plot --axis`; those of `products`, which loads torch."""

    keV = "keV"
    angstrom = "angstrom"
    channel = "channel"


class Residuals(StrEnum):
    """The names of `plot --residuals`; those of `products`, which loads torch."""

    delchi = "delchi"
    ratio = "ratio"
    difference = "difference"


class IntervalLevel(StrEnum):
    """The names of `table --level`."""

    sixty_eight = "68"
    ninety = "90"


Result = Annotated[Path, typer.Argument(metavar="RESULT", help="Folder of xrayflow fit --out.", show_default=False)]
Results = Annotated[
    list[Path], typer.Argument(metavar="RESULT...", help="Folders of xrayflow fit --out.", show_default=False)
]
FigureKind = Annotated[
    Figure,
    typer.Argument(
        metavar="[spectrum|unfolded|corner|qq]",
        help="Folded spectrum, E^2 N(E) of the source, parameters against each other, or counts below each energy.",
    ),
]
Across = Annotated[
    PlotAxis, option("--axis", help="Of the spectrum: energy, wavelength, or XSPEC's numbers of bins.", panel=OUTPUT)
]
Below = Annotated[
    Residuals, option("--residuals", help="(data - model) / sigma, data / model, or data - model.", panel=OUTPUT)
]
Rebin = Annotated[
    str | None,
    option(
        "--rebin",
        metavar="SIGMA,MOST",
        help="XSPEC's setplot rebin, for the eye: join bins until significant, so many at most, as 5,20.",
        panel=OUTPUT,
    ),
]
TableFormat = Annotated[TableKind, option("--format", help="Of the table.", panel=OUTPUT)]
ExportFormat = Annotated[
    ExportKind, option("--format", help="netCDF, for ArviZ and xarray; or HDF5, for PESummary.", panel=OUTPUT)
]
TableLevel = Annotated[IntervalLevel, option("--level", help="Of the intervals [%].", panel=OUTPUT)]
DataFolder = Annotated[
    Path | None, option("--data", metavar="DIR", help="Where the files of the data are now.", panel=FILES)
]
Target = Annotated[
    str, typer.Argument(metavar="PHA|RESULT", help="A spectrum, or a folder of fit --out.", show_default=False)
]
Targets = Annotated[
    list[str], typer.Argument(metavar="PHA|RESULT...", help="A spectrum, or folders of fit --out.", show_default=False)
]
Models = Annotated[
    list[str] | None, option("--models", "--model", metavar="EXPR", help="One of them; again for each.", panel=MODEL)
]
Names = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NAME...]", help="Parameters, or XSPEC's numbers of them; none: all.", show_default=False),
]
Axes = Annotated[
    list[str],
    typer.Argument(metavar="NAME=LO:HI[:STEPS][:log]...", help="One axis or two.", show_default=False),
]
Level = Annotated[
    float, option(metavar="PERCENT", min=1.0, max=99.99, help="Of the intervals that are compared.", panel=ANSWER)
]
Delta = Annotated[float, option(metavar="RISE", help="Of the statistic: 1 is 68 %, 2.706 is 90 %.", panel=ANSWER)]
MaybeModelText = Annotated[str | None, option("--model", metavar="EXPR", help="Of a spectrum.", panel=MODEL)]
MaybeGrouping = Annotated[
    str | None,
    option("--grouping", metavar="file|none|optimal|min:N|optmin:N|bin:N", help="How channels form bins.", panel=DATA),
]
Band = Annotated[
    list[str] | None,
    option(metavar="KEV", help="As 2-10; may be given again (default: the fit's, and 2-10).", panel=ANSWER),
]
Unabsorbed = Annotated[bool, option("--unabsorbed", help="Without the model's absorbers too.", panel=ANSWER)]
Components = Annotated[
    list[str] | None,
    option("--component", metavar="NAME", help="Of one additive component too, as gaussian_3.", panel=ANSWER),
]
Distance = Annotated[str | None, option(metavar="D", help="As '8(1) kpc', for luminosities and radii.", panel=ANSWER)]
Redshift = Annotated[
    float | None, option(metavar="Z", help="Luminosities in bands of the source's own frame.", panel=ANSWER)
]
Simulated = Annotated[
    int,
    option("--simulated", metavar="N", min=100, max=100_000, help="Spectra that are searched alike.", panel=ANSWER),
]
Refit = Annotated[
    int, option("--refit", metavar="N", min=0, max=20, help="Fit so many of the likeliest, for ln B.", panel=ANSWER)
]
PlannedSpectra = Annotated[
    int | None,
    option("--spectra", metavar="N", min=2, max=500, help="That are simulated and answered; 8.", panel=ANSWER),
]
Fisher = Annotated[bool, option("--fisher", help="By the curvature of the posterior, in a second.", panel=ANSWER)]
Hardness = Annotated[
    list[str] | None, option(metavar="HARD/SOFT", help="Ratio of energy fluxes, as 4-10/2-4.", panel=ANSWER)
]
Widths = Annotated[list[str] | None, option("--ew", metavar="NAME", help="Equivalent width of a line.", panel=ANSWER)]
Radii = Annotated[
    list[str] | None, option("--radius", metavar="NAME", help="Radius that a disc's norm means.", panel=ANSWER)
]
Inclination = Annotated[str | None, option(metavar="DEGREES", help="As '60(5)', for a disc's radius.", panel=ANSWER)]
Hardening = Annotated[float, option(metavar="F", help="Colour correction f of a radius.", panel=ANSWER)]


def fit_words(
    model: str | None,
    freeze: Sequence[str] | None,
    prior: Sequence[str] | None,
    energies: str | None,
    grouping: str | None,
    systematic: str | None,
) -> dict[str, Any]:
    """What is asked of a spectrum, as `infer` takes it."""
    check_fit(assignments(freeze, "--freeze"), {}, prior, energies, None, None, False)
    check_systematic(systematic)
    return {
        "model": model,
        "freeze": assignments(freeze, "--freeze"),
        "prior": list(prior or []),
        "energies": bands(energies),
        "grouping": grouping,
        "systematic": systematic,
    }


def rebinned(text: str | None) -> dict[str, Any]:
    """The two numbers of --rebin, as `Display` takes them."""
    if text is None:
        return {}
    match = re.match(r"^\s*(\d+\.?\d*|\.\d+)\s*,\s*(\d{1,6})\s*$", text)
    if match is None or float(match[1]) <= 0 or int(match[2]) < 1:
        raise typer.BadParameter(
            f"'{text}': write a significance above 0 and a number of bins, as 5,20", param_hint="--rebin"
        )
    return {"significance": float(match[1]), "most": int(match[2])}


def check_twice(places: list[str]) -> None:
    """One place given twice, under whatever name."""
    found: dict[Path, str] = {}
    for place in places:
        if (known := found.setdefault(Path(place).resolve(), place)) is not place:
            raise typer.BadParameter(f"{place} is {known} again; give another answer of the same data")
