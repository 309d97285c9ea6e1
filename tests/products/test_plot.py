"""Figures on demand: the source's spectrum and counts below each energy, their formats, and their numbers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_allclose

from answer_zoo import altered, toy_posterior
from xrayflow.errors import DataError, FileError
from xrayflow.inference import Posterior
from xrayflow.models import parse_model
from xrayflow.prior import Prior
from xrayflow.products import Display, PlotAxis, Residuals, write_figure
from xrayflow.products.display import shown_bins
from xrayflow.products.figures import cumulated, spectrum_figure, unfolded, unfolded_figure
from xrayflow.products.figures.qq_plot import caption
from xrayflow.products.figures.unfolded_plot import COMPONENT_STYLES

BEGINNINGS = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}


def test_the_line_of_a_model_is_its_own() -> None:
    posterior = toy_posterior()
    made = unfolded(posterior)
    assert (made.energy > 1.0).all()
    assert (made.energy < 6.0).all()
    index, norm = posterior.quantile(0.5)[1:]
    # E^2 N(E) of an unabsorbed power law; the toy's absorption is slight above 3 keV
    high = made.energy > 3.0
    assert_allclose(made.bands[2][high], norm * made.energy[high] ** (2.0 - index), rtol=0.02)
    assert (np.diff(made.bands, axis=0) >= 0).all()
    assert made.components == {}


def test_data_follow_the_model_by_their_ratio() -> None:
    posterior = toy_posterior()
    made, predictive = unfolded(posterior), posterior.predictive
    ratio = predictive.counts / predictive.total[1]
    middle = np.sqrt(made.data_lo * made.data_hi)
    model = np.interp(middle, made.energy, made.bands[2])
    assert_allclose(made.data, ratio * model, rtol=0.02)
    assert_allclose((made.above / made.data), made.above / made.data)
    more = replace(posterior, predictive=replace(predictive, counts=2.0 * predictive.counts))
    assert_allclose(unfolded(more).data, 2.0 * made.data)


def test_a_background_is_taken_off_the_data() -> None:
    with_background, without = (unfolded(toy_posterior(background=flag)) for flag in (True, False))
    ratio = np.median(with_background.data) / np.median(without.data)
    assert ratio == pytest.approx(1.0, abs=0.15)


def two_components() -> Posterior:
    """The toy's answer as if it were one of two components."""
    model = parse_model("TBabs*(powerlaw+bbodyrad)")
    rows = np.array([[0.01, 1.7, 0.05, 0.5, 20.0], [0.02, 1.75, 0.051, 0.55, 18.0]])
    return altered(
        toy_posterior(), model=model, prior=Prior.of(model), draws=rows, best=rows[0], log_weight=np.zeros(2)
    )


def test_components_add_up_to_the_line() -> None:
    posterior = two_components()
    one = altered(posterior, draws=posterior.draws[:1], log_weight=np.zeros(1))
    made = unfolded(one)
    assert list(made.components) == ["powerlaw", "bbodyrad"]
    assert_allclose(sum(made.components.values()), made.bands[2], rtol=1e-9)


def test_components_are_told_apart_without_colours() -> None:
    assert len({str(dashes) for _, dashes in COMPONENT_STYLES}) == len(COMPONENT_STYLES)
    (ax,) = unfolded_figure(two_components()).axes
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[-2:] == ["powerlaw", "bbodyrad"]


def test_counts_below_each_energy_end_at_all_of_them() -> None:
    posterior = toy_posterior()
    made = cumulated(posterior)
    everything = posterior.predictive.counts.sum()
    for curve in (made.observed, made.expected):
        assert curve[-1] == pytest.approx(everything)
        assert (np.diff(curve) >= 0).all()
    assert (made.low <= made.expected + 1e-9).all()
    assert (made.high >= made.expected - 1e-9).all()
    assert 0.05 < made.p_value <= 1.0
    assert 0.0 < made.distance < 0.02


def test_a_line_that_the_model_lacks_is_far_from_chance() -> None:
    posterior = toy_posterior()
    counts = posterior.predictive.counts.copy()
    counts[20:23] *= 1.6
    bent = replace(posterior, predictive=replace(posterior.predictive, counts=counts))
    assert cumulated(bent).p_value < 0.01
    assert cumulated(bent).distance > 2.0 * cumulated(posterior).distance


def test_chance_is_not_told_where_more_than_counting_scatters() -> None:
    posterior = toy_posterior()
    wide = replace(posterior, predictive=replace(posterior.predictive, variance=1.5 * posterior.predictive.variance))
    assert np.isnan(cumulated(wide).p_value)
    assert not np.isnan(cumulated(posterior).p_value)
    assert caption(cumulated(wide)).endswith(
        " % of the counts\nband: 90 % by counting alone; the likelihood allows more"
    )
    told = caption(cumulated(posterior))
    assert ", p = " in told
    assert told.endswith("band: 90 % by counting alone")


