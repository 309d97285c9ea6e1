"""Figures: the only room that knows matplotlib and corner. Each function gives a finished figure; nothing is global."""

from xrayflow.products.figures.calibration_plots import coverage_figure
from xrayflow.products.figures.corner_plot import corner_figure
from xrayflow.products.figures.passport_plot import passport_figure
from xrayflow.products.figures.recovery_plot import Recovered, recovery_figure
from xrayflow.products.figures.spectrum_plot import spectrum_figure
from xrayflow.products.figures.style import png

__all__ = [
    "Recovered",
    "corner_figure",
    "coverage_figure",
    "passport_figure",
    "png",
    "recovery_figure",
    "spectrum_figure",
]
