"""The numbers behind the figure of the spectrum."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.table import Table
from numpy.testing import assert_allclose

from answer_zoo import toy_posterior
from xrayflow.inference import Posterior
from xrayflow.products.display import shown_bins
from xrayflow.products.figures import spectrum_numbers


def read(posterior: Posterior) -> Table:
    return Table.read(spectrum_numbers(posterior).decode().splitlines(), format="ascii.ecsv")


@pytest.mark.parametrize("background", [False, True])
def test_they_are_those_of_the_figure(background: bool) -> None:
    posterior = toy_posterior(background=background)
    table, shown = read(posterior), shown_bins(posterior)
    assert not shown.merged
    for column, values in (
        ("energy_lo", shown.lo),
        ("energy_hi", shown.hi),
        ("counts", shown.counts),
        ("error_below", shown.below),
        ("error_above", shown.above),
        ("model", shown.total[1]),
        ("model_upper90", shown.total[2]),
        ("residual", shown.residual),
        ("rate", shown.density(shown.counts)),
        ("rate_model", shown.density(shown.total[1])),
    ):
        assert_allclose(table[column], values, rtol=1e-6, atol=1e-9)
    assert str(table["rate"].unit) == "ct / (keV s)" or table["rate"].unit == "ct / (s keV)"
    assert table.meta["model"] == "TBabs*powerlaw"


def test_source_and_background_are_what_the_model_is_made_of() -> None:
    table = read(toy_posterior(background=True))
    assert float(np.min(table["background"])) >= 0.0
    assert (table["source_lower90"] <= table["source"]).all()
    assert (table["source"] < table["model"]).all()
    assert_allclose(np.sum(table["source"] + table["background"]), np.sum(table["model"]), rtol=0.05)
    assert_allclose(read(toy_posterior())["source"], read(toy_posterior())["model"])
