"""The verb for an archive: catalogue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from xrayflow.cli import options
from xrayflow.cli.asking import question_of
from xrayflow.cli.terminal import INTERRUPTED, answering, complain, print_document, show_standing

if TYPE_CHECKING:
    from xrayflow.studies.catalogue import Catalogue, Prospect

SHOWN = 5
"""Failures that are printed; all are in the table."""


def catalogue(
    pha: options.Patterns = None,
    listed: options.ListedOrTable = None,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.Background = None,
    model: options.ModelText = options.DEFAULT_MODEL,
    freeze: options.Freeze = None,
    link: options.Link = None,
    prior: options.PriorChanges = None,
    abund: options.Abund = "wilm",
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
    workers: options.Workers = 1,
    scheduler: options.Scheduler = None,
    batch: options.Batch = 24,
    retry: options.Retry = False,
    resume: options.Resume = False,
    out: options.TableFile = Path("catalogue.fits"),
    draws_dir: options.DrawsDir = None,
    restart: options.Restart = False,
    strict: options.Strict = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Many spectra -> a table with a row each. It loses nothing when it dies: the same command goes on."""
    if scheduler is not None and workers > 1:
        raise typer.BadParameter("give --workers or --scheduler, not both")
    if resume and restart:
        raise typer.BadParameter("give --resume or --restart, not both")
    background, treatment = options.background_and_likelihood(background, likelihood)
    with answering(debug):
        question = question_of(
            model=model,
            freeze=freeze,
            link=link,
            prior=prior,
            abund=abund,
            energies=energies,
            channels=channels,
            grouping=grouping,
            statistic=statistic.value,
            systematic=systematic,
            likelihood=treatment,
            background_scale=background_scale,
            draws=draws,
            ess=ess,
            network=network,
            amortised=amortised,
            time_limit=time_limit,
            seed=seed,
            rmf=rmf,
            keeps_draws=draws_dir is not None,
        )

        from xrayflow.studies.catalogue import Running, prospect_of, run_catalogue
        from xrayflow.studies.running import make_listing

        listing = make_listing(pha or (), listed, arf=arf, background=background)
        running = Running(draws_dir, workers, scheduler, batch, restart, retry)
        with show_standing() as told:
            if dry_run:
                prospect = prospect_of(listing, question, out, running, told)
            else:
                found = run_catalogue(listing, question, out, running, told)
        if dry_run:
            _print_prospect(prospect, as_json)
            return
        _print_catalogue(found, as_json)
    if not found.complete:
        raise typer.Exit(INTERRUPTED)
    if strict and found.failed:
        raise typer.Exit(1)


def _print_catalogue(found: Catalogue, as_json: bool) -> None:
    """What there is now."""
    done = sum(found.outcomes.values())
    if as_json:
        print_document(
            {
                "table": str(found.table) if done else None,
                "manifest": str(found.manifest),
                "sources": found.sources,
                "complete": found.complete,
                "outcomes": dict(found.outcomes),
                "failed": dict(found.reasons),
            }
        )
    else:
        words = ", ".join(f"{number} {verdict}" for verdict, number in sorted(found.outcomes.items()))
        where = f"{found.table}: " if done else ""
        print(f"{where}{done} of {found.sources} spectra{f': {words}' if words else ''}")
        _print_failures(found.reasons, found.failed)
    if not found.complete:
        complain(f"stopped with {found.sources - done} spectra left; the same command goes on")


def _print_prospect(prospect: Prospect, as_json: bool) -> None:
    """What would be done."""
    if as_json:
        print_document(prospect.document())
        return
    sizes = ", ".join(map(str, prospect.matrices))
    print(
        f"{prospect.sources} spectra: {prospect.done} done, {len(prospect.failed)} cannot be read, "
        f"{prospect.left} to fit in {prospect.batches} batches"
    )
    if prospect.matrices:
        print(f"responses: {len(prospect.matrices)} ({sizes} spectra)")
    _print_failures(dict(prospect.failed[:SHOWN]), len(prospect.failed), "--json names them all")


def _print_failures(reasons: Any, number: int, others: str = "the table has their reasons") -> None:
    for path, reason in list(reasons.items())[:SHOWN]:
        where = path.partition("{")[0]
        print(f"  failed: {reason if where in reason else f'{path}: {reason}'}")
    if number > SHOWN:
        print(f"  and {number - SHOWN} more: {others}")
