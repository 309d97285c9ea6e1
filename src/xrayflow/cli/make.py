"""Verbs that make: simulate, train; and networks, which lists what was made."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from xrayflow.cli import options
from xrayflow.cli.options import DATA, FILES, MODEL, OUTPUT
from xrayflow.cli.terminal import answering, show_progress


def simulate(
    model: options.ModelText = "TBabs*simpl*ezdiskbb",
    theta: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="The value of each free parameter: one spectrum.", rich_help_panel=MODEL
        ),
    ] = None,
    prior_draws: Annotated[
        int | None, typer.Option(metavar="N", help="A library of N spectra instead.", rich_help_panel=MODEL)
    ] = None,
    freeze: options.Freeze = None,
    prior: options.PriorChanges = None,
    abund: options.Abund = "wilm",
    rmf: Annotated[
        str | None, typer.Option(metavar="FILE", help="Default: the bundled NICER response.", rich_help_panel=FILES)
    ] = None,
    arf: Annotated[str | None, typer.Option(metavar="FILE", help="Effective area.", rich_help_panel=FILES)] = None,
    background: Annotated[
        str | None, typer.Option(metavar="FILE", help="Background to add.", rich_help_panel=FILES)
    ] = None,
    template: Annotated[
        str | None,
        typer.Option(metavar="PHA", help="Take response, grouping, quality, exposure from it.", rich_help_panel=FILES),
    ] = None,
    exposure: Annotated[float | None, typer.Option(metavar="SECONDS", help="Exposure.", rich_help_panel=DATA)] = None,
    systematic: Annotated[
        float | None,
        typer.Option(metavar="FRACTION", help="Systematic error in each channel or bin.", rich_help_panel=DATA),
    ] = None,
    noise: Annotated[bool, typer.Option("--noise/--no-noise", help="Scatter counts.", rich_help_panel=DATA)] = True,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same file.", rich_help_panel=DATA)] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Default: simulated.pha, or simulated.safetensors.", rich_help_panel=OUTPUT),
    ] = None,
    debug: options.Debug = False,
) -> None:
    """Fake a spectrum with --theta (a PHA file that fit reads), or a library of spectra with --prior-draws."""
    held, values = options.assignments(freeze, "--freeze"), options.assignments(theta, "--theta")
    options.check_simulation(theta, freeze, prior_draws, prior, background)
    with answering(debug):
        from xrayflow.models import parse_model
        from xrayflow.simulate.files import Instrument, write_fake
        from xrayflow.simulate.library import library_simulator, write_library

        spectral = parse_model(model, abund).freeze(held)
        instrument = Instrument(rmf, arf, background, template)
        if prior_draws is None:
            place = out or Path("simulated.pha")
            faked = write_fake(
                place, spectral, values, instrument, exposure, systematic=systematic or 0.0, noisy=noise, seed=seed
            )
            print(f"{faked.pha}: {faked.counts:.10g} counts; truth in {faked.truth}")
            return
        with show_progress() as progress:
            simulator = library_simulator(spectral, instrument, prior or (), exposure, systematic)
            place = out or Path("simulated.safetensors")
            write_library(place, simulator, prior_draws, seed, noise, progress)
        print(f"{place}: {prior_draws} spectra in {simulator.bins} bins")


def train(
    recipe: Annotated[
        Path, typer.Argument(metavar="RUN.toml", help="The run file, as recipes/nicer-bhb.toml.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run; default: runs/NAME.", rich_help_panel=OUTPUT)
    ] = None,
    device: Annotated[str, typer.Option(metavar="cpu|cuda", help="Where to train.", rich_help_panel=OUTPUT)] = "cpu",
    restart: Annotated[
        bool, typer.Option("--restart", help="Start anew where a checkpoint exists.", rich_help_panel=OUTPUT)
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object at the end.", rich_help_panel=OUTPUT)
    ] = False,
    debug: options.Debug = False,
) -> None:
    """Train a network from a run file; a stopped run goes on where it was."""
    with answering(debug):
        from xrayflow.files import SCHEMA_VERSION, to_json
        from xrayflow.networks import read_recipe
        from xrayflow.networks import train as train_network

        run = read_recipe(recipe)
        folder = Path("runs") / run.name if out is None else out
        last = None
        with show_progress() as progress:
            for last in train_network(run, folder, recipe.parent, device, restart):
                if progress is not None and last.modes is not None:
                    progress(f"{last.stage}: finding modes {last.modes:.0%}", last.done)
                elif progress is not None:
                    progress(f"{last.stage} {last.epoch}/{last.epochs}: loss {last.losses['loss']:.4g}", last.done)
                elif last.validation is not None and not as_json:
                    print(
                        f"{last.stage} {last.epoch}/{last.epochs}: loss {last.losses['loss']:.4f}, "
                        f"validation {last.validation['loss']:.4f}",
                        file=sys.stderr,
                    )
        network = None if last is None else last.network
        if as_json:
            print(to_json({"schema_version": SCHEMA_VERSION, "network": str(network), "log": str(folder / "log.csv")}))
        else:
            print(f"{network}: use it with xrayflow fit PHA --network {network}; the log is {folder / 'log.csv'}")


def networks(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    debug: options.Debug = False,
) -> None:
    """The networks that come with xrayflow: what each was made for, and on what it was trained."""
    with answering(debug):
        from xrayflow.networks.listing import describe_networks, list_network_lines

        if as_json:
            from xrayflow.files import to_json

            print(to_json(describe_networks()))
        else:
            print("\n".join(list_network_lines()))
