"""What components and expressions offer, as plain data and as text: for the command line and the reference pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from xrayflow.files import SCHEMA_VERSION
from xrayflow.models.component import Component
from xrayflow.models.components import COMPONENTS
from xrayflow.models.expression import find_component
from xrayflow.models.model import parse_model
from xrayflow.models.parameter import Parameter

HEADINGS = {
    "additive": "additive: photons/cm^2/s per bin",
    "multiplicative": "multiplicative: a factor per bin, put before an additive component",
    "convolution": "convolution: acts on everything to its right",
}


def describe(name: str | None = None) -> dict[str, Any]:
    """All components, one component, or the parameters of an expression.

    Args:
        name: A component, in any case or abbreviated; an expression with `*`, `+` or brackets; or None.

    Returns:
        Plain data with the key `"components"`, `"component"` or `"model"`.

    Raises:
        ModelError: No component has the name, or the expression cannot be.
    """
    if name is None:
        return {"schema_version": SCHEMA_VERSION, "components": [_component(component) for component in COMPONENTS]}
    if re.fullmatch(r"\s*\w+\s*", name):
        return {"schema_version": SCHEMA_VERSION, "component": _component(find_component(name.strip()))}
    model = parse_model(name)
    return {"schema_version": SCHEMA_VERSION, "model": model.text, "parameters": _parameters(model.parameters)}


def list_lines(name: str | None = None) -> list[str]:
    """`describe` as text.

    Args:
        name: As for `describe`.

    Returns:
        Lines for a terminal.

    Raises:
        ModelError: As `describe`.
    """
    found = describe(name)
    if "model" in found:
        return _expression_lines(found)
    if "component" in found:
        return _component_lines(found["component"])
    lines = []
    for kind, heading in HEADINGS.items():
        rows = [[c["name"], c["title"]] for c in found["components"] if c["kind"] == kind]
        lines += [heading, *_columns(rows, indent=2), ""]
    return [
        *lines,
        "names may be shortened as in XSPEC: ga is gaussian; what XSPEC prints is read: TBabs<1>*powerlaw<2>",
        "parameters of one: xrayflow models TBabs; of a model: xrayflow models 'TBabs*powerlaw'",
    ]


def limits(pair: Sequence[float]) -> str:
    """A range for people.

    Args:
        pair: Lower and upper limit.

    Returns:
        `"0 .. 1e+06"`.
    """
    return f"{pair[0]:g} .. {pair[1]:g}"


def prior_text(parameter: dict[str, Any]) -> str:
    """The prior of a parameter for people.

    Args:
        parameter: From `describe`.

    Returns:
        `"0.005 .. 75, log"`.
    """
    return "none: a switch" if parameter["switch"] else f"{limits(parameter['prior'])}, {parameter['scale']}"


def _component(component: Component) -> dict[str, Any]:
    return {
        "name": component.name,
        "kind": component.kind,
        "title": component.title,
        "formula": component.formula,
        "source": component.source,
        "uses_abund": component.uses_abund,
        "parameters": _parameters(component.parameters),
    }


def _parameters(parameters: Iterable[Parameter]) -> list[dict[str, Any]]:
    return [
        {
            "number": number,
            "name": p.name,
            "meaning": p.meaning,
            "unit": p.unit,
            "default": p.value,
            "frozen": p.frozen,
            "hard": list(p.hard),
            "soft": list(p.soft),
            "prior": list(p.box),
            "scale": p.scale,
            "norm": p.is_norm,
            "switch": p.is_switch,
        }
        for number, p in enumerate(parameters, 1)
    ]


def _component_lines(component: dict[str, Any]) -> list[str]:
    lines = [
        f"{component['name']} ({component['kind']}): {component['title']}",
        f"  {component['formula']}",
        f"  Source: {component['source']}",
    ]
    if component["uses_abund"]:
        lines.append("  Abundances: --abund; cross-sections: vern")
    for p in component["parameters"]:
        state = "frozen at" if p["frozen"] else "free, default"
        lines += [
            "",
            f"{p['number']}  {p['name']}{f' [{p_unit}]' if (p_unit := p['unit']) else ''}: {p['meaning']}",
            f"   {state} {p['default']:g}; limits {limits(p['hard'])} hard, {limits(p['soft'])} soft",
            f"   prior {prior_text(p)}",
        ]
    return lines


def _expression_lines(found: dict[str, Any]) -> list[str]:
    rows = [["", "name", "unit", "default", "limits", "prior"]]
    for p in found["parameters"]:
        default = f"{p['default']:g}{' frozen' if p['frozen'] else ''}"
        rows.append([str(p["number"]), p["name"], p["unit"] or "-", default, limits(p["hard"]), prior_text(p)])
    return [
        found["model"],
        "",
        *_columns(rows),
        "",
        "hold one: --freeze NAME=VALUE; tie it: --link 'NAME=2*OTHER'; its prior: --prior NAME=LO:HI",
    ]


def _columns(rows: Sequence[Sequence[str]], indent: int = 0) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        (" " * indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]
