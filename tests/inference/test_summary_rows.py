"""Rows of a summary: quantiles by hand, frozen and linked parameters, nuisances, files."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from answer_zoo import toy_posterior
from xrayflow.inference.summary_rows import nuisance_rows, observation_row, parameter_rows
from xrayflow.models import parse_model
from xrayflow.prior import Marginal


def test_a_parameter_has_its_quantiles_a_frozen_one_its_value_a_linked_one_its_rule() -> None:
    model = parse_model("powerlaw+gaussian+gaussian").freeze({"gaussian.LineE": 6.4})
    model = model.link({"gaussian_3.Sigma": "2*gaussian.Sigma"})
    draws = np.random.default_rng(1).uniform(1.0, 2.0, (1001, len(model.names)))
    rows = parameter_rows(model, draws, np.full(1001, 1.0 / 1001), draws[0])
    assert list(rows) == [parameter.name for parameter in model.parameters]
    index = draws[:, model.names.index("powerlaw.PhoIndex")]
    row = rows["powerlaw.PhoIndex"]
    assert (row["best"], row["frozen"], "link" in row) == (index[0], False, False)
    assert row["median"] == pytest.approx(np.median(index), abs=2e-3)
    assert row["lower90"] == pytest.approx(np.quantile(index, 0.05), abs=2e-3)
    held = rows["gaussian.LineE"]
    assert held["frozen"] is True
    assert {held[key] for key in ("best", "median", "lower68", "upper68", "lower90", "upper90")} == {6.4}
    width = draws[:, model.names.index("gaussian.Sigma")]
    assert rows["gaussian_3.Sigma"]["link"] == "2*gaussian.Sigma"
    assert rows["gaussian_3.Sigma"]["median"] == pytest.approx(2.0 * np.median(width), abs=4e-3)


def test_a_nuisance_is_a_row_as_a_free_parameter_is() -> None:
    marginal = Marginal("background.lnA", "", -1.0, 1.0, "linear", 0.0, 0.1)
    draws = np.random.default_rng(2).normal(0.0, 0.1, (2001, 1))
    rows = nuisance_rows([marginal], draws, np.full(2001, 1.0 / 2001), np.array([0.01]))
    assert list(rows) == ["background.lnA"]
    row = rows["background.lnA"]
    assert (row["unit"], row["best"], row["frozen"]) == ("", 0.01, False)
    assert row["upper68"] == pytest.approx(np.quantile(draws[:, 0], 0.84), abs=1e-3)


def test_a_row_of_files_says_what_is_not_there_and_adds_up_the_counts() -> None:
    (data,) = toy_posterior().data
    row = observation_row(data)
    assert row["background"] is None
    assert (row["pha"], row["rmf"], row["exposure"]) == (str(data.pha), str(data.rmf), data.exposure)
    assert row["counts"] == data.counts.sum()
    assert row["bins"] == len(data.counts)
    assert all(len(found) == len(hashlib.sha256().hexdigest()) for found in row["sha256"].values())
