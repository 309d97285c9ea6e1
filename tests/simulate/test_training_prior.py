"""What a network is trained on can be set, is checked, and goes through JSON unchanged."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from xrayflow.errors import DataError
from xrayflow.models import parse_model
from xrayflow.prior import Prior
from xrayflow.simulate import TrainingPrior

BOX = Prior.of(parse_model("TBabs*simpl*ezdiskbb"), ["TBabs.nH~N(1.1,0.3)"])
EDGES = np.linspace(0.3, 10.0, 195)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_it_goes_through_json_unchanged() -> None:
    training = TrainingPrior(BOX, rate=(0.1 + 0.2, 1e4), background_slope=1.0 / 7.0)
    assert TrainingPrior.from_dict(json.loads(json.dumps(training.to_dict()))) == training


def test_what_is_left_out_has_its_default() -> None:
    assert TrainingPrior.from_dict({"prior": TrainingPrior(BOX).to_dict()["prior"]}) == TrainingPrior(BOX)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rates": [1, 2]}, "unknown 'rates'; did you mean 'rate'"),
        ({"rate": [2.0, 1.0]}, "rate 2 .. 1; give lo <= hi, above 0"),
        ({"rate": [1.0]}, r"rate \(1.0,\); give two numbers"),
        ({"exposure": [0.0, 1.0]}, "exposure 0 .. 1; give lo <= hi, above 0"),
        ({"exposure": [1.0, float("inf")]}, "exposure 1 .. inf; give lo <= hi"),
        ({"area": "much"}, "area 'much'; give numbers"),
        ({"systematic": [0.01, 0.5]}, "systematic 0.01 .. 0.5; give lo <= hi, above 0, up to 0.5"),
        ({"without_background": 1.5}, "without_background 1.5; give 0 .. 1"),
        ({"partial": "a"}, "partial 'a'; give a number"),
        ({"background_edges": [0.3, 10.0]}, "background_edges .*; give one more than shares"),
        ({"background_shares": [0.1, 0.2, 0.2, 0.2, 0.2, -0.1]}, "background_shares .*; give positive ones"),
        ({"background_slope": -1.0}, "background_slope -1; give 0 .. 5"),
        ({"highest_start": 6.0}, "highest_start .. lowest_stop 6 .. 5; give lo <= hi"),
        ({"group_reach": [-1.0, 0.0]}, "group_reach .*; give two numbers, 0 or more"),
        ({"prior": []}, r"prior \[\]; give one table for each parameter"),
        ({"prior": [3]}, "prior: 3 is no table"),
        ({"prior": [{"name": "a"}]}, "prior: unit, lo, hi, scale is missing"),
        ({"prior": [{"name": "a", "unit": "", "lo": "x", "hi": 1, "scale": "log"}]}, "prior: could not convert"),
        ({"prior": [{"name": "a", "unit": "", "lo": 0, "hi": 1, "scale": "log"}]}, "give lo < hi, scale log"),
        ({"prior": [{"name": "a", "unit": "", "lo": 0, "hi": 1, "scale": "linear", "mean": 1}]}, "give both, sd > 0"),
    ],
)
def test_a_value_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    values = TrainingPrior(BOX).to_dict() | changes
    with pytest.raises(DataError, match=f"^training prior.*{message}"):
        TrainingPrior.from_dict(values)


def test_a_prior_must_be_there() -> None:
    with pytest.raises(DataError, match="training prior: prior is missing"):
        TrainingPrior.from_dict({})


def test_the_background_has_the_shares_and_the_rate() -> None:
    training = replace(TrainingPrior(BOX), without_background=0.0, background_slope=0.0)
    rates = training.draw_background(EDGES[:-1], EDGES[1:], 300, generator())
    total = rates.sum(-1)
    assert bool(((total >= 0.3) & (total <= 10.0)).all())
    middle = 0.5 * (EDGES[1:] + EDGES[:-1])
    bands = zip(training.background_edges, training.background_edges[1:], training.background_shares, strict=False)
    for lo, hi, share in bands:
        inside = torch.from_numpy((middle > lo) & (middle < hi))
        np.testing.assert_allclose((rates[:, inside].sum(-1) / total).numpy(), share, rtol=0.02)


def test_the_slope_of_the_background_scatters_at_the_same_rate() -> None:
    training = replace(TrainingPrior(BOX), without_background=0.0, background_rate=(2.0, 2.0))
    rates = training.draw_background(EDGES[:-1], EDGES[1:], 2000, generator())
    torch.testing.assert_close(rates.sum(-1), torch.full((2000,), 2.0, dtype=torch.float64))
    steep = torch.log(rates[:, 150] / rates[:, 10]) / np.log(EDGES[150] / EDGES[10])
    assert float(steep.std()) == pytest.approx(0.15, rel=0.1)


def test_bands_are_cut_below_above_and_on_both_sides() -> None:
    training = replace(TrainingPrior(BOX), partial=0.6, grouped=0.0)
    start, stop = training.draw_band(0.3, 10.0, 6000, generator())
    below, above = start > 0.3, stop < 10.0
    for found in (below & ~above, below & above, above & ~below):
        assert float(found.double().mean()) == pytest.approx(0.2, abs=0.03)
    assert bool((start <= 1.0).all())
    assert bool((stop >= 5.0).all())


def test_bands_lose_a_little_to_the_users_groups() -> None:
    training = replace(TrainingPrior(BOX), partial=0.0, grouped=0.5)
    start, stop = training.draw_band(0.3, 10.0, 6000, generator())
    assert float((start > 0.3).double().mean()) == pytest.approx(0.5, abs=0.04)
    assert float((stop < 10.0).double().mean()) == pytest.approx(0.5, abs=0.04)
    assert bool((start <= 0.33).all())
    assert bool((stop >= 9.6).all())


def test_none_is_cut_where_the_share_is_zero() -> None:
    start, stop = replace(TrainingPrior(BOX), partial=0.0, grouped=0.0).draw_band(0.3, 10.0, 100, generator())
    assert start.unique().tolist() == [0.3]
    assert stop.unique().tolist() == [10.0]
