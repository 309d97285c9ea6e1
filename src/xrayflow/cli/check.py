"""The verb that says what a network is worth: check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from xrayflow.cli import options
from xrayflow.cli.terminal import answering, print_rich, show_progress

Checked = Annotated[str, typer.Argument(metavar="NAME|FILE", help="A shipped network, or a file.", show_default=False)]
Number = Annotated[
    int,
    typer.Option(
        "--n",
        metavar="N",
        min=1,
        max=100_000,
        help="Fresh spectra, evenly over decades of counts and backgrounds; at least one of each.",
    ),
]
Alone = Annotated[bool, typer.Option("--alone", help="Of the network alone, in seconds: no exact answers.")]


def check(
    network: Checked,
    n: Number = 320,
    alone: Alone = False,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    seed: options.Seed = 0,
    out: options.Out = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """What a network is worth on spectra that it has not seen: calibration, efficiency, widths, by decade of counts."""
    with answering(debug):
        from xrayflow.files import make_folder, to_json
        from xrayflow.networks import load_network
        from xrayflow.studies.validation import PassportConfig, check_network, write_passport

        found = load_network(network)
        config = PassportConfig(spectra=n, seed=seed, exact=not alone)
        folder = Path(f"passport-{found.name}") if out is None else out
        if folder.exists():  # what is wrong with it is said now, and not after the work
            make_folder(folder)
        with show_progress() as progress:
            passport = check_network(found, config, rmf, arf, progress)
        summary = write_passport(passport, folder)
        if as_json:
            print(to_json(summary))
            return
        _print(summary)
        print(f"{folder / f'{found.name}.passport.json'}; a figure beside it")


def _print(summary: dict[str, Any]) -> None:
    from rich.table import Table

    title = f"{summary['network']}, {summary['spectra']} fresh spectra"
    table = Table(title=title, caption="good: part of the final draws that counts; off: coverage of the network alone")
    exact = summary["exact"] is not None
    columns = ("counts", "background", "spectra", *(("certified", "good 10/50/90 %", "width/exact") if exact else ()))
    for column in (*columns, "off (limit)"):
        table.add_column(column, justify="right")
    for cell in [*summary["cells"], summary["all"] | {"decade": None, "background": "all"}]:
        answered = [
            f"{100.0 * cell['certified']:.3g} %" if "certified" in cell else "",
            " ".join(f"{value:.2f}" for value in cell.get("final_efficiency_10_50_90", ())),
            f"{cell['width_ratio_median']:.2f}" if "width_ratio_median" in cell else "",
        ]
        off = cell.get("coverage_alone_off_by")
        table.add_row(
            "all" if cell["decade"] is None else f"1e{cell['decade']} ..",
            cell["background"],
            str(cell["spectra"]),
            *(answered if exact else ()),
            "" if off is None else f"{off:.2f} ({cell['coverage_limit']:.2f})",
        )
    print_rich(table)
    for name, key in (("exact answers", "exact"), ("the network alone", "network_alone")):
        found = summary[key]
        if found is not None:
            print(
                f"{name}: coverage off by {max(found['coverage_off_by'].values()):.3f} at most (a right system: "
                f"{found['coverage_limit']:.3f} once in {found['once_in']}), TARP off by {found['tarp_off_by']:.3f} "
                f"({found['tarp_limit']:.3f})"
            )
