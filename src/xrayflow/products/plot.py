"""Figures on demand: which there are, in which format, and the numbers behind each."""

from __future__ import annotations

from pathlib import Path

from xrayflow.errors import DataError, misused, nearest
from xrayflow.files import OTHER_OUT, write_file
from xrayflow.inference import Posterior
from xrayflow.products.display import Display, shown_bins
from xrayflow.products.write import NAMES, spare_products

KINDS = ("spectrum", "unfolded", "corner", "qq")
FORMATS = ("png", "pdf", "svg")

TABLES = {"unfolded": ("", "-data"), "qq": ("",), "spectrum": ("", "-shown")}
"""What the names of a figure's tables have after the figure's own."""

OWN = {"spectrum": (NAMES["spectrum"], NAMES["bins"]), "corner": (NAMES["corner"],)}
"""Products of an answer that a figure is itself."""


def write_figure(posterior: Posterior, kind: str, path: str | Path, display: Display | None = None) -> tuple[Path, ...]:
    """Write a figure, and tables of its numbers beside it.

    Args:
        posterior: The answer.
        kind: spectrum, unfolded, corner or qq.
        path: The figure's place; its ending says the format.
        display: How a spectrum is shown; of the other figures none.

    Returns:
        All files that were written, the figure first. A corner plot's numbers are the draws, which are there already.

    Raises:
        DataError: No such figure or format, or none of these data.
        FileError: A file cannot be written, or is another product of an answer.
    """
    from xrayflow.products import figures

    path = Path(path)
    ending = path.suffix.removeprefix(".").lower()
    if ending not in FORMATS:
        raise DataError(f"{path}: no figure ends so; one of .{', .'.join(FORMATS)}")
    if kind not in KINDS:
        raise DataError(f"no figure '{kind}'{nearest(kind, KINDS)}")
    display = display or Display()
    if display.word and kind != "spectrum":
        said = f"axis, residuals and rebin are those of the spectrum; leave them out of the {kind} figure"
        raise misused(DataError(said))
    beside = {addition: path.with_name(f"{path.stem}{addition}.ecsv") for addition in TABLES.get(kind, ())}
    spare_products([path, *beside.values()], () if display.word else OWN.get(kind, ()))
    tables: dict[str, bytes] = {}
    if kind == "unfolded":
        made = figures.unfolded(posterior)
        figure, tables = figures.unfolded_figure(posterior, made), {"": made.numbers(), "-data": made.points()}
    elif kind == "qq":
        curve = figures.cumulated(posterior)
        figure, tables = figures.qq_figure(posterior, curve), {"": curve.numbers()}
    elif kind == "corner":
        figure = figures.corner_figure(posterior)
    else:
        shown = shown_bins(posterior, display)
        figure = figures.spectrum_figure(posterior, shown)
        tables = {"": figures.spectrum_numbers(posterior), "-shown": figures.shown_numbers(posterior, shown)}
    written = [path]
    write_file(path, figures.image(figure, ending), OTHER_OUT)
    for addition, content in tables.items():
        written.append(beside[addition])
        write_file(written[-1], content, OTHER_OUT)
    return tuple(written)
