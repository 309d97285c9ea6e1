"""Verbs on an answer that `fit --out` wrote: flux, verify; and tcl, for those who write them from XSPEC."""

from __future__ import annotations

import typer

from xrayflow.cli import options
from xrayflow.cli.terminal import answering, complain, print_rich


def flux(
    folder: options.Result,
    band: options.Band = None,
    unabsorbed: options.Unabsorbed = False,
    component: options.Components = None,
    distance: options.Distance = None,
    redshift: options.Redshift = None,
    hardness: options.Hardness = None,
    width: options.Widths = None,
    radius: options.Radii = None,
    inclination: options.Inclination = None,
    hardening: options.Hardening = 1.0,
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
            from xrayflow.files import SCHEMA_VERSION, to_json

            rows = [one.row() for one in found]
            told = {"model": posterior.model.text, "verdict": posterior.verdict, "quantities": rows}
            print(to_json({"schema_version": SCHEMA_VERSION, "result": str(folder), **told}))
        else:
            print_rich(quantity_table(posterior, found))


def verify(
    folder: options.Result,
    data: options.DataFolder = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Check an answer from its files: data, likelihood of draws, weights, numbers, verdict. Exit code 1: it differs."""
    with answering(debug):
        from xrayflow.products import Verification, verification_lines
        from xrayflow.products import verify as verify_result

        found: Verification = verify_result(folder, data)
        if as_json:
            from xrayflow.files import SCHEMA_VERSION, to_json

            print(to_json({"schema_version": SCHEMA_VERSION, "result": str(folder), **found.report()}))
        else:
            print("\n".join(verification_lines(found)))
    if not found.right:
        complain(f"{folder}: {', '.join(found.wrong)} differ from what the files give")
        raise typer.Exit(1)


def tcl() -> None:
    """The script that runs xrayflow from XSPEC's prompt: type there  source [exec xrayflow tcl]"""
    from xrayflow.data import bundled_tcl

    print(bundled_tcl())


VERBS = (flux, verify, tcl)
"""In the order of the help."""
