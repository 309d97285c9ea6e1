"""Expressions: grammar, algebra, names, numbering."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xrayflow.errors import ModelError
from xrayflow.models.components import COMPONENTS
from xrayflow.models.expression import kind_of, leaves, parse_expression, to_text
from xrayflow.models.names import INSTEAD, LOCAL, XSPEC, full_name

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
        ("pha(ga+po+bb+bbodyr)", "phabs*(gaussian+powerlaw+bbody+bbodyrad)"),
        ("con*ed*hi*gab*cut", "constant*edge*highecut*gabs*cutoffpl"),
        ("sim*ez+simplc*diskb", "simpl*ezdiskbb+simplcutx*diskbb"),
        ("(powerlaw+(diskbb+bbody))", "powerlaw+diskbb+bbody"),
        ("constant*phabs", "constant*phabs"),
        ("phabs*powerlaw + simpl*(diskbb+bbody)", "phabs*powerlaw+simpl*(diskbb+bbody)"),
    ],
)
def test_text_is_made_canonical(text: str, canonical: str) -> None:
    assert to_text(parse_expression(text)) == canonical


@pytest.mark.parametrize(
    ("printed", "plain"),
    [
        ("constant<1>*TBabs<2>*simpl<3>(ezdiskbb<4>)", "constant*TBabs*simpl*ezdiskbb"),
        (
            "Model phabs<1>(gaussian<2> + powerlaw<3> + gaussian<4>) Source No.: 1   Active/On",
            "phabs*(gaussian+powerlaw+gaussian)",
        ),
        ("phabs<1>(gaussian<2> + powerlaw<3>)Source No.: 12   Active/Off", "phabs*(gaussian+powerlaw)"),
        ("  model  TBabs(po)\n", "TBabs*powerlaw"),
    ],
)
def test_what_xspec_prints_is_read(printed: str, plain: str) -> None:
    assert parse_expression(printed) == parse_expression(plain)
    assert to_text(parse_expression(printed)) == plain


def test_every_name_of_xspec_and_of_ours_is_its_own_first_match() -> None:
    ours = [component.name for component in COMPONENTS]
    for name in {*XSPEC, *LOCAL, *ours}:
        assert full_name(name.upper(), [*ours, name]) == name


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("co*powerlaw", "'co' is XSPEC's compbb: not in xrayflow yet; write more of constant if you mean that"),
        ("si*diskbb", "'si' is XSPEC's sirf: not in xrayflow yet; write more of simpl or simplcutx if you mean that"),
        ("disk", "disk: not in xrayflow yet"),
        ("wabs*powerlaw", "wabs: not in xrayflow; its cross sections and abundances are obsolete; take phabs with "),
        ("wa*powerlaw", "'wa' is XSPEC's wabs: not in xrayflow; its cross sections and abundances are obsolete; take"),
        ("zpo", "'zpo' is XSPEC's zpowerlw: not in xrayflow; its shape is that of powerlaw; only the norm differs"),
        ("RELXILL", "relxill: not in xrayflow yet"),
        ("mekall", "unknown component 'mekall'; did you mean 'mekal'? That is not in xrayflow yet"),
        ("wabss*powerlaw", "unknown component 'wabss'; did you mean 'wabs'? That is not in xrayflow; its cross sect"),
        ("qqqqqqqq", "unknown component 'qqqqqqqq'; known: powerlaw, "),
    ],
)
def test_another_model_is_never_taken_for_what_xspec_would_take(text: str, line: str) -> None:
    with pytest.raises(ModelError) as found:
        parse_expression(text)
    assert str(found.value).startswith(line)


def test_what_to_take_instead_is_said_of_models_that_we_lack() -> None:
    ours = {component.name for component in COMPONENTS}
    assert set(INSTEAD) <= {*XSPEC, *LOCAL} - ours


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(" * 250 + "powerlaw" + ")" * 250, "more than 30 brackets within each other"),
        ("TBabs(" * 250 + "powerlaw" + ")" * 250, "more than 30 brackets within each other"),
        ("+".join(["powerlaw"] * 1000), "more than 100 components; leave some out"),
        ("*".join(["TBabs"] * 1000), "more than 100 components; leave some out"),
        ("(" * 100_000, "model expression of 100000 characters; give at most 10000"),
        (" " * 9_000 + "*", r"model expression '\*': found '\*'"),
        ("x" * 9_000, "unknown component 'x{200}...'; known"),
        ("powerlaw\x1b[2J\n*", r"model expression 'powerlaw\\x1b\[2J\\n\*': found '\\x1b'"),
        ("TBabs<" + "9" * 5000 + ">", "found '<', expected"),
    ],
)
def test_an_expression_without_end_is_refused_in_one_short_line(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as found:
        parse_expression(text)
    assert len(str(found.value)) < 1000
    assert str(found.value).isprintable()


def test_the_largest_expressions_are_read() -> None:
    assert len(list(leaves(parse_expression("+".join(["powerlaw"] * 100))))) == 100
    assert to_text(parse_expression("(" * 30 + "powerlaw" + ")" * 30)) == "powerlaw"


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
        ("g", "component 'g': as in XSPEC, write at least 2 letters"),
        ("TBabs<1>*powerlaw<3>", "powerlaw<3> stands at place 2; give the whole model that XSPEC prints"),
        ("TBabs<>*powerlaw", "found '<', expected"),
        ("TBabs*powerlaw²", "found '²', expected"),
        ("atable{disc.fits}", "atable: not in xrayflow; table models are read from files"),
    ],
)
def test_what_breaks_the_grammar_or_the_algebra_is_refused_in_words(text: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_expression(text)


def test_an_exact_name_wins_over_an_abbreviation() -> None:
    assert to_text(parse_expression("bbody")) == "bbody"
