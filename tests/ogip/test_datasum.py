"""A sum that does not fit is shown; one damaged byte is warned of."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from astropy.io import fits as astropy_fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ogip_zoo import toy_files, write_arf, write_rmf
from xrayflow.errors import XrayflowWarning
from xrayflow.ogip import read_arf, read_pha, read_rmf
from xrayflow.ogip.datasum import difference, warn_of_damage
from xrayflow.ogip.fits import read_fits


def with_sums(path: Path) -> Path:
    """The file with DATASUM and CHECKSUM of every extension, as astropy computes them."""
    with astropy_fits.open(path) as units:
        units.writeto(path.with_name(f"summed-{path.name}"), checksum=True)
    return path.with_name(f"summed-{path.name}")


def test_our_sum_is_that_of_astropy(tmp_path: Path) -> None:
    toy_files(tmp_path)
    for name in ("toy.pha", "toy.rmf", "toy.arf"):
        assert [difference(table) for table in read_fits(tmp_path / name).tables] == [None] * (1 + (name == "toy.rmf"))
        assert {difference(table) for table in read_fits(with_sums(tmp_path / name)).tables} == {0}


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bit=st.integers(0, 120 * 8 * 8 - 1))
def test_one_bit_that_flipped_is_warned_of(tmp_path: Path, bit: int) -> None:
    path = tmp_path / "summed-toy.pha"
    if not path.exists():
        with_sums(toy_files(tmp_path))
    content = bytearray(path.read_bytes())
    table = read_fits(path).tables[0]
    content[table.start + bit // 8] ^= 1 << bit % 8
    damaged = tmp_path / "damaged.pha"
    damaged.write_bytes(bytes(content))
    moved = difference(read_fits(damaged).tables[0])
    assert moved
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warn_of_damage(read_fits(damaged).tables[0])
    assert ["DATASUM" in str(one.message) for one in said] == [True]


def test_damaged_matrices_and_areas_are_warned_of(tmp_path: Path) -> None:
    rmf, arf = with_sums(write_rmf(tmp_path / "a.rmf")), with_sums(write_arf(tmp_path / "a.arf"))
    for path in (rmf, arf):
        content = bytearray(path.read_bytes())
        table = read_fits(path).tables[0]
        content[table.start + table.size - 1] ^= 2
        path.write_bytes(bytes(content))
    with pytest.warns(XrayflowWarning, match=r"\[MATRIX\]: by its DATASUM one byte of the data"):
        read_rmf(rmf)
    with pytest.warns(XrayflowWarning, match=r"\[SPECRESP\]: by its DATASUM one byte of the data"):
        read_arf(arf)


def test_a_column_that_a_tool_wrote_anew_is_not_taken_for_damage(tmp_path: Path) -> None:
    path = with_sums(toy_files(tmp_path))
    table, content = read_fits(path).tables[0], bytearray(path.read_bytes())
    for row in range(30):  # COUNTS, as a tool would that leaves the header alone
        content[table.start + row * 8 + 6 : table.start + row * 8 + 8] = (1000 + row).to_bytes(2, "big")
    path.write_bytes(bytes(content))
    assert difference(read_fits(path).tables[0])
    assert read_pha(path).counts.sum() > 30_000


@pytest.mark.parametrize("value", ["", "none", "-5", 1.5, True])
def test_a_sum_that_is_none_says_nothing(tmp_path: Path, value: object) -> None:
    path = toy_files(tmp_path)
    astropy_fits.setval(path, "DATASUM", value=value, ext=1)
    assert difference(read_fits(path).tables[0]) is None


def test_one_flipped_bit_of_a_real_file_is_warned_of(cases_folder: Path) -> None:
    with pytest.warns(XrayflowWarning, match="by its DATASUM one byte of the data is not what was written"):
        read_pha(cases_folder / "hostile/flip.pha")
