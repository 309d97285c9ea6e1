"""Expressions: grammar, algebra, names, numbering."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xrayflow.errors import ModelError
from xrayflow.models.components import COMPONENTS
from xrayflow.models.expression import kind_of, leaves, parse_expression, to_text

ADDITIVE, MULTIPLICATIVE, CONVOLUTION = (
    [component.name for component in COMPONENTS if component.kind == kind]
    for kind in ("additive", "multiplicative", "convolution")
)


@st.composite
def additive_text(draw: st.DrawFn, depth: int = 3) -> str:
    """Any additive expression, with more brackets and blanks than it needs."""
    if depth == 0:
        return draw(st.sampled_from(ADDITIVE))
    shape = draw(st.sampled_from(["leaf", "sum", "product", "call", "bracket"]))
    inner = additive_text(depth=depth - 1)
    if shape == "leaf":
        return draw(st.sampled_from(ADDITIVE)).upper()
    if shape == "sum":
        return f"{draw(inner)} + {draw(inner)}"
    if shape == "bracket":
        return f"( {draw(inner)})"
    left = draw(st.sampled_from(MULTIPLICATIVE + CONVOLUTION))
    return f"{left}({draw(inner)})" if shape == "call" else f"{left}*({draw(inner)})"


@given(text=additive_text())
@settings(deadline=None)
def test_text_to_tree_to_text_is_the_identity_on_canonical_text(text: str) -> None:
    canonical = to_text(parse_expression(text))
    assert to_text(parse_expression(canonical)) == canonical
    assert [leaf.label for leaf in leaves(parse_expression(text))] == [
        leaf.label for leaf in leaves(parse_expression(canonical))
    ]


@given(text=additive_text())
@settings(deadline=None)
def test_every_allowed_expression_is_additive(text: str) -> None:
    assert kind_of(parse_expression(text)) == "additive"


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("tbabs(simpl(ezdiskbb))", "TBabs*simpl*ezdiskbb"),
        ("TBABS * SIMPL * EZDISKBB", "TBabs*simpl*ezdiskbb"),
        ("tb*(gau+pow)", "TBabs*(gaussian+powerlaw)"),
        ("(powerlaw+(diskbb+bbody))", "powerlaw+diskbb+bbody"),
        ("constant*phabs", "constant*phabs"),
        ("phabs*powerlaw + simpl*(diskbb+bbody)", "phabs*powerlaw+simpl*(diskbb+bbody)"),
    ],
)
def test_text_is_made_canonical(text: str, canonical: str) -> None:
    assert to_text(parse_expression(text)) == canonical


def test_later_components_of_a_name_carry_their_place() -> None:
    labels = [leaf.label for leaf in leaves(parse_expression("phabs*(gaussian+gaussian+powerlaw+gaussian)"))]
    assert labels == ["phabs", "gaussian", "gaussian_3", "powerlaw", "gaussian_5"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("powerlaw*TBabs", r"powerlaw \(additive\) cannot multiply TBabs \(multiplicative\)"),
        ("powerlaw*diskbb", r"powerlaw \(additive\) cannot multiply diskbb \(additive\)"),
        ("TBabs*simpl", r"TBabs \(multiplicative\) cannot multiply simpl \(a convolution\)"),
        ("simpl*TBabs", r"simpl \(a convolution\) cannot multiply TBabs \(multiplicative\)"),
        ("simpl*simpl", r"simpl \(a convolution\) cannot multiply simpl \(a convolution\)"),
        ("(powerlaw+diskbb)*phabs", r"powerlaw\+diskbb \(additive\) cannot multiply phabs"),
        ("TBabs+powerlaw", r"TBabs is multiplicative; only additive components can be added, here TBabs \+ powerlaw"),
        ("powerlaw+simpl", "simpl is a convolution; only additive"),
        ("simpl", "a convolution of nothing"),
        ("", "found the end, expected a component"),
        ("TBabs*", "found the end, expected a component"),
        ("TBabs*(powerlaw", r"found the end, expected \+, \* or \)"),
        ("powerlaw)", r"found '\)', expected \+, \* or the end"),
        ("TBabs powerlaw", "found 'powerlaw', expected"),
        ("2*powerlaw", "found '2', expected a component"),
        ("TBabs*powrlaw", "unknown component 'powrlaw'; did you mean 'powerlaw'"),
        ("bb", "'bb' may be bbody or bbodyrad; write more of the name"),
    ],
)
def test_what_breaks_the_grammar_or_the_algebra_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_expression(text)


def test_an_exact_name_wins_over_an_abbreviation() -> None:
    assert to_text(parse_expression("bbody")) == "bbody"
