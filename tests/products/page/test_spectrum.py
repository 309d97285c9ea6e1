"""The plot of the page shows the numbers of the figure."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from answer_zoo import toy_posterior
from xrayflow.inference import Posterior
from xrayflow.products.display import KEV_ANGSTROM, Display, PlotAxis, Residuals, shown_bins
from xrayflow.products.page.spectrum import spectrum_plot, spectrum_plots


def gapped() -> Posterior:
    """An answer with a gap in its band, two components, and a place where the data leave the model."""
    posterior = toy_posterior(background=True)
    predictive = posterior.predictive
    kept = np.ones(predictive.counts.size, dtype=bool)
    kept[10:16] = False
    parts = {"powerlaw": 0.9 * predictive.expected[1], "gaussian": 0.1 * predictive.expected[1]}
    cut = replace(
        predictive,
        **{
            name: getattr(predictive, name)[..., kept]
            for name in (
                "energy_lo",
                "energy_hi",
                "counts",
                "expected",
                "total",
                "total68",
                "variance",
                "data_variance",
            )
        },
        components={name: values[kept] for name, values in parts.items()},
    )
    data = posterior.data[0]
    flat = ("energy_lo", "energy_hi", "counts", "background_counts", "background_in_source", "number")
    own = replace(data, **{name: getattr(data, name)[kept] for name in flat})
    fit = replace(posterior.fit, worst_energies=((2.0, 2.5),))
    return replace(posterior, predictive=cut, data=(own,), fit=fit)


def traces(posterior: Posterior) -> dict[str, dict[str, object]]:
    plot = json.loads(json.dumps(spectrum_plot(posterior), allow_nan=False))
    return {trace["name"]: trace for trace in plot["data"]}


def test_the_plot_shows_the_numbers_of_the_figure() -> None:
    posterior = gapped()
    shown, found = shown_bins(posterior), traces(posterior)
    assert_allclose(found["data"]["x"], shown.middle, rtol=1e-5)
    assert_allclose(found["data"]["y"], shown.density(shown.counts), rtol=1e-5)
    assert_allclose(found["data"]["error_y"]["array"], shown.density(shown.above), rtol=1e-5)
    for kind in Residuals:
        assert_allclose(found[kind]["y"], shown.left(kind)[0], rtol=1e-4, atol=1e-6)
        assert found[kind]["visible"] is (kind is Residuals.delchi)
    assert list(found)[:6] == ["90 % band", "68 % band", "model, median", "powerlaw", "gaussian", "background"]
    dashes = [found[name]["line"]["dash"] for name in ("model, median", "powerlaw", "gaussian")]
    assert len(set(dashes)) == 3


def test_lines_and_bands_break_where_there_are_no_data() -> None:
    found = traces(gapped())
    line, band = found["model, median"], found["90 % band"]
    assert line["x"].count(None) == line["y"].count(None) == 1
    # two closed areas, each there and back
    assert band["x"].count(None) == 2
    first = band["x"][: band["x"].index(None)]
    assert first == first[::-1]
    assert max(first) < min(band["x"][len(first) + 1 : -1])


def test_each_button_shows_one_kind_of_residuals_and_its_own_level() -> None:
    plot = spectrum_plot(gapped())
    names = [trace["name"] for trace in plot["data"]]
    for kind, button in zip(Residuals, plot["layout"]["updatemenus"][0]["buttons"], strict=True):
        assert (
            button["args"][1]["yaxis2.title.text"] == button["label"] == kind.label(shown_bins(gapped()).display.axis)
        )
        seen = [name for name, on in zip(names, button["args"][0]["visible"], strict=True) if on]
        assert [one for one in seen if one in list(Residuals)] == [kind]
        level, *spans = button["args"][1]["shapes"]
        assert level["y0"] == kind.level
        assert [(one["x0"], one["x1"]) for one in spans] == [(2.0, 2.5)]


@pytest.mark.parametrize("exposure", [1.0, 0.02])
def test_a_spectrum_of_hardly_any_counts_is_plain_json(exposure: float) -> None:
    plot = spectrum_plot(toy_posterior(exposure=exposure, grouping="none"))
    assert "NaN" not in json.dumps(plot, allow_nan=False)
    low, high = plot["layout"]["yaxis"]["range"]
    assert np.isfinite([low, high]).all()
    assert low < high


@pytest.mark.parametrize("axis", list(PlotAxis))
def test_each_axis_shows_the_numbers_of_its_figure(axis: PlotAxis) -> None:
    posterior = gapped()
    shown, plot = shown_bins(posterior, Display(axis)), spectrum_plot(posterior, axis)
    found = {trace["name"]: trace for trace in plot["data"]}
    assert_allclose(found["data"]["x"], shown.middle, rtol=1e-5)
    assert_allclose(found["data"]["y"], shown.density(shown.counts), rtol=1e-5)
    across = plot["layout"]["xaxis"]
    assert across["title"]["text"] == axis.label
    assert plot["layout"]["yaxis"]["title"]["text"].endswith(axis.unit)
    low, high = across["range"] if across["type"] == "linear" else (10.0**end for end in across["range"])
    assert low < shown.lo[0] < shown.hi[-1] < high
    spans = [(one["x0"], one["x1"]) for one in plot["layout"]["shapes"][1:]]
    worst = {
        PlotAxis.keV: [(2.0, 2.5)],
        PlotAxis.angstrom: [(KEV_ANGSTROM / 2.5, KEV_ANGSTROM / 2.0)],
        PlotAxis.channel: [],
    }
    assert spans == worst[axis]
    assert sum(axis.unit in one["label"] for one in plot["layout"]["updatemenus"][0]["buttons"]) == 1


def test_the_axes_are_all_there_and_energies_come_first() -> None:
    assert [one["label"] for one in spectrum_plots(gapped())] == ["keV", "Å", "channels"]
