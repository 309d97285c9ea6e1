"""Verbs on an answer that `fit --out` wrote, and tcl, which writes them from XSPEC."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from xrayflow.cli import answer_options, options
from xrayflow.cli.terminal import (
    answering,
    complain,
    leaving_no_folder,
    print_document,
    print_report,
    print_rich,
    show_progress,
)


def answer_of(
    target: str,
    files: tuple[str | None, str | None, str | None],
    asked: dict[str, Any],
    progress: Callable[[str, float], None] | None,
) -> Any:
    """The answer that a folder holds, or that of a spectrum."""
    from xrayflow.products import is_result, load_result

    if is_result(target):
        if said := [name for name, value in asked.items() if value] + [one for one in files if one is not None]:
            raise typer.BadParameter(f"{target} is an answer already, so leave {said[0]} out")
        return load_result(target)
    from xrayflow.inference import infer
    from xrayflow.ogip import read_observation

    return infer(read_observation(target, *files), progress=progress, **asked)


def flux(
    folder: answer_options.Result,
    band: answer_options.Band = None,
    unabsorbed: answer_options.Unabsorbed = False,
    component: answer_options.Components = None,
    distance: answer_options.Distance = None,
    redshift: answer_options.Redshift = None,
    hardness: answer_options.Hardness = None,
    width: answer_options.Widths = None,
    radius: answer_options.Radii = None,
    inclination: answer_options.Inclination = None,
    hardening: answer_options.Hardening = 1.0,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Fluxes, luminosities, hardness, equivalent widths and disc radii of an answer: from its draws, no new fit."""
    with answering(debug):
        from xrayflow.inference import SHOWN_BAND
        from xrayflow.products import Asked, Measured, load_result, parse_band, parse_ratio, quantities, quantity_table

        posterior = load_result(folder)
        bands = tuple(map(parse_band, band or ())) or tuple(dict.fromkeys((posterior.band, SHOWN_BAND)))
        asked = Asked(
            bands=bands,
            unabsorbed=unabsorbed,
            components=tuple(component or ()),
            distance=None if distance is None else Measured.parse(distance, ("kpc", "pc", "Mpc"), "--distance"),
            redshift=redshift,
            hardness=tuple(map(parse_ratio, hardness or ())),
            widths=tuple(width or ()),
            radii=tuple(radius or ()),
            inclination=None if inclination is None else Measured.parse(inclination, ("deg",), "--inclination"),
            hardening=hardening,
        )
        found = quantities(posterior, asked, seed)
        if as_json:
            rows = [one.row() for one in found]
            told = {"model": posterior.model.text, "verdict": posterior.verdict, "quantities": rows}
            print_document({"result": str(folder), **told})
        else:
            print_rich(quantity_table(posterior, found))


