"""RESULTS: what a user sees of an answer: tables, figures, files."""

from xrayflow.products.tables import report
from xrayflow.products.write import located_summary, products_folder, write_products

__all__ = ["located_summary", "products_folder", "report", "write_products"]
