"""An answer as groups of arrays, in memory and as netCDF."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from answer_zoo import toy_posterior
from xrayflow.errors import FileError, MissingExtraError
from xrayflow.products import data_tree, write_netcdf

GROUPS = {"posterior", "sample_stats", "log_likelihood", "observed_data", "constant_data"}


def check(tree: Any) -> None:
    """The groups hold the answer."""
    posterior = toy_posterior(background=True)
    assert set(tree.children) == GROUPS
    draws = tree["posterior"]
    assert list(draws.data_vars) == list(posterior.names)
    assert dict(draws.sizes) == {"chain": 4, "draw": 250}
    assert draws["TBabs.nH"].attrs["units"] == "10^22 cm^-2"
    known = {tuple(row): place for place, row in enumerate(posterior.draws.tolist())}
    picked = np.stack([draws[name].values.ravel() for name in posterior.names], axis=1)
    rows = [known[tuple(row)] for row in picked.tolist()]
    for name, values in (
        ("log_weight", posterior.log_weight),
        ("fit_statistic", posterior.sample.fit_statistic),
    ):
        assert_allclose(tree["sample_stats"][name].values.ravel(), values[rows])
    assert_allclose(tree["log_likelihood"]["spectrum"].values.ravel(), posterior.log_likelihood[rows])
    difference = tree["sample_stats"]["lp"] - tree["log_likelihood"]["spectrum"]
    assert np.isfinite(difference.values).all()
    mean = posterior.weights @ posterior.draws
    sd = np.sqrt(posterior.weights @ (posterior.draws - mean) ** 2)
    # taken systematically: nearer than 1000 random draws would be; each chain has its share at random
    assert (np.abs(picked.mean(0) - mean) < 0.1 * sd).all()
    per_chain = draws["powerlaw.PhoIndex"].mean("draw").values
    assert (np.abs(per_chain - mean[1]) < 5.0 * sd[1] / np.sqrt(250)).all()
    data = posterior.data[0]
    assert_allclose(tree["observed_data"]["counts"].values, data.counts)
    assert_allclose(tree["constant_data"]["energy_lo"].values, data.energy_lo)
    assert_allclose(tree["constant_data"]["background"].values, data.background_in_source)
    assert float(tree["constant_data"]["exposure"]) == data.exposure
    assert tree.attrs["model"] == "TBabs*powerlaw"
    assert tree.attrs["log_evidence"] == pytest.approx(posterior.log_evidence)


def test_a_tree_holds_the_answer() -> None:
    pytest.importorskip("xarray")
    check(data_tree(toy_posterior(background=True)))


def test_a_netcdf_file_holds_the_same(tmp_path: Path) -> None:
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    pytest.importorskip("h5py")
    path = write_netcdf(toy_posterior(background=True), tmp_path / "a.nc")
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        check(tree.load())
    with pytest.raises(FileError, match=r"a.nc: cannot be written .*; choose another --out"):
        write_netcdf(toy_posterior(), tmp_path / "nowhere" / "a.nc")
    assert [one.name for one in tmp_path.iterdir()] == ["a.nc"]


def test_a_package_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"xarray: not installed; pip install 'xrayflow\[io\]'"):
        data_tree(toy_posterior())
    with pytest.raises(MissingExtraError, match=r"xarray, h5netcdf and h5py: not installed"):
        write_netcdf(toy_posterior(), tmp_path / "a.nc")
