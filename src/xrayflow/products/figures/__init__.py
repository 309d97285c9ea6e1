"""Figures: the only room that knows matplotlib and corner. Each function gives a finished figure; nothing is global."""

from xrayflow.products.figures.corner_plot import corner_figure
from xrayflow.products.figures.spectrum_plot import spectrum_figure
from xrayflow.products.figures.style import png

__all__ = ["corner_figure", "png", "spectrum_figure"]
