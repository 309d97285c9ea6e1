"""What a terminal shows of quantities that follow from an answer."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from xrayflow.inference import Posterior
from xrayflow.products.derived import Quantity
from xrayflow.products.numbers import with_uncertainty

BEYOND = "+"
"""Marks what rests on energies without data."""


WORDS = {"flux": "flux", "photon_flux": "photon flux", "luminosity": "luminosity"}
"""Kinds that have a band, which stand below a heading."""


def quantity_table(posterior: Posterior, found: Sequence[Quantity]) -> RenderableType:
    """Name, median, 90 % interval and unit of each, below what they are of.

    Args:
        posterior: The answer that they follow from.
        found: Of `quantities`.
    """
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1), header_style="bold")
    table.add_column("quantity", overflow="fold")
    table.add_column("median", justify="right", no_wrap=True)
    table.add_column("90 % interval", no_wrap=True)
    table.add_column("unit", overflow="fold")
    above = None
    for one in found:
        if one.kind in WORDS and (title := heading(one)) != above:
            table.add_row(Text(title, style="italic"))
            above = title
        row = one.derived.row()
        values = [row[name] for name in ("median", "lower90", "upper90")]
        median, low, high = with_uncertainty(values, row["lower90"], row["upper90"])
        mark = BEYOND if one.extrapolated else ""
        table.add_row(*(Text(cell) for cell in (row_name(one) + mark, median, f"{low} .. {high}", row["unit"])))
    parts: list[RenderableType] = [
        Text(f"{posterior.data[0].pha.name}: {posterior.model.text}, {posterior.verdict}"),
        Text(""),
        table,
    ]
    if any(one.extrapolated for one in found):
        lo, hi = posterior.data_band
        parts.append(Text(f"{BEYOND} beyond the data ({lo:.4g}-{hi:.4g} keV): the model's word alone", style="dim"))
    if posterior.verdict == "do-not-trust":
        parts.append(Text("the answer is not to be trusted, and what follows from it is not either", style="bold red"))
    return Group(*parts)


def heading(one: Quantity) -> str:
    """What a flux is of."""
    kind = "absorbed" if one.details["absorbed"] else "unabsorbed"
    component = one.details["component"]
    return kind if component is None else f"{component}, {kind}"


def row_name(one: Quantity) -> str:
    """What a quantity is called below its heading."""
    if one.kind not in WORDS:
        return one.derived.name
    at_rest = one.kind == "luminosity" and "rest_band" in one.details
    lo, hi = one.details["rest_band" if at_rest else "band"]
    return f"{WORDS[one.kind]} {lo:.4g}-{hi:.4g} keV" + (" at rest" if at_rest else "")
