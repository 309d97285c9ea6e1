"""The table of fluxes: what a terminal shows."""

from __future__ import annotations

import pytest
from rich.console import Console

from answer_zoo import altered, toy_posterior
from xrayflow.inference import Posterior
from xrayflow.products import Asked, Measured, quantities, quantity_table


def shown(posterior: Posterior, asked: Asked) -> str:
    """What a narrow terminal shows."""
    console = Console(width=80, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        console.print(quantity_table(posterior, quantities(posterior, asked)))
    return capture.get()


def test_a_table_has_a_row_for_each_quantity_below_what_it_is_of() -> None:
    asked = Asked(
        bands=((1.0, 5.8), (2.0, 10.0)),
        unabsorbed=True,
        components=("powerlaw",),
        distance=Measured(8.0, 1.0, "kpc"),
        hardness=(((3.0, 6.0), (1.0, 3.0)),),
    )
    text = shown(toy_posterior(), asked)
    assert max(map(len, text.splitlines())) <= 80
    lines = [line.strip() for line in text.splitlines()]
    for heading in ("absorbed", "unabsorbed", "powerlaw, absorbed", "powerlaw, unabsorbed"):
        assert lines.count(heading) == 1
    assert text.count("\nflux 1-5.8 keV ") == text.count("\nluminosity 1-5.8 keV ") == 4
    assert text.count("\nflux 2-10 keV+") == 4
    assert "flux ratio 3-6 keV" in text
    assert "+ beyond the data (1-5.8 keV): the model's word alone" in text
    assert "erg/cm^2/s" in text


def test_a_flux_within_the_data_has_no_mark() -> None:
    assert "beyond" not in shown(toy_posterior(), Asked(bands=((1.0, 5.8),)))


def test_a_flux_of_the_fit_s_own_band_has_a_mark_at_either_end_where_there_are_no_bins() -> None:
    toy = toy_posterior()
    assert (toy.band, toy.data_band) == ((1.0, 6.0), (1.0, pytest.approx(5.8)))
    for band in ((1.0, 6.0), (5.0, 5.9), (0.98, 5.0)):
        assert f"{band[0]:g}-{band[1]:g} keV+" in shown(toy, Asked(bands=(band,)))


def test_an_answer_that_is_not_to_be_trusted_says_so() -> None:
    toy = toy_posterior()
    failed = altered(toy, computation=type(toy.computation)("failed", ("for a test",)))
    assert "not to be trusted" in shown(failed, Asked(bands=((1.0, 6.0),)))
    assert "not to be trusted" not in shown(toy, Asked(bands=((1.0, 6.0),)))