def test_differences_are_no_counts() -> None:
    with pytest.raises(DataError, match="a QQ plot is one of counts"):
        cumulated(altered(toy_posterior(), name="Gaussian"))


@pytest.mark.parametrize("ending", ["png", "pdf", "svg"])
@pytest.mark.parametrize(("kind", "tables"), [("unfolded", 2), ("qq", 1)])
def test_a_figure_is_written_with_its_numbers(tmp_path: Path, kind: str, tables: int, ending: str) -> None:
    written = write_figure(toy_posterior(), kind, tmp_path / f"a.{ending}")
    assert written[0].read_bytes().startswith(BEGINNINGS[ending])
    assert len(written) == 1 + tables
    for path in written[1:]:
        assert len(Table.read(path, format="ascii.ecsv")) > 20
    again = write_figure(toy_posterior(), kind, tmp_path / f"b.{ending}")
    assert again[0].read_bytes() == written[0].read_bytes()


def test_the_figures_of_every_fit_are_there_too(tmp_path: Path) -> None:
    spectrum = write_figure(toy_posterior(), "spectrum", tmp_path / "s.svg")
    assert [path.name for path in spectrum] == ["s.svg", "s.ecsv", "s-shown.ecsv"]
    assert [path.name for path in write_figure(toy_posterior(), "corner", tmp_path / "c.pdf")] == ["c.pdf"]


@pytest.mark.parametrize("axis", list(PlotAxis))
@pytest.mark.parametrize("residuals", list(Residuals))
def test_a_spectrum_is_shown_as_asked_with_the_numbers_that_are_drawn(
    tmp_path: Path, axis: PlotAxis, residuals: Residuals
) -> None:
    posterior, display = two_components(), Display(axis, residuals, 12.0, 30)
    parts = {name: share * posterior.predictive.expected[1] for name, share in (("powerlaw", 0.7), ("bbodyrad", 0.3))}
    posterior = replace(posterior, predictive=replace(posterior.predictive, components=parts))
    written = write_figure(posterior, "spectrum", tmp_path / "s.png", display)
    table, shown = Table.read(written[2], format="ascii.ecsv"), shown_bins(posterior, display)
    assert len(Table.read(written[1], format="ascii.ecsv")) == shown.bins > len(table) == shown.lo.size
    assert_allclose(table["lo"], shown.lo, rtol=1e-6)
    assert_allclose(table["residual"], shown.residual, rtol=1e-5, atol=1e-7)
    assert_allclose(table["data"], shown.density(shown.counts), rtol=1e-6)
    assert_allclose(table["component_powerlaw"] + table["component_bbodyrad"], table["model"], rtol=1e-5)
    assert (table["model_lower68"] >= table["model_lower90"]).all()
    assert table.meta["axis"] == axis.label
    figure = spectrum_figure(posterior, shown)
    assert figure.axes[1].get_xlabel() == axis.label
    assert axis.unit in figure.axes[0].get_ylabel()
    assert figure.axes[1].lines[-1].get_ydata()[0] == residuals.level
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert {"powerlaw", "bbodyrad", "68 % band of the model"} <= set(labels)


def test_an_answer_without_inner_bands_is_drawn_all_the_same(tmp_path: Path) -> None:
    posterior = toy_posterior()
    older = replace(posterior, predictive=replace(posterior.predictive, total68=np.empty((2, 0))))
    written = write_figure(older, "spectrum", tmp_path / "s.png")
    for path in written[1:]:
        assert "model_upper68" not in Table.read(path, format="ascii.ecsv").colnames
    labels = [text.get_text() for text in spectrum_figure(older).axes[0].get_legend().get_texts()]
    assert "68 % band of the model" not in labels


def test_how_a_spectrum_is_shown_is_asked_of_no_other_figure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="axis, residuals and rebin are those of the spectrum"):
        write_figure(toy_posterior(), "qq", tmp_path / "a.png", Display(PlotAxis.angstrom))


def test_what_is_no_figure_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.jpg: no figure ends so; one of .png, .pdf, .svg"):
        write_figure(toy_posterior(), "qq", tmp_path / "a.jpg")
    with pytest.raises(DataError, match="no figure 'contour'"):
        write_figure(toy_posterior(), "contour", tmp_path / "a.png")
    with pytest.raises(FileError, match=r"a.png: cannot be written"):
        write_figure(toy_posterior(), "qq", tmp_path / "nowhere" / "a.png")
    assert list(tmp_path.iterdir()) == []
