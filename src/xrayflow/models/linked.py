"""The parameters of a model as a whole: their values from theta, with links followed from one to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from xrayflow.errors import ModelError
from xrayflow.models.link import Link, Range, bounds, differentiate, evaluate
from xrayflow.models.parameter import Parameter

Weights = dict[int, Tensor]
"""Derivatives of one parameter by the columns of theta that it depends on."""


def links_in_order(parameters: Iterable[Parameter]) -> list[tuple[Parameter, Link]]:
    """The linked parameters, each after all that it depends on.

    Args:
        parameters: Of a model.

    Returns:
        Pairs of parameter and link.

    Raises:
        ModelError: Links form a circle.
    """
    waiting = {p.name: (p, p.link) for p in parameters if p.link is not None}
    ordered: list[tuple[Parameter, Link]] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise ModelError(f"link '{path[0]}={waiting[path[0]][1].text}' leads into a circle: {circle}; cut one link")
        for other in waiting[name][1].names:
            if other in waiting:
                visit(other, (*path, name))
        if waiting[name] not in ordered:
            ordered.append(waiting[name])

    for name in waiting:
        visit(name, ())
    return ordered


def with_linked_values(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """The parameters, linked ones at what their links give for the values of the others.

    Args:
        parameters: Of a model.

    Returns:
        The same parameters with new values.

    Raises:
        ModelError: Links form a circle, divide by 0, or give a value that is not allowed.
    """
    known = {p.name: p.value for p in parameters}
    for parameter, link in links_in_order(parameters):
        where = f"link '{parameter.name}={link.text}'"
        at = ", ".join(f"{name}={known[name]:g}" for name in link.names) or "any theta"
        try:
            known[parameter.name] = float(evaluate(link.term, known))
        except ZeroDivisionError:
            raise ModelError(f"{where} divides by 0 at {at}; change the expression or freeze another value") from None
        try:
            parameter.expect_allowed(known[parameter.name])
        except ModelError as error:
            raise ModelError(f"{where} at {at}: {error}") from None
    return tuple(p if p.link is None else p.with_value(known[p.name]) for p in parameters)


def check_ranges(parameters: Sequence[Parameter], ranges: Mapping[str, Range]) -> None:
    """Refuses links that can leave the hard limits, and ranges that cross a gap between two formulas.

    Args:
        parameters: Of a model.
        ranges: Where free parameters are drawn from, by name; the boxes of those that are not named.

    Raises:
        ModelError: A linked parameter can get outside its hard limits, or a parameter into its gap.
    """
    known: dict[str, Range] = {p.name: p.box if p.is_free else (p.value, p.value) for p in parameters}
    known |= ranges
    for parameter, link in links_in_order(parameters):
        low, high = known[parameter.name] = bounds(link.term, known)
        lowest, highest = parameter.hard
        if not lowest <= low <= high <= highest:
            depends = " and ".join(f"{name}={known[name][0]:g}:{known[name][1]:g}" for name in link.names)
            raise ModelError(
                f"link '{parameter.name}={link.text}' gives {low:g} .. {high:g} for {depends}, beyond its limits "
                f"{lowest:g} .. {highest:g}; narrow the prior of {' or '.join(link.names)}"
            )
    for parameter in parameters:
        (low, high), gap = known[parameter.name], parameter.gap
        if gap is not None and low < gap[1] and high > gap[0]:
            raise ModelError(
                f"{parameter.name}: {low:g} .. {high:g} reaches into {gap[0]:g} .. {gap[1]:g}, where its formula "
                "changes; stay on one side"
            )


def values(parameters: Sequence[Parameter], theta: Float[Tensor, "*batch parameter"]) -> list[Tensor | float]:
    """The value of every parameter.

    Args:
        parameters: Of a model.
        theta: The free ones, physical units.

    Returns:
        Columns of theta, frozen values, what links give (tensors); what selects a formula as floats.
    """
    columns = iter(theta.unbind(-1))
    known: dict[str, Tensor | float] = {}
    for p in parameters:
        known[p.name] = next(columns) if p.is_free else p.value if p.is_constant else theta.new_full((), p.value)
    for parameter, link in links_in_order(parameters):
        known[parameter.name] = torch.as_tensor(evaluate(link.term, known), dtype=theta.dtype, device=theta.device)
    return list(known.values())


def weights(parameters: Sequence[Parameter], theta: Float[Tensor, "*batch parameter"]) -> list[Weights]:
    """How every parameter follows theta.

    Args:
        parameters: Of a model.
        theta: The free ones, physical units.

    Returns:
        Per parameter the derivatives by the columns of theta on which it depends: 1 for a free one, the chain rule for
        a linked one, none for a frozen one.
    """
    known = dict(zip((p.name for p in parameters), values(parameters, theta), strict=True))
    free = [p.name for p in parameters if p.is_free]
    found: dict[str, Weights] = {p.name: {} for p in parameters}
    found |= {name: {place: theta.new_ones(())} for place, name in enumerate(free)}
    for parameter, link in links_in_order(parameters):
        for name in link.names:
            slope = torch.as_tensor(evaluate(differentiate(link.term, name), known), dtype=theta.dtype)
            for place, weight in found[name].items():
                so_far = found[parameter.name].get(place, 0.0)
                found[parameter.name][place] = so_far + slope * weight
    return list(found.values())
