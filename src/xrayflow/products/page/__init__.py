"""An answer as a page: one file for a browser, with nothing to load from elsewhere."""

from xrayflow.products.page.report import MOST_BYTES, report_page

__all__ = ["MOST_BYTES", "report_page"]
