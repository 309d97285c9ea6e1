"""Names, units and steps of XSPEC, against the list in its own library."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from xrayflow.models import parse_model
from xrayflow.models.components import COMPONENTS
from xrayflow.products.xspec.names import COMMANDS, LOCAL, commands, full_name, numbers, own_name, step, unit
from xrayflow.statistics.auto import STATISTICS


def of_the_library() -> dict[str, list[tuple[str, str, str]]]:
    """Name, unit and step of each parameter, by component in lower case; a unit in quotes may be a blank."""
    package = Path(pytest.importorskip("xspectrampoline").__file__).parent
    text = next(package.glob("LibXSPEC*/spectral/manager/model.dat")).read_text()
    found: dict[str, list[tuple[str, str, str]]] = {}
    for block in re.split(r"\n\s*\n", text):
        lines = [line for line in block.splitlines() if line.strip()]
        rows = []
        for line in lines[1:]:
            match = re.match(r'\s*[$*]?(\S+)\s+(?:"([^"]*)"|(\S+))\s*(.*)$', line)
            if match:
                numbers = match[4].split()
                rows.append((match[1], (match[2] or match[3] or "").strip(), numbers[-1] if numbers else ""))
        if lines:
            found.setdefault(lines[0].split()[0].lower(), rows)
    return found


def test_every_parameter_has_the_name_and_the_unit_of_the_library() -> None:
    library = of_the_library()
    for component in COMPONENTS:
        if component.name in LOCAL:
            assert component.name.lower() not in library
            continue
        own = [p for p in parse_model(_additive(component.name)).parameters if p.component == component.name]
        norms = [parameter for parameter in own if parameter.is_norm]
        assert [(own_name(p), unit(p)) for p in own if not p.is_norm] == [
            row[:2] for row in library[component.name.lower()]
        ]
        assert [(own_name(p), unit(p)) for p in norms] == [("norm", "")] * (component.kind == "additive")


def test_every_step_is_that_of_the_library() -> None:
    library = of_the_library()
    for component in COMPONENTS:
        if component.name not in LOCAL:
            own = [p for p in parse_model(_additive(component.name)).parameters if p.component == component.name]
            # below 0 where it is frozen
            theirs = {row[0]: abs(float(row[2])) for row in library[component.name.lower()]}
            for one in own:
                if not one.is_norm and not one.is_switch:
                    assert step(one) == theirs[own_name(one)]


def _additive(name: str) -> str:
    """A model that holds a component once."""
    kind = next(component.kind for component in COMPONENTS if component.name == name)
    return name if kind == "additive" else f"{name}*powerlaw" if name != "powerlaw" else name


def test_parameters_are_numbered_with_the_frozen_ones() -> None:
    model = parse_model("TBabs*simpl*(gaussian+gaussian)").freeze({"TBabs.nH": 0.2})
    assert numbers(model)["simpl.Gamma"] == 2
    assert numbers(model)["gaussian_4.LineE"] == 8
    assert step(model.parameters[7]) == 0.05


def test_every_statistic_has_a_command_and_a_name() -> None:
    assert set(COMMANDS) == set(STATISTICS) - {"auto"}
    assert full_name(commands("wstat")) == "C-Statistic"
    assert full_name(commands("pgstat-xspec")) == "PG-Statistic"
    assert full_name(commands("pstat")) == "P-Statistic"
    assert full_name(commands("chi2")) == "Chi-Squared"
    assert full_name(commands("cstat+pgstat")) == "Total_Stat"
