"""What a terminal shows of the misfit microscope."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from answer_zoo import toy_posterior
from xrayflow.inference import Microscope, Missing
from xrayflow.models import parse_model
from xrayflow.prior import Prior
from xrayflow.products import microscope_table

LINE = Missing("narrow line", "6.4 keV", "equivalent width 90 +- 9 eV", 31.26, 0.000999, "powerlaw+gaussian")
COVERED = Missing("partial covering", "nH 3 10^22 cm^-2, fraction 0.6", "", 33.0, 0.004, "")


def shown(found: Microscope) -> str:
    console = Console(width=140, record=True, file=StringIO())
    console.print(microscope_table(toy_posterior(), found))
    return console.export_text()


def test_the_likeliest_is_proposed_if_there_are_words_for_it() -> None:
    text = shown(Microscope((COVERED, LINE), 0.000999, 1000))
    (row,) = [line.split() for line in text.splitlines() if line.startswith("partial covering")]
    assert row[2:5] == ["+33.0", "0.4", "%"]
    assert "< 0.1 %" in text
    assert "6.4 keV: equivalent width 90 +- 9 eV" in text
    assert "the model lacks something" in text
    assert "fit PHA --model 'powerlaw+gaussian' --prior 'gaussian.LineE=6.08:6.72' --out with-it" in text


@pytest.mark.parametrize(
    ("kind", "where", "expression", "prior"),
    [
        ("broad line", "6.35 keV, sigma 0.3 keV", "TBabs*(gaussian+powerlaw)+gaussian", "gaussian_4.LineE=6.03:6.67"),
        ("dip", "2 keV", "gabs*(gabs*powerlaw)", "gabs.LineE=1.9:2.1"),
        ("edge", "0.87 keV", "edge*(TBabs*edge*powerlaw)", "edge.edgeE=0.827:0.913"),
        ("absorber", "nH 3 10^22 cm^-2", "TBabs*(powerlaw)", None),
    ],
)
def test_what_is_proposed_is_held_where_it_was_found(kind: str, where: str, expression: str, prior: str | None) -> None:
    text = shown(Microscope((Missing(kind, where, "", 12.0, 0.001, expression),), 0.001, 1000))
    held = "" if prior is None else f" --prior '{prior}'"
    assert f"try it: xrayflow fit PHA --model '{expression}'{held} --out with-it" in text
    if prior is not None:
        assert Prior.of(parse_model(expression), [prior])


def test_where_chance_does_as_much_nothing_is_proposed() -> None:
    text = shown(Microscope((replace(LINE, log_bayes=0.4, p_value=0.2),), 0.21, 1000))
    assert "nothing stands out: 21.0 % of 1000 simulated spectra" in text
    assert "try it" not in text
