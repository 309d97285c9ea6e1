"""Verbs about many spectra: targets, evaluate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from xrayflow.cli import options
from xrayflow.cli.options import ANSWER, DATA, FILES, OUTPUT, Statistic
from xrayflow.cli.terminal import answering, print_evaluation, show_progress

Spectra = Annotated[list[Path] | None, typer.Argument(metavar="PHA...", help="The spectra (OGIP).", show_default=False)]
Listed = Annotated[
    Path | None, typer.Option("--list", metavar="FILE", help="Lines of PHA [ARF [BACKGROUND]].", rich_help_panel=FILES)
]
Matrix = Annotated[
    str | None, typer.Option(metavar="FILE", help="For all, instead of RESPFILE.", rich_help_panel=FILES)
]
Area = Annotated[str | None, typer.Option(metavar="FILE", help="For all, instead of ANCRFILE.", rich_help_panel=FILES)]
Background = Annotated[
    str | None, typer.Option(metavar="FILE|none", help="For all, instead of BACKFILE.", rich_help_panel=FILES)
]
Grouping = Annotated[
    str, typer.Option(metavar="file|none|optimal|min:N", help="How channels form bins.", rich_help_panel=DATA)
]


def targets(
    recipe: Annotated[
        Path,
        typer.Argument(metavar="RUN.toml", help="Run file of the network to teach.", show_default=False),
    ],
    pha: Spectra = None,
    listed: Listed = None,
    rmf: Matrix = None,
    arf: Area = None,
    background: Background = None,
    energies: Annotated[
        str | None, typer.Option(metavar="KEV", help="Bands to fit; default: the network's.", rich_help_panel=DATA)
    ] = None,
    grouping: Grouping = "file",
    statistic: Annotated[Statistic, typer.Option(help="XSPEC's statistic.", rich_help_panel=DATA)] = Statistic.auto,
    systematic: Annotated[
        float,
        typer.Option(
            metavar="FRACTION",
            min=0.0,
            help="Systematic error of the model, with --objective posterior.",
            rich_help_panel=DATA,
        ),
    ] = 0.0,
    objective: Annotated[
        str, typer.Option(metavar="statistic|posterior", help="What is minimised.", rich_help_panel=ANSWER)
    ] = "statistic",
    starts: Annotated[int, typer.Option(min=1, help="Cold starts of each spectrum.", rich_help_panel=ANSWER)] = 16,
    group_by: Annotated[
        str,
        typer.Option(
            metavar="obsid|object|folder",
            help="What stays together when a training holds some apart.",
            rich_help_panel=ANSWER,
        ),
    ] = "obsid",
    network: Annotated[
        str,
        typer.Option(metavar="NAME|FILE|none", help="Some of the starts come from its draws.", rich_help_panel=ANSWER),
    ] = "none",
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same fits.", rich_help_panel=ANSWER)] = 0,
    out: Annotated[Path, typer.Option(help="The library.", rich_help_panel=OUTPUT)] = Path("targets.safetensors"),
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Forget what a stopped command has fitted.", rich_help_panel=OUTPUT),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=OUTPUT)] = False,
    debug: options.Debug = False,
) -> None:
    """Fit a catalogue: its best fits are what a network's stage can learn from. A stopped command goes on."""
    bands = options.bands(energies)
    options.check_choice(group_by, ("obsid", "object", "folder"), "--group-by")
    options.check_choice(objective, ("statistic", "posterior"), "--objective")
    with answering(debug):
        from xrayflow.studies.sources import listed_sources
        from xrayflow.studies.target_library import PARTIAL, write_targets
        from xrayflow.studies.targets import GroupBy, Wanted, find_targets

        sources = listed_sources(pha or [], listed, arf, background)
        wanted = Wanted(
            bands, grouping, statistic.value, systematic, objective, starts, GroupBy(group_by), seed, network
        )
        partial = out.with_name(out.name + PARTIAL)
        if restart:
            partial.unlink(missing_ok=True)
        with show_progress() as progress:
            found = find_targets(recipe, sources, rmf, wanted, progress, partial)
        write_targets(out, found)
        partial.unlink(missing_ok=True)
        told = found.summary()
        if as_json:
            from xrayflow.files import SCHEMA_VERSION, to_json

            print(to_json({"schema_version": SCHEMA_VERSION, "library": str(out), **told}))
            return
        for one in told["left_out"]:
            print(f"left out: {one['reason']}", file=sys.stderr)
        print(
            f"{out}: {told['spectra']} targets in {told['groups']} groups, {len(told['left_out'])} left out, "
            f"{told['at_limit']} with a parameter at an edge of its range; statistic / dof "
            f"{told['reduced_statistic_10_50_90'][1]:.3g} (median)"
        )


def evaluate(
    library: Annotated[Path, typer.Argument(metavar="TARGETS", help="Of xrayflow targets.", show_default=False)],
    pha: Spectra = None,
    network: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help="To evaluate; may be given again.", rich_help_panel=FILES),
    ] = None,
    listed: Listed = None,
    rmf: Matrix = None,
    arf: Area = None,
    background: Background = None,
    energies: Annotated[
        str | None, typer.Option(metavar="KEV", help="Bands; default: the networks'.", rich_help_panel=DATA)
    ] = None,
    grouping: Grouping = "file",
    every: Annotated[
        bool, typer.Option("--every", help="Take spectra too that networks learned from.", rich_help_panel=DATA)
    ] = False,
    spectra: Annotated[
        int | None, typer.Option(metavar="N", min=2, help="At most so many, by the seed.", rich_help_panel=DATA)
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="Draws of each spectrum.", rich_help_panel=ANSWER)] = 50,
    exact: Annotated[
        int, typer.Option(metavar="N", min=0, help="Exact posteriors of N spectra beside.", rich_help_panel=ANSWER)
    ] = 0,
    repeats: Annotated[
        int, typer.Option(metavar="N", min=0, help="Measurements of the time; 0: none.", rich_help_panel=ANSWER)
    ] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same table.", rich_help_panel=ANSWER)] = 0,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Table and figures.", rich_help_panel=OUTPUT)] = Path(
        "evaluation"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=OUTPUT)] = False,
    debug: options.Debug = False,
) -> None:
    """Draws of networks against the best fits of spectra that they have not seen: the paper's table and figures."""
    bands = options.bands(energies)
    if not network:
        raise typer.BadParameter("give a network, as nicer-bhb-paper or FILE.safetensors", param_hint="--network")
    with answering(debug):
        from xrayflow.files import to_json
        from xrayflow.networks import load_network
        from xrayflow.studies.evaluation import Asked
        from xrayflow.studies.evaluation import evaluate as evaluate_networks
        from xrayflow.studies.pictures import TABLE, write_evaluation
        from xrayflow.studies.sources import listed_sources

        asked = Asked(draws, spectra, every, exact, repeats, energies=bands, grouping=grouping, seed=seed)
        sources = listed_sources(pha or [], listed, arf, background)
        with show_progress() as progress:
            found = evaluate_networks(library, sources, rmf, [load_network(name) for name in network], asked, progress)
            told = write_evaluation(found, out)
        if as_json:
            print(to_json(told))
            return
        print_evaluation(told)
        print(f"{out / TABLE}; figures beside it")
