"""The options of all verbs, each once, and what their words mean. Words that cannot be read are wrong usage: exit 2.

Those of verbs on an answer are in `answer_options`.
"""

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


def option(*names: str, help: str, panel: str, **settings: Any) -> Any:
    """One option of a list.

    Args:
        names: As they are typed; none is the parameter's own.
        help, panel, settings: Of typer.
    """
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


Rmf = Annotated[str | None, option(metavar="FILE", help="Redistribution matrix, instead of RESPFILE.", panel=FILES)]
Arf = Annotated[str | None, option(metavar="FILE", help="Effective area, instead of ANCRFILE.", panel=FILES)]
Background = Annotated[
    str | None,
    option(
        metavar="FILE|none|known",
        help="Background spectrum, instead of BACKFILE; known: BACKFILE's, with --likelihood known.",
        panel=FILES,
    ),
]
FakeBackground = Annotated[
    str | None,
    option("--background", metavar="FILE|none", help="Background that is added, and observed anew.", panel=FILES),
]
Xcm = Annotated[
    Path | None,
    option(
        metavar="FILE",
        help="A saved session of XSPEC: its files, bins, statistic, model; what you also give here counts.",
        panel=FILES,
    ),
]
Row = Annotated[
    int | None, option(metavar="N", help="Which spectrum of a TYPE:II file; the same as PHA{N}.", panel=FILES)
]
Listed = Annotated[Path | None, option("--list", metavar="FILE", help="Lines of PHA [ARF [BACKGROUND]].", panel=FILES)]
ListedOrTable = Annotated[
    Path | None,
    option(
        "--list",
        metavar="FILE",
        help="Lines of PHA [ARF [BACKGROUND]], or a table with columns pha, rmf, arf, background, name and others.",
        panel=FILES,
    ),
]
Patterns = Annotated[
    list[str] | None,
    typer.Argument(metavar="PHA...", help="The spectra (OGIP); patterns as 'obs*/*.pha' too.", show_default=False),
]
Template = Annotated[
    str | None,
    option(metavar="PHA", help="Take response, grouping, quality, exposure from it.", panel=FILES),
]
Evaluated = Annotated[
    list[str] | None, option("--network", metavar="NAME|FILE", help="To evaluate; may be given again.", panel=FILES)
]

DEFAULT_MODEL = "TBabs*simpl*ezdiskbb"
"""That of `setup`, which loads torch."""

ModelText = Annotated[str, option(metavar="EXPR", help="As in XSPEC's model command.", panel=MODEL)]
Freeze = Annotated[
    list[str] | None, option(metavar="NAME=VALUE", help="Hold a parameter, e.g. TBabs.nH=0.2.", panel=MODEL)
]
Link = Annotated[
    list[str] | None,
    option(metavar="NAME=EXPR", help="Tie a parameter to others, e.g. gaussian_3.Sigma=2*gaussian.Sigma.", panel=MODEL),
]
PriorChanges = Annotated[
    list[str] | None,
    option(metavar="NAME=LO:HI|NAME~N(MEAN,SD)", help="Change the prior of a parameter.", panel=MODEL),
]
Abund = Annotated[str, option(metavar="wilm|angr|aspl|grsa|lodd", help="Abundances of absorbers.", panel=MODEL)]
FitAbund = Annotated[
    str | None,
    option(metavar="wilm|angr|aspl|grsa|lodd", help="Abundances of absorbers (default wilm, or --xcm's).", panel=MODEL),
]
FitXsect = Annotated[
    str | None, option(metavar="vern", help="Cross-sections of absorbers (default vern, or --xcm's).", panel=MODEL)
]
Theta = Annotated[
    list[str] | None,
    option(metavar="NAME=VALUE", help="The value of each free parameter: one spectrum.", panel=MODEL),
]
PriorDraws = Annotated[int | None, option(metavar="N", help="A library of N spectra instead.", panel=MODEL)]

Energies = Annotated[
    str | None, option(metavar="KEV", help="Bands: 0.5-1.5,2.3-10 (default 0.3-10, or the network's).", panel=DATA)
]
Channels = Annotated[
    str | None, option(metavar="FIRST-LAST", help="Channels to fit instead, both kept: 30-999.", panel=DATA)
]
Grouping = Annotated[
    str, option(metavar="file|none|optimal|min:N|optmin:N|bin:N", help="How channels form bins.", panel=DATA)
]
NewGrouping = Annotated[
    str,
    option("--grouping", metavar="optimal|min:N|optmin:N|bin:N|none", help="The bins to write.", panel=DATA),
]
ShownStatistic = Annotated[
    Statistic, option("--statistic", help="XSPEC's statistic to show; only chi2 changes a posterior.", panel=DATA)
]
Systematic = Annotated[
    str | None,
    option(
        "--systematic",
        metavar="FRACTION|modes[:SET][:A]",
        help="Error of the model in each bin, or correlated errors of the response; default by instrument and counts.",
        panel=DATA,
    ),
]
Fraction = Annotated[
    float,
    option("--systematic", metavar="FRACTION", min=0.0, help="Systematic error of the model in each bin.", panel=DATA),
]
LikelihoodName = Annotated[
    LikelihoodOf,
    option(
        "--likelihood",
        help="A background is integrated over, taken as known, or profiled as XSPEC's statistic does.",
        panel=DATA,
    ),
]
BackgroundScale = Annotated[
    float,
    option(metavar="FRACTION", min=0.0, max=1.0, help="How far a modelled background's level may be off.", panel=DATA),
]
MaybeSystematic = Annotated[
    str | None,
    option(
        "--systematic",
        metavar="FRACTION|modes[:SET][:A]",
        help="Error in each channel, or correlated errors of the response.",
        panel=DATA,
    ),
]
Exposure = Annotated[float | None, option(metavar="SECONDS", help="Exposure.", panel=DATA)]
Noise = Annotated[bool, option("--noise/--no-noise", help="Scatter counts.", panel=DATA)]
Every = Annotated[bool, option("--every", help="Take spectra too that networks learned from.", panel=DATA)]
AtMost = Annotated[
    int | None, option("--spectra", metavar="N", min=2, help="At most so many, by the seed.", panel=DATA)
]


