"""Parts of a model on a grid: without its absorbers, or one additive component alone.

A part is the whole model with some of its components replaced: an absorber by a factor of 1, an additive component by
no photons. What stands around a component (a convolution, a constant, an edge) acts on it as in the whole; parts of all
additive components add up to it, since everything that may stand around them is linear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from xrayflow.errors import ModelError, nearest
from xrayflow.models.component import Bound, column
from xrayflow.models.expression import Leaf, leaves
from xrayflow.models.model import Model, PhotonFlux

ABSORBERS = frozenset(
    (
        *("TBabs", "TBfeo", "TBgas", "TBgrain", "TBvarabs", "TBpcf", "TBrel", "zTBabs", "phabs", "vphabs", "zphabs"),
        *("zvphabs", "wabs", "zwabs", "varabs", "zvarabs", "pcfabs", "zpcfabs", "absori", "swind1", "pwab", "zxipcf"),
    )
)
"""Components that stand for gas on the way, which an unabsorbed flux leaves out."""


def absorbers(model: Model) -> tuple[str, ...]:
    """The names of the absorbers of a model, as `TBabs` or `phabs_2`.

    Args:
        model: The model.
    """
    return tuple(leaf.label for leaf in leaves(model.tree) if leaf.component.name in ABSORBERS)


def additive_components(model: Model) -> tuple[str, ...]:
    """The names of the additive components of a model, as `gaussian_3`.

    Args:
        model: The model.
    """
    return tuple(leaf.label for leaf in leaves(model.tree) if leaf.component.kind == "additive")


def find_additive(model: Model, name: str) -> str:
    """An additive component by its name in any case.

    Args:
        model: The model.
        name: As typed.

    Raises:
        ModelError: The model has none of that name.
    """
    known = additive_components(model)
    for one in known:
        if one.lower() == name.strip().lower():
            return one
    raise ModelError(f"{model.text} has no additive component '{name.strip()}'{nearest(name, known)}")


def without_absorbers(whole: PhotonFlux) -> PhotonFlux:
    """The photons that absorbed ones once were.

    Args:
        whole: A model on a grid.
    """
    return _replaced(whole, lambda leaf: leaf.component.name in ABSORBERS, _always(torch.ones_like(whole.bins.low)))


def component_alone(whole: PhotonFlux, name: str) -> PhotonFlux:
    """The photons that come from one additive component.

    Args:
        whole: A model on a grid.
        name: Of the component, as `additive_components` has it.
    """
    return _replaced(
        whole,
        lambda leaf: leaf.component.kind == "additive" and leaf.label != name,
        _always(torch.zeros_like(whole.bins.low)),
    )


def without_component(whole: PhotonFlux, name: str) -> PhotonFlux:
    """The photons of all additive components but one: the continuum below a line.

    Args:
        whole: A model on a grid.
        name: Of the component that is left out, as `additive_components` has it.
    """
    return _replaced(whole, lambda leaf: leaf.label == name, _always(torch.zeros_like(whole.bins.low)))


def _replaced(whole: PhotonFlux, which: Callable[[Leaf], bool], by: Bound) -> PhotonFlux:
    """The model with some components replaced."""
    pairs = zip(leaves(whole.model.tree), whole.bound, strict=True)
    return replace(whole, bound=tuple(by if which(leaf) else bound for leaf, bound in pairs))


def _always(values: Tensor) -> Bound:
    """A component that no parameter changes."""

    def function(*arguments: Tensor | float) -> Tensor:
        zero = values.new_zeros(1)
        for argument in arguments:
            zero = zero + 0.0 * column(argument)
        return values.expand(*zero.shape[:-1], values.numel())

    return function
