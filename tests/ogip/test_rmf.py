"""Matrices: every legal form of one matrix reads as the same matrix; illegal ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ogip_zoo import CHANNEL_EDGES, ENERGY_EDGES, redistribution, toy_files, write_rmf
from xrayflow.errors import FormatError, XrayflowWarning
from xrayflow.ogip import read_rmf


@pytest.mark.parametrize("groups", ["scalar", "fixed", "variable"])
@pytest.mark.parametrize("elements", ["fixed", "variable"])
@pytest.mark.parametrize(("first_channel", "tlmin"), [(0, 0), (1, 1), (0, "0"), (1, None), (5, 5)])
def test_all_forms_of_a_matrix_read_alike(
    tmp_path: Path, groups: str, elements: str, first_channel: int, tlmin: int | str | None
) -> None:
    path = write_rmf(tmp_path / "a.rmf", groups=groups, elements=elements, first_channel=first_channel, tlmin=tlmin)
    rmf = read_rmf(path)
    assert np.array_equal(rmf.matrix.toarray(), redistribution())
    assert np.array_equal(rmf.energy_edges, ENERGY_EDGES)
    assert np.array_equal(rmf.e_min, CHANNEL_EDGES[:-1])
    assert np.array_equal(rmf.e_max, CHANNEL_EDGES[1:])
    assert rmf.channel.tolist() == list(range(first_channel, first_channel + 120))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    filled=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=2, max_size=6),
    elements=st.sampled_from(["fixed", "variable"]),
    groups=st.sampled_from(["fixed", "variable"]),
)
def test_any_pattern_of_groups_reads_back(tmp_path: Path, filled: list[list[bool]], elements: str, groups: str) -> None:
    pattern = np.array(filled)
    matrix = np.where(pattern, 1.0 + np.arange(pattern.size).reshape(pattern.shape), 0.0)
    edges = np.linspace(1.0, 2.0, len(matrix) + 1)
    path = write_rmf(
        tmp_path / "a.rmf",
        matrix=matrix,
        energy_edges=edges,
        channel_edges=np.linspace(0.0, 2.0, 8),
        groups=groups,
        elements=elements,
    )
    assert np.array_equal(read_rmf(path).matrix.toarray(), matrix)


def test_the_order_of_the_extensions_does_not_matter(tmp_path: Path) -> None:
    assert np.array_equal(
        read_rmf(write_rmf(tmp_path / "a.rmf", ebounds_first=True)).matrix.toarray(), redistribution()
    )


def test_a_packed_matrix_reads_alike(tmp_path: Path) -> None:
    assert np.array_equal(read_rmf(write_rmf(tmp_path / "a.rmf.gz")).matrix.toarray(), redistribution())


def test_rows_that_do_not_sum_to_one_stay_so(tmp_path: Path) -> None:
    total = read_rmf(write_rmf(tmp_path / "a.rmf", matrix=0.3 * redistribution())).matrix.sum(axis=1)
    assert total.max() == pytest.approx(0.3 * 0.95, rel=1e-5)


def test_a_photon_energy_may_begin_at_zero(tmp_path: Path) -> None:
    edges = np.linspace(0.0, 12.0, 151)
    assert read_rmf(write_rmf(tmp_path / "a.rmf", energy_edges=edges)).energy_edges[0] == 0.0


@pytest.mark.parametrize(
    ("name", "kind", "included"),
    [
        ("MATRIX", "REDIST", False),
        ("MATRIX", "", False),
        ("MATRIX", "DETECTOR", False),
        ("MATRIX", "FULL", True),
        ("SPECRESP MATRIX", "FULL", True),
        ("SPECRESP MATRIX", "", True),
        ("SPECRESP MATRIX", "REDIST", False),
    ],
)
def test_the_header_says_whether_the_area_is_folded_in(tmp_path: Path, name: str, kind: str, included: bool) -> None:
    assert read_rmf(write_rmf(tmp_path / "a.rsp", name=name, hduclas3=kind)).includes_area is included


def test_channel_numbers_may_be_floats(tmp_path: Path) -> None:
    rmf = read_rmf(write_rmf(tmp_path / "a.rmf", channel_format="E"))
    assert rmf.channel.dtype == np.int64
    assert rmf.channel[-1] == 119


def test_energies_that_decrease_are_turned_round(tmp_path: Path) -> None:
    path = write_rmf(tmp_path / "a.rmf", elements="fixed")
    with fits.open(path, mode="update") as units:
        units["MATRIX"].data[:] = units["MATRIX"].data[::-1].copy()
    rmf = read_rmf(path)
    assert np.array_equal(rmf.energy_edges, ENERGY_EDGES)
    assert np.array_equal(rmf.matrix.toarray(), redistribution())


def alter(path: Path, extension: str, column: str, row: int | slice, value: Any) -> Path:
    with fits.open(path, mode="update") as units:
        units[extension].data[column][row] = value
    return path


def test_groups_past_the_last_channel_are_left_out_aloud(tmp_path: Path) -> None:
    path = alter(write_rmf(tmp_path / "a.rmf"), "MATRIX", "F_CHAN", 75, 115)
    with pytest.warns(XrayflowWarning, match="lie beyond the last channel of EBOUNDS; they are left out"):
        rmf = read_rmf(path)
    assert rmf.matrix.shape == (150, 120)
    row = redistribution()[75]
    assert np.array_equal(rmf.matrix.toarray()[75, 115:], row[row > 0][:5])


def test_zeros_past_the_last_channel_do_not_matter(tmp_path: Path) -> None:
    matrix = np.hstack([redistribution(), np.zeros((150, 1))])
    path = write_rmf(tmp_path / "a.rmf", matrix=matrix, channel_edges=np.append(CHANNEL_EDGES, 12.1), elements="fixed")
    with fits.open(path) as units:
        units["MATRIX"].data["F_CHAN"], units["MATRIX"].data["N_CHAN"] = 0, 121
        full = np.zeros((150, 121), dtype=np.float32)
        full[:, :120] = redistribution()
        units["MATRIX"].data["MATRIX"] = full
        units["EBOUNDS"].data = units["EBOUNDS"].data[:120]
        units.writeto(path, overwrite=True)
    assert np.array_equal(read_rmf(path).matrix.toarray(), redistribution())


def test_an_empty_first_row_with_senseless_bounds_is_left_out_aloud(tmp_path: Path) -> None:
    matrix = redistribution()
    matrix[0] = 0.0
    path = alter(write_rmf(tmp_path / "a.rsp", matrix=matrix, groups="fixed"), "MATRIX", "ENERG_LO", 0, 0.9)
    with pytest.warns(XrayflowWarning, match="1 rows without response have ENERG_LO >= ENERG_HI"):
        rmf = read_rmf(path)
    assert np.array_equal(rmf.energy_edges, ENERGY_EDGES[1:])
    assert np.array_equal(rmf.matrix.toarray(), matrix[1:])


def test_senseless_bounds_of_a_row_with_response_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="row 3 has ENERG_LO >= ENERG_HI"):
        read_rmf(alter(write_rmf(tmp_path / "a.rmf"), "MATRIX", "ENERG_LO", 2, 0.9))


def test_gaps_between_energies_are_refused(tmp_path: Path) -> None:
    path = alter(write_rmf(tmp_path / "a.rmf"), "MATRIX", "ENERG_LO", 2, ENERGY_EDGES[2] + 0.01)
    with pytest.raises(FormatError, match=r"row 3 begins at 0\.367333 keV, not where its neighbour ends"):
        read_rmf(path)


def test_last_digits_are_no_gap(tmp_path: Path) -> None:
    path = alter(write_rmf(tmp_path / "a.rmf"), "MATRIX", "ENERG_LO", 2, ENERGY_EDGES[2] + 1e-7)
    assert len(read_rmf(path).energy_edges) == 151


@pytest.mark.parametrize(
    ("column", "row", "value", "found"),
    [
        ("F_CHAN", 5, -1, "F_CHAN begins below its first channel 0"),
        ("N_CHAN", 5, 119, r"row 6 has \d+ elements, its groups cover 119 channels"),
        ("N_CHAN", 5, -3, "F_CHAN or N_CHAN holds impossible numbers"),
        ("N_CHAN", 5, 2**31 - 1, "row 6 has"),
        ("N_GRP", 5, 2, "row 6 has N_GRP = 2, but 1 F_CHAN and 1 N_CHAN"),
        ("N_GRP", 5, -1, "N_GRP is not one count per row"),
        ("ENERG_LO", 5, np.nan, "ENERG_LO or ENERG_HI holds negative values or no numbers"),
        ("ENERG_LO", 0, -0.1, "ENERG_LO or ENERG_HI holds negative values or no numbers"),
    ],
)
def test_contradictions_of_the_matrix_are_refused(
    tmp_path: Path, column: str, row: int, value: float, found: str
) -> None:
    with pytest.raises(FormatError, match=rf"a\.rmf\[MATRIX\]: {found}"):
        read_rmf(alter(write_rmf(tmp_path / "a.rmf"), "MATRIX", column, row, value))


def test_channels_from_zero_without_tlmin_are_refused(tmp_path: Path) -> None:
    matrix = redistribution()
    matrix[0, 0] = 0.5
    with pytest.raises(FormatError, match="F_CHAN begins below its first channel 1; write TLMIN"):
        read_rmf(write_rmf(tmp_path / "a.rmf", matrix=matrix, tlmin=None))


def test_elements_must_be_numbers(tmp_path: Path) -> None:
    path = alter(write_rmf(tmp_path / "a.rmf", elements="fixed"), "MATRIX", "MATRIX", (5, 0), np.nan)
    with pytest.raises(FormatError, match="1 elements of MATRIX are not numbers"):
        read_rmf(path)


@pytest.mark.parametrize(
    ("column", "row", "value", "found"),
    [
        ("E_MIN", 3, np.nan, "E_MIN and E_MAX are no increasing pairs of numbers"),
        ("E_MAX", 3, 0.1, "E_MIN and E_MAX are no increasing pairs of numbers"),
        ("E_MIN", 3, 0.15, "E_MIN is not in order"),
        ("CHANNEL", 3, 7, "CHANNEL is not consecutive"),
    ],
)
def test_contradictions_of_ebounds_are_refused(tmp_path: Path, column: str, row: int, value: float, found: str) -> None:
    with pytest.raises(FormatError, match=rf"a\.rmf\[EBOUNDS\]: {found}"):
        read_rmf(alter(write_rmf(tmp_path / "a.rmf"), "EBOUNDS", column, row, value))


@pytest.mark.parametrize(
    ("extension", "keyword", "column"), [("MATRIX", "TUNIT1", "ENERG_LO"), ("EBOUNDS", "TUNIT2", "E_MIN")]
)
def test_energies_must_be_in_kev(tmp_path: Path, extension: str, keyword: str, column: str) -> None:
    path = write_rmf(tmp_path / "a.rmf")
    fits.setval(path, keyword, value="eV", extname=extension)
    with pytest.raises(FormatError, match=f"{column} is in eV; give energies in keV"):
        read_rmf(path)


def test_a_spectrum_is_not_a_matrix(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"toy\.pha: no MATRIX extension, it holds SPECTRUM; is it an RMF\?"):
        read_rmf(toy_files(tmp_path))


def test_a_matrix_needs_ebounds(tmp_path: Path) -> None:
    path = write_rmf(tmp_path / "a.rmf")
    with fits.open(path) as units:
        units[:2].writeto(path, overwrite=True)
    with pytest.raises(FormatError, match="no EBOUNDS extension, it holds MATRIX"):
        read_rmf(path)


def test_a_matrix_needs_all_its_columns(tmp_path: Path) -> None:
    path = write_rmf(tmp_path / "a.rmf")
    path.write_bytes(path.read_bytes().replace(b"'N_GRP   '", b"'GROUPS  '"))
    with pytest.raises(FormatError, match=r"\[MATRIX\]: no column N_GRP"):
        read_rmf(path)
