"""Headers of FITS files that nobody vouches for.

A header is cards of 80 characters up to END, in blocks of 2880 bytes. Cards are kept as they are and read when they
are asked for, so that damage to one that nobody needs does no harm. The first card of a keyword counts.

Characters that a terminal would obey are shown as `?`: a header may be printed as it is.

Source: FITS standard 4.0, sections 3.1, 4.1, 4.2 (values) and 4.2.1.2 (CONTINUE).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

BLOCK = 2880
"""Bytes."""

CARD = 80
"""Characters."""

MOST_CARDS = 50_000
"""Of one header: 999 columns of ten keywords each, and as many lines of history four times."""

Value = str | bool | int | float | None

_END = b"END".ljust(CARD)
_STRING = re.compile(r"((?:[^']|'')*)'")
"""What follows the first quote of a card whose value is a text, as far as the text goes."""

_WHOLE_STRING = re.compile(r"((?:[^']|'')*)' *(?:/.*)?")
"""The same, where nothing but a comment follows."""

_INTEGER = re.compile(r"[+-]?\d+")
_FLOAT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EeDd][+-]?\d+)?")
_OBEYED = {code: "?" for code in (*range(32), *range(127, 160))}


@dataclass(frozen=True, eq=False)
class Header:
    """The cards of one header.

    Args:
        cards: The 80 characters of each keyword's first card, with its CONTINUE cards.
        end: Of its last block [byte of the file].
    """

    cards: dict[str, str] = field(repr=False)
    end: int

    def get(self, name: str) -> Value:
        """The value of a keyword; None where it is absent or undefined.

        Raises:
            ValueError: The card is there, but no value can be read from it.
        """
        card = self.cards.get(name)
        if card is None:
            return None
        rest = card[10:CARD].lstrip()
        if rest.startswith("'"):
            return _text(card)
        word = rest.partition("/")[0].strip()
        if word in ("", "T", "F"):
            return word == "T" if word else None
        if _INTEGER.fullmatch(word):
            return int(word)
        if _FLOAT.fullmatch(word):
            return float(word.upper().replace("D", "E"))
        raise ValueError(f"{name} = {word}")

    def whole(self, name: str, default: int | None = None) -> int:
        """A keyword of the structure, which has to be a whole number >= 0.

        Raises:
            ValueError: It is none, or it is absent and there is no default.
        """
        value = self.get(name)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            found = "is missing" if value is None else f"= {value!r:.40}"
            raise ValueError(f"{name} {found}, not a whole number >= 0")
        return value


def read_header(content: bytes, start: int) -> Header | None:
    """The header that begins at a byte.

    Args:
        content: All bytes of the file.
        start: Where the first card is.

    Returns:
        The header; None where it has no END within `MOST_CARDS`.
    """
    limit = min(len(content), start + MOST_CARDS * CARD)
    end = content.find(_END, start, limit)
    while end >= 0 and (end - start) % CARD:
        end = content.find(_END, end + 1, limit)
    if end < 0:
        return None
    text = content[start:end].decode("latin-1").translate(_OBEYED)
    cards: dict[str, str] = {}
    last = ""
    for at in range(0, len(text), CARD):
        card = text[at : at + CARD]
        keyword = card[:8].rstrip().upper()
        if keyword == "CONTINUE" and last:
            cards[last] += card
            continue
        last = keyword if card[8] == "=" and keyword not in cards else ""
        if last:
            cards[keyword] = card
    return Header(cards, start + -(-(end + CARD - start) // BLOCK) * BLOCK)


def _text(image: str) -> str:
    """The text of a card and its CONTINUE cards.

    Raises:
        ValueError: The text has no end.
    """
    *continued, last = (image[at : at + CARD].partition("'")[2].rstrip() for at in range(0, len(image), CARD))
    if all(card.endswith("&'") for card in continued):
        # joined before the end is sought: some writers cut a doubled quote in two
        whole = _WHOLE_STRING.fullmatch("".join(card.removesuffix("&'") for card in continued) + last)
        if whole:
            return whole[1].replace("''", "'").rstrip()
    first = _STRING.match(image[:CARD].partition("'")[2])
    if first is None:
        raise ValueError(image[:CARD].rstrip())
    return first[1].replace("''", "'").rstrip()
