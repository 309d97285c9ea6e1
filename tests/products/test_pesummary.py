"""The file of PESummary, by what its version 1.8.1 was seen to read: h5py alone stands in for it here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from answer_zoo import TRUTH, carried_by_few, toy_posterior
from xrayflow.errors import DataError, FileError
from xrayflow.products import write_pesummary

h5py = pytest.importorskip("h5py")


def test_the_file_is_known_as_pesummary_s_and_holds_the_posterior(tmp_path: Path) -> None:
    posterior = replace(toy_posterior(), truth=TRUTH)
    with h5py.File(write_pesummary(posterior, tmp_path / "a.h5")) as file:
        # a file of the format has a version, and posterior_samples in every other group
        assert set(file) == {"version", "xrayflow"}
        own = file["xrayflow"]
        draws = own["posterior_samples"][()]
        assert draws.dtype.names == (*posterior.names, "log_likelihood", "log_prior")
        assert draws.size == 1000
        for name, wanted, low, high in zip(posterior.names, *posterior.quantile([0.5, 0.16, 0.84]), strict=True):
            assert np.median(draws[name]) == pytest.approx(wanted, abs=0.15 * (high - low))
        assert own["injection_data"][()]["powerlaw.PhoIndex"].tolist() == [1.7]
        # what is no array is not read
        facts = own["meta_data/sampler"]
        assert facts["log_evidence"][()].tolist() == [posterior.log_evidence]
        assert own["meta_data/meta_data/model"][()].tolist() == [b"TBabs*powerlaw"]
        assert own["version"].shape == own["description"].shape == (1,)
        prior = own["priors/samples/powerlaw.PhoIndex"][()]
        assert -2.0 <= prior.min() < prior.max() <= 9.0


def test_weights_are_made_equal(tmp_path: Path) -> None:
    posterior = carried_by_few(toy_posterior())
    with h5py.File(write_pesummary(posterior, tmp_path / "a.hdf5")) as file:
        draws = file["xrayflow/posterior_samples"][()]
    assert np.unique(draws["powerlaw.norm"]).size <= 4
    unknown = write_pesummary(posterior, tmp_path / "b.h5")
    with h5py.File(unknown) as file:
        assert np.isnan(file["xrayflow/injection_data"][()]["powerlaw.norm"]).all()


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.nc: PESummary knows its files by their names; give one that ends in .h5"):
        write_pesummary(toy_posterior(), tmp_path / "a.nc")
    with pytest.raises(FileError, match=r"a.h5: cannot be written"):
        write_pesummary(toy_posterior(), tmp_path / "nowhere" / "a.h5")
    assert list(tmp_path.iterdir()) == []
