"""Verbs about many spectra: targets, evaluate."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from xrayflow.cli import options
from xrayflow.cli.terminal import answering, print_document, print_evaluation, show_standing


def targets(
    recipe: options.Run,
    pha: options.Spectra = None,
    listed: options.Listed = None,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.Background = None,
    energies: options.Energies = None,
    grouping: options.Grouping = "file",
    statistic: options.ShownStatistic = options.Statistic.auto,
    systematic: options.Fraction = 0.0,
    objective: options.Objective = "statistic",
    starts: options.Starts = 16,
    group_by: options.GroupBy = "obsid",
    network: options.StartingNetwork = "none",
    seed: options.Seed = 0,
    workers: options.Workers = 1,
    out: options.OutFile = None,
    restart: options.Restart = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Fit a catalogue: its best fits are what a network's stage can learn from. A stopped command goes on."""
    bands = options.bands(energies)
    options.check_choice(group_by, ("obsid", "object", "folder"), "--group-by")
    options.check_choice(objective, ("statistic", "posterior"), "--objective")
    with answering(debug):
        from xrayflow.studies.running import Children, listed_sources
        from xrayflow.studies.targets import GroupBy, TargetsConfig, find_targets, write_targets

        sources = listed_sources(pha or [], listed, arf, background)
        wanted = TargetsConfig(
            bands, grouping, statistic.value, systematic, objective, starts, GroupBy(group_by), seed, network
        )
        place = out or Path("targets.safetensors")
        with show_standing() as told, Children(workers) as children:
            found = find_targets(recipe, sources, rmf, wanted, told, place, children, restart)
        write_targets(place, found)
        summary = found.summary()
        if as_json:
            print_document({"library": str(place), **summary})
            return
        for one in summary["left_out"]:
            print(f"left out: {one['reason']}", file=sys.stderr)
        print(
            f"{place}: {summary['spectra']} targets in {summary['groups']} groups, "
            f"{len(summary['left_out'])} left out, {summary['at_limit']} with a parameter at an edge of its range; "
            f"statistic / dof {summary['reduced_statistic_10_50_90'][1]:.3g} (median)"
        )


def evaluate(
    library: options.TargetLibrary,
    pha: options.Spectra = None,
    network: options.Evaluated = None,
    listed: options.Listed = None,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.Background = None,
    energies: options.Energies = None,
    grouping: options.Grouping = "file",
    every: options.Every = False,
    spectra: options.AtMost = None,
    draws: options.DrawsEach = 50,
    exact: options.Exact = 0,
    repeats: options.Repeats = 5,
    seed: options.Seed = 0,
    workers: options.Workers = 1,
    out: options.Out = Path("evaluation"),
    restart: options.Restart = False,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Draws of networks against the best fits of spectra that they have not seen: the paper's table and figures.

    A stopped command goes on.
    """
    bands = options.bands(energies)
    if not network:
        raise typer.BadParameter("give a network, as nicer-bhb-paper or FILE.safetensors", param_hint="--network")
    with answering(debug):
        from xrayflow.files import to_json
        from xrayflow.networks import load_network
        from xrayflow.studies.running import Children, listed_sources
        from xrayflow.studies.validation import TABLE, EvaluationConfig, write_evaluation
        from xrayflow.studies.validation import evaluate as evaluate_networks

        asked = EvaluationConfig(draws, spectra, every, exact, repeats, energies=bands, grouping=grouping, seed=seed)
        sources = listed_sources(pha or [], listed, arf, background)
        folder = out or Path("evaluation")
        loaded = [load_network(name) for name in network]
        with show_standing() as standing, Children(workers) as children:
            found = evaluate_networks(library, sources, rmf, loaded, asked, standing, folder, children, restart)
        told = write_evaluation(found, folder)
        if as_json:
            print(to_json(told))
            return
        print_evaluation(told)
        print(f"{folder / TABLE}; figures beside it")
