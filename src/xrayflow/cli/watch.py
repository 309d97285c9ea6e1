"""The verb for a folder that fills: watch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from xrayflow.cli import options
from xrayflow.cli.asking import question_of
from xrayflow.cli.options import ANSWER, FILES, OUTPUT, option
from xrayflow.cli.terminal import answering, print_document, show_standing

if TYPE_CHECKING:
    from xrayflow.studies.catalogue import Round

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where spectra arrive.", show_default=False)]
Names = Annotated[
    list[str] | None,
    option(
        "--pattern",
        metavar="NAME",
        help="Of spectra; may be given again. Default: *.pha, *.pi, *.gz.",
        panel=FILES,
    ),
]
Patience = Annotated[
    float,
    option(
        min=0.0,
        metavar="SECONDS",
        help="A file that cannot be read so long fails.",
        panel=FILES,
    ),
]
AlarmRate = Annotated[
    float,
    option(metavar="RATE", min=1e-9, max=0.5, help="Of false alarms of change, by spectrum.", panel=ANSWER),
]
Every = Annotated[float, option(metavar="SECONDS", min=0.1, help="Between looks.", panel=OUTPUT)]
Once = Annotated[bool, option("--once", help="Look once, fit what is new, and end: for cron.", panel=OUTPUT)]


def watch(
    folder: Folder,
    pattern: Names = None,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.Background = None,
    patience: Patience = 600.0,
    model: options.ModelText = options.DEFAULT_MODEL,
    freeze: options.Freeze = None,
    link: options.Link = None,
    prior: options.PriorChanges = None,
    abund: options.Abund = "wilm",
    energies: options.Energies = None,
    grouping: options.Grouping = "file",
    systematic: options.Systematic = None,
    draws: options.Draws = 1000,
    ess: options.Ess = 400.0,
    network: options.NetworkName = None,
    time_limit: options.TimeLimit = None,
    alarm_rate: AlarmRate = 1e-3,
    seed: options.Seed = 0,
    workers: options.Workers = 1,
    every: Every = 10.0,
    once: Once = False,
    out: options.TableFile = Path("watch.fits"),
    draws_dir: options.DrawsDir = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """A folder of one source's spectra, as they arrive: a row each, plots, an alarm at a change. Ctrl-C ends it."""
    if as_json and not once:
        raise typer.BadParameter("goes with --once", param_hint="--json")
    with answering(debug):
        question = question_of(
            model=model,
            freeze=freeze,
            link=link,
            prior=prior,
            abund=abund,
            energies=energies,
            grouping=grouping,
            systematic=systematic,
            draws=draws,
            ess=ess,
            network=network,
            time_limit=time_limit,
            seed=seed,
            rmf=rmf,
            keeps_draws=draws_dir is not None,
        )

        from xrayflow.studies.catalogue import PATTERNS, Running, Watch, Watched, rounds
        from xrayflow.studies.running import Children

        names = tuple(pattern) if pattern else PATTERNS
        watched = Watched(folder, names, arf, background, alarm_rate, patience=patience)
        running = Running(draws_dir, workers, retry=True)
        with Children(workers, time_limit) as children, show_standing(announced=False) as told:
            watching = Watch(watched, question, out, running, children)
            if once:
                found = watching.round(told)
                _tell_all(found, out, as_json)
                return
            try:
                for found in rounds(watching, every, told):
                    _tell(found)
            except KeyboardInterrupt:
                pass
        print(f"{out}: the same command goes on", file=sys.stderr)


def _tell(found: Round) -> None:
    """What a round brought, a line each."""
    for path, row in found.new.items():
        values = ", ".join(f"{name} {value:.4g}" for name, value in row["medians"].items())
        when = "" if row["mjd"] is None else f"MJD {row['mjd']:.4f}  "
        print(f"{when}{path}  {row['verdict']}: {values or row['reasons']}", flush=True)
    for one in found.alarms:
        print(f"CHANGE  {one.path}  {one}", flush=True)


def _tell_all(found: Round, out: Path, as_json: bool) -> None:
    """One look: what is new, what changed, and what is waited for."""
    if as_json:
        alarms: list[dict[str, Any]] = [vars(one) for one in found.alarms]
        print_document({"table": str(out), "new": found.new, "alarms": alarms, "waiting": found.waiting})
        return
    _tell(found)
    for path, why in found.waiting.items():
        print(f"waiting  {why if path in why else f'{path}: {why}'}")
    if not found.new and not found.waiting:
        print(f"{out}: nothing new")
