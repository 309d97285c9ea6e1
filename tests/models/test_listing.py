"""The listing of components and of the parameters of an expression."""

from __future__ import annotations

import json

import pytest

from xrayflow.errors import ModelError
from xrayflow.models import parse_model
from xrayflow.models.components import COMPONENTS
from xrayflow.models.listing import describe, list_lines


def test_every_component_is_listed_once_under_its_kind() -> None:
    lines = list_lines()
    names = [line.split()[0] for line in lines if line.startswith("  ")]
    assert names == [component.name for component in COMPONENTS]
    assert sum("additive" in line for line in lines[:1]) == 1


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_the_lines_of_a_component_hold_all_of_its_table(component: object) -> None:
    text = "\n".join(list_lines(component.name.upper()))  # type: ignore[attr-defined]
    assert component.formula in text  # type: ignore[attr-defined]
    assert component.source in text  # type: ignore[attr-defined]
    for parameter in component.parameters:  # type: ignore[attr-defined]
        assert parameter.meaning in text
        assert parameter.unit in text
        assert f"{parameter.hard[0]:g} .. {parameter.hard[1]:g} hard" in text


def test_the_names_of_an_expression_are_those_of_the_model() -> None:
    text = "tbabs*(gau + gau)"
    found = describe(text)
    assert found["model"] == "TBabs*(gaussian+gaussian)"
    assert [row["name"] for row in found["parameters"]] == [p.name for p in parse_model(text).parameters]
    assert [row["number"] for row in found["parameters"]] == list(range(1, 8))
    assert max(map(len, list_lines(text))) <= 100


@pytest.mark.parametrize("name", [None, "simplcutx", "TBabs*simplcutx*ezdiskbb", "(constant)"])
def test_the_data_survive_json(name: str | None) -> None:
    assert json.loads(json.dumps(describe(name))) == describe(name)
    assert list_lines(name)


def test_frozen_parameters_are_marked() -> None:
    lines = list_lines("simplcutx*powerlaw")
    assert any(line.split()[:4] == ["4", "simplcutx.kT_e", "keV", "100"] and "frozen" in line for line in lines)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tbasb", "did you mean 'TBabs'"),
        ("tbasb*powerlaw", "did you mean 'TBabs'"),
        ("powerlaw*TBabs", r"powerlaw \(additive\) cannot multiply TBabs"),
    ],
)
def test_what_does_not_exist_is_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        list_lines(name)
