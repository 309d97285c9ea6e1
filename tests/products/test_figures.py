"""Figures: they are drawn for every answer that can occur, in their size, and leave matplotlib as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.image import imread

from answer_zoo import TRUTH, altered, carried_by_few, first_parameters, squeezed, toy_posterior
from xrayflow.inference import Posterior
from xrayflow.networks import Reconstruction
from xrayflow.products.display import display_groups, poisson_errors, shown_bins
from xrayflow.products.figures import corner_figure, png, spectrum_figure
from xrayflow.products.figures.style import RECONSTRUCTION, energy_ticks, ticks


def texts(figure: Figure) -> str:
    """All words of a figure."""
    axes = [text for ax in figure.axes for text in (ax.xaxis.label, ax.yaxis.label, ax.title)]
    return "\n".join(text.get_text() for text in [*figure.texts, *axes])


def at_the_edge(posterior: Posterior) -> Posterior:
    """An answer that is the prior, with a limit in its flags."""
    lo = np.array([marginal.lo for marginal in posterior.prior.marginals])
    hi = np.array([marginal.hi for marginal in posterior.prior.marginals])
    unit = np.random.default_rng(0).random(posterior.draws.shape)
    return altered(posterior, draws=lo + unit * (hi - lo), flags=("upper_limit:TBabs.nH", "lower_limit:powerlaw.norm"))


VARIANTS: dict[str, Callable[[Posterior], Posterior]] = {
    "as it is": lambda posterior: posterior,
    "truth known": lambda posterior: replace(posterior, truth=TRUTH),
    "truth far away": lambda posterior: replace(posterior, truth=TRUTH | {"powerlaw.PhoIndex": 9.0}),
    "one parameter": lambda posterior: first_parameters(posterior, 1),
    "two parameters": lambda posterior: first_parameters(posterior, 2),
    "very narrow": lambda posterior: squeezed(posterior, 1e-7),
    "a point": lambda posterior: squeezed(posterior, 0.0),
    "few draws carry it": carried_by_few,
    "fewer draws than parameters": lambda posterior: altered(
        posterior, draws=posterior.draws[:2], log_weight=posterior.log_weight[:2], ess=2.0
    ),
    "all of the prior": at_the_edge,
}


@pytest.mark.parametrize("name", list(VARIANTS))
def test_the_corner_plot_is_drawn_for_every_answer(name: str) -> None:
    posterior = VARIANTS[name](toy_posterior())
    figure = corner_figure(posterior)
    image = imread(BytesIO(png(figure)))
    assert len(figure.axes) == len(posterior.names) ** 2
    assert image.shape[0] >= 600
    assert image.shape[1] >= 600
    assert image[..., :3].std() > 0.02
    assert all(parameter in texts(figure) for parameter in posterior.names)


def test_the_corner_plot_names_units_limits_and_the_verdict() -> None:
    words = texts(corner_figure(at_the_edge(toy_posterior())))
    assert "10$^{22}$ cm$^{-2}$" in words
    assert "\n< " in words
    assert "\n> " in words
    assert toy_posterior().verdict in words
    assert "TBabs*powerlaw" in words


def test_a_mode_too_light_to_show_is_counted_in_words() -> None:
    posterior = toy_posterior()
    draws = np.array([0.02, 1.7, 0.05]) * (1.0 + 0.01 * np.random.default_rng(0).standard_normal((1000, 3)))
    draws[:25, 1] = 4.9
    figure = corner_figure(altered(posterior, draws=draws, log_weight=np.zeros(len(draws))))
    assert "2.5 % of the weight lies outside the panels" in texts(figure)


def test_the_spectrum_has_a_data_and_a_residual_panel_with_units() -> None:
    figure = spectrum_figure(toy_posterior())
    above, below = figure.axes
    assert above.get_ylabel() == "Counts s$^{-1}$ keV$^{-1}$"
    assert below.get_xlabel() == "Energy [keV]"
    assert above.get_xscale() == above.get_yscale() == "log"
    image = imread(BytesIO(png(figure)))
    assert image.shape[:2] == (1050, 1290)
    assert all(
        word in texts(figure) for word in ("power law", "TBabs*powerlaw", "cstat / dof", toy_posterior().verdict)
    )


def test_the_background_is_shown_and_named() -> None:
    figure = spectrum_figure(toy_posterior(background=True))
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert "background" in [text.get_text() for text in legend.get_texts()]


def test_a_reconstruction_is_drawn_and_named() -> None:
    lo, hi = np.array([1.0, 2.0, 4.0]), np.array([2.0, 3.0, 5.0])
    density = np.array([[0.9, 0.5, 0.1], [1.0, 0.6, 0.2], [1.1, 0.7, 0.3]])
    answer = altered(toy_posterior(), network="theirs", reconstruction=Reconstruction(lo, hi, density))
    above = spectrum_figure(answer).axes[0]
    lines = [line for line in above.lines if line.get_color() == RECONSTRUCTION]
    assert len(lines) == 3
    x, y = np.asarray(lines[1].get_xdata()), np.asarray(lines[1].get_ydata())
    np.testing.assert_array_equal(x[~np.isnan(x)], [1.0, 2.0, 2.0, 3.0, 4.0, 5.0])
    np.testing.assert_array_equal(y[~np.isnan(y)], [1.0, 1.0, 0.6, 0.6, 0.2, 0.2])
    legend = above.get_legend()
    assert legend is not None
    assert any("reconstruction of theirs" in text.get_text() for text in legend.get_texts())
    plain = spectrum_figure(toy_posterior()).axes[0]
    assert not [line for line in plain.lines if line.get_color() == RECONSTRUCTION]


def test_a_faint_spectrum_is_merged_for_display_and_says_so() -> None:
    posterior = toy_posterior(exposure=1.0, grouping="none")
    shown = shown_bins(posterior)
    assert shown.merged
    assert shown.counts.sum() == posterior.data[0].counts.sum()
    assert f"{posterior.data[0].counts.size} bins merged to {shown.lo.size} for display" in texts(
        spectrum_figure(posterior)
    )


def test_residuals_are_those_of_the_noise() -> None:
    posterior = toy_posterior()
    shown = shown_bins(posterior)
    expected = posterior.predictive.total[1]
    np.testing.assert_allclose(shown.residual, (posterior.data[0].counts - expected) / np.sqrt(expected))


def test_energies_where_the_data_leave_the_model_are_shaded_in_both_panels() -> None:
    posterior = toy_posterior()
    before = [len(ax.patches) for ax in spectrum_figure(posterior).axes]
    fit = replace(posterior.fit, worst_energies=((2.0, 2.5), (4.0, 4.2)))
    after = [len(ax.patches) for ax in spectrum_figure(replace(posterior, fit=fit)).axes]
    assert [b - a for a, b in zip(before, after, strict=True)] == [2, 2]


def test_figures_leave_the_settings_of_matplotlib_and_ignore_the_user_s() -> None:
    with mpl.rc_context({"font.size": 31.0, "savefig.transparent": True, "axes.facecolor": "black"}):
        before = dict(mpl.rcParams)
        odd = png(spectrum_figure(toy_posterior()))
        assert dict(mpl.rcParams) == before
    assert odd == png(spectrum_figure(toy_posterior()))


@given(st.lists(st.integers(0, 40), min_size=2, max_size=400), st.booleans())
@settings(deadline=None, max_examples=50)
def test_display_groups_are_runs_that_begin_at_the_first_bin(counts: list[int], few: bool) -> None:
    edges = np.linspace(0.3, 10.0, len(counts) + 1)
    starts = display_groups(edges[:-1], edges[1:], np.array(counts, dtype=np.float64), few)
    assert starts[0] == 0
    assert np.all(np.diff(starts) > 0)
    assert np.add.reduceat(np.array(counts), starts).sum() == sum(counts)
    assert starts.size <= 250


def test_display_groups_do_not_bridge_a_gap() -> None:
    lo = np.concatenate([np.arange(100) * 0.01 + 0.3, np.arange(100) * 0.01 + 5.0])
    starts = display_groups(lo, lo + 0.01, np.zeros(200))
    assert 100 in starts


def test_poisson_errors_are_those_of_the_tables() -> None:
    """Gehrels 1986, tables 1 and 2, confidence .8413, n = 0, 1, 10: upper 1.841, 3.300, 14.27; lower 0, .173, 6.891."""
    below, above = poisson_errors(np.array([0.0, 1.0, 10.0]))
    np.testing.assert_allclose(np.array([0, 1, 10]) + above, [1.841, 3.300, 14.27], rtol=2e-3)
    np.testing.assert_allclose(np.array([0, 1, 10]) - below, [0.0, 0.173, 6.891], atol=2e-3)


@given(st.floats(-8.0, 8.0), st.floats(1e-9, 12.0), st.booleans())
@settings(deadline=None, max_examples=200)
def test_ticks_lie_on_their_axis_and_tell_themselves_apart(lo: float, width: float, logarithmic: bool) -> None:
    scale = ticks(lo, lo + width, logarithmic)
    assert 1 <= len(scale.places) <= 9
    assert len(scale.places) == len(scale.labels)
    assert all(lo - 1e-9 - 1e-6 * width <= place <= lo + width + 1e-9 + 1e-6 * width for place in scale.places)
    assert len(set(scale.labels)) == len(scale.labels) or width < 1e-6


@pytest.mark.parametrize(("lo", "hi"), [(0.3, 10.0), (0.1, 100.0), (1e-3, 1e3), (6.1, 6.9), (5.0, 5.001)])
def test_an_energy_axis_has_at_least_two_labels(lo: float, hi: float) -> None:
    assert len(energy_ticks(lo, hi).labels) >= 2
