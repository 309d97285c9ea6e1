"""Lines of parameters, as XSPEC and its users write them."""

from __future__ import annotations

import pytest

from xrayflow.errors import ModelError
from xrayflow.models import parse_model
from xrayflow.prior import Prior
from xrayflow.products.xspec.parameters import ParameterLine, SavedModel, in_names, prior_of


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("       0.24      0.001          0          0     100000      1e+06", (0.24, 0.001, 0.0, 0.0, 1e5, 1e6)),
        ("1.7", (1.7, None, None, None, None, None)),
        ("2.0,0.05,1.1,1.4,3.5,4.0", (2.0, 0.05, 1.1, 1.4, 3.5, 4.0)),
        ("2.0, 0.05, 1.1", (2.0, 0.05, 1.1, None, None, None)),
        ("3.2107 , 2 2 5 5", (3.2107, None, 2.0, 2.0, 5.0, 5.0)),
        (", , 0.2 0.2 2 3", (None, None, 0.2, 0.2, 2.0, 3.0)),
        (",,0.2", (None, None, 0.2, None, None, None)),
        ("-1.5e-3 -.01", (-1.5e-3, -0.01, None, None, None, None)),
        ("1.0d2 -1", (100.0, -1.0, None, None, None, None)),
        ("/", (None,) * 6),
        ("2 /", (2.0, None, None, None, None, None)),
    ],
)
def test_numbers_and_what_is_left_out(text: str, fields: tuple[float | None, ...]) -> None:
    assert ParameterLine.parse(text).fields == fields


def test_links_and_the_end_of_what_is_said() -> None:
    assert ParameterLine.parse("= p3 * 2").link == "p3 * 2"
    assert ParameterLine.parse("=3").link == "3"
    assert ParameterLine.parse("/*").accepts_all


@pytest.mark.parametrize("text", ["one", "1 2 3 4 5 6 7", "1 nan", "1;2", "inf"])
def test_what_is_no_line_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"no line of a parameter|7 numbers; a parameter has"):
        ParameterLine.parse(text)


def test_links_are_said_in_our_names() -> None:
    names = {1: "TBabs.nH", 20: "diskbb.Tin"}
    assert in_names(" p20", names) == " diskbb.Tin"
    assert in_names("20", names) == "diskbb.Tin"
    assert in_names("2*p1 - 20", names) == "2*TBabs.nH - 20"
    for link, words in (("p7", "leads to parameter 7, which is not there"), ("nxb:3", "leads to another model")):
        with pytest.raises(ValueError, match=words):
            in_names(link, names)


def saved(text: str, *lines: str) -> SavedModel:
    return SavedModel(text, [ParameterLine.parse(line) for line in lines])


def test_a_saved_model_is_a_model_with_its_frozen_and_linked_parameters() -> None:
    found = saved(
        "tbabs(ga + ga)", "0.3 -1 0 0 1e5 1e6", "6.4 0.1 6 6 7 7", "0.1", "1", "6.7 -1", "= p3", "/"
    ).settings("angr", None)
    assert found.model.text == "TBabs*(gaussian+gaussian)"
    assert found.model.abund == "angr"
    assert found.model.names == ("gaussian.LineE", "gaussian.Sigma", "gaussian.norm", "gaussian_3.norm")
    assert {p.name: p.value for p in found.model.parameters if p.frozen} == {"TBabs.nH": 0.3, "gaussian_3.LineE": 6.7}
    assert found.model.parameters[5].link is not None
    assert found.priors == ("gaussian.LineE=6:7",)


def test_what_is_not_said_is_at_xspecs_defaults() -> None:
    found = saved("TBabs*simpl*diskbb", "0.3 -1", "/*").settings(None, None)
    assert found.model.names == ("simpl.Gamma", "simpl.FracSctr", "diskbb.Tin", "diskbb.norm")
    assert found.priors == ()


def test_a_parameter_that_is_frozen_by_default_is_free_with_a_step() -> None:
    frozen, free = (
        saved("TBabs*simplcutx*ezdiskbb", "0.3", "2.3", "0.05", "0", line).settings(None, None).model.names
        for line in ("100", "100 0.1")
    )
    assert "simplcutx.kT_e" not in frozen
    assert "simplcutx.kT_e" in free


def test_later_words_change_a_parameter() -> None:
    model = saved("TBabs*powerlaw", "0.3 0.001", "1.7", "1")
    model.change(1, ParameterLine.parse("0.5"))
    model.hold(1, True)
    model.change(2, ParameterLine.parse("= p1"))
    found = model.settings(None, None).model
    assert found.parameters[0].value == 0.5
    assert found.names == ("powerlaw.norm",)
    model.untie(2)
    model.hold(1, False)
    assert model.settings(None, None).model.names == ("TBabs.nH", "powerlaw.PhoIndex", "powerlaw.norm")


@pytest.mark.parametrize(
    ("line", "prior"),
    [
        ("1 0.01 0 0 1e20 1e24", []),
        ("1 0.01", []),
        ("1 0.01 0 0 10 100", ["powerlaw.norm=1e-09:100"]),
        ("1 0.01 0.1 0.1 10 10", ["powerlaw.norm=0.1:10"]),
        ("1 0.01 1e-12 1e-12 1e-10 1e-10", ["powerlaw.norm=1e-12:1e-10"]),
        ("1 0.01 0 0 1e-10 1e-10", ["powerlaw.norm=1e-13:1e-10"]),
        ("1e5 1 1e4 1e4 1e20 1e24", ["powerlaw.norm=10000:10000000"]),
    ],
)
def test_limits_that_are_not_xspecs_own_are_the_range_of_the_prior(line: str, prior: list[str]) -> None:
    model = parse_model("powerlaw")
    found = prior_of(model.parameters[1], ParameterLine.parse(line))
    assert found == prior
    Prior.of(model, found)


def test_a_model_with_more_lines_than_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"4 parameters for TBabs\*powerlaw, which has 3"):
        saved("TBabs*powerlaw", "1", "1", "1", "1").settings(None, None)
    with pytest.raises(ModelError, match="thcomp: not in xrayflow yet"):
        saved("thcomp*powerlaw").settings(None, None)
    with pytest.raises(ModelError, match=r"TBabs.nH: 2e\+06 is outside its limits"):
        saved("TBabs*powerlaw", "2e6 -1").settings(None, None)
