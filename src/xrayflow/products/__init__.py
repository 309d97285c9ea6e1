"""RESULTS: what a user sees of an answer: tables, figures, files."""

from xrayflow.products.classical import Axis, intervals, profile, profile_lines
from xrayflow.products.comparison import Compared, compare, comparison_lines
from xrayflow.products.derived import Asked, Measured, Quantity, parse_band, parse_ratio, quantities
from xrayflow.products.derived_table import quantity_table
from xrayflow.products.display import Display, PlotAxis, Residuals
from xrayflow.products.fisher import FisherForecast, fisher_forecast, fisher_table
from xrayflow.products.forecasting import Forecast, Plan, forecast, forecast_table
from xrayflow.products.levels import central, level_lines
from xrayflow.products.microscope import look_closely, microscope_table
from xrayflow.products.numbers import significant, with_uncertainty
from xrayflow.products.pesummary import write_pesummary
from xrayflow.products.plot import write_figure
from xrayflow.products.publish import draws_table, latex_table, machine_table, results_table
from xrayflow.products.store import is_result, load_result
from xrayflow.products.tables import report
from xrayflow.products.tree import data_tree, write_netcdf
from xrayflow.products.verification import Verification, verification_lines, verify
from xrayflow.products.write import located_summary, products_folder, write_products, write_report

__all__ = [
    "Asked",
    "Axis",
    "Compared",
    "Display",
    "FisherForecast",
    "Forecast",
    "Measured",
    "Plan",
    "PlotAxis",
    "Quantity",
    "Residuals",
    "Verification",
    "central",
    "compare",
    "comparison_lines",
    "data_tree",
    "draws_table",
    "fisher_forecast",
    "fisher_table",
    "forecast",
    "forecast_table",
    "intervals",
    "is_result",
    "latex_table",
    "level_lines",
    "load_result",
    "located_summary",
    "look_closely",
    "machine_table",
    "microscope_table",
    "parse_band",
    "parse_ratio",
    "products_folder",
    "profile",
    "profile_lines",
    "quantities",
    "quantity_table",
    "report",
    "results_table",
    "significant",
    "verification_lines",
    "verify",
    "with_uncertainty",
    "write_figure",
    "write_netcdf",
    "write_pesummary",
    "write_products",
    "write_report",
]
