"""Figures: the only room that knows matplotlib and corner. Each function gives a finished figure; nothing is global."""

from xrayflow.products.figures.bin_table import shown_numbers, spectrum_numbers
from xrayflow.products.figures.calibration_plots import coverage_figure
from xrayflow.products.figures.catalogue_plots import Series, hardness_figure, quality_figure, time_figure
from xrayflow.products.figures.corner_plot import corner_figure
from xrayflow.products.figures.passport_plot import passport_figure
from xrayflow.products.figures.population_plot import Along, correlation_figure, population_figure
from xrayflow.products.figures.qq_plot import cumulated, qq_figure
from xrayflow.products.figures.recovery_plot import Recovered, recovery_figure
from xrayflow.products.figures.spectrum_plot import COMPONENT_STYLES, spectrum_figure
from xrayflow.products.figures.style import BACKGROUND, INK, MODEL, WORST, image, png, smaller
from xrayflow.products.figures.unfolded_plot import unfolded, unfolded_figure

__all__ = [
    "BACKGROUND",
    "COMPONENT_STYLES",
    "INK",
    "MODEL",
    "WORST",
    "Along",
    "Recovered",
    "Series",
    "corner_figure",
    "correlation_figure",
    "coverage_figure",
    "cumulated",
    "hardness_figure",
    "image",
    "passport_figure",
    "png",
    "population_figure",
    "qq_figure",
    "quality_figure",
    "recovery_figure",
    "shown_numbers",
    "smaller",
    "spectrum_figure",
    "spectrum_numbers",
    "time_figure",
    "unfolded",
    "unfolded_figure",
]
