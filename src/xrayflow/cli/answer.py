"""Verbs that answer: demo, fit, models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xrayflow.cli import options
from xrayflow.cli.terminal import (
    DO_NOT_TRUST,
    answering,
    leaving_no_folder,
    print_document,
    print_report,
    show_progress,
)


def demo(
    out: options.Out = Path("xrayflow-demo"), as_json: options.AsJson = False, debug: options.Debug = False
) -> None:
    """Fit a real and a simulated NICER spectrum end to end (10 s): the first thing to run."""
    with answering(debug), leaving_no_folder(out, "real", "simulated"):
        from xrayflow import demo as examples
        from xrayflow.products import located_summary

        folder = out or Path(examples.FOLDER)
        summaries = []
        with show_progress() as progress:
            for fit in examples.run(folder, progress):
                summaries.append(located_summary(fit.posterior, fit.products))
                if not as_json:
                    print_report(fit.posterior, fit.products, title=fit.title)
        if as_json:
            print_document({"fits": summaries})
        else:
            print("try next:")
            print(f"  xrayflow fit {folder / 'simulated' / 'simulated.pha'} --systematic 0 --out my-first-fit")
            print("  xrayflow fit YOUR.pha --model 'TBabs*powerlaw'      (any NICER spectrum; see xrayflow fit --help)")


def fit(
    pha: options.MaybePha = None,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.Background = None,
    row: options.Row = None,
    xcm: options.Xcm = None,
    model: options.ModelText = options.DEFAULT_MODEL,
    freeze: options.Freeze = None,
    link: options.Link = None,
    prior: options.PriorChanges = None,
    abund: options.FitAbund = None,
    xsect: options.FitXsect = None,
    energies: options.Energies = None,
    channels: options.Channels = None,
    grouping: options.Grouping = "file",
    statistic: options.ShownStatistic = options.Statistic.auto,
    systematic: options.Systematic = None,
    likelihood: options.LikelihoodName = options.LikelihoodOf.marginalised,
    background_scale: options.BackgroundScale = 0.1,
    draws: options.Draws = 1000,
    ess: options.Ess = 400.0,
    network: options.NetworkName = None,
    amortised: options.Amortised = False,
    time_limit: options.TimeLimit = None,
    seed: options.Seed = 0,
    out: options.Out = None,
    report: options.WithReport = True,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """One spectrum -> its posterior, checked: parameters, statistic, verdict. Exit code 3: do not trust it."""
    held, tied = options.assignments(freeze, "--freeze"), options.links(link)
    options.check_fit(held, tied, prior, energies, channels, network, amortised)
    options.check_systematic(systematic)
    if pha is None and xcm is None:
        raise typer.BadParameter("give a spectrum, or --xcm FILE", param_hint="PHA")
    bands, kept = options.bands(energies), options.channels(channels)
    background, treatment = options.background_and_likelihood(background, likelihood)
    with answering(debug), leaving_no_folder(out):
        from xrayflow.files import to_json
        from xrayflow.inference import infer
        from xrayflow.models import parse_model
        from xrayflow.ogip import read_observation
        from xrayflow.products import located_summary, products_folder, write_products
        from xrayflow.products.xspec import known_statistic, read_session, session_fit
        from xrayflow.setup import FitSetup

        if out is not None:
            products_folder(out)
        with show_progress() as progress:
            shown = statistic.value
            if xcm is None:
                spectral = parse_model(model, abund or "wilm", xsect or "vern")
                observation = read_observation(pha or "", rmf, arf, background, row)
            else:
                session = read_session(xcm)
                observation = session.observation(pha, rmf, arf, background, row)
                abund, xsect = abund or session.abund, xsect or session.xsect
                said = session_fit(session, observation, model == options.DEFAULT_MODEL, abund, xsect)
                said = said.without_ranges((*held, *tied))
                spectral = said.model or parse_model(model, abund or "wilm", xsect or "vern")
                prior = [*said.prior, *(prior or ())]
                bands = list(said.energies or ()) or None if bands is None and kept is None else bands
                shown = said.statistic if shown == "auto" else shown
                systematic = said.systematic if systematic is None else systematic
                said.tell()
                if said.model is not None and not (held or tied or as_json):
                    asked = FitSetup(
                        prior=said.prior,
                        systematic=systematic,
                        energies=bands,
                        channels=kept,
                        grouping=grouping,
                        statistic=shown,
                    )
                    known = known_statistic(observation, said.model, said.values, asked)
                    if known is not None:
                        print(f"session         {known}")
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
                statistic=shown,
                network=network,
                amortised=amortised,
                seed=seed,
                draws=draws,
                ess=ess,
                progress=progress,
                time_limit=time_limit,
                likelihood=treatment,
                background_scale=background_scale,
            )
            if progress is not None and out is not None:
                progress("drawing", 1.0)
            products = {} if out is None else write_products(posterior, out, report)
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
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """The components, or the parameters of one or of a model: the names that --freeze, --link and --prior take."""
    with answering(debug):
        from xrayflow.models.listing import describe, list_lines

        if as_json:
            from xrayflow.files import to_json

            print(to_json(describe(name)))
        else:
            print("\n".join(list_lines(name)))
