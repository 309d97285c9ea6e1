"""Models with one component more: how they are written, and the old parameters under the names that they have there.

Components are numbered in the order of the text, so one that comes in front renames those behind it: `TBabs*powerlaw`
times an edge in front is `edge*TBabs*powerlaw`, and a second absorber in front of the first is the new `TBabs`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from xrayflow.errors import ModelError
from xrayflow.models.expression import Leaf, Node, Product, Sum, leaves, parse_expression, to_text
from xrayflow.models.link import TOKENS, parse_link
from xrayflow.models.model import Model, parse_model
from xrayflow.models.parameter import Parameter


@dataclass(frozen=True)
class Written:
    """How a larger model is written.

    Attributes:
        expression: Its text.
        component: The name of the new component in it, `gaussian_4`.
    """

    expression: str
    component: str


def added(model: Model, component: str) -> Written:
    """A model plus an additive component, which nothing of the model acts on.

    Args:
        model: The model.
        component: XSPEC's name.

    >>> added(parse_model("TBabs*(powerlaw+gaussian)"), "gaussian")
    Written(expression='TBabs*(powerlaw+gaussian)+gaussian', component='gaussian_4')
    """
    return _written(f"{model.text}+{component}", -1)


def multiplied(model: Model, component: str, onto: str | None = None) -> Written:
    """A model times a multiplicative component.

    Args:
        model: The model.
        component: XSPEC's name.
        onto: The name of one additive component, with all that acts on it alone; None is the whole model.

    >>> multiplied(parse_model("TBabs*(simpl*diskbb+powerlaw)"), "TBabs", "diskbb")
    Written(expression='TBabs*(TBabs*(simpl*diskbb)+powerlaw)', component='TBabs_2')
    """
    if onto is None:
        return _written(f"{component}*({model.text})", 0)
    target = _outermost(model.tree, onto)
    return _written(_times(model.tree, target, component), next(leaves(target)).number - 1)


def enlarged(model: Model, written: Written) -> tuple[Model, Mapping[str, str]]:
    """A larger model whose old parameters are free, frozen or linked as they were.

    Args:
        model: The model.
        written: The larger one: the same components in the same order, and one more.

    Returns:
        It, and the new names of its old parameters.

    Raises:
        ModelError: It is not the model with one component more.
    """
    larger = parse_model(written.expression, model.abund, model.xsect)
    kept = [leaf for leaf in leaves(larger.tree) if leaf.label != written.component]
    old = list(leaves(model.tree))
    if [leaf.component for leaf in kept] != [leaf.component for leaf in old]:
        raise ModelError(f"{written.expression}: is not {model.text} with one component more")
    labels = {before.label: after.label for before, after in zip(old, kept, strict=True)}
    names = {p.name: f"{labels[p.component]}.{p.name.rpartition('.')[2]}" for p in model.parameters}
    carried = {names[p.name]: _renamed(p, labels[p.component], names) for p in model.parameters}
    return replace(larger, parameters=tuple(carried.get(p.name, p) for p in larger.parameters)), names


def acted_on(model: Model, components: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The additive components that multiplicative ones act on.

    Args:
        model: The model.
        components: XSPEC's names of the multiplicative ones.

    Returns:
        By the name of each in the model.

    >>> acted_on(parse_model("TBabs*(diskbb+phabs*powerlaw)"), ["TBabs", "phabs"])
    {'TBabs': ('diskbb', 'powerlaw'), 'phabs': ('powerlaw',)}
    """
    return {leaf.label: own for leaf, own in _factors(model.tree) if leaf.component.name in components}


def _written(text: str, place: int) -> Written:
    return Written(text, list(leaves(parse_expression(text)))[place].label)


def _factors(node: Node) -> Iterator[tuple[Leaf, tuple[str, ...]]]:
    """Components that multiply or convolve, each with the additive ones behind it."""
    if isinstance(node, Sum):
        for term in node.terms:
            yield from _factors(term)
    elif isinstance(node, Product):
        own = tuple(_additive(node))
        yield from ((factor, own) for factor in node.factors[:-1] if isinstance(factor, Leaf))
        yield from _factors(node.factors[-1])


def _additive(node: Node) -> list[str]:
    return [leaf.label for leaf in leaves(node) if leaf.component.kind == "additive"]


def _outermost(node: Node, name: str) -> Node:
    """The largest part of a model that has one additive component alone."""
    if _additive(node) == [name]:
        return node
    parts = node.factors if isinstance(node, Product) else node.terms if isinstance(node, Sum) else ()
    for part in parts:
        if name in _additive(part):
            return _outermost(part, name)
    raise ModelError(f"{to_text(node)}: has no additive component '{name}'")


def _times(node: Node, target: Node, component: str) -> str:
    """The text of a tree with a component in front of one part of it."""
    if node is target:
        return f"{component}*({to_text(node)})"
    if isinstance(node, Sum):
        return "+".join(_times(term, target, component) for term in node.terms)
    if isinstance(node, Product):
        parts = [(factor, _times(factor, target, component)) for factor in node.factors]
        return "*".join(f"({text})" if isinstance(factor, Sum) else text for factor, text in parts)
    return to_text(node)


def _renamed(parameter: Parameter, component: str, names: Mapping[str, str]) -> Parameter:
    """A parameter in another component, its link in the new names."""
    link = parameter.link
    if link is not None:
        text = TOKENS.sub(lambda match: names.get(match[0], match[0]), link.text)
        link = parse_link(names[parameter.name], text, list(names.values()))
    return replace(parameter, name=names[parameter.name], component=component, link=link)
