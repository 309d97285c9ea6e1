"""Parameters: limits, freezing, names."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xrayflow.errors import ModelError
from xrayflow.models.components import COMPONENTS
from xrayflow.models.parameter import declare, declare_norm, declare_switch


def test_a_frozen_parameter_keeps_its_value_and_thaws_again() -> None:
    parameter = declare("nH", "10^22", 1.0, (0.0, 1e6), (0.0, 1e5)).in_component("TBabs")
    frozen = parameter.frozen_at(0.3)
    assert (frozen.name, frozen.value, frozen.frozen) == ("TBabs.nH", 0.3, True)
    assert not frozen.thawed().frozen


@pytest.mark.parametrize("value", [-1.0, 2e6, float("nan"), float("inf")])
def test_a_value_outside_the_hard_limits_is_refused(value: float) -> None:
    with pytest.raises(ModelError, match=r"nH: .* is outside its limits 0 \.\. 1e\+06; choose a value inside"):
        declare("nH", "", 1.0, (0.0, 1e6), (0.0, 1e5)).frozen_at(value)


def test_a_limit_that_allows_one_value_says_so() -> None:
    with pytest.raises(ModelError, match="ReflFrac: 1 is not implemented; leave it at 0"):
        declare_switch("ReflFrac", 0.0, (0.0, 0.0), "").frozen_at(1.0)


def test_a_value_inside_a_gap_is_refused() -> None:
    parameter = replace(declare("kT_e", "keV", 100.0, (-1e3, 1e3), (-1e3, 1e3)), gap=(-1.0, 1.0))
    assert parameter.frozen_at(-1.0).is_constant
    assert not parameter.is_constant
    with pytest.raises(ModelError, match=r"kT_e: 0\.5 is between -1 and 1; choose a value outside"):
        parameter.frozen_at(0.5)


def test_a_switch_cannot_be_free() -> None:
    with pytest.raises(ModelError, match="UpScOnly selects a formula and cannot be free"):
        declare_switch("UpScOnly", 1.0, (0.0, 100.0), "").thawed()


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ModelError, match=r"nH: the soft limits 2 \.\. 1 are not in order"):
        declare("nH", "", 1.0, (0.0, 1e6), (2.0, 1.0))


def test_a_log_scale_needs_a_positive_lower_limit() -> None:
    with pytest.raises(ModelError, match="nH: a log scale from 0"):
        declare("nH", "", 1.0, (0.0, 1e6), (0.0, 1e5), scale="log")


def test_a_norm_is_marked_as_such() -> None:
    assert declare_norm("", (1e-2, 1e10), "").is_norm


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_every_table_is_in_order(component: object) -> None:
    parameters = component.parameters  # type: ignore[attr-defined]
    for parameter in parameters:
        assert parameter.hard[0] <= parameter.soft[0] <= parameter.soft[1] <= parameter.hard[1]
        assert parameter.hard[0] <= parameter.box[0] < parameter.box[1] <= parameter.hard[1] or parameter.is_switch
        assert parameter.hard[0] <= parameter.value <= parameter.hard[1]
        assert parameter.meaning
    assert component.title  # type: ignore[attr-defined]
    is_norm = [parameter.is_norm for parameter in parameters]
    assert is_norm == [False] * (len(is_norm) - 1) + [component.kind == "additive"]  # type: ignore[attr-defined]
