"""What a terminal shows of the misfit microscope."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from answer_zoo import toy_posterior
from xrayflow.inference import Microscope, Missing
from xrayflow.products import microscope_table

LINE = Missing("narrow line", "6.4 keV", "equivalent width 90 +- 9 eV", 31.26, 0.000999, "powerlaw+gaussian")
COVERED = Missing("partial covering", "nH 3 10^22 cm^-2, fraction 0.6", "", 33.0, 0.004, "")


def shown(found: Microscope) -> str:
    console = Console(width=100, record=True, file=StringIO())
    console.print(microscope_table(toy_posterior(), found))
    return console.export_text()


def test_the_likeliest_is_proposed_if_there_are_words_for_it() -> None:
    text = shown(Microscope((COVERED, LINE), 0.000999, 1000))
    (row,) = [line.split() for line in text.splitlines() if line.startswith("partial covering")]
    assert row[2:5] == ["+33.0", "0.4", "%"]
    assert "< 0.1 %" in text
    assert "6.4 keV: equivalent width 90 +- 9 eV" in text
    assert "the model lacks something" in text
    assert "--models 'powerlaw+gaussian'" in text


def test_where_chance_does_as_much_nothing_is_proposed() -> None:
    text = shown(Microscope((replace(LINE, log_bayes=0.4, p_value=0.2),), 0.21, 1000))
    assert "nothing stands out: 21.0 % of 1000 simulated spectra" in text
    assert "try it" not in text
