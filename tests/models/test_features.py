"""Which parameters of a model say where a feature stands and how strong it is."""

from __future__ import annotations

import pytest

from xrayflow.models import Feature, features_of, parse_model


def named(text: str, **frozen: float) -> list[tuple[list[str], str, str | None]]:
    model = parse_model(text).freeze({name.replace("__", "."): value for name, value in frozen.items()})
    return [
        (
            [model.free[i].name for i in one.columns],
            model.free[one.strength].name,
            None if one.place is None else model.free[one.place].name,
        )
        for one in features_of(model)
    ]


def test_a_line_an_edge_and_an_absorption_line() -> None:
    assert named("edge*gabs*(powerlaw+gaussian)") == [
        (["edge.edgeE", "edge.MaxTau"], "edge.MaxTau", "edge.edgeE"),
        (["gabs.LineE", "gabs.Sigma", "gabs.Strength"], "gabs.Strength", "gabs.LineE"),
        (["gaussian.LineE", "gaussian.Sigma", "gaussian.norm"], "gaussian.norm", "gaussian.LineE"),
    ]
    assert named("TBabs*simpl*ezdiskbb") == []


def test_what_stands_still_or_cannot_go_is_none() -> None:
    assert named("powerlaw+gaussian", gaussian__LineE=6.4) == []
    assert named("powerlaw+gaussian", gaussian__norm=1e-4) == []
    columns, *_ = named("powerlaw+gaussian", gaussian__Sigma=0.01)[0]
    assert columns == ["gaussian.LineE", "gaussian.norm"]


def test_a_line_that_follows_another_has_no_place_of_its_own() -> None:
    model = parse_model("powerlaw+gaussian+gaussian").link({"gaussian_3.LineE": "1.1*gaussian.LineE"})
    first, second = features_of(model)
    assert isinstance(first, Feature)
    assert first.place is not None
    assert second.place is None
    assert [model.free[i].name for i in second.shape] == ["gaussian_3.Sigma"]


@pytest.mark.parametrize("text", ["edge", "gabs"])
def test_a_factor_is_one_at_no_depth(text: str) -> None:
    (depth,) = [one for one in parse_model(f"{text}*powerlaw").free if one.is_depth]
    assert depth.hard[0] == 0.0
