"""Model expressions: text to tree, tree to text, with XSPEC's algebra and numbering.

    sum      = product { "+" product }
    product  = factor { "*" factor }
    factor   = name | name "(" sum ")" | "(" sum ")"

`name(...)` is `name*(...)`. With A additive, M multiplicative, C convolution:

    A + A = A      M * M = M      M * A = A      C * A = A (on everything to its right in the product)

and all else is refused. Components are numbered from 1 in the order of the text; the first of a name keeps it, a later
one appends its number: `TBabs*(gaussian+gaussian)` holds `gaussian` and `gaussian_3`.

Source: XSPEC manual, "The model command"; the numbering is that of PyXspec.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from xrayflow.errors import ModelError, nearest
from xrayflow.models.component import Component, Kind
from xrayflow.models.components import COMPONENTS


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
    """A component by its name, in any case, or by an abbreviation that fits one component alone.

    Args:
        name: As typed.

    Returns:
        The component.

    Raises:
        ModelError: No component, or several, have this name.

    >>> find_component("TBABS").name, find_component("ezdisk").name
    ('TBabs', 'ezdiskbb')
    """
    lower = name.lower()
    by_lower = {component.name.lower(): component for component in COMPONENTS}
    if lower in by_lower:
        return by_lower[lower]
    fits = [component for known, component in by_lower.items() if known.startswith(lower)]
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise ModelError(f"'{name}' may be {' or '.join(fit.name for fit in fits)}; write more of the name")
    raise ModelError(f"unknown component '{name}'{nearest(name, [component.name for component in COMPONENTS])}")


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
    reader = _Reader(text)
    node = reader.sum()
    reader.expect_end()
    if kind_of(node) == "convolution":
        raise ModelError(f"{text.strip()}: a convolution of nothing; multiply it by an additive component")
    return node


class _Reader:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.tokens = re.findall(r"[A-Za-z_]\w*|\S", self.text)
        self.place = 0
        self.labels: set[str] = set()
        self.count = 0

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.place += 1
        return token

    def fail(self, found: str, wanted: str) -> ModelError:
        where = f"'{found}'" if found else "the end"
        return ModelError(f"model expression '{self.text}': found {where}, expected {wanted}")

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
                    f"model expression '{self.text}': {to_text(term)} is {WORDS[kind_of(term)]}; only additive "
                    f"components can be added, here {' + '.join(to_text(other) for other in terms)}"
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
                f"model expression '{self.text}': {to_text(left)} ({WORDS[pair[0]]}) cannot multiply {to_text(right)} "
                f"({WORDS[pair[1]]}); put multiplicative and convolution components before an additive one"
            )
        parts = [node.factors if isinstance(node, Product) else (node,) for node in (left, right)]
        return Product((*parts[0], *parts[1]))

    def factor(self) -> Node:
        token = self.take()
        if token == "(":
            return self.bracket()
        if not re.fullmatch(r"[A-Za-z_]\w*", token):
            raise self.fail(token, "a component or (")
        leaf = self.leaf(token)
        if self.peek() == "(":
            self.take()
            return self.join(leaf, self.bracket())
        return leaf

    def bracket(self) -> Node:
        node = self.sum()
        token = self.take()
        if token != ")":
            raise self.fail(token, "+, * or )")
        return node

    def leaf(self, name: str) -> Leaf:
        component = find_component(name)
        self.count += 1
        label = component.name if component.name not in self.labels else f"{component.name}_{self.count}"
        self.labels.add(label)
        return Leaf(component, self.count, label)
