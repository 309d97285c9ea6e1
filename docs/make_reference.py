"""Makes the reference pages of the components and the tables of the guide, from the code and the measurements.

python docs/make_reference.py          (a test fails where the committed pages are not what this makes)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from guide_tables import (
    RESULTS,
    background_table,
    beside_table,
    calibration_tables,
    component_tables,
    faint_tables,
    grid_table,
    grouping_table,
    hostile_table,
    number,
    paragraph,
    passport_table,
    reading_table,
    table,
)

from xrayflow.models.listing import HEADINGS, describe, limits, prior_text

DOCS = Path(__file__).resolve().parent
PAGES = DOCS / "reference" / "components"
GUIDE = DOCS / "guides" / "how-exact-is-it.md"
BACKGROUNDS = DOCS / "guides" / "backgrounds.md"
FILES = DOCS / "guides" / "which-files.md"
BRIGHT = DOCS / "guides" / "bright-spectra.md"
NETWORKS = DOCS / "guides" / "networks.md"
PASSPORTS = {"passport": "nicer-bhb", "passport of nicer-bhb-cutoff": "nicer-bhb-cutoff"}
"""Name of a part of the page: network."""
BEGIN, END = "<!-- {name}: made by docs/make_reference.py -->", "<!-- end of {name} -->"
GENERATED = "*Made from the code by `docs/make_reference.py`; change that instead.*"
SINGLE_REACH = 1e-4


def page(component: dict[str, Any], measured: dict[str, Any]) -> str:
    """The page of one component."""
    name = component["name"]
    lines = [f"# {name}", "", f"{component['title'][0].upper()}{component['title'][1:]} ({component['kind']}).", ""]
    lines += ["## Formula", "", f"    {component['formula']}", "", f"Source: {component['source']}.", ""]
    if component["uses_abund"]:
        lines += ["Abundances are those of `--abund` (default `wilm`), cross-sections those of `vern`.", ""]
    rows = [
        [
            str(p["number"]),
            f"`{p['name']}`",
            p["meaning"],
            p["unit"] or "-",
            f"{p['default']:g}{', frozen' if p['frozen'] else ''}",
            limits(p["hard"]),
            limits(p["soft"]),
            prior_text(p),
        ]
        for p in component["parameters"]
    ]
    headings = ["", "parameter", "meaning", "unit", "default", "hard limits", "soft limits", "prior"]
    lines += ["## Parameters", "", *table(headings, rows), ""]
    first = component["parameters"][0]["name"]
    lines += [
        f"In a model they are `{name}.{first}` and so on, in a second {name} as third component `{name}_3.{first}`;",
        "`xrayflow models EXPR` prints the names of any expression.",
        "",
    ]
    return "\n".join([*lines, *comparison(measured), "", GENERATED, ""])


def comparison(measured: dict[str, Any]) -> list[str]:
    """The section on the compiled library."""
    double, single = measured["float64"], measured["float32_from_float64"]
    sizes = [number(double[name]) for name in ("median", "p99", "max")]
    where = measured.get("largest_at", {})
    at = ", ".join([f"{value:g} keV" if name == "energy" else f"{name} {value:g}" for name, value in where.items()])
    who = measured["who_is_right"]
    reach = "" if single["max"] <= SINGLE_REACH else f", beyond our aim of {number(SINGLE_REACH)}"
    texts = [
        "## Against the compiled XSPEC library",
        f"{measured['compared']}, over {measured['draws']} draws: median {sizes[0]}, 99 % below {sizes[1]}, largest "
        f"{sizes[2]}{f' (at {at})' if at else ''}.",
        f"Who is right where they differ: {who[0].lower()}{who[1:]}",
        f"Single precision differs from double by at most {number(single['max'])}{reach}.",
    ]
    return "\n\n".join(map(paragraph, texts)).split("\n")


def index(components: list[dict[str, Any]]) -> str:
    """The page that lists all components."""
    lines = ["# Components", "", "What `xrayflow models` lists, with a page for each."]
    for kind, heading in HEADINGS.items():
        rows = [[f"[{c['name']}]({c['name']}.md)", c["title"]] for c in components if c["kind"] == kind]
        lines += ["", f"## {heading[0].upper()}{heading[1:]}", "", *table(["component", "what it is"], rows)]
    return "\n".join([*lines, "", GENERATED, ""])


def with_tables(text: str, tables: dict[str, list[str]]) -> str:
    """A page with the parts between its markers made anew."""
    for name, lines in tables.items():
        begin, end = BEGIN.format(name=name), END.format(name=name)
        head, rest = text.split(begin)
        text = "\n".join([head + begin, "", *lines, "", end + rest.split(end)[1]])
    return text


def make() -> dict[Path, str]:
    """All pages.

    Returns:
        Their text, by path.
    """
    results = json.loads((RESULTS / "components.json").read_text(encoding="utf-8"))
    components = describe()["components"]
    pages = {PAGES / f"{c['name']}.md": page(c, results["components"][c["name"]]) for c in components}
    pages[PAGES / "README.md"] = index(components)
    tables = component_tables(components, results) | {"grids": grid_table(), "groupings": grouping_table()}
    pages[GUIDE] = with_tables(GUIDE.read_text(encoding="utf-8"), tables)
    tables = {"backgrounds": background_table()} | faint_tables()
    pages[BACKGROUNDS] = with_tables(BACKGROUNDS.read_text(encoding="utf-8"), tables)
    pages[BRIGHT] = with_tables(BRIGHT.read_text(encoding="utf-8"), calibration_tables())
    tables = {part: passport_table(network) for part, network in PASSPORTS.items()} | {"beside": beside_table()}
    pages[NETWORKS] = with_tables(NETWORKS.read_text(encoding="utf-8"), tables)
    tables = {"hostile": hostile_table(), "reading": reading_table()}
    pages[FILES] = with_tables(FILES.read_text(encoding="utf-8"), tables)
    return pages


def main() -> None:
    """Writes the pages."""
    PAGES.mkdir(parents=True, exist_ok=True)
    for path, text in make().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
