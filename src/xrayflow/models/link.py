"""Links: a parameter that is an arithmetic expression of others, as XSPEC's `newpar 5 = 2*p1`.

    sum      = product { ("+" | "-") product }
    product  = signed { ("*" | "/") signed }
    signed   = "-" signed | number | name | "(" sum ")"

Names are those of parameters, `gaussian.Sigma`. The tree can be evaluated, differentiated by name, and bounded by
interval arithmetic: whether a linked parameter stays inside its hard limits is decided once, for the whole prior box.
The bounds are sharp where each name stands once; elsewhere they are safe, but may be too wide.

Source: XSPEC manual, "newpar"; Moore 1966, Interval Analysis.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xrayflow.errors import ModelError, nearest
from xrayflow.models.names import shown

Range = tuple[float, float]

DEEPEST = 30
"""The most brackets and signs within each other."""
MOST_TERMS = 100
"""The most names and numbers; the tree is as deep as they are many."""
LONGEST = 10_000
"""The longest link [characters]."""
TOKENS = re.compile(r"[A-Za-z_]\w*(?:\.\w+)?|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|\S", re.ASCII)
"""A component may carry its place, gaussian_3.Sigma; a number may have an exponent with a sign."""


@dataclass(frozen=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True)
class Name:
    """A parameter."""

    name: str


@dataclass(frozen=True)
class Operation:
    """Two terms and what stands between them: `+ - * /`."""

    sign: str
    left: Term
    right: Term


Term = Number | Name | Operation
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}


@dataclass(frozen=True)
class Link:
    """What a linked parameter equals.

    Attributes:
        text: As the user wrote it, with the names in their own case.
        term: The tree.
    """

    text: str
    term: Term

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters that it depends on, each once."""
        return tuple(dict.fromkeys(_names(self.term)))


def parse_link(target: str, text: str, known: Sequence[str]) -> Link:
    """The link of one parameter.

    Args:
        target: The linked parameter, for error lines.
        text: An expression of parameter names (in any case) and numbers.
        known: The names that exist.

    Returns:
        The link.

    Raises:
        ModelError: The text breaks the grammar or names an unknown parameter.

    >>> link = parse_link("b.norm", "2*(A.norm - 1)", ["a.norm", "b.norm"])
    >>> link.text, evaluate(link.term, {"a.norm": 4.0})
    ('2*(a.norm-1)', 6.0)
    """
    reader = _Reader(target, text, known)
    term = reader.sum()
    reader.expect_end()
    return Link("".join(reader.written), term)


def evaluate(term: Term, values: Mapping[str, Any]) -> Any:
    """The value of a term.

    Args:
        term: The tree.
        values: By name: floats, or tensors `(*batch,)`.

    Returns:
        A float or a tensor.

    Raises:
        ZeroDivisionError: A float is divided by the float 0.
    """
    if isinstance(term, Number):
        return term.value
    if isinstance(term, Name):
        return values[term.name]
    return OPERATORS[term.sign](evaluate(term.left, values), evaluate(term.right, values))


def differentiate(term: Term, name: str) -> Term:
    """The derivative of a term by one of its names.

    Args:
        term: The tree.
        name: Of a parameter.

    Returns:
        Another tree.
    """
    if isinstance(term, Number):
        return Number(0.0)
    if isinstance(term, Name):
        return Number(1.0 if term.name == name else 0.0)
    left, right = differentiate(term.left, name), differentiate(term.right, name)
    if term.sign in "+-":
        return Operation(term.sign, left, right)
    first = Operation("*", left, term.right)
    second = Operation("*", term.left, right)
    if term.sign == "*":
        return Operation("+", first, second)
    return Operation("/", Operation("-", first, second), Operation("*", term.right, term.right))


def bounds(term: Term, ranges: Mapping[str, Range]) -> Range:
    """Between what a term lies when its names lie in ranges.

    Args:
        term: The tree.
        ranges: By name.

    Returns:
        Lower and upper bound, infinite where a denominator may be 0.
    """
    if isinstance(term, Number):
        return term.value, term.value
    if isinstance(term, Name):
        return ranges[term.name]
    left, right = bounds(term.left, ranges), bounds(term.right, ranges)
    if term.sign == "+":
        return left[0] + right[0], left[1] + right[1]
    if term.sign == "-":
        return left[0] - right[1], left[1] - right[0]
    if term.sign == "/" and right[0] <= 0.0 <= right[1]:
        return -math.inf, math.inf
    corners = [OPERATORS[term.sign](a, b) for a in left for b in right]
    return min(corners), max(corners)


def _names(term: Term) -> Iterator[str]:
    if isinstance(term, Name):
        yield term.name
    elif isinstance(term, Operation):
        yield from _names(term.left)
        yield from _names(term.right)


class _Reader:
    """Recursive descent over the tokens of one link."""

    def __init__(self, target: str, text: str, known: Sequence[str]) -> None:
        self.where = f"link '{target}={shown(text.strip())}'"
        if len(text) > LONGEST:
            raise ModelError(f"{self.where}: {len(text)} characters; give at most {LONGEST}")
        self.tokens = TOKENS.findall(text)
        self.depth = self.terms = 0
        self.known = {name.lower(): name for name in known}
        self.place = 0
        self.written: list[str] = []

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.place += 1
        self.written.append(self.known.get(token.lower(), token))
        return token

    def fail(self, found: str, wanted: str) -> ModelError:
        where = f"'{shown(found)}'" if found else "the end"
        return ModelError(f"{self.where}: found {where}, expected {wanted}")

    def expect_end(self) -> None:
        if self.peek():
            raise self.fail(self.peek(), "+, -, *, / or the end")

    def sum(self) -> Term:
        term = self.product()
        while self.peek() in ("+", "-"):
            term = Operation(self.take(), term, self.product())
        return term

    def product(self) -> Term:
        term = self.signed()
        while self.peek() in ("*", "/"):
            term = Operation(self.take(), term, self.signed())
        return term

    def signed(self) -> Term:
        token = self.take()
        if token in ("-", "("):
            self.depth += 1
            if self.depth > DEEPEST:
                raise ModelError(f"{self.where}: more than {DEEPEST} brackets and signs within each other")
            term = Operation("-", Number(0.0), self.signed()) if token == "-" else self.bracket()
            self.depth -= 1
            return term
        self.terms += 1
        if self.terms > MOST_TERMS:
            raise ModelError(f"{self.where}: more than {MOST_TERMS} names and numbers; leave some out")
        if re.match(r"\.?[0-9]", token):
            return self.number(token)
        if not re.match(r"[A-Za-z_]", token):
            raise self.fail(token, "a parameter, a number or (")
        if token.lower() not in self.known:
            raise ModelError(f"{self.where}: no parameter '{shown(token)}'{nearest(token, self.known.values())}")
        return Name(self.known[token.lower()])

    def bracket(self) -> Term:
        term = self.sum()
        closing = self.take()
        if closing != ")":
            raise self.fail(closing, "+, -, *, / or )")
        return term

    def number(self, token: str) -> Number:
        value = float(token)
        if not math.isfinite(value):
            raise self.fail(token, "a number that is not so large")
        return Number(value)
