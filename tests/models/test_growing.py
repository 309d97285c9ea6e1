"""A model with one component more has the photons that it should, and its old parameters as they were."""

from __future__ import annotations

import pytest
import torch
from numpy.testing import assert_allclose

from xrayflow.errors import ModelError
from xrayflow.models import acted_on, added, enlarged, multiplied, parse_model
from xrayflow.models.growing import Written

EDGES = torch.logspace(-1, 1, 101, dtype=torch.float64)


@pytest.mark.parametrize(
    ("text", "onto", "expression", "component"),
    [
        ("powerlaw", None, "TBabs*(powerlaw)", "TBabs"),
        ("TBabs*(diskbb+powerlaw)", None, "TBabs*(TBabs*(diskbb+powerlaw))", "TBabs"),
        ("TBabs*(diskbb+powerlaw)", "powerlaw", "TBabs*(diskbb+TBabs*(powerlaw))", "TBabs_3"),
        ("TBabs*(simpl*diskbb+gaussian)", "diskbb", "TBabs*(TBabs*(simpl*diskbb)+gaussian)", "TBabs_2"),
        ("simpl*(diskbb+bbody)", "bbody", "simpl*(diskbb+TBabs*(bbody))", "TBabs"),
        ("phabs*(bbody+edge*(diskbb+gaussian))", "gaussian", "phabs*(bbody+edge*(diskbb+TBabs*(gaussian)))", "TBabs"),
    ],
)
def test_a_factor_stands_in_front_of_what_it_acts_on(
    text: str, onto: str | None, expression: str, component: str
) -> None:
    found = multiplied(parse_model(text), "TBabs", onto)
    assert found == Written(expression, component)
    assert found.component in {p.component for p in parse_model(found.expression).parameters}


def test_a_larger_model_is_the_old_one_where_the_new_component_does_nothing() -> None:
    old = parse_model("TBabs*(gaussian+powerlaw)", "angr").freeze({"gaussian.LineE": 6.4})
    old = old.link({"gaussian.norm": "0.01*powerlaw.norm"})
    theta = torch.tensor([0.3, 0.1, 1.7, 2.0], dtype=torch.float64)
    for written, new in (
        (multiplied(old, "TBpcf"), {"TBpcf.nH": 3.0, "TBpcf.pcf": 0.0}),
        (multiplied(old, "TBabs", "gaussian"), {"TBabs_2.nH": 0.0}),
        (multiplied(old, "edge"), {"edge.edgeE": 7.0, "edge.MaxTau": 0.0}),
        (added(old, "gaussian"), {"gaussian_4.LineE": 2.0, "gaussian_4.Sigma": 0.1, "gaussian_4.norm": 0.0}),
    ):
        larger, names = enlarged(old, written)
        assert larger.abund == "angr"
        assert set(larger.names) == {names[name] for name in old.names} | set(new), written
        values = dict(zip((names[name] for name in old.names), theta.tolist(), strict=True)) | new
        own = torch.tensor([values[name] for name in larger.names], dtype=torch.float64)
        assert_allclose(larger.on(EDGES)(own).numpy(), old.on(EDGES)(theta).numpy(), rtol=1e-12)


def test_what_was_thawed_or_narrowed_by_hand_is_carried_along() -> None:
    old = parse_model("simplcutx*bbody").thaw("simplcutx.kT_e")
    larger, names = enlarged(old, multiplied(old, "TBabs"))
    assert larger.text == "TBabs*simplcutx*bbody"
    assert names["simplcutx.kT_e"] == "simplcutx.kT_e"
    assert "simplcutx.kT_e" in larger.names


def test_a_second_absorber_in_front_takes_the_name_of_the_first() -> None:
    old = parse_model("TBabs*powerlaw").freeze({"TBabs.nH": 0.24})
    larger, names = enlarged(old, multiplied(old, "TBabs"))
    assert names["TBabs.nH"] == "TBabs_2.nH"
    assert larger.names == ("TBabs.nH", "powerlaw.PhoIndex", "powerlaw.norm")


def test_another_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"edge\*bbody: is not TBabs\*powerlaw with one component more"):
        enlarged(parse_model("TBabs*powerlaw"), Written("edge*bbody", "edge"))
    with pytest.raises(ModelError, match="has no additive component 'bbody'"):
        multiplied(parse_model("diskbb+powerlaw"), "edge", "bbody")


def test_what_a_factor_acts_on_stands_behind_it() -> None:
    model = parse_model("constant*TBabs*(simpl*(bbody+phabs*diskbb)+gaussian)")
    assert acted_on(model, ["TBabs", "phabs"]) == {"TBabs": ("bbody", "diskbb", "gaussian"), "phabs": ("diskbb",)}
    assert acted_on(parse_model("powerlaw"), ["TBabs"]) == {}
