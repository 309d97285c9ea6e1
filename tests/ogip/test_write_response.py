"""What is written of matrices and areas is what is read, and other readers read the same."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from ogip_zoo import toy_observation
from xrayflow.errors import FileError, FormatError, XrayflowWarning
from xrayflow.ogip import ARF, RMF, read_arf, read_rmf, write_arf, write_rmf

SETTINGS = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def matrices(draw: st.DrawFn) -> RMF:
    """Any matrix on any grid: rows without elements, stretches anywhere, numbers of either precision."""
    energies, channels = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    dense = np.where(random.random((energies, channels)) < draw(st.sampled_from([0.0, 0.3, 0.9])), 1.0, 0.0)
    dense *= random.random(dense.shape)
    dense = dense.astype(np.float32).astype(np.float64) if draw(st.booleans()) else dense
    edges = np.cumsum(0.01 + random.random(energies + 1)) - draw(st.sampled_from([0.0, 0.01]))
    bounds = np.cumsum(0.1 + random.random(channels + 1))
    bounds = bounds if draw(st.booleans()) else bounds[::-1]
    low, high = np.minimum(bounds[:-1], bounds[1:]), np.maximum(bounds[:-1], bounds[1:])
    channel = draw(st.integers(0, 200)) + np.arange(channels)
    return RMF(Path("none"), edges, csr_array(dense), channel, low, high, draw(st.booleans()), "")


@SETTINGS
@given(rmf=matrices(), packed=st.booleans())
def test_a_written_matrix_reads_back_the_same(tmp_path: Path, rmf: RMF, packed: bool) -> None:
    path = write_rmf(tmp_path / ("a.rmf.gz" if packed else "a.rmf"), rmf, "TOY", "CCD'1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", XrayflowWarning)
        found = read_rmf(path)
    assert np.array_equal(found.energy_edges, rmf.energy_edges)
    assert np.array_equal(found.matrix.toarray(), rmf.matrix.toarray())
    assert np.array_equal(found.channel, rmf.channel)
    assert np.array_equal(found.e_min, rmf.e_min)
    assert np.array_equal(found.e_max, rmf.e_max)
    assert found.includes_area == rmf.includes_area


@SETTINGS
@given(
    areas=st.lists(st.floats(0.0, 1e6), min_size=1, max_size=20),
    first=st.floats(0.0, 10.0),
    single=st.booleans(),
)
def test_a_written_area_reads_back_the_same(tmp_path: Path, areas: list[float], first: float, single: bool) -> None:
    area, edges = np.array(areas), first + 0.1 * np.arange(len(areas) + 1.0)
    if single:
        area, edges = (one.astype(np.float32).astype(np.float64) for one in (area, edges))
    found = read_arf(write_arf(tmp_path / "a.arf", ARF(Path("none"), edges, area, "")))
    assert np.array_equal(found.area, area)
    assert np.array_equal(found.energy_edges, edges)


def test_another_reader_finds_the_same_numbers(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path)
    assert observation.arf is not None
    rmf, arf = observation.rmf, observation.arf
    write_rmf(tmp_path / "new.rmf", rmf, "TOY", "CCD")
    write_arf(tmp_path / "new.arf", arf)
    with fits.open(tmp_path / "new.rmf") as units:
        units.verify("exception")
        assert units["MATRIX"].header["TELESCOP"] == "TOY"
        data, dense = units["MATRIX"].data, np.zeros(rmf.matrix.shape)
        for row in range(len(data)):
            at = 0
            for begin, count in zip(data["F_CHAN"][row], data["N_CHAN"][row], strict=True):
                first = begin - units["MATRIX"].header["TLMIN4"]
                dense[row, first : first + count] = data["MATRIX"][row][at : at + count]
                at += count
        assert np.array_equal(dense, rmf.matrix.toarray())
    with fits.open(tmp_path / "new.arf") as units:
        units.verify("exception")
        assert np.array_equal(units["SPECRESP"].data["SPECRESP"], arf.area)


def test_equal_responses_have_equal_bytes_and_replace_each_other(tmp_path: Path) -> None:
    rmf = toy_observation(tmp_path).rmf
    one = write_rmf(tmp_path / "one.rmf.gz", rmf).read_bytes()
    assert write_rmf(tmp_path / "one.rmf.gz", rmf).read_bytes() == one


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    observation = toy_observation(tmp_path)
    assert observation.arf is not None
    with pytest.raises(FormatError, match=r"a\.rmf\[MATRIX\]: TELESCOP = 'Σ'; use plain ASCII text"):
        write_rmf(tmp_path / "a.rmf", observation.rmf, "Σ")
    with pytest.raises(FormatError, match="INSTRUME"):
        write_arf(tmp_path / "a.arf", observation.arf, instrument="x" * 69)
    with pytest.raises(FileError, match="cannot be written"):
        write_arf(tmp_path / "no" / "a.arf", observation.arf)
    assert not (tmp_path / "a.rmf").exists()


def test_a_real_matrix_comes_back(data_folder: Path, tmp_path: Path) -> None:
    rmf = read_rmf(data_folder / "nicer_response/nicer.rmf.gz")
    found = read_rmf(write_rmf(tmp_path / "nicer.rmf", rmf))
    assert (found.matrix != rmf.matrix).nnz == 0
    assert np.array_equal(found.e_min, rmf.e_min)
    assert (tmp_path / "nicer.rmf").stat().st_size < 9e6  # single precision, as the file that it came from
