"""Verbs that answer: demo, fit, models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrayflow.cli import options
from xrayflow.cli.options import ANSWER, DATA, FILES, MODEL, OUTPUT, Statistic
from xrayflow.cli.terminal import DO_NOT_TRUST, answering, print_report, show_progress


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the products.", show_default=True)] = Path("xrayflow-demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Fit a real and a simulated NICER spectrum end to end (10 s): the first thing to run."""
    with answering(debug):
        from xrayflow import demo as examples
        from xrayflow.files import SCHEMA_VERSION, to_json
        from xrayflow.products import located_summary

        summaries = []
        with show_progress() as progress:
            for fit in examples.run(out, progress):
                summaries.append(located_summary(fit.posterior, fit.products))
                if not as_json:
                    print_report(fit.posterior, fit.products, title=fit.title)
        if as_json:
            print(to_json({"schema_version": SCHEMA_VERSION, "fits": summaries}))
        else:
            print("try next:")
            print(f"  xrayflow fit {out / 'simulated' / 'simulated.pha'} --out my-first-fit")
            print("  xrayflow fit YOUR.pha --model 'TBabs*powerlaw'      (any NICER spectrum; see xrayflow fit --help)")


def fit(
    pha: Annotated[str, typer.Argument(metavar="PHA", help="The spectrum (OGIP, may be gzipped).", show_default=False)],
    rmf: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Redistribution matrix, instead of RESPFILE.", rich_help_panel=FILES),
    ] = None,
    arf: Annotated[
        str | None, typer.Option(metavar="FILE", help="Effective area, instead of ANCRFILE.", rich_help_panel=FILES)
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(metavar="FILE|none", help="Background spectrum, instead of BACKFILE.", rich_help_panel=FILES),
    ] = None,
    row: options.Row = None,
    model: options.ModelText = "TBabs*simpl*ezdiskbb",
    freeze: options.Freeze = None,
    link: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=EXPR",
            help="Tie a parameter to others, e.g. gaussian_3.Sigma=2*gaussian.Sigma.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    prior: options.PriorChanges = None,
    abund: options.Abund = "wilm",
    xsect: Annotated[
        str, typer.Option(metavar="vern", help="Cross-sections of absorbers.", rich_help_panel=MODEL)
    ] = "vern",
    energies: Annotated[
        str | None,
        typer.Option(metavar="KEV", help="Bands to fit: 0.5-1.5,2.3-10 (default 0.3-10).", rich_help_panel=DATA),
    ] = None,
    channels: Annotated[
        str | None,
        typer.Option(metavar="FIRST-LAST", help="Channels to fit instead, both kept: 30-999.", rich_help_panel=DATA),
    ] = None,
    grouping: Annotated[
        str, typer.Option(metavar="file|none|optimal|min:N", help="How channels form bins.", rich_help_panel=DATA)
    ] = "file",
    statistic: Annotated[
        Statistic,
        typer.Option(help="XSPEC's statistic to show; only chi2 changes the posterior.", rich_help_panel=DATA),
    ] = Statistic.auto,
    systematic: Annotated[
        float,
        typer.Option(
            metavar="FRACTION", min=0.0, help="Systematic error of the model in each bin: 0.015.", rich_help_panel=DATA
        ),
    ] = 0.0,
    draws: Annotated[int, typer.Option(min=10, help="Posterior draws per block.", rich_help_panel=ANSWER)] = 1000,
    ess: Annotated[
        float, typer.Option(min=1.0, help="Effective sample size to reach.", rich_help_panel=ANSWER)
    ] = 400.0,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|PATH|none",
            help="What starts the answer; default: the shipped network that was made for instrument and model.",
            rich_help_panel=ANSWER,
        ),
    ] = None,
    amortised: Annotated[
        bool,
        typer.Option(
            "--amortised", help="Answer from the network alone: quick, not certified.", rich_help_panel=ANSWER
        ),
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="The same seed and file give the same answer.", rich_help_panel=ANSWER)
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Write summary.json, draws.npz, corner.png, spectrum.png.", rich_help_panel=OUTPUT
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of tables.", rich_help_panel=OUTPUT)
    ] = False,
    debug: options.Debug = False,
) -> None:
    """One spectrum -> its posterior, checked: parameters, statistic, verdict. Exit code 3: do not trust it."""
    held = dict(options.assignment(text) for text in freeze or [])
    tied = dict(options.link(text) for text in link or [])
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
    bands, kept = options.bands(energies), options.channels(channels)
    with answering(debug):
        from xrayflow.files import to_json
        from xrayflow.inference import infer
        from xrayflow.models import parse_model
        from xrayflow.ogip import read_observation
        from xrayflow.products import located_summary, products_folder, write_products

        if out is not None:
            products_folder(out)
        with show_progress() as progress:
            spectral = parse_model(model, abund, xsect)
            observation = read_observation(pha, rmf, arf, background, row)
            posterior = infer(
                observation,
                model=spectral,
                prior=prior,
                freeze=held,
                link=tied,
                systematic=systematic,
                energies=bands,
                channels=kept,
                grouping=grouping,
                statistic=statistic.value,
                network=network,
                amortised=amortised,
                seed=seed,
                draws=draws,
                ess=ess,
                progress=progress,
            )
            if progress is not None and out is not None:
                progress("drawing", 1.0)
            products = {} if out is None else write_products(posterior, out)
        if as_json:
            print(to_json(located_summary(posterior, products)))
        else:
            print_report(posterior, products)
    if posterior.verdict == "do-not-trust":
        raise typer.Exit(DO_NOT_TRUST)


def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME|EXPR]", help="A component, or a model as 'TBabs*powerlaw'.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """The components, or the parameters of one or of a model: the names that --freeze, --link and --prior take."""
    with answering(debug):
        from xrayflow.models.listing import describe, list_lines

        if as_json:
            from xrayflow.files import to_json

            print(to_json(describe(name)))
        else:
            print("\n".join(list_lines(name)))
