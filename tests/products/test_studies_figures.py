"""The figures of many sources: each is drawn for every set that can occur, and says what it shows."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from xrayflow.prior import Marginal
from xrayflow.products.figures import png
from xrayflow.products.figures.calibration_plots import coverage_figure, rank_figure, tarp_figure
from xrayflow.products.figures.learning_plot import learning_figure
from xrayflow.products.figures.recovery_plot import Recovered, recovery_figure
from xrayflow.products.learning import Curve

LEVELS = np.linspace(0.0, 1.0, 21)
BAND = (np.maximum(LEVELS - 0.1, 0), np.minimum(LEVELS + 0.1, 1))
RANDOM = np.random.default_rng(0)


def words(figure: Figure) -> str:
    """Everything that is written in a figure, once it is drawn and has ink in it."""
    image = imread(BytesIO(png(figure)))
    assert image.shape[0] > 300
    assert image[..., :3].std() > 0.02
    found = []
    for ax in figure.axes:
        legend = ax.get_legend()
        entries = [] if legend is None else [legend.get_title(), *legend.get_texts()]
        found += [text.get_text() for text in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts, *entries)]
    return "\n".join([*found, *(text.get_text() for text in figure.texts)])


@pytest.mark.parametrize(("parameters", "sources", "sets"), [(5, 40, 50), (1, 1, 1), (7, 3, 2)])
def test_draws_against_truths_are_drawn_for_any_number_of_parameters(parameters: int, sources: int, sets: int) -> None:
    panels = []
    for number in range(parameters):
        marginal = Marginal(f"a.p{number}", "keV", 0.1, 10.0, "log" if number % 2 else "linear")
        truth = RANDOM.uniform(-1, 1, sources) if number % 2 else RANDOM.uniform(0.1, 10, sources)
        draws = truth + 0.1 * RANDOM.normal(size=(sets, sources))
        panels.append(Recovered(marginal, truth, draws, 0.987, (1.01, 0.02), -0.1))
    text = words(recovery_figure(panels, np.geomspace(1.0, 1e4, sources), "noisy"))
    assert "true a.p0" in text
    assert "r = 0.987    slope 1.010 ± 0.020" in text
    assert f"{sets} draws of {sources} spectra" in text


@pytest.mark.parametrize("lines", [1, 5, 9])
def test_coverage_is_drawn_for_any_number_of_parameters(lines: int) -> None:
    share = np.clip(LEVELS[:, None] ** RANDOM.uniform(0.5, 2, lines), 0, 1)
    text = words(coverage_figure(LEVELS, share, [f"p{i}" for i in range(lines)], BAND, 77, "clean"))
    assert "77 spectra; band: 95 % of the time" in text
    assert f"p{lines - 1}" in text


@pytest.mark.parametrize("parameters", [1, 3, 5])
def test_ranks_are_drawn_with_their_p_values(parameters: int) -> None:
    rank = RANDOM.random((200, parameters))
    p_value = np.array([1e-9, *([0.42] * (parameters - 1))])
    text = words(rank_figure(rank, [f"p{i}" for i in range(parameters)], p_value, (0.02, 0.08), 20))
    assert "p < $10^{-4}$" in text
    assert parameters == 1 or "p = 0.42" in text


def test_tarp_curves_are_drawn_with_their_names() -> None:
    text = words(tarp_figure(LEVELS, [("ours", LEVELS, 0.5), ("theirs", LEVELS**2, 0.0)], BAND, 10))
    assert "ours, p = 0.5" in text
    assert "theirs, p < $10^{-4}$" in text


def test_learning_curves_show_every_loss_in_its_stages() -> None:
    curves = [
        Curve("decoder", "decoder", (1, 2, 3), (2e4, 900.0, 80.0), (1e4, 700.0, 60.0)),
        Curve("flow", "flow", (4, 5), (2.0, -1.0), (1.0, -2.0)),
        Curve("both", "flow", (6,), (-3.0,), (-3.1,)),
        Curve("both", "reconstruction", (6,), (5.0,), (4.0,)),
    ]
    figure = learning_figure(curves, "toy")
    text = words(figure)
    for word in ("decoder: reconstruction from the truth", "flow: $-$ln q", "reconstruction from a draw", "both"):
        assert word in text
    scales = {ax.title.get_text().split(":")[0]: ax.get_yscale() for ax in figure.axes}
    assert (scales["decoder"], scales["flow"]) == ("log", "linear")
    assert words(learning_figure(curves[:1]))
