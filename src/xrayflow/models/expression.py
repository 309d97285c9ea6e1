"""Model expressions: text to tree, tree to text, with XSPEC's algebra and numbering.

    sum      = product { "+" product }
    product  = factor { "*" factor }
    factor   = name | name "(" sum ")" | "(" sum ")"

`name(...)` is `name*(...)`. With A additive, M multiplicative, C convolution:

    A + A = A      M * M = M      M * A = A      C * A = A (on everything to its right in the product)

and all else is refused. Components are numbered from 1 in the order of the text; the first of a name keeps it, a later
one appends its number: `TBabs*(gaussian+gaussian)` holds `gaussian` and `gaussian_3`. What XSPEC prints is read too,
with its numbers and what stands around it: `Model TBabs<1>*powerlaw<2> Source No.: 1   Active/On`.

Source: XSPEC manual, "The model command"; the numbering is that of PyXspec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from xrayflow.errors import ModelError
from xrayflow.models.component import Component, Kind
from xrayflow.models.components import COMPONENTS
from xrayflow.models.names import full_name, shown


@dataclass(frozen=True)
class Leaf:
    """One component of an expression.

    Attributes:
        component: What it is.
        number: Its place in the text, from 1.
        label: Its name in the model, `gaussian` or `gaussian_3`.
    """

    component: Component
    number: int
    label: str


@dataclass(frozen=True)
class Product:
    """Factors; the last is additive, or all are multiplicative."""

    factors: tuple[Node, ...]


@dataclass(frozen=True)
class Sum:
    """Additive terms."""

    terms: tuple[Node, ...]


Node = Leaf | Product | Sum
MOST_COMPONENTS = 100
DEEPEST = 30
"""The most brackets within each other."""
LONGEST = 10_000
"""The longest expression [characters]."""
PRINTED = re.compile(
    r"(?:mo(?:d(?:el?)?)?\s+)?(?P<text>.*?)(?:Source No\.: *\d+\s*Active/(?:On|Off))?", re.IGNORECASE | re.DOTALL
)
"""What XSPEC prints of a model stands between these."""
NAME = re.compile(r"(?P<name>[A-Za-z_]\w*)(?:<(?P<number>\d{1,9})>)?", re.ASCII)
WORDS: dict[Kind, str] = {"additive": "additive", "multiplicative": "multiplicative", "convolution": "a convolution"}


def leaves(node: Node) -> Iterator[Leaf]:
    """The components of a tree, in the order of the text.

    Args:
        node: The tree.

    Yields:
        Each leaf.
    """
    if isinstance(node, Leaf):
        yield node
        return
    for child in node.factors if isinstance(node, Product) else node.terms:
        yield from leaves(child)


def to_text(node: Node) -> str:
    """The canonical text of a tree: XSPEC's names, `*` for every product, no brackets that are not needed.

    Args:
        node: The tree.

    Returns:
        Text that `parse_expression` turns into the same tree.
    """
    if isinstance(node, Leaf):
        return node.component.name
    if isinstance(node, Sum):
        return "+".join(to_text(term) for term in node.terms)
    return "*".join(f"({to_text(factor)})" if isinstance(factor, Sum) else to_text(factor) for factor in node.factors)


def kind_of(node: Node) -> Kind:
    """What a tree is in the algebra.

    Args:
        node: The tree.

    Returns:
        Its kind.
    """
    if isinstance(node, Leaf):
        return node.component.kind
    return kind_of(node.factors[-1]) if isinstance(node, Product) else "additive"


def find_component(name: str) -> Component:
    """A component by its name or by an abbreviation, as XSPEC reads it.

    Args:
        name: As typed, in any case.

    Returns:
        The component.

    Raises:
        ModelError: XSPEC has no such component, or it has one that we lack.

    >>> find_component("TBABS").name, find_component("ezdisk").name
    ('TBabs', 'ezdiskbb')
    """
    by_name = {component.name: component for component in COMPONENTS}
    return by_name[full_name(name, by_name)]


def parse_expression(text: str) -> Node:
    """The tree of a model expression.

    Args:
        text: As in XSPEC's `model` command.

    Returns:
        The tree; it is additive or multiplicative as a whole.

    Raises:
        ModelError: The text breaks the grammar or the algebra, or names an unknown component.

    >>> to_text(parse_expression("tbabs(simpl(ezdiskbb))"))
    'TBabs*simpl*ezdiskbb'
    """
    if len(text) > LONGEST:
        raise ModelError(f"model expression of {len(text)} characters; give at most {LONGEST}")
    reader = _Reader(text)
    node = reader.sum()
    reader.expect_end()
    if kind_of(node) == "convolution":
        raise ModelError(f"{reader.where}: a convolution of nothing; multiply it by an additive component")
    return node


class _Reader:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        printed = PRINTED.fullmatch(text.strip())
        plain = printed["text"] if printed else text
        self.where = f"model expression '{shown(plain.strip())}'"
        self.tokens = [match[0] for match in re.finditer(rf"{NAME.pattern}|\S", plain, re.ASCII)]
        self.place = 0
        self.depth = 0
        self.labels: set[str] = set()
        self.count = 0

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.place += 1
        return token

    def fail(self, found: str, wanted: str) -> ModelError:
        where = f"'{shown(found)}'" if found else "the end"
        return ModelError(f"{self.where}: found {where}, expected {wanted}")

    def expect_end(self) -> None:
        if self.peek():
            raise self.fail(self.peek(), "+, * or the end")

    def sum(self) -> Node:
        terms: list[Node] = [self.product()]
        while self.peek() == "+":
            self.take()
            terms.append(self.product())
        if len(terms) == 1:
            return terms[0]
        for term in terms:
            if kind_of(term) != "additive":
                raise ModelError(
                    f"{self.where}: {shown(to_text(term))} is {WORDS[kind_of(term)]}; only additive components can be "
                    f"added, here {shown(' + '.join(to_text(other) for other in terms))}"
                )
        return Sum(tuple(part for term in terms for part in (term.terms if isinstance(term, Sum) else (term,))))

    def product(self) -> Node:
        factors: list[Node] = [self.factor()]
        while self.peek() == "*":
            self.take()
            factors.append(self.factor())
        node = factors.pop()
        while factors:
            node = self.join(factors.pop(), node)
        return node

    def join(self, left: Node, right: Node) -> Node:
        pair = (kind_of(left), kind_of(right))
        if pair not in (
            ("multiplicative", "multiplicative"),
            ("multiplicative", "additive"),
            ("convolution", "additive"),
        ):
            raise ModelError(
                f"{self.where}: {shown(to_text(left))} ({WORDS[pair[0]]}) cannot multiply {shown(to_text(right))} "
                f"({WORDS[pair[1]]}); put multiplicative and convolution components before an additive one"
            )
        parts = [node.factors if isinstance(node, Product) else (node,) for node in (left, right)]
        return Product((*parts[0], *parts[1]))

    def factor(self) -> Node:
        token = self.take()
        if token == "(":
            return self.bracket()
        match = NAME.fullmatch(token)
        if match is None:
            raise self.fail(token, "a component or (")
        leaf = self.leaf(match["name"], match["number"])
        if self.peek() == "(":
            self.take()
            return self.join(leaf, self.bracket())
        return leaf

    def bracket(self) -> Node:
        self.depth += 1
        if self.depth > DEEPEST:
            raise ModelError(f"{self.where}: more than {DEEPEST} brackets within each other; leave some out")
        node = self.sum()
        self.depth -= 1
        token = self.take()
        if token != ")":
            raise self.fail(token, "+, * or )")
        return node

    def leaf(self, name: str, number: str | None) -> Leaf:
        component = find_component(name)
        self.count += 1
        if self.count > MOST_COMPONENTS:
            raise ModelError(f"{self.where}: more than {MOST_COMPONENTS} components; leave some out")
        if number is not None and number.lstrip("0") != str(self.count):
            raise ModelError(
                f"{self.where}: {name}<{number}> stands at place {self.count}; give the whole model that XSPEC prints, "
                "or leave its numbers out"
            )
        label = component.name if component.name not in self.labels else f"{component.name}_{self.count}"
        self.labels.add(label)
        return Leaf(component, self.count, label)
