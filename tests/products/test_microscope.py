"""What a terminal shows of the misfit microscope."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from answer_zoo import altered, toy_posterior
from fit_zoo import observation
from xrayflow.errors import DataError
from xrayflow.inference import Microscope, Missing, Refit, infer
from xrayflow.models import parse_model
from xrayflow.prior import Prior
from xrayflow.products import look_closely, microscope_table

LINE = Missing("narrow line", "6.4 keV", "equivalent width 90 +- 9 eV", 31.26, 0.000999, "powerlaw+gaussian")
COVERED = Missing("partial covering", "nH 3 10^22 cm^-2, fraction 0.6", "", 33.0, 0.004, "")


REFIT = Refit(
    *(12.5, 0.06, "do-not-trust", "certified", "bad", "certified", "certified", "acceptable"),
    {"gaussian.LineE": {"median": 6.41, "lower90": 6.38, "upper90": 6.44, "unit": "keV"}},
    {"gaussian.LineE": "0.3 .. 9.5 log"},
)


def shown(found: Microscope, refit: int = 0) -> str:
    console = Console(width=140, record=True, file=StringIO())
    console.print(microscope_table(toy_posterior(), found, refit))
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


def test_the_exact_ln_b_stands_beside_the_linear_one_with_both_verdicts() -> None:
    text = shown(Microscope((replace(LINE, refit=REFIT), COVERED), 0.001, 1000), 1)
    (row,) = [line.split() for line in text.splitlines() if line.startswith("narrow line")]
    assert row[2:6] == ["+31.3", "+12.50", "+-", "0.06"]
    assert "ln B, fitted" in text
    assert "powerlaw+gaussian: do-not-trust (computation certified, fit bad)" in text
    assert "TBabs*powerlaw: certified (computation certified, fit acceptable)" in text
    assert "gaussian.LineE     6.41  [6.38, 6.44] keV; prior 0.3 .. 9.5 log" in text
    assert "?" not in text
    assert "ln B is that of a linear fit" not in text


def test_of_what_was_fitted_the_likeliest_by_its_fit_is_proposed() -> None:
    absorber = Missing(
        "absorber", "nH 3 10^22 cm^-2", "", 40.0, 0.001, "TBabs*(powerlaw)", refit=replace(REFIT, log_bayes=-2.0)
    )
    text = shown(Microscope((absorber, replace(LINE, refit=REFIT), COVERED), 0.001, 1000), 2)
    assert "fit PHA --model 'powerlaw+gaussian'" in text
    text = shown(Microscope((absorber, COVERED), 0.001, 1000), 1)
    assert "try it" not in text


def test_an_evidence_that_is_not_certified_is_marked() -> None:
    text = shown(Microscope((replace(LINE, refit=replace(REFIT, computation="approximate")),), 0.001, 1000), 1)
    assert "? +12.50 +- 0.06" in text
    missed = shown(Microscope((replace(LINE, refit=replace(REFIT, least=14.0)),), 0.001, 1000), 1)
    assert "? the fit with it misses a mode: ln B is +14.0 at least, by draws of the fit without it" in missed
    assert "? evidence not certified: with it approximate" in text


def test_the_likeliest_are_fitted_and_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    """Of a spectrum that lacks nothing, linear and exact agree; each component has its interval."""
    from_file = observation(tmp_path, exposure=60.0)
    answer = infer(from_file, "powerlaw", energies=[(0.6, 8.0)])
    steps: list[tuple[str, float]] = []
    found = look_closely(answer, 50, lambda step, fraction: steps.append((step, fraction)), refit=9)
    again = look_closely(answer, 50, refit=2)
    assert again.missing[:2] == found.missing[:2]
    for one in found.missing:
        assert (one.refit is None) == bool(one.why_not) == (one.kind == "energy scale"), one.kind
        if one.refit is not None:
            assert one.refit.doubt == "", one.kind
            assert set(one.refit.parameters) == set(one.refit.prior)
            assert one.refit.log_bayes == pytest.approx(one.log_bayes, abs=1.5), one.kind
    assert all(0.0 <= fraction <= 1.0 for _, fraction in steps)
    assert {"simulating", "fitting edge", "fitting partial covering"} <= {step for step, _ in steps}
    text = shown(found, 9)
    assert "(not fitted: no component of a model: --systematic modes believes" in text


def test_draws_of_a_network_alone_have_no_evidence_to_compare() -> None:
    with pytest.raises(DataError, match="no evidence to compare; fit without --amortised"):
        look_closely(altered(toy_posterior(), mode="amortised"), 50, refit=1)
