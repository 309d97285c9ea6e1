"""group: a spectrum file with other bins, as HEASARC's ftgrouppha writes it."""

from __future__ import annotations

from pathlib import Path

import typer

from xrayflow.cli import options
from xrayflow.cli.terminal import answering, print_document

WRITTEN = "optimal, min:N, optmin:N, bin:N or none"


def group(
    pha: options.Pha,
    grouping: options.NewGrouping,
    out: options.NewFile,
    rmf: options.Rmf = None,
    row: options.Row = None,
    as_json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write a spectrum with new GROUPING and QUALITY; everything else of its file stays."""
    if grouping == "file":
        raise typer.BadParameter(f"'file' is what it has; give {WRITTEN}", param_hint="--grouping")
    with answering(debug):
        from xrayflow.ogip import group_file

        found = group_file(pha, grouping, out, rmf, row)
        if as_json:
            from dataclasses import asdict

            print_document({"grouping": grouping, **asdict(found)})
            return
        marked = f"; {found.incomplete} channels left over are marked bad" if found.incomplete else ""
        print(
            f"{found.path}: {found.good} good bins of {found.bins}, {found.least:.6g} counts or more in each, "
            f"{found.median:.6g} in the median{marked}"
        )
        if Path(pha.partition("{")[0]).resolve().parent != found.path.resolve().parent:
            print("the files that its header names are looked for beside it, and in the folder above")
