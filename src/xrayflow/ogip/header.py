"""Headers of FITS files that nobody vouches for.

A header is cards of 80 characters up to END, in blocks of 2880 bytes. Cards are kept as they are and read when they
are asked for, so that damage to one that nobody needs does no harm. The first card of a keyword counts.

Characters that a terminal would obey are shown as `?`: a header may be printed as it is.

Source: FITS standard 4.0, sections 3.1, 4.1, 4.2 (values) and 4.2.1.2 (CONTINUE).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = 2880
"""Bytes."""

CARD = 80
"""Characters."""

MOST_CARDS = 50_000
"""Of one header: 999 columns of ten keywords each, and as many lines of history four times."""

MOST_AXES = 999
"""The standard's own limit."""

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


def table_name(path: Path, header: Header) -> tuple[str, str]:
    """EXTNAME in capitals, and `file[EXTNAME]` or `file[EXTNAME,2]`."""
    name = unit_name(header).upper()
    try:
        version = header.whole("EXTVER", 1)
    except ValueError:
        version = 1
    return name, f"{path}[{name or version}{f',{version}' if name and version != 1 else ''}]"


def unit_name(header: Header) -> str:
    """EXTNAME without surrounding blanks; "" where the header has none that can be read."""
    try:
        name = header.get("EXTNAME")
    except ValueError:
        return ""
    return name.strip() if isinstance(name, str) else ""


def unit_size(header: Header) -> int:
    """Bytes of the data of any unit, without their padding.

    Raises:
        ValueError: The header does not say.
    """
    bits = header.get("BITPIX")
    if bits not in (8, 16, 32, 64, -32, -64):
        raise ValueError(f"BITPIX = {bits!r:.40}")
    axes = header.whole("NAXIS")
    if axes > MOST_AXES:
        raise ValueError(f"NAXIS = {axes}")
    sizes = [header.whole(f"NAXIS{axis}") for axis in range(1, axes + 1)]
    if header.get("GROUPS") is True and sizes[:1] == [0]:
        sizes = sizes[1:] or [0]
    size = 1 if sizes else 0
    for one in sizes:
        size *= one
    return abs(int(bits)) // 8 * header.whole("GCOUNT", 1) * (header.whole("PCOUNT", 0) + size)


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
