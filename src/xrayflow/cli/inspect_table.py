"""What `inspect` says to people: a few lines for each file, the oddities with what follows from them, and the fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xrayflow.cli.terminal import stdout_console

KINDS = {"PHA": "spectrum", "RMF": "redistribution matrix", "RSP": "response with its area", "ARF": "effective area"}
Line = tuple[str, str | Text]


def print_description(document: Mapping[str, Any], *, first: bool) -> None:
    """One file of `inspect --json`.

    Args:
        document: Of it.
        first: Of all.
    """
    console = stdout_console()
    if not first:
        console.print()
    holds = document["holds"]
    console.print(Text.assemble((document["path"], "bold"), f"  {document['kind']}: {KINDS[document['kind']]}"))
    lines = {"PHA": _of_pha, "RMF": _of_rmf, "RSP": _of_rmf, "ARF": _of_arf}[document["kind"]](holds)
    _print_lines(console, lines)
    if document["spectra"]:
        _print_rows(console, document["spectra"], holds["spectra"], Path(document["path"]).name)
    odd: list[Line] = [("odd" if number == 0 else "", _odd(one)) for number, one in enumerate(document["oddities"])]
    _print_lines(console, odd or [("odd", "nothing")])
    if document["fit"] is not None:
        console.print(Text("  a fit takes", style="bold"))
        _print_lines(console, _of_fit(document["fit"]))


def _print_lines(console: Console, lines: Iterator[Line] | list[Line]) -> None:
    grid = Table.grid(padding=(0, 1), pad_edge=True)
    grid.add_column(style="dim", no_wrap=True, min_width=13)
    grid.add_column(overflow="fold")
    for name, text in lines:
        grid.add_row(f"  {name}", text)
    console.print(grid)


def _odd(one: Mapping[str, str]) -> Text:
    return Text.assemble((one["what"], "yellow"), f": {one['meaning']}" if one["meaning"] else "")


def _print_rows(console: Console, rows: list[dict[str, Any]], spectra: int, name: str) -> None:
    """The spectra of a TYPE:II file."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 2))
    columns = list(rows[0])
    for column in columns:
        table.add_column(column.upper(), justify="left" if column == "object" else "right")
    for row in rows:
        table.add_row(*(value if isinstance(value, str) else _number(value) for value in row.values()))
    console.print(table)
    more = f"{spectra - len(rows)} more; " if spectra > len(rows) else ""
    console.print(f"  {more}choose one: --row 1 to {spectra}, or {name}{{1}}")


def _number(value: float | None) -> str:
    """As many digits as people read; whole numbers as they are."""
    if value is None:
        return "unknown"
    if float(value).is_integer() and abs(value) < 1e9:
        return f"{value:.0f}"
    return f"{value:.6g}" if abs(value) >= 1e3 else f"{value:.4g}"


def _range(values: float | list[float]) -> str:
    return " .. ".join(_number(one) for one in values) if isinstance(values, list) else _number(values)


def _origin(holds: Mapping[str, Any]) -> Iterator[Line]:
    words = [holds.get("object", ""), f"{holds['telescope']} {holds['instrument']}".strip(), holds.get("obs_id", "")]
    yield "source" if "object" in holds else "instrument", ", ".join(word for word in words if word) or "not said"


def _of_pha(holds: Mapping[str, Any]) -> Iterator[Line]:
    yield from _origin(holds)
    if "row" not in holds:
        yield "spectra", f"{holds['spectra']} (TYPE:II) of up to {holds['channels']} channels"
        return
    row = f", spectrum {holds['row']} of {holds['spectra']}" if holds["row"] else ""
    yield "type", f"TYPE:{holds['type']}{row}, column {holds['column']}"
    yield "exposure", f"{_number(holds['exposure'])} s"
    first, last = holds["channels"]
    yield "channels", f"{first}-{last}, {holds['rows']} of {holds['detchans']}"
    yield "counts", f"{_number(holds['counts'])} ({_number(holds['rate'])} /s) in all channels"
    bad = holds["bins"] - holds["good_bins"]
    yield "bins", f"{holds['bins']} of the file's GROUPING{f', {bad} of them bad' if bad else ''}"
    yield "errors", "Poisson" if holds["poisserr"] else "STAT_ERR" if holds["stat_err"] else "none"
    yield "scales", f"BACKSCAL {_range(holds['backscal'])}, AREASCAL {_range(holds['areascal'])}"
    named = ((keyword, holds[keyword.lower()]) for keyword in ("RESPFILE", "ANCRFILE", "BACKFILE"))
    yield "names", ", ".join(f"{keyword} {value or 'none'}" for keyword, value in named)


def _of_rmf(holds: Mapping[str, Any]) -> Iterator[Line]:
    yield from _origin(holds)
    low, high = holds["energies"]
    yield "energies", f"{_number(low)}-{_number(high)} keV in {holds['energy_bins']} bins"
    first, last = holds["channels"]
    low, high = holds["channel_energies"]
    yield "channels", f"{first}-{last}, {_number(low)}-{_number(high)} keV"
    yield (
        "matrix",
        f"{holds['elements']} elements, {holds['filled']:.1%} filled"
        + (f", {holds['empty_rows']} energies without response" if holds["empty_rows"] else ""),
    )
    if holds["row_sums"] is not None:
        yield "row sums", _range(holds["row_sums"]) + (" cm^2" if holds["includes_area"] else "")
    if holds["resolution"]:
        resolved = (f"{_number(one['fwhm'] * 1e3)} eV at {one['energy']:g}" for one in holds["resolution"])
        yield "resolution", f"FWHM {', '.join(resolved)} keV"


def _of_arf(holds: Mapping[str, Any]) -> Iterator[Line]:
    yield from _origin(holds)
    low, high = holds["energies"]
    yield "energies", f"{_number(low)}-{_number(high)} keV in {holds['energy_bins']} bins"
    empty = f", {holds['empty_bins']} bins of none" if holds["empty_bins"] else ""
    yield "area", f"up to {_number(holds['largest_area'])} cm^2, at {holds['largest_at']:.3g} keV{empty}"


def _of_fit(fit: Mapping[str, Any]) -> Iterator[Line]:
    for name, file in fit.get("files", {}).items():
        yield name, f"{file['path'] or 'none'}  ({file['why']})"
    if "bins" in fit:
        bins = fit["bins"]
        band = ", ".join(f"{low:.4g}-{high:.4g}" for low, high in fit["energies"]) + " keV"
        band = band if fit["channels"] is None else "channels {}-{}".format(*fit["channels"])
        yield "band", f"{band}, grouping: {fit['grouping']}"
        yield "bins", f"{bins['noticed']} of {bins['all']} ({bins['outside']} out of the band, {bins['bad']} bad)"
        yield "counts", f"{_number(fit['counts'])} ({_number(fit['rate'])} /s)"
    if "background" in fit and fit["files"]["background"]["path"] is not None:
        share = fit["background"]["share"]
        said = "unknown" if share is None else f"{share:.2%}"
        yield "background", f"{_number(fit['background']['counts'])} of these counts, {said}"
    if "statistic" in fit:
        yield "statistic", f"{fit['statistic']['name']}: {fit['statistic']['reason']}"
    if "likelihood" in fit:
        found = fit["likelihood"]
        why = f": {found['why']}" if found["why"] else ""
        yield "likelihood", f"{found['name']} in {found['bins']} bins, {found['kind']}{why}"
    for number, remark in enumerate((*fit.get("remarks", ()), *fit["warnings"])):
        yield "" if number else "note", remark
    if fit["error"] is not None:
        yield "stops with", Text(fit["error"], style="red")
