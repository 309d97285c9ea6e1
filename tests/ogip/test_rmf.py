"""Matrices: every legal form of one matrix reads as the same matrix; illegal ones are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ogip_zoo import CHANNEL_EDGES, ENERGY_EDGES, redistribution, toy_files, write_arf, write_parts, write_rmf
from xrayflow.errors import FileError, FormatError, XrayflowWarning
from xrayflow.ogip import PackedMatrix, describe, read_observation, read_rmf, rmf
from xrayflow.ogip import write_rmf as write_response
from xrayflow.ogip.regroup import resolution


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
        ("SPECTRESP MATRIX", "", True),
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


def halves() -> list[tuple[Any, Any]]:
    """A 60/40 split of one matrix."""
    return [(ENERGY_EDGES, 0.6 * redistribution()), (ENERGY_EDGES, 0.4 * redistribution())]


@pytest.mark.parametrize("name", ["MATRIX", "SPECRESP MATRIX"])
def test_the_matrices_of_a_file_are_summed(tmp_path: Path, name: str) -> None:
    split = read_rmf(write_parts(tmp_path / "a.rmf", halves(), name=name))
    assert np.array_equal(split.energy_edges, ENERGY_EDGES)
    np.testing.assert_allclose(split.matrix.toarray(), redistribution(), rtol=1e-7, atol=0.0)


@pytest.mark.parametrize("number", [1, 2])
def test_one_matrix_of_a_file_can_be_chosen(tmp_path: Path, number: int) -> None:
    path = write_parts(tmp_path / "a.rmf", halves())
    share = (0.6, 0.4)[number - 1]
    for chosen in (read_rmf(f"{path}{{{number}}}"), read_rmf(path, number)):
        np.testing.assert_allclose(chosen.matrix.toarray(), share * redistribution(), rtol=1e-7, atol=0.0)


def test_a_matrix_that_is_not_there_cannot_be_chosen(tmp_path: Path) -> None:
    path = write_parts(tmp_path / "a.rmf", halves())
    with pytest.raises(FormatError, match=r"matrix 3 was asked for, it holds 2; choose one with a\.rmf\{1\} to \{2\}"):
        read_rmf(f"{path}{{3}}")
    with pytest.raises(FileError, match=r"\{1-2\} is not one number; choose one at a time"):
        read_rmf(f"{path}{{1-2}}")


@pytest.mark.parametrize("first", ["sharp", "tails"])
def test_a_part_on_coarser_energies_counts_for_each_bin_inside(tmp_path: Path, first: str) -> None:
    # float32 in one part, as XRISM's, and double in the other: the edges are the same all the same
    coarse = ENERGY_EDGES[::5].astype(np.float32).astype(np.float64)
    tails = np.full((30, 120), 1e-4)
    parts = [(ENERGY_EDGES, redistribution()), (coarse, tails)]
    read = read_rmf(write_parts(tmp_path / "a.rmf", parts if first == "sharp" else parts[::-1]))
    assert np.array_equal(read.energy_edges, ENERGY_EDGES)
    np.testing.assert_allclose(read.matrix.toarray(), redistribution() + np.float32(1e-4), rtol=1e-6)
    arf = write_arf(tmp_path / "a.arf")
    assert read_observation(toy_files(tmp_path), rmf=read, arf=arf).arf is not None


@pytest.mark.parametrize("first", ["sharp", "tails"])
def test_the_sum_of_parts_has_the_resolution_of_a_matrix_that_was_never_cut(tmp_path: Path, first: str) -> None:
    """Channels of its rows that were in no order made every line one channel wide, and optimal bins with them."""
    tails = np.where(np.arange(120) < 50, 1e-4, 0.0)[None].repeat(15, axis=0).astype(np.float32)
    parts = [(ENERGY_EDGES, redistribution()), (ENERGY_EDGES[::10], tails)]
    split = read_rmf(write_parts(tmp_path / "a.rmf", parts if first == "sharp" else parts[::-1]))
    whole = read_rmf(write_rmf(tmp_path / "b.rmf", matrix=redistribution() + tails[0].astype(float)))
    np.testing.assert_allclose(split.matrix.toarray(), whole.matrix.toarray(), rtol=1e-6)
    np.testing.assert_allclose(resolution(split), resolution(whole), rtol=1e-6)


def test_parts_on_any_energies_are_summed_on_the_edges_of_both(tmp_path: Path) -> None:
    one, other = np.array([1.0, 2.0, 4.0]), np.array([1.5, 3.0, 5.0])
    a, b = np.array([[0.1, 0.0], [0.2, 0.3]]), np.array([[0.0, 0.4], [0.5, 0.0]])
    path = write_parts(tmp_path / "a.rmf", [(one, a), (other, b)], channel_edges=np.array([1.0, 2.0, 3.0]))
    read = read_rmf(path)
    assert read.energy_edges.tolist() == [1.0, 1.5, 2.0, 3.0, 4.0, 5.0]
    none = np.zeros(2)
    wanted = np.array([a[0] + none, a[0] + b[0], a[1] + b[0], a[1] + b[1], none + b[1]])
    np.testing.assert_allclose(read.matrix.toarray(), wanted, rtol=1e-7)


@pytest.mark.parametrize(
    ("keyword", "values"), [("TSTART", (10.0, 20.0)), ("DETNAM", ("CCD1", "CCD2")), ("INSTRUME", ("A", "B"))]
)
def test_matrices_of_two_times_or_detectors_are_no_parts(tmp_path: Path, keyword: str, values: Any) -> None:
    path = write_parts(tmp_path / "a.rsp2", halves(), [{keyword: value} for value in values])
    with pytest.raises(
        FormatError, match=rf"a\.rsp2: its 2 matrices differ in {keyword} .*choose one with a\.rsp2\{{1"
    ):
        read_rmf(path)
    assert read_rmf(f"{path}{{2}}").matrix.shape == (150, 120)


def test_a_matrix_with_the_area_is_no_part_of_one_without(tmp_path: Path) -> None:
    path = write_parts(tmp_path / "a.rmf", halves(), [{"HDUCLAS3": "REDIST"}, {"HDUCLAS3": "FULL"}])
    with pytest.raises(FormatError, match=r"differ in area \(not included, included\), so they are no parts of one"):
        read_rmf(path)


def test_matrices_of_other_channels_are_no_parts(tmp_path: Path) -> None:
    path = write_parts(tmp_path / "a.rmf", halves())
    with fits.open(path, mode="append") as units:
        second = units["EBOUNDS"].copy()
        second.data["E_MAX"] += 0.001
        second.header["EXTVER"] = 2
        units.append(second)
    with pytest.raises(FormatError, match=r"a\.rmf\[EBOUNDS,2\]: other channels than in .*a\.rmf\[EBOUNDS\]"):
        read_rmf(path)
    assert read_rmf(f"{path}{{1}}").matrix.shape == (150, 120)


def test_a_copy_of_a_matrix_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(XrayflowWarning, match=r"its 2 matrices sum to 1\.9 of the photons; if they are no parts of one"):
        read_rmf(write_parts(tmp_path / "a.rmf", [(ENERGY_EDGES, redistribution())] * 2))


def test_a_sum_that_no_memory_holds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = ENERGY_EDGES + 0.01  # as fine as the other, so that neither is a tail
    path = write_parts(tmp_path / "a.rmf", [(ENERGY_EDGES, redistribution()), (moved, np.full((150, 120), 1e-4))])
    monkeypatch.setattr(rmf, "MOST_ELEMENTS", 150 * 120)
    with pytest.raises(FormatError, match=r"its 2 matrices on one energy grid have 3\.9e\+04 elements, the limit is"):
        read_rmf(path)


def split(folder: Path, monkeypatch: pytest.MonkeyPatch, **form: Any) -> tuple[rmf.RMF, rmf.RMF]:
    """A sharp part and two of tails on wider energies, summed, and with the tails on their own energies."""
    generator = np.random.default_rng(3)
    tails = [
        (edges, np.tril(3e-4 * generator.random((len(edges) - 1, 120)), k=offset).astype(np.float32))
        for edges, offset in ((ENERGY_EDGES[::15].astype(np.float32).astype(np.float64), 30), (ENERGY_EDGES[::50], 90))
    ]
    path = write_parts(folder / "parts.rmf", [(ENERGY_EDGES, redistribution()), *tails], **form)
    summed = read_rmf(path)
    monkeypatch.setattr(rmf, "MOST_ELEMENTS", 2000)
    monkeypatch.setattr(rmf, "_KNOWN", rmf.KnownFiles())
    return summed, read_rmf(path)


@pytest.mark.parametrize("elements", ["fixed", "variable"])
def test_tails_that_are_too_large_to_be_summed_stay_on_their_energies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elements: str
) -> None:
    summed, apart = split(tmp_path, monkeypatch, elements=elements)
    assert summed.tails == ()
    assert [tail.matrix.shape for tail in apart.tails] == [(10, 120), (3, 120)]
    assert np.array_equal(apart.energy_edges, summed.energy_edges)
    assert apart.elements < summed.elements
    photons = np.random.default_rng(1).random((4, 150))
    np.testing.assert_allclose(apart.seen(photons), photons @ summed.matrix.toarray(), rtol=1e-12)
    np.testing.assert_allclose(apart.row_sums(), summed.matrix.toarray().sum(axis=1), rtol=1e-12)
    with pytest.raises(FormatError, match="elements are too many for one file; write fewer energies"):
        write_response(tmp_path / "no.rmf", apart)


def test_a_matrix_of_too_many_elements_to_be_unpacked_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_rmf(tmp_path / "a.rmf", groups="variable")
    whole = read_rmf(path)
    monkeypatch.setattr("xrayflow.ogip.matrix.MOST_ELEMENTS", 100)
    monkeypatch.setattr(rmf, "_KNOWN", rmf.KnownFiles())
    packed = read_rmf(path)
    assert isinstance(packed.matrix, PackedMatrix)
    photons = np.random.default_rng(1).random(150)
    np.testing.assert_allclose(packed.seen(photons), photons @ whole.matrix, rtol=1e-12)
    assert np.array_equal(resolution(packed), resolution(whole))
    described, plain = (describe(path).facts for _ in range(2))
    assert described == plain


@pytest.mark.parametrize(
    ("column", "row", "value", "found"),
    [("MATRIX", (5, 0), np.nan, "1 elements of MATRIX are not numbers"), ("N_CHAN", 5, 121, "its groups cover 121")],
)
def test_contradictions_of_a_matrix_that_stays_packed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, row: Any, value: float, found: str
) -> None:
    monkeypatch.setattr("xrayflow.ogip.matrix.MOST_ELEMENTS", 100)
    path = alter(write_rmf(tmp_path / "a.rmf", elements="fixed"), "MATRIX", column, row, value)
    with pytest.raises(FormatError, match=found):
        read_rmf(path)


def test_oddities_of_a_matrix_that_stays_packed_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xrayflow.ogip.matrix.MOST_ELEMENTS", 100)
    path = alter(write_rmf(tmp_path / "a.rmf"), "MATRIX", "F_CHAN", 75, 115)
    with pytest.warns(XrayflowWarning, match="lie beyond the last channel of EBOUNDS; they are left out"):
        packed = read_rmf(path)
    row = redistribution()[75]
    np.testing.assert_array_equal(packed.matrix[np.array([75])].toarray()[0, 115:], row[row > 0][:5])
    path = alter(write_rmf(tmp_path / "b.rmf", elements="fixed"), "MATRIX", "MATRIX", (5, 0), -1e-3)
    with pytest.warns(XrayflowWarning, match="1 elements of MATRIX are negative, as no chance can be; they are kept"):
        assert read_rmf(path).matrix[np.array([5])].data.min() < 0.0


def test_the_second_of_two_matrices_has_its_number_in_the_error(tmp_path: Path) -> None:
    path = write_parts(tmp_path / "a.rmf", halves())
    with fits.open(path, mode="update") as units:
        units[2].data["N_GRP"][5] = -1
    with pytest.raises(FormatError, match=r"a\.rmf\[MATRIX,2\]: N_GRP is not one count per row"):
        read_rmf(path)


def test_rows_of_no_width_hold_no_photons(tmp_path: Path) -> None:
    edges = np.sort(np.append(ENERGY_EDGES, ENERGY_EDGES[[40, 90]]))
    matrix = np.insert(redistribution(), [40, 90], 0.01, axis=0)
    with pytest.warns(XrayflowWarning, match=r"2 rows have ENERG_LO = ENERG_HI and so hold no photons; they are left"):
        read = read_rmf(write_rmf(tmp_path / "a.rmf", matrix=matrix, energy_edges=edges))
    assert np.array_equal(read.energy_edges, ENERGY_EDGES)
    assert np.array_equal(read.matrix.toarray(), redistribution())


def test_rows_of_no_width_may_stand_in_the_rmf_the_arf_or_both(tmp_path: Path) -> None:
    # the float32 of an ARF may not tell two edges that the double of an RMF does
    edges = np.sort(np.append(ENERGY_EDGES, ENERGY_EDGES[40] * (1.0 + 1e-9)))
    matrix = np.insert(redistribution(), 40, 0.01, axis=0)
    plain, pha = write_rmf(tmp_path / "plain.rmf"), toy_files(tmp_path)
    odd = write_rmf(tmp_path / "odd.rmf", matrix=matrix, energy_edges=edges)
    odd_arf, arf = write_arf(tmp_path / "odd.arf", energy_edges=edges), write_arf(tmp_path / "plain.arf")
    for a, b in ((odd, odd_arf), (odd, arf), (plain, odd_arf)):
        with pytest.warns(XrayflowWarning, match="1 rows have ENERG_LO = ENERG_HI"):
            assert len(read_observation(pha, rmf=a, arf=b).rmf.energy_edges) == 151


def test_rows_that_all_have_no_width_are_refused(tmp_path: Path) -> None:
    path = alter(write_rmf(tmp_path / "a.rmf"), "MATRIX", "ENERG_HI", slice(None), ENERGY_EDGES[:-1])
    with pytest.raises(FormatError, match="ENERG_LO and ENERG_HI are equal in all rows"):
        read_rmf(path)


def test_ebounds_of_vectors_are_refused(tmp_path: Path) -> None:
    path = write_rmf(tmp_path / "a.rmf")
    with fits.open(path) as units:
        channel, e_max = (units["EBOUNDS"].data[name] for name in ("CHANNEL", "E_MAX"))
        columns = [
            fits.Column("CHANNEL", "J", array=channel),
            fits.Column("E_MIN", "4D", unit="keV", array=np.zeros((120, 4))),
            fits.Column("E_MAX", "D", unit="keV", array=e_max),
        ]
        units["EBOUNDS"] = fits.BinTableHDU.from_columns(columns, name="EBOUNDS")
        units.writeto(tmp_path / "b.rmf")
    with pytest.raises(FormatError, match="E_MIN and E_MAX have 480 and 120 values in 120 rows; rebuild the RMF"):
        read_rmf(tmp_path / "b.rmf")


@pytest.mark.parametrize("rows", [[3], [0], [119], [0, 1, 2, 50]])
@pytest.mark.parametrize("value", [7, -9, 2**28])
def test_damaged_channel_numbers_of_rows_in_order_are_read_by_row(tmp_path: Path, rows: list[int], value: int) -> None:
    path = alter(write_rmf(tmp_path / "a.rmf"), "EBOUNDS", "CHANNEL", np.array(rows), value)
    found = rf"a\.rmf\[EBOUNDS\]: CHANNEL is damaged in {len(rows)} of 120 rows; .* numbered from 0"
    with pytest.warns(XrayflowWarning, match=found):
        assert read_rmf(path).channel.tolist() == list(range(120))


def test_channel_numbers_that_are_no_numbers_are_read_by_row(tmp_path: Path) -> None:
    path = write_rmf(tmp_path / "a.rmf", channel_format="E", first_channel=1, tlmin=1)
    alter(path, "EBOUNDS", "CHANNEL", slice(None), np.nan)
    with pytest.warns(XrayflowWarning, match=r"CHANNEL is damaged in 120 of 120 rows; .* numbered from 1"):
        assert read_rmf(path).channel.tolist() == list(range(1, 121))


def test_rows_in_another_order_or_missing_are_refused(tmp_path: Path) -> None:
    path = write_rmf(tmp_path / "a.rmf")
    for value in (np.arange(120)[::-1], np.roll(np.arange(120), 1)):
        with pytest.raises(FormatError, match="CHANNEL is not consecutive; sort EBOUNDS by channel"):
            read_rmf(alter(path, "EBOUNDS", "CHANNEL", slice(None), value))
    fits.setval(path, "DETCHANS", value=130, extname="MATRIX")
    for value in (np.where(np.arange(120) < 30, 0, 10) + np.arange(120), np.zeros(120)):
        with pytest.raises(FormatError, match="CHANNEL is not consecutive; sort EBOUNDS by channel"):
            read_rmf(alter(path, "EBOUNDS", "CHANNEL", slice(None), value))


def test_the_two_matrices_of_a_real_file_are_the_one_it_was_split_from(cases_folder: Path, data_folder: Path) -> None:
    split = read_rmf(cases_folder / "two-matrix" / "r.rmf.gz")
    one = read_rmf(data_folder / "chandra_acis_3C273_459" / "3c273.rmf")
    assert np.array_equal(split.energy_edges, one.energy_edges)
    np.testing.assert_allclose(split.matrix.toarray(), one.matrix.toarray(), rtol=2e-7, atol=0.0)


def test_a_rosat_matrix_is_read(cases_folder: Path) -> None:
    with pytest.warns(XrayflowWarning, match="19 rows have ENERG_LO = ENERG_HI and so hold no photons") as said:
        read = read_rmf(cases_folder / "zero-width-rows" / "pspcc_gain1_256.rsp.gz")
    assert len(said) == 1
    assert read.matrix.shape == (729 - 19, 256)
    assert np.all(np.diff(read.energy_edges) > 0.0)


def test_a_diagonal_matrix_may_have_one_element_in_each_row(tmp_path: Path) -> None:
    """XMM's matrices for backgrounds that pass no mirror: every photon in the channel of its energy."""
    size, edges = 60, np.linspace(0.0, 12.0, 61)
    path = write_rmf(tmp_path / "d.rmf", matrix=np.eye(size), energy_edges=edges, channel_edges=edges, elements="fixed")
    assert np.array_equal(read_rmf(path).matrix.toarray(), np.eye(size))


@pytest.mark.parametrize("elements", ["fixed", "variable"])
def test_a_signalling_nan_is_no_number_and_no_warning(tmp_path: Path, elements: str) -> None:
    path = write_rmf(tmp_path / "a.rmf", elements=elements)
    whole = path.read_bytes()
    value = np.array(redistribution().max(), ">f4").tobytes()
    path.write_bytes(whole.replace(value, b"\x7f\xa0\x00\x01"))
    with pytest.raises(FormatError, match="elements of MATRIX are not numbers"):
        read_rmf(path)


@pytest.mark.parametrize("zero", [10**6, 2**31 - 1000, 2**31 - 125])
def test_channels_beyond_all_numbers_are_left_out_aloud(tmp_path: Path, zero: int) -> None:
    path = write_rmf(tmp_path / "a.rmf")
    fits.setval(path, "TZERO4", value=zero, extname="MATRIX")
    with pytest.warns(XrayflowWarning, match="lie beyond the last channel of EBOUNDS; they are left out"):
        assert read_rmf(path).matrix.nnz == 0
