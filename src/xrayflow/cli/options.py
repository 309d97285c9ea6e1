"""Options that verbs share, and what their words mean. Words that cannot be read are wrong usage: exit code 2."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer

FILES, MODEL, DATA, ANSWER, OUTPUT = "Files", "Model", "Data", "Answer", "Output"

ModelText = Annotated[str, typer.Option(metavar="EXPR", help="As in XSPEC's model command.", rich_help_panel=MODEL)]
Freeze = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="Hold a parameter, e.g. TBabs.nH=0.2.", rich_help_panel=MODEL),
]
PriorChanges = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=LO:HI|NAME~N(MEAN,SD)", help="Change the prior of a parameter.", rich_help_panel=MODEL),
]
Abund = Annotated[
    str, typer.Option(metavar="wilm|angr|aspl|grsa|lodd", help="Abundances of absorbers.", rich_help_panel=MODEL)
]
Row = Annotated[
    int | None,
    typer.Option(metavar="N", help="Which spectrum of a TYPE:II file; the same as PHA{N}.", rich_help_panel=FILES),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=OUTPUT)]

_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)"
_RANGE = re.compile(rf"^\s*{_NUMBER}\s*-\s*{_NUMBER}\s*$")
_CHANNELS = re.compile(r"^\s*(\d+)\s*-\s*(\d+)\s*$")


class Statistic(StrEnum):
    """The names of `--statistic`; those of `statistics.auto`, which loads torch."""

    auto = "auto"
    cstat = "cstat"
    pstat = "pstat"
    wstat = "wstat"
    pgstat = "pgstat"
    pgstat_xspec = "pgstat-xspec"
    chi2 = "chi2"


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


def link(text: str) -> tuple[str, str]:
    """NAME=EXPR of --link."""
    name, sign, expression = text.partition("=")
    if not sign or not name.strip() or not expression.strip():
        raise typer.BadParameter(f"'{text}': write NAME=EXPR, as gaussian_3.Sigma=gaussian.Sigma", param_hint="--link")
    return name.strip(), expression.strip()


def bands(text: str | None) -> list[tuple[float, float]] | None:
    """The ranges of --energies."""
    if text is None:
        return None
    found = [_RANGE.match(part) for part in text.split(",")]
    pairs = [(float(match[1]), float(match[2])) for match in found if match]
    if len(pairs) < len(found) or any(lo >= hi for lo, hi in pairs):
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
