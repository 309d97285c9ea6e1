"""inspect: what files hold, what is odd about them, and what a fit would make of them. It fits nothing."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from xrayflow.cli import options
from xrayflow.cli.terminal import answering, complain, print_document, show_progress
from xrayflow.errors import XrayflowError, XrayflowWarning

if TYPE_CHECKING:
    from xrayflow.ogip import Description, Observation
    from xrayflow.setup import FitSetup

ANY_MODEL = "powerlaw"
"""What is built to learn of a likelihood, which does not depend on it."""


def inspect(
    files: options.AnyFiles,
    rmf: options.Rmf = None,
    arf: options.Arf = None,
    background: options.Background = None,
    row: options.Row = None,
    energies: options.Energies = None,
    channels: options.Channels = None,
    grouping: options.Grouping = "file",
    systematic: options.Systematic = None,
    likelihood: options.LikelihoodName = options.LikelihoodOf.marginalised,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """What spectra, responses, areas and backgrounds hold, every oddity, and what a fit would take."""
    options.check_systematic(systematic)
    if energies is not None and channels is not None:
        raise typer.BadParameter("give --energies or --channels, not both")
    bands, kept = options.bands(energies), options.channels(channels)
    background, treatment = options.background_and_likelihood(background, likelihood)
    documents, failed = [], False
    with answering(debug):
        from xrayflow.cli.inspect_table import print_description
        from xrayflow.ogip import describe

        with show_progress() as progress:
            for number, name in enumerate(files):
                if progress is not None:
                    progress(name[-24:], number / len(files))
                try:
                    found = describe(name, row)
                except XrayflowError as error:
                    failed = True
                    if debug:
                        traceback.print_exc()
                    documents.append({"path": name, "error": str(error)})
                    complain(str(error))
                    continue
                outlook = None
                if found.pha is not None:
                    from xrayflow.setup import FitSetup

                    setup = FitSetup(
                        model=ANY_MODEL,
                        energies=bands,
                        channels=kept,
                        grouping=grouping,
                        systematic=systematic,
                        likelihood=treatment,
                    )
                    outlook = look_ahead(found, setup, rmf, arf, background)
                documents.append(document(found, outlook))
                if not as_json:
                    print_description(documents[-1], first=number == 0)
        if as_json:
            print_document({"files": documents})
    if failed:
        raise typer.Exit(1)


def document(found: Description, outlook: dict[str, Any] | None) -> dict[str, Any]:
    """One file, for machines."""
    return {
        "path": str(found.path),
        "kind": found.kind,
        "sha256": found.sha256,
        "holds": found.facts,
        "spectra": list(found.spectra),
        "oddities": [{"what": one.what, "meaning": one.meaning} for one in found.oddities],
        "fit": outlook,
    }


def look_ahead(
    found: Description, setup: FitSetup, rmf: str | None, arf: str | None, background: str | None
) -> dict[str, Any]:
    """What a fit would take of a spectrum: as far as it gets, and the line at which it would end.

    Args:
        found: A spectrum.
        setup: What is asked of it.
        rmf, arf, background: As for `read_observation`.
    """
    told: dict[str, Any] = {"error": None}
    known = {(one.what, one.meaning) for one in found.oddities}
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", XrayflowWarning)
        try:
            for part in _steps(found, setup, rmf, arf, background):
                told |= part
        except XrayflowError as error:
            if error.usage:
                raise
            told["error"] = str(error)
    told["warnings"] = []
    from xrayflow.ogip import Oddity

    for one in said:
        text = str(one.message)
        odd = Oddity.of_warning(text)
        if issubclass(one.category, XrayflowWarning) and (odd.what, odd.meaning) not in known:
            known.add((odd.what, odd.meaning))
            told["warnings"].append(text)
    return told


def _steps(
    found: Description, setup: FitSetup, rmf: str | None, arf: str | None, background: str | None
) -> Iterator[dict[str, Any]]:
    """One after the other, what needs more and more of the files."""
    from xrayflow.ogip import read_observation
    from xrayflow.setup import build_problem
    from xrayflow.shown import remarks
    from xrayflow.statistics import background_in_source, choose

    assert found.pha is not None
    observation = read_observation(found.pha, rmf, arf, background, found.facts["row"])
    yield _files(observation, rmf, arf, background)
    bins = observation.bins(setup.grouping or "file")
    spectrum = setup.bin(observation)
    good = bins.quality == 0
    yield {
        "energies": spectrum.energies,
        "channels": spectrum.channels,
        "grouping": spectrum.grouping,
        "bins": {
            "all": len(good),
            "noticed": len(spectrum.counts),
            "bad": int((~good).sum()),
            "outside": int(good.sum()) - len(spectrum.counts),
        },
        "counts": float(spectrum.counts.sum()),
        "rate": float(spectrum.counts.sum() / observation.pha.exposure),
    }
    choice = choose(spectrum)
    counts, behind = float(spectrum.counts.sum()), float(background_in_source(spectrum).sum())
    yield {
        "background": {"counts": behind, "share": behind / counts if counts > 0 else None},
        "statistic": {"name": choice.name, "reason": choice.reason},
    }
    problem = build_problem([observation], setup)
    likelihood = problem.data.rests_on
    yield {
        "likelihood": {
            "name": likelihood.name,
            "kind": likelihood.kind,
            "why": likelihood.why,
            "bins": int(problem.data.facts.bins[0]),
        },
        "remarks": list(remarks(problem)),
    }


def _files(
    observation: Observation, rmf: str | None, arf: str | None, background: str | None
) -> dict[str, dict[str, Any]]:
    """The files of an observation, and why they are these."""
    from xrayflow.ogip import how_found

    pha = observation.pha
    other = observation.background
    taken = (
        ("rmf", "RESPFILE", pha.response_file, rmf, observation.rmf.path),
        ("arf", "ANCRFILE", pha.arf_file, arf, None if observation.arf is None else observation.arf.path),
        ("background", "BACKFILE", pha.background_file, background, None if other is None else other.path),
    )
    found: dict[str, dict[str, Any]] = {}
    for name, keyword, named, given, path in taken:
        if path is None:
            why = "asked for none" if given is not None else f"{keyword} names none"
            why = "the RMF includes the area" if name == "arf" and observation.rmf.includes_area else why
        else:
            why = f"--{name}" if given is not None else how_found(pha, keyword, named, path)
        found[name] = {"path": None if path is None else str(path), "why": why}
    if other is not None:
        found["background"]["exposure"] = other.exposure
        found["background"]["object"] = other.object
    return {"files": found}
