"""Effective areas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from ogip_zoo import ENERGY_EDGES, effective_area, toy_files, write_arf
from xrayflow.errors import FormatError
from xrayflow.ogip import read_arf


def test_area_and_energies_are_read(tmp_path: Path) -> None:
    arf = read_arf(write_arf(tmp_path / "a.arf"))
    assert np.array_equal(arf.area, effective_area())
    assert arf.energy_edges == pytest.approx(ENERGY_EDGES, rel=1e-7)


def test_a_wrong_hduclass_does_not_matter(tmp_path: Path) -> None:
    assert len(read_arf(write_arf(tmp_path / "a.arf", HDUCLASS="WRONG")).area) == 150


def test_decreasing_energies_are_turned_round(tmp_path: Path) -> None:
    path = write_arf(tmp_path / "a.arf")
    with fits.open(path, mode="update") as units:
        units[1].data[:] = units[1].data[::-1].copy()
    arf = read_arf(path)
    assert np.all(np.diff(arf.energy_edges) > 0)
    assert np.array_equal(arf.area, effective_area())


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_areas_must_be_numbers_and_not_negative(tmp_path: Path, value: float) -> None:
    area = effective_area()
    area[3] = value
    with pytest.raises(FormatError, match=r"a\.arf\[SPECRESP\]: 1 areas are negative or not numbers"):
        read_arf(write_arf(tmp_path / "a.arf", area=area))


def test_a_spectrum_is_not_an_area(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"no SPECRESP extension, it holds SPECTRUM; is it an ARF\?"):
        read_arf(toy_files(tmp_path))
