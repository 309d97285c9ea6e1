"""Parts of a model: what is left without absorbers, and of one component alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from xrayflow.errors import ModelError
from xrayflow.models import (
    absorbers,
    additive_components,
    component_alone,
    find_additive,
    parse_model,
    without_absorbers,
    without_component,
)
from xrayflow.models.names import XSPEC
from xrayflow.models.parts import ABSORBERS

EDGES = torch.from_numpy(np.geomspace(0.01, 100.0, 300))
SUM = parse_model("phabs*constant*(simpl*diskbb+TBabs*(gaussian+powerlaw))")
THETA = torch.tensor([[0.3, 1.2, 2.1, 0.2, 0.8, 900.0, 0.5, 6.4, 0.2, 0.01, 1.7, 0.4]] * 2, dtype=torch.float64)


def test_parts_add_up_to_the_whole() -> None:
    whole = SUM.on(EDGES)
    for of in (whole, without_absorbers(whole)):
        parts = [component_alone(of, name)(THETA) for name in ("diskbb", "gaussian", "powerlaw")]
        assert_allclose(sum(parts).numpy(), of(THETA).numpy(), rtol=1e-12)
        left = without_component(of, "gaussian")(THETA) + component_alone(of, "gaussian")(THETA)
        assert_allclose(left.numpy(), of(THETA).numpy(), rtol=1e-12)


def test_without_absorbers_is_the_model_that_has_none() -> None:
    bare = parse_model("constant*(simpl*diskbb+gaussian+powerlaw)").on(EDGES)
    own = THETA[:, [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]]
    assert_allclose(without_absorbers(SUM.on(EDGES))(THETA).numpy(), bare(own).numpy(), rtol=1e-12)


def test_a_component_keeps_what_stands_around_it() -> None:
    alone = parse_model("phabs*constant*simpl*diskbb").on(EDGES)
    assert_allclose(component_alone(SUM.on(EDGES), "diskbb")(THETA).numpy(), alone(THETA[:, :6]).numpy(), rtol=1e-12)


def test_one_row_of_parameters_is_enough() -> None:
    assert component_alone(SUM.on(EDGES), "diskbb")(THETA[0]).shape == (299,)


def test_components_are_named_as_their_parameters() -> None:
    model = parse_model("TBabs*phabs*(gaussian+gaussian)")
    assert absorbers(model) == ("TBabs", "phabs")
    assert additive_components(model) == ("gaussian", "gaussian_4")
    assert find_additive(model, " GAUSSIAN_4 ") == "gaussian_4"


def test_an_unknown_component_is_told_with_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"no additive component 'gauss'; did you mean 'gaussian'\?"):
        find_additive(SUM, "gauss")
    with pytest.raises(ModelError, match="no additive component 'phabs'"):
        find_additive(SUM, "phabs")


def test_absorbers_are_components_of_xspec() -> None:
    known = {name.lower() for name in XSPEC}
    assert {name for name in ABSORBERS if name.lower() not in known} == set()
