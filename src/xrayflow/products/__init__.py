"""RESULTS: what a user sees of an answer: tables, figures, files."""

from xrayflow.products.write import write_products

__all__ = ["write_products"]
