"""The figures of a catalogue: axes, points, and what is left out."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.image import imread

from population_zoo import INDEX, NORM, planted, write_catalogue
from xrayflow.errors import DataError
from xrayflow.products.figures import png
from xrayflow.studies.catalogue import catalogue_figures, read_catalogue, read_model
from xrayflow.studies.catalogue.pictures import hardness_of


def words(figure: Figure) -> str:
    """Everything that is written in a figure, once it is drawn and has ink in it."""
    image = imread(BytesIO(png(figure)))
    assert image[..., :3].std() > 0.02
    found = [text.get_text() for text in figure.texts]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for ax in figure.axes:
        found += [ax.get_xlabel(), ax.get_ylabel(), ax.get_title(), *(one.get_text() for one in ax.texts)]
    return "\n".join(found)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    generator = np.random.default_rng(1)
    truth = np.array([1.7, -2.0]) + [0.2, 0.8] * generator.standard_normal((40, 2))
    found = planted(truth, np.full((40, 2), 0.05), 100, generator)
    return write_catalogue(tmp_path, found, verdicts=("certified", "approximate", "failed", "do-not-trust"))


def test_all_figures_say_what_they_show(table: Path) -> None:
    made = catalogue_figures(read_catalogue(table))
    assert list(made) == ["time", "hardness-intensity", "quality"]
    time, hardness, quality = map(words, made.values())
    for word in (
        "count rate",
        "powerlaw.PhoIndex",
        "powerlaw.norm",
        "ph/cm",
        "MJD",
        "certified (10)",
        "do-not-trust (10)",
    ):
        assert word in time, word
    assert "failed" not in time
    for word in ("hardness: flux 4-10 keV / 2-4 keV", "flux 2-10 keV", "MJD", "table.ecsv, 40 spectra"):
        assert word in hardness, word
    for word in ("efficiency", "effective draws", "median 800"):
        assert word in quality, word
    # a decade and more of a logarithmic prior is logarithmic
    assert [ax.get_yscale() for ax in made["time"].axes] == ["log", "linear", "log"]


def test_hardness_is_that_of_the_model_at_the_medians(table: Path) -> None:
    read = read_catalogue(table)
    model, _ = read_model(read)
    hardness, intensity = hardness_of(read, model)
    failed = np.array([word == "failed" for word in read.text("verdict")])
    index, norm = (read.number(f"{name}_median") for name in (INDEX, NORM))
    assert np.isfinite(hardness).all()  # this table has medians for failed rows too
    # a power law without absorption: within the little that 2e21 cm^-2 take away above 2 keV
    power = 2.0 - index
    expected = (10.0**power - 4.0**power) / (4.0**power - 2.0**power)
    np.testing.assert_allclose(hardness, expected, rtol=0.03)
    flux = norm * (10.0**power - 2.0**power) / power * 1.602177e-9
    np.testing.assert_allclose(intensity, flux, rtol=0.03)
    assert failed.sum() == 10


def test_a_table_alone_is_drawn_without_what_its_manifest_would_say(table: Path) -> None:
    table.with_name("table.manifest.json").unlink()
    made = catalogue_figures(read_catalogue(table), ["POWERLAW.norm"])
    assert list(made) == ["time", "quality"]
    told = words(made["time"])
    assert "powerlaw.norm\n[ph / (keV s cm2)]" in told
    assert "PhoIndex" not in told


def test_without_times_rows_are_counted(table: Path) -> None:
    read = Table.read(table)
    read["mjd"] = np.nan
    read.write(table, overwrite=True)
    assert "row of the table" in words(catalogue_figures(read_catalogue(table))["time"])


def test_thousands_of_points_are_drawn_small(tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    found = planted(np.tile([1.7, -2.0], (1600, 1)), np.full((1600, 2), 0.1), 3, generator)
    made = catalogue_figures(read_catalogue(write_catalogue(tmp_path, found)))
    assert len(png(made["hardness-intensity"])) < 300_000
    assert "1600 spectra" in words(made["time"])


def test_what_cannot_be_drawn_is_one_line(table: Path) -> None:
    with pytest.raises(DataError, match=r"no parameter 'powerlaw\.nrm' in the table; did you mean 'powerlaw\.norm'"):
        catalogue_figures(read_catalogue(table), ["powerlaw.nrm"])
    empty = Table.read(table)[:0]
    empty.write(table, overwrite=True)
    with pytest.raises(DataError, match=r"table\.ecsv: has no rows"):
        catalogue_figures(read_catalogue(table))
