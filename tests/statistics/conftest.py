"""Spectra of the toy instrument, as the statistics see them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ogip_zoo import toy_observation
from xrayflow.ogip import Spectrum

BAND = ((1.0, 6.0),)


@pytest.fixture(scope="package")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Spectrum:
    """Counts alone."""
    return toy_observation(tmp_path_factory.mktemp("plain")).bin(energies=BAND)


@pytest.fixture(scope="package")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Spectrum:
    """With a background of counts, in a region 4 times as large."""
    return toy_observation(tmp_path_factory.mktemp("measured"), background=True).bin(energies=BAND)


@pytest.fixture(scope="package")
def modelled(measured: Spectrum) -> Spectrum:
    """With a background that has errors."""
    assert measured.background is not None
    return replace(measured, background=measured.background * 0.97, background_err=0.2 * measured.background)
