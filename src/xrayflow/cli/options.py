"""All options of all verbs, each once, and what their words mean. Words that cannot be read are wrong usage: exit 2."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

FILES, MODEL, DATA, ANSWER, OUTPUT = "Files", "Model", "Data", "Answer", "Output"

MOST_DRAWS, MOST_ESS = 100_000, 50_000.0
"""More would fill the memory of a laptop: several answers with other seeds serve as well."""


class Statistic(StrEnum):
    """The names of `--statistic`; those of `statistics.auto`, which loads torch."""

    auto = "auto"
    cstat = "cstat"
    pstat = "pstat"
    wstat = "wstat"
    pgstat = "pgstat"
    pgstat_xspec = "pgstat-xspec"
    chi2 = "chi2"


class LikelihoodOf(StrEnum):
    """The names of `--likelihood`; those of `statistics.batch`, which loads torch."""

    marginalised = "marginalised"
    known = "known"
    profile = "profile"


class TableKind(StrEnum):
    """The names of `table --format`."""

    latex = "latex"
    ecsv = "ecsv"
    csv = "csv"
    mrt = "mrt"


class Figure(StrEnum):
    """The names of `plot --kind`."""

    spectrum = "spectrum"
    unfolded = "unfolded"
    corner = "corner"
    qq = "qq"


class IntervalLevel(StrEnum):
    """The names of `table --level`."""

    sixty_eight = "68"
    ninety = "90"


def _option(*names: str, help: str, panel: str, **settings: Any) -> Any:
    """One option of the list below."""
    return typer.Option(*names, help=help, rich_help_panel=panel, **settings)


Pha = Annotated[str, typer.Argument(metavar="PHA", help="The spectrum (OGIP, may be gzipped).", show_default=False)]
AnyFiles = Annotated[
    list[str], typer.Argument(metavar="FILE...", help="PHA, RMF, ARF or background files.", show_default=False)
]
MaybePha = Annotated[
    str | None,
    typer.Argument(metavar="PHA", help="The spectrum (OGIP, may be gzipped); may come of --xcm.", show_default=False),
]
Spectra = Annotated[list[Path] | None, typer.Argument(metavar="PHA...", help="The spectra (OGIP).", show_default=False)]
Run = Annotated[Path, typer.Argument(metavar="RUN.toml", help="The run file.", show_default=False)]
TargetLibrary = Annotated[Path, typer.Argument(metavar="TARGETS", help="Of xrayflow targets.", show_default=False)]

Result = Annotated[Path, typer.Argument(metavar="RESULT", help="Folder of xrayflow fit --out.", show_default=False)]

Results = Annotated[
    list[Path], typer.Argument(metavar="RESULT...", help="Folders of xrayflow fit --out.", show_default=False)
]
FigureKind = Annotated[
    Figure,
    _option(
        "--kind",
        help="Folded spectrum, E^2 N(E) of the source, parameters against each other, or counts below each energy.",
        panel=OUTPUT,
    ),
]
TableFormat = Annotated[TableKind, _option("--format", help="Of the table.", panel=OUTPUT)]
TableLevel = Annotated[IntervalLevel, _option("--level", help="Of the intervals [%].", panel=OUTPUT)]
DataFolder = Annotated[
    Path | None, _option("--data", metavar="DIR", help="Where the files of the data are now.", panel=FILES)
]

Target = Annotated[
    str, typer.Argument(metavar="PHA|RESULT", help="A spectrum, or a folder of fit --out.", show_default=False)
]
Targets = Annotated[
    list[str], typer.Argument(metavar="PHA|RESULT...", help="A spectrum, or folders of fit --out.", show_default=False)
]
Models = Annotated[
    list[str] | None, _option("--models", "--model", metavar="EXPR", help="One of them; again for each.", panel=MODEL)
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
    float, _option(metavar="PERCENT", min=1.0, max=99.99, help="Of the intervals that are compared.", panel=ANSWER)
]
Delta = Annotated[float, _option(metavar="RISE", help="Of the statistic: 1 is 68 %, 2.706 is 90 %.", panel=ANSWER)]

Rmf = Annotated[str | None, _option(metavar="FILE", help="Redistribution matrix, instead of RESPFILE.", panel=FILES)]
Arf = Annotated[str | None, _option(metavar="FILE", help="Effective area, instead of ANCRFILE.", panel=FILES)]
Background = Annotated[
    str | None,
    _option(
        metavar="FILE|none|known",
        help="Background spectrum, instead of BACKFILE; known: BACKFILE's, with --likelihood known.",
        panel=FILES,
    ),
]
FakeBackground = Annotated[
    str | None,
    _option("--background", metavar="FILE|none", help="Background that is added, and observed anew.", panel=FILES),
]
Xcm = Annotated[
    Path | None,
    _option(
        metavar="FILE",
        help="A saved session of XSPEC: its files, bins, statistic, model; what you also give here counts.",
        panel=FILES,
    ),
]
Row = Annotated[
    int | None, _option(metavar="N", help="Which spectrum of a TYPE:II file; the same as PHA{N}.", panel=FILES)
]
Listed = Annotated[Path | None, _option("--list", metavar="FILE", help="Lines of PHA [ARF [BACKGROUND]].", panel=FILES)]
Template = Annotated[
    str | None,
    _option(metavar="PHA", help="Take response, grouping, quality, exposure from it.", panel=FILES),
]
Evaluated = Annotated[
    list[str] | None, _option("--network", metavar="NAME|FILE", help="To evaluate; may be given again.", panel=FILES)
]

DEFAULT_MODEL = "TBabs*simpl*ezdiskbb"
"""That of `setup`, which loads torch."""

ModelText = Annotated[str, _option(metavar="EXPR", help="As in XSPEC's model command.", panel=MODEL)]
MaybeModelText = Annotated[str | None, _option("--model", metavar="EXPR", help="Of a spectrum.", panel=MODEL)]
Freeze = Annotated[
    list[str] | None, _option(metavar="NAME=VALUE", help="Hold a parameter, e.g. TBabs.nH=0.2.", panel=MODEL)
]
Link = Annotated[
    list[str] | None,
    _option(
        metavar="NAME=EXPR", help="Tie a parameter to others, e.g. gaussian_3.Sigma=2*gaussian.Sigma.", panel=MODEL
    ),
]
PriorChanges = Annotated[
    list[str] | None,
    _option(metavar="NAME=LO:HI|NAME~N(MEAN,SD)", help="Change the prior of a parameter.", panel=MODEL),
]
Abund = Annotated[str, _option(metavar="wilm|angr|aspl|grsa|lodd", help="Abundances of absorbers.", panel=MODEL)]
Xsect = Annotated[str, _option(metavar="vern", help="Cross-sections of absorbers.", panel=MODEL)]
Theta = Annotated[
    list[str] | None,
    _option(metavar="NAME=VALUE", help="The value of each free parameter: one spectrum.", panel=MODEL),
]
PriorDraws = Annotated[int | None, _option(metavar="N", help="A library of N spectra instead.", panel=MODEL)]

Energies = Annotated[
    str | None, _option(metavar="KEV", help="Bands: 0.5-1.5,2.3-10 (default 0.3-10, or the network's).", panel=DATA)
]
Channels = Annotated[
    str | None, _option(metavar="FIRST-LAST", help="Channels to fit instead, both kept: 30-999.", panel=DATA)
]
Grouping = Annotated[
    str, _option(metavar="file|none|optimal|min:N|optmin:N|bin:N", help="How channels form bins.", panel=DATA)
]
NewGrouping = Annotated[
    str,
    _option("--grouping", metavar="optimal|min:N|optmin:N|bin:N|none", help="The bins to write.", panel=DATA),
]
MaybeGrouping = Annotated[
    str | None,
    _option("--grouping", metavar="file|none|optimal|min:N|optmin:N|bin:N", help="How channels form bins.", panel=DATA),
]
ShownStatistic = Annotated[
    Statistic, _option("--statistic", help="XSPEC's statistic to show; only chi2 changes a posterior.", panel=DATA)
]
Systematic = Annotated[
    str | None,
    _option(
        "--systematic",
        metavar="FRACTION|modes[:SET][:A]",
        help="Error of the model in each bin, or correlated errors of the response; default by instrument and counts.",
        panel=DATA,
    ),
]
Fraction = Annotated[
    float,
    _option("--systematic", metavar="FRACTION", min=0.0, help="Systematic error of the model in each bin.", panel=DATA),
]
LikelihoodName = Annotated[
    LikelihoodOf,
    _option(
        "--likelihood",
        help="A background is integrated over, taken as known, or profiled as XSPEC's statistic does.",
        panel=DATA,
    ),
]
BackgroundScale = Annotated[
    float,
    _option(metavar="FRACTION", min=0.0, max=1.0, help="How far a modelled background's level may be off.", panel=DATA),
]
MaybeSystematic = Annotated[
    str | None,
    _option(
        "--systematic",
        metavar="FRACTION|modes[:SET][:A]",
        help="Error in each channel, or correlated errors of the response.",
        panel=DATA,
    ),
]
Exposure = Annotated[float | None, _option(metavar="SECONDS", help="Exposure.", panel=DATA)]
Noise = Annotated[bool, _option("--noise/--no-noise", help="Scatter counts.", panel=DATA)]
Every = Annotated[bool, _option("--every", help="Take spectra too that networks learned from.", panel=DATA)]
AtMost = Annotated[
    int | None, _option("--spectra", metavar="N", min=2, help="At most so many, by the seed.", panel=DATA)
]

Band = Annotated[
    list[str] | None,
    _option(metavar="KEV", help="As 2-10; may be given again (default: the fit's, and 2-10).", panel=ANSWER),
]
Unabsorbed = Annotated[bool, _option("--unabsorbed", help="Without the model's absorbers too.", panel=ANSWER)]
Components = Annotated[
    list[str] | None,
    _option("--component", metavar="NAME", help="Of one additive component too, as gaussian_3.", panel=ANSWER),
]
Distance = Annotated[str | None, _option(metavar="D", help="As '8(1) kpc', for luminosities and radii.", panel=ANSWER)]
Redshift = Annotated[
    float | None, _option(metavar="Z", help="Luminosities in bands of the source's own frame.", panel=ANSWER)
]
Hardness = Annotated[
    list[str] | None, _option(metavar="HARD/SOFT", help="Ratio of energy fluxes, as 4-10/2-4.", panel=ANSWER)
]
Widths = Annotated[list[str] | None, _option("--ew", metavar="NAME", help="Equivalent width of a line.", panel=ANSWER)]
Radii = Annotated[
    list[str] | None, _option("--radius", metavar="NAME", help="Radius that a disc's norm means.", panel=ANSWER)
]
Inclination = Annotated[str | None, _option(metavar="DEGREES", help="As '60(5)', for a disc's radius.", panel=ANSWER)]
Hardening = Annotated[float, _option(metavar="F", help="Colour correction f of a radius.", panel=ANSWER)]

Draws = Annotated[int, _option(min=10, max=MOST_DRAWS, help="Posterior draws per block.", panel=ANSWER)]
Ess = Annotated[float, _option(min=1.0, max=MOST_ESS, help="Effective sample size to reach.", panel=ANSWER)]
TimeLimit = Annotated[
    float | None,
    _option("--time-limit", metavar="SECONDS", min=0.01, help="Stop there, with a verdict that says so.", panel=ANSWER),
]
NetworkName = Annotated[
    str | None,
    _option(
        "--network",
        metavar="NAME|PATH|none",
        help="What starts the answer; default: the shipped network that was made for instrument and model.",
        panel=ANSWER,
    ),
]
StartingNetwork = Annotated[
    str, _option("--network", metavar="NAME|FILE|none", help="Some of the starts come from its draws.", panel=ANSWER)
]
Amortised = Annotated[
    bool, _option("--amortised", help="Answer from the network alone: quick, not certified.", panel=ANSWER)
]
Seed = Annotated[int, _option(min=0, help="The same seed and files give the same result.", panel=ANSWER)]
Objective = Annotated[str, _option(metavar="statistic|posterior", help="What is minimised.", panel=ANSWER)]
Starts = Annotated[int, _option(min=1, help="Cold starts of each spectrum.", panel=ANSWER)]
GroupBy = Annotated[
    str,
    _option(metavar="obsid|object|folder", help="What stays together when a training holds some apart.", panel=ANSWER),
]
DrawsEach = Annotated[int, _option("--draws", min=2, max=MOST_DRAWS, help="Draws of each spectrum.", panel=ANSWER)]
Exact = Annotated[int, _option(metavar="N", min=0, help="Exact posteriors of N spectra beside.", panel=ANSWER)]
Repeats = Annotated[int, _option(metavar="N", min=0, help="Measurements of the time; 0: none.", panel=ANSWER)]
Device = Annotated[str, _option(metavar="cpu|cuda", help="Where to train.", panel=ANSWER)]

Out = Annotated[Path | None, _option(metavar="DIR", help="Folder for the products; made where missing.", panel=OUTPUT)]
OutFile = Annotated[Path | None, _option("--out", metavar="FILE", help="What is written.", panel=OUTPUT)]
NewFile = Annotated[Path, _option("--out", metavar="FILE", help="The file that is written.", panel=OUTPUT)]
Restart = Annotated[bool, _option("--restart", help="Start anew instead of going on.", panel=OUTPUT)]
AsJson = Annotated[bool, _option("--json", help="Print one JSON object, and nothing else.", panel=OUTPUT)]
Debug = Annotated[bool, _option("--debug", help="Show the traceback of an error.", panel=OUTPUT)]

_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
_RANGE = re.compile(rf"^\s*{_NUMBER}\s*-\s*{_NUMBER}\s*$")
_CHANNELS = re.compile(r"^\s*(\d+)\s*-\s*(\d+)\s*$")


def assignment(text: str, option: str = "--freeze") -> tuple[str, float]:
    """NAME=VALUE of --freeze or --theta."""
    name, sign, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        sign = ""
    if not sign or not name.strip():
        raise typer.BadParameter(f"'{text}': write NAME=VALUE, as TBabs.nH=0.2", param_hint=option)
    return name.strip(), number


def background_and_likelihood(background: str | None, likelihood: LikelihoodOf) -> tuple[str | None, str]:
    """The file of --background, and what is made of it: `known` stands for BACKFILE, taken as known."""
    if background != LikelihoodOf.known.value:
        return background, likelihood.value
    if likelihood is LikelihoodOf.profile:
        raise typer.BadParameter("known, and --likelihood profile: give one of them", param_hint="--background")
    return None, LikelihoodOf.known.value


def link(text: str) -> tuple[str, str]:
    """NAME=EXPR of --link."""
    name, sign, expression = text.partition("=")
    if not sign or not name.strip() or not expression.strip():
        raise typer.BadParameter(f"'{text}': write NAME=EXPR, as gaussian_3.Sigma=gaussian.Sigma", param_hint="--link")
    return name.strip(), expression.strip()


def links(texts: Sequence[str] | None) -> dict[str, str]:
    """Several NAME=EXPR, each name once."""
    found: dict[str, str] = {}
    for text in texts or []:
        name, expression = link(text)
        if name.lower() in {other.lower() for other in found}:
            raise typer.BadParameter(f"{name} is given twice; give it once", param_hint="--link")
        found[name] = expression
    return found


def bands(text: str | None) -> list[tuple[float, float]] | None:
    """The ranges of --energies."""
    if text is None:
        return None
    found = [_RANGE.match(part) for part in text.split(",")]
    pairs = [(float(match[1]), float(match[2])) for match in found if match]
    if len(pairs) < len(found) or any(lo >= hi or not math.isfinite(hi) for lo, hi in pairs):
        raise typer.BadParameter(f"'{text}': write ranges in keV, as 0.5-1.5,2.3-10", param_hint="--energies")
    return pairs


def channels(text: str | None) -> tuple[int, int] | None:
    """The two numbers of --channels."""
    if text is None:
        return None
    match = _CHANNELS.match(text)
    if match is None or int(match[1]) > int(match[2]):
        raise typer.BadParameter(f"'{text}': write the first and last channel, as 30-999", param_hint="--channels")
    return int(match[1]), int(match[2])


def assignments(texts: Sequence[str] | None, option: str) -> dict[str, float]:
    """Several NAME=VALUE, each name once."""
    found: dict[str, float] = {}
    for text in texts or []:
        name, value = assignment(text, option)
        if name.lower() in {other.lower() for other in found}:
            raise typer.BadParameter(f"{name} is given twice; give it once", param_hint=option)
        found[name] = value
    return found


def check_choice(text: str, choices: Sequence[str], option: str) -> None:
    """One of some words."""
    if text not in choices:
        raise typer.BadParameter(f"'{text}': one of {', '.join(choices)}", param_hint=option)


def check_fit(
    held: Mapping[str, float],
    tied: Mapping[str, str],
    prior: Sequence[str] | None,
    energies: str | None,
    channels: str | None,
    network: str | None,
    amortised: bool,
) -> None:
    """Options of fit that go together."""
    for name in tied:
        if name.lower() in {other.lower() for other in held}:
            raise typer.BadParameter(f"{name} is in --freeze too; give one of them", param_hint="--link")
    for text in prior or []:
        if "=" not in text and "~" not in text:
            raise typer.BadParameter(f"'{text}': write NAME=lo:hi or NAME~N(mean,sd)", param_hint="--prior")
    if energies is not None and channels is not None:
        raise typer.BadParameter("give --energies or --channels, not both")
    if amortised and network == "none":
        raise typer.BadParameter("answers from a network; give one, or leave --network out", param_hint="--amortised")


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


def check_systematic(text: str | None) -> None:
    """A fraction below 0 is no fraction; words are read where sets of modes are known."""
    try:
        negative = text is not None and not float(text) >= 0.0
    except ValueError:
        return
    if negative:
        raise typer.BadParameter(f"{text} is not 0 or more", param_hint="--systematic")


def check_simulation(
    theta: Sequence[str] | None,
    freeze: Sequence[str] | None,
    prior_draws: int | None,
    prior: Sequence[str] | None,
    background: str | None,
) -> None:
    """Either one spectrum or a library, with the options that go with it."""
    if prior_draws is None and not theta and not freeze:
        raise typer.BadParameter("give --theta NAME=VALUE for each free parameter, or --prior-draws N for a library")
    if theta and prior_draws is not None:
        raise typer.BadParameter("one spectrum, or --prior-draws for a library; give one of them", param_hint="--theta")
    if prior_draws is None and prior:
        raise typer.BadParameter("goes with --prior-draws; --theta says all values", param_hint="--prior")
    if prior_draws is not None and background is not None:
        raise typer.BadParameter("goes with --theta; a library has modelled backgrounds", param_hint="--background")


def check_twice(places: list[str]) -> None:
    """One place given twice, under whatever name."""
    found: dict[Path, str] = {}
    for place in places:
        if (known := found.setdefault(Path(place).resolve(), place)) is not place:
            raise typer.BadParameter(f"{place} is {known} again; give another answer of the same data")
