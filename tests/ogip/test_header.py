"""Cards are read as astropy reads them, and damaged ones harm nobody who does not ask for them."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import pytest
from astropy.io import fits as astropy_fits
from hypothesis import given, settings
from hypothesis import strategies as st

from xrayflow.ogip import header as file
from xrayflow.ogip.header import BLOCK, CARD, Header, read_header

VALUES = (
    st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False, width=32).map(lambda number: float(f"{number:.9G}"))
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=200)
)


def of_cards(*cards: str) -> Header:
    """A header of some cards."""
    text = "".join(card.ljust(CARD) for card in (*cards, "END"))
    found = read_header(text.ljust(BLOCK).encode("latin-1"), 0)
    assert found is not None
    return found


@settings(max_examples=60, deadline=None)
@given(values=st.lists(VALUES, max_size=40))
def test_what_astropy_writes_is_read(values: list[Any]) -> None:
    written = astropy_fits.PrimaryHDU()
    for number, value in enumerate(values):
        written.header[f"KEY{number}"] = (value, "what it means") if number % 2 else value
    written.header["HISTORY"] = "made = 'here'"
    stream = BytesIO()
    written.writeto(stream)
    header = read_header(stream.getvalue(), 0)
    assert header is not None
    assert header.end == len(stream.getvalue())
    for number, value in enumerate(values):
        found = header.get(f"KEY{number}")
        # astropy's own reader takes a doubled quote before a slash for the end; ours has what was written
        assert found == value
        assert isinstance(found, bool) == isinstance(value, bool)


@pytest.mark.parametrize(
    ("card", "value"),
    [
        ("KEY     = 1.5D3 / old double", 1500.0),
        ("KEY     = .5", 0.5),
        ("KEY     =                   -7 / whole", -7),
        ("KEY     =", None),
        ("KEY     = / nothing", None),
        ("KEY     = 'a''b'   / quote", "a'b"),
        ("KEY     = 'first' second'", "first"),
        ("key     = 'lower case'", "lower case"),
        ("KEY     = '  leading and trailing   '", "  leading and trailing"),
        ("OTHER   = 1", None),
    ],
)
def test_values_have_many_forms(card: str, value: object) -> None:
    assert of_cards(card).get("KEY") == value


@pytest.mark.parametrize(
    "card", ["KEY     = 'no end", "KEY     = 1 2", "KEY     = nan", "KEY     = (1, 2)", "KEY     = 1e"]
)
def test_a_damaged_value_is_an_error_for_who_asks_for_it(card: str) -> None:
    header = of_cards(card, "GOOD    = 1")
    assert header.get("GOOD") == 1
    with pytest.raises(ValueError, match="KEY"):
        header.get("KEY")


def test_the_first_card_of_a_keyword_counts() -> None:
    assert of_cards("KEY     = 1", "KEY     = 2").get("KEY") == 1


def test_a_continued_text_is_one() -> None:
    assert of_cards("KEY     = 'one &'", "CONTINUE  'two&'", "CONTINUE  ' three' / said").get("KEY") == "one two three"
    assert of_cards("KEY     = 'one'", "CONTINUE  'of nothing'").get("KEY") == "one"


def test_what_a_terminal_would_obey_is_not_shown() -> None:
    assert of_cards("OBJECT  = 'x\x1b[2Jy\x07\x9b'").get("OBJECT") == "x?[2Jy??"


@pytest.mark.parametrize(
    ("card", "found"),
    [("KEY     = -1", "= -1"), ("KEY     = 1.5", "= 1.5"), ("KEY     = T", "= True"), ("OTHER   = 1", "is missing")],
)
def test_the_structure_needs_whole_numbers(card: str, found: str) -> None:
    with pytest.raises(ValueError, match=f"KEY {found}, not a whole number >= 0"):
        of_cards(card).whole("KEY")


def test_a_header_without_an_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = b"KEY     = 1".ljust(CARD) * 100
    assert read_header(cards, 0) is None
    assert read_header(cards + b" END".ljust(CARD), 0) is None
    monkeypatch.setattr(file, "MOST_CARDS", 50)
    assert read_header(cards + b"END".ljust(CARD), 0) is None
