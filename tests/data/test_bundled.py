"""The bundled files are what their README says."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from xrayflow import data
from xrayflow.ogip import read_observation

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results" / "bundled-data.json"
TOLERANCE = 1e-6  # of each row's maximum: what the README promises
ENERGIES, CHANNELS = 3451, 1501


def matrix_of(path: Path) -> np.ndarray:
    """The matrix (energy, channel) of a response with one group a row and channels from 0."""
    with fits.open(path) as file:
        table = file["MATRIX"].data
        matrix = np.zeros((len(table), CHANNELS))
        for row, (first, number) in enumerate(zip(table["F_CHAN"], table["N_CHAN"], strict=True)):
            matrix[row, first : first + number] = table["MATRIX"][row]
    return matrix


@pytest.fixture(scope="module")
def matrix() -> np.ndarray:
    return matrix_of(data.bundled_rmf())


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return content


def test_all_bundled_files_together_are_smaller_than_two_megabytes() -> None:
    files = [data.bundled_pha(), data.bundled_rmf(), data.bundled_arf()]
    assert all(file.is_file() for file in files)
    assert sum(file.stat().st_size for file in files) <= 2_000_000


def test_the_spectrum_has_96_million_counts_in_the_band() -> None:
    with fits.open(data.bundled_pha()) as file:
        counts = file["SPECTRUM"].data["COUNTS"].astype(np.int64)
    assert counts.shape == (CHANNELS,)
    assert counts[30:1000].sum() == 96_140_294
    assert counts.sum() == 96_505_118


def test_the_grouping_is_the_layout_of_the_paper() -> None:
    with fits.open(data.bundled_pha()) as file:
        grouping = file["SPECTRUM"].data["GROUPING"]
    start = np.flatnonzero(grouping == 1)
    assert set(np.unique(grouping)) == {-1, 1}
    assert start.size == 347
    width = np.diff(start, append=CHANNELS)
    for zone, expected in zip((0, 20, 248, 600, 1200, 1494), (2, 3, 4, 5, 6, 2), strict=True):
        assert zone in start
        assert width[start == zone] == expected
    centre = 0.01 * (start + 0.5 * width)
    assert np.sum((centre >= 0.3) & (centre <= 10)) == 241


def test_the_header_keeps_the_exposure_and_says_what_was_added() -> None:
    with fits.open(data.bundled_pha()) as file:
        header = file["SPECTRUM"].header
    assert header["EXPOSURE"] == 5961.963
    assert header["OBS_ID"] == "1200120194"
    assert header["RESPFILE"] == data.bundled_rmf().name
    assert header["ANCRFILE"] == data.bundled_arf().name
    assert "GROUPING" not in header
    assert "The GROUPING column was added by xrayflow" in str(header["HISTORY"])


def test_our_reader_finds_the_responses_from_the_header(matrix: np.ndarray) -> None:
    observation = read_observation(data.bundled_pha())
    assert observation.rmf.path == data.bundled_rmf()
    assert observation.arf is not None
    assert observation.arf.path == data.bundled_arf()
    assert observation.background is None
    np.testing.assert_array_equal(observation.rmf.matrix.toarray(), matrix)
    assert observation.bin(grouping="none").counts.sum() == 96_140_064  # XSPEC's rule: the channels of 0.3 and 10 go
    assert observation.bin().counts.size == 239


def test_the_check_sums_of_the_files_are_right(recwarn: pytest.WarningsRecorder) -> None:
    for path in (data.bundled_pha(), data.bundled_rmf(), data.bundled_arf()):
        with fits.open(path, checksum=True) as file:
            assert len(file) >= 2
    assert not recwarn.list


def test_the_compressed_files_hold_no_time_and_no_name() -> None:
    for path in (data.bundled_rmf(), data.bundled_arf()):
        header = path.read_bytes()[:10]
        assert header[3] == 0  # flags: no file name, no comment
        assert header[4:8] == bytes(4)  # time


def test_the_rows_sum_to_the_original(matrix: np.ndarray, results: dict[str, Any]) -> None:
    original = np.array(results["original_row_sums_every_50th"])
    assert matrix.shape == (ENERGIES, CHANNELS)
    np.testing.assert_allclose(matrix[::50].sum(axis=1), original, rtol=4e-6)


def test_response_and_area_share_their_energies() -> None:
    with fits.open(data.bundled_rmf()) as rmf, fits.open(data.bundled_arf()) as arf:
        for column in ("ENERG_LO", "ENERG_HI"):
            np.testing.assert_allclose(arf["SPECRESP"].data[column], rmf["MATRIX"].data[column], rtol=1e-6)


def test_the_matrix_is_the_original_within_a_millionth_of_each_row(matrix: np.ndarray, data_folder: Path) -> None:
    original = matrix_of(data_folder / "nicer_response" / "nicer.rmf.gz")
    difference = np.abs(matrix - original) / original.max(axis=1, keepdims=True)
    assert difference.max() <= TOLERANCE
    assert difference.max() > 0.1 * TOLERANCE  # else the files compared are one and the same


def test_counts_area_and_channel_energies_are_the_originals(data_folder: Path) -> None:
    folder = data_folder / "nicer_MAXIJ1820+070_1200120194"
    with fits.open(data.bundled_pha()) as ours, fits.open(folder / "nicer_unbinned.pha") as theirs:
        for column in ("CHANNEL", "COUNTS"):
            np.testing.assert_array_equal(ours["SPECTRUM"].data[column], theirs["SPECTRUM"].data[column])
        changed = {"NAXIS1", "TFIELDS", "GROUPING", "RESPFILE", "ANCRFILE", "CHECKSUM", "DATASUM", "HISTORY"}
        for key in set(theirs["SPECTRUM"].header) - changed - {"COMMENT", ""}:
            assert ours["SPECTRUM"].header[key] == theirs["SPECTRUM"].header[key], key
    with gzip.open(data.bundled_arf()) as arf:
        assert arf.read() == (folder / "nicer.arf").read_bytes()
    with fits.open(data.bundled_rmf()) as ours, fits.open(data_folder / "nicer_response" / "nicer.rmf.gz") as theirs:
        for column in ("CHANNEL", "E_MIN", "E_MAX"):
            np.testing.assert_array_equal(ours["EBOUNDS"].data[column], theirs["EBOUNDS"].data[column])
        for column in ("ENERG_LO", "ENERG_HI"):
            np.testing.assert_array_equal(ours["MATRIX"].data[column], theirs["MATRIX"].data[column])