def reweigh(
    folder: answer_options.Result,
    prior: options.PriorChanges = None,
    level: answer_options.Level = 90.0,
    out: options.Out = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """The answer under another prior, by exact weights of its draws; refused where too few of them are left."""
    options.check_fit({}, {}, prior, None, None, None, False)
    if not prior:
        raise typer.BadParameter("say which, as --prior 'powerlaw.PhoIndex~N(1.7,0.1)'", param_hint="--prior")
    with answering(debug), leaving_no_folder(out):
        from xrayflow.inference import reweigh as another
        from xrayflow.products import (
            central,
            level_lines,
            load_result,
            located_summary,
            products_folder,
            write_products,
        )

        if out is not None:
            products_folder(out)
        before = load_result(folder)
        posterior = another(before, prior)
        products = {} if out is None else write_products(posterior, out)
        if as_json:
            told = {"level": level, "before": central(before, level), "after": central(posterior, level)}
            gained = posterior.log_evidence - before.log_evidence
            print_document(located_summary(posterior, products) | {"reweighed": told | {"log_evidence_change": gained}})
        else:
            print_report(posterior, products)
            print("\n".join(level_lines(before, posterior, level)))


def compare(
    targets: answer_options.Targets,
    models: answer_options.Models = None,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.Background = None,
    freeze: options.Freeze = None,
    prior: options.PriorChanges = None,
    energies: options.Energies = None,
    grouping: answer_options.MaybeGrouping = None,
    systematic: options.Systematic = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Models of one spectrum by their evidence: PHA --models A --models B, or result folders of the same data."""
    asked = answer_options.fit_words(None, freeze, prior, energies, grouping, systematic)
    if models and len(targets) > 1:
        raise typer.BadParameter("give one spectrum with --models, or several result folders")
    answer_options.check_twice(targets)
    with answering(debug):
        from xrayflow.products import compare as compared
        from xrayflow.products import comparison_lines

        files = (rmf, arf, background)
        with show_progress() as progress:
            each = [(targets[0], asked | {"model": one}) for one in models or ()] or [(one, asked) for one in targets]
            answers = [answer_of(target, files, words, progress) for target, words in each]
        found = compared(answers, [] if models else targets)
        if as_json:
            print_document({"models": [one.row() for one in found]})
        else:
            print("\n".join(comparison_lines(found)))


def misfit(
    folder: answer_options.Result,
    simulated: answer_options.Simulated = 1000,
    refit: answer_options.Refit = 0,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """What an answer's model may lack (line, edge, absorber, energy scale), by evidence and by chance's share."""
    with answering(debug):
        from xrayflow.products import load_result, look_closely, microscope_table

        posterior = load_result(folder)
        with show_progress() as progress:
            found = look_closely(posterior, simulated, progress, refit)
        if as_json:
            from dataclasses import asdict

            print_document({"result": str(folder), "model": posterior.model.text, **asdict(found)})
        else:
            print_rich(microscope_table(posterior, found, refit))


def forecast(
    folder: answer_options.Result,
    exposure: options.Exposure = None,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.Background = None,
    energies: options.Energies = None,
    spectra: answer_options.PlannedSpectra = None,
    fisher: answer_options.Fisher = False,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Widths to expect of another exposure or instrument: spectra simulated from the draws of an answer, and fitted."""
    ranges = options.bands(energies)
    if exposure is None and rmf is None and arf is None and background is None and energies is None:
        raise typer.BadParameter("say what will be different: --exposure SECONDS, or --rmf and --arf of an instrument")
    if fisher and spectra is not None:
        raise typer.BadParameter("--fisher answers no spectra; give it or --spectra, not both")
    options.check_exposure(exposure)
    with answering(debug):
        from xrayflow.products import Plan, fisher_forecast, fisher_table, forecast_table, load_result
        from xrayflow.products import forecast as foretold

        given = {} if spectra is None else {"spectra": spectra}
        plan, answer = Plan(exposure, rmf, arf, background, ranges, seed=seed, **given), load_result(folder)
        if fisher:
            curved = fisher_forecast(answer, plan)
            told, shown = curved.report(), fisher_table(curved)
        else:
            with show_progress() as progress:
                found = foretold(answer, plan, progress)
            told, shown = found.report(), forecast_table(found)
        if as_json:
            print_document({"result": str(folder), **told})
        else:
            print_rich(shown)


def table(
    results: answer_options.Results,
    kind: answer_options.TableFormat = answer_options.TableKind.latex,
    level: answer_options.TableLevel = answer_options.IntervalLevel.ninety,
    debug: options.Debug = False,
) -> None:
    """Answers of one model as a table for a paper (LaTeX) or for machines (ECSV, CSV, the AAS's MRT), one row each."""
    with answering(debug):
        from xrayflow.products import latex_table, load_result, machine_table

        posteriors = [load_result(one) for one in results]
        latex = kind is answer_options.TableKind.latex
        print(latex_table(posteriors, level) if latex else machine_table(posteriors, kind.value, level.value))


def plot(
    folder: answer_options.Result,
    kind: answer_options.FigureKind = answer_options.Figure.unfolded,
    axis: answer_options.Across = answer_options.PlotAxis.keV,
    residuals: answer_options.Below = answer_options.Residuals.delchi,
    rebin: answer_options.Rebin = None,
    out: options.OutFile = None,
    debug: options.Debug = False,
) -> None:
    """A figure of an answer, as PNG, PDF or SVG, with its numbers in tables beside it."""
    groups = answer_options.rebinned(rebin)
    with answering(debug):
        from xrayflow.products import Display, PlotAxis, Residuals, load_result, write_figure

        display = Display(PlotAxis(axis.value), Residuals(residuals.value), **groups)
        usual = folder / f"{'-'.join(word for word in (kind.value, display.word) if word)}.png"
        written = write_figure(load_result(folder), kind.value, out or usual, display)
    print("\n".join(map(str, written)))


def report(
    folder: answer_options.Result,
    out: options.OutFile = None,
    debug: options.Debug = False,
) -> None:
    """An answer as one HTML file for any browser, offline: spectrum to zoom, corner, tables, verdict, provenance."""
    with answering(debug):
        from xrayflow.products import load_result, write_report

        place = write_report(load_result(folder), out or folder / "report.html")
    print(place)


def export(
    folder: answer_options.Result,
    kind: answer_options.ExportFormat = answer_options.ExportKind.netcdf,
    out: options.OutFile = None,
    debug: options.Debug = False,
) -> None:
    r"""An answer as a file that ArviZ and xarray, or PESummary read (needs pip install 'xrayflow\[io]')."""
    with answering(debug):
        from xrayflow.products import load_result, write_netcdf, write_pesummary

        posterior = load_result(folder)
        if kind is answer_options.ExportKind.pesummary:
            place = write_pesummary(posterior, out or folder / "posterior.h5")
            how = "pesummary.io.read"
        else:
            place = write_netcdf(posterior, out or folder / "posterior.nc")
            how = "arviz.from_netcdf or xarray.open_datatree"
    print(f"{place}: read it with {how}")


def verify(
    folder: answer_options.Result,
    data: answer_options.DataFolder = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Check an answer from its files: data, likelihood of draws, weights, numbers, verdict. Exit code 1: it differs."""
    with answering(debug):
        from xrayflow.products import Verification, verification_lines
        from xrayflow.products import verify as verify_result

        found: Verification = verify_result(folder, data)
        if as_json:
            print_document({"result": str(folder), **found.report()})
        else:
            print("\n".join(verification_lines(found)))
    if not found.right:
        complain(f"{folder}: {', '.join(found.wrong)} differ from what the files give")
        raise typer.Exit(1)


def error(
    target: answer_options.Target,
    names: answer_options.Names = None,
    delta: answer_options.Delta = 2.706,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.Background = None,
    model: answer_options.MaybeModelText = None,
    freeze: options.Freeze = None,
    prior: options.PriorChanges = None,
    energies: options.Energies = None,
    grouping: answer_options.MaybeGrouping = None,
    systematic: options.Systematic = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """XSPEC's error on an answer (its statistic, all others fitted anew), beside the intervals of the posterior."""
    asked = answer_options.fit_words(model, freeze, prior, energies, grouping, systematic)
    with answering(debug):
        from xrayflow.products import intervals

        with show_progress() as progress:
            found = intervals(answer_of(target, (rmf, arf, background), asked, progress), names or (), delta)
        if as_json:
            minimum = {"name": found.posterior.statistic.name, "value": found.fit.value, "dof": found.fit.dof}
            told = {"result": str(target), "statistic": minimum, "delta": delta, "parameters": found.rows()}
            print_document(told | {"notes": list(found.notes)})
        else:
            print_rich(found.table())


def steppar(
    target: answer_options.Target,
    axes: answer_options.Axes,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.Background = None,
    model: answer_options.MaybeModelText = None,
    freeze: options.Freeze = None,
    prior: options.PriorChanges = None,
    energies: options.Energies = None,
    grouping: answer_options.MaybeGrouping = None,
    systematic: options.Systematic = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """XSPEC's steppar on an answer: its statistic on a grid of one or two parameters, all others fitted anew."""
    asked = answer_options.fit_words(model, freeze, prior, energies, grouping, systematic)
    with answering(debug):
        from xrayflow.products import Axis, profile, profile_lines

        wanted = [Axis.parse(text) for text in axes]
        with show_progress() as progress:
            posterior = answer_of(target, (rmf, arf, background), asked, progress)
            found = profile(posterior, wanted)
        if as_json:
            values = dict(zip(found.names, found.axes, strict=True))
            told = {"result": str(target), "statistic": posterior.statistic.name, "minimum": found.fit.value}
            grid = {"values": values, "value": found.value, "rise": found.rise}
            print_document({**told, **grid})
        else:
            print("\n".join(profile_lines(posterior, found)))


def tcl() -> None:
    r"""The script that runs xrayflow from XSPEC's prompt: type there  source \[exec xrayflow tcl]"""
    from xrayflow.data import bundled_tcl

    print(bundled_tcl())


VERBS = (flux, error, steppar, compare, misfit, forecast, reweigh, table, plot, report, export, verify, tcl)
"""In the order of the help."""