Draws = Annotated[int, option(min=10, max=MOST_DRAWS, help="Posterior draws per block.", panel=ANSWER)]
Ess = Annotated[float, option(min=1.0, max=MOST_ESS, help="Effective sample size to reach.", panel=ANSWER)]
TimeLimit = Annotated[
    float | None,
    option("--time-limit", metavar="SECONDS", min=0.01, help="Stop there, with a verdict that says so.", panel=ANSWER),
]
NetworkName = Annotated[
    str | None,
    option(
        "--network",
        metavar="NAME|PATH|none",
        help="What starts the answer; default: the shipped network that was made for instrument and model.",
        panel=ANSWER,
    ),
]
StartingNetwork = Annotated[
    str, option("--network", metavar="NAME|FILE|none", help="Some of the starts come from its draws.", panel=ANSWER)
]
Amortised = Annotated[
    bool, option("--amortised", help="Answer from the network alone: quick, not certified.", panel=ANSWER)
]
Seed = Annotated[int, option(min=0, help="The same seed and files give the same result.", panel=ANSWER)]
Objective = Annotated[str, option(metavar="statistic|posterior", help="What is minimised.", panel=ANSWER)]
Starts = Annotated[int, option(min=1, help="Cold starts of each spectrum.", panel=ANSWER)]
GroupBy = Annotated[
    str,
    option(metavar="obsid|object|folder", help="What stays together when a training holds some apart.", panel=ANSWER),
]
DrawsEach = Annotated[int, option("--draws", min=2, max=MOST_DRAWS, help="Draws of each spectrum.", panel=ANSWER)]
Exact = Annotated[int, option(metavar="N", min=0, help="Exact posteriors of N spectra beside.", panel=ANSWER)]
Repeats = Annotated[int, option(metavar="N", min=0, help="Measurements of the time; 0: none.", panel=ANSWER)]
Workers = Annotated[int, option(min=1, metavar="N", help="Processes on this machine, one thread each.", panel=ANSWER)]
Scheduler = Annotated[
    str | None, option(metavar="ADDRESS", help="Workers of a Dask scheduler instead: tcp://host:8786.", panel=ANSWER)
]
Batch = Annotated[int, option(min=1, metavar="N", help="Spectra that are fitted together.", panel=ANSWER)]
Retry = Annotated[bool, option("--retry", help="Try those again that failed, or whose files changed.", panel=ANSWER)]
Resume = Annotated[bool, option("--resume", help="Go on: what the same command does anyway.", panel=ANSWER)]
Strict = Annotated[bool, option("--strict", help="Exit code 1 where a spectrum failed.", panel=OUTPUT)]
DryRun = Annotated[bool, option("--dry-run", help="Look at all files, and say what would be done.", panel=OUTPUT)]
Device = Annotated[str, option(metavar="cpu|cuda", help="Where to train.", panel=ANSWER)]

Out = Annotated[Path | None, option(metavar="DIR", help="Folder for the products; made where missing.", panel=OUTPUT)]
WithReport = Annotated[
    bool, option("--report/--no-report", help="Write report.html (5 MB), a page for any browser.", panel=OUTPUT)
]
OutFile = Annotated[Path | None, option("--out", metavar="FILE", help="What is written.", panel=OUTPUT)]
NewFile = Annotated[Path, option("--out", metavar="FILE", help="The file that is written.", panel=OUTPUT)]
TableFile = Annotated[
    Path,
    option("--out", metavar="TABLE", help="The table: .fits, .ecsv or .parquet; a ledger beside it.", panel=OUTPUT),
]
DrawsDir = Annotated[
    Path | None, option("--draws-dir", metavar="DIR", help="Keep the draws, a FITS file for each batch.", panel=OUTPUT)
]
Restart = Annotated[bool, option("--restart", help="Start anew instead of going on.", panel=OUTPUT)]
AsJson = Annotated[bool, option("--json", help="Print one JSON object, and nothing else.", panel=OUTPUT)]
Debug = Annotated[bool, option("--debug", help="Show the traceback of an error.", panel=OUTPUT)]

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


def check_systematic(text: str | None) -> None:
    """A fraction below 0 is no fraction; words are read where sets of modes are known."""
    try:
        negative = text is not None and not float(text) >= 0.0
    except ValueError:
        return
    if negative:
        raise typer.BadParameter(f"{text} is not 0 or more", param_hint="--systematic")


def check_exposure(seconds: float | None) -> None:
    """A time above 0."""
    if seconds is not None and not (seconds > 0 and math.isfinite(seconds)):
        raise typer.BadParameter(f"{seconds:g} is no time above 0", param_hint="--exposure")


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
