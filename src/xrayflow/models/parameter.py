"""A parameter of a spectral model: XSPEC's name, unit, default and limits, and the box of our prior."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from xrayflow.errors import ModelError
from xrayflow.models.link import Link, Range

Scale = Literal["log", "linear"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a component.

    Attributes:
        name: `"TBabs.nH"` in a model, `"nH"` in the table of a component.
        component: The component's name in the model: `"TBabs"`, `"gaussian_3"`.
        unit: XSPEC's unit, empty where there is none.
        value: The value that a frozen parameter has, the default of a free one, what a link gives at these.
        frozen: Whether the value is fixed.
        hard: The limits that no value may pass.
        soft: XSPEC's soft limits.
        box: The range of the prior; its lower limit is positive where the scale is `"log"`.
        scale: In what the prior is uniform.
        is_norm: Whether the photon flux of its component is proportional to it.
        is_switch: Whether it selects a formula: such a parameter is always frozen.
        is_place: Whether it is where a narrow feature stands [keV]: noise makes a mode of it all along the band.
        is_depth: Whether its factor is 1 everywhere where it is 0.
        meaning: One line for people.
        gap: Values strictly inside are refused; the two sides of it have different formulas.
        link: What a linked parameter equals; it is neither frozen nor free.
    """

    name: str
    component: str
    unit: str
    value: float
    frozen: bool
    hard: Range
    soft: Range
    box: Range
    scale: Scale
    is_norm: bool = False
    is_switch: bool = False
    is_place: bool = False
    is_depth: bool = False
    meaning: str = ""
    gap: Range | None = None
    link: Link | None = None

    def __post_init__(self) -> None:
        for title, (low, high) in (("hard", self.hard), ("soft", self.soft), ("box", self.box)):
            if not low <= high:
                raise ModelError(f"{self.name}: the {title} limits {low:g} .. {high:g} are not in order; swap them")
        if self.scale == "log" and self.box[0] <= 0.0:
            raise ModelError(f"{self.name}: a log scale from {self.box[0]:g}; give a lower limit above 0")

    @property
    def is_free(self) -> bool:
        """Whether it is a column of theta."""
        return not self.frozen and self.link is None

    @property
    def is_constant(self) -> bool:
        """Whether components get it as a plain float, because it selects a formula once for all rows."""
        return self.is_switch or (self.frozen and self.gap is not None)

    def in_component(self, component: str) -> Parameter:
        """The same parameter, named after the component that holds it.

        Args:
            component: The component's name in a model.

        Returns:
            The parameter with the name `component.name`.
        """
        return replace(self, name=f"{component}.{self.name}", component=component)

    def frozen_at(self, value: float) -> Parameter:
        """The same parameter, fixed.

        Args:
            value: The value, in the parameter's unit.

        Returns:
            The frozen parameter.

        Raises:
            ModelError: The value is not finite or not allowed.
        """
        self.expect_allowed(float(value))
        return replace(self, value=float(value), frozen=True, link=None)

    def expect_allowed(self, value: float) -> None:
        """Refuses what cannot be a value of this parameter.

        Args:
            value: In the parameter's unit.

        Raises:
            ModelError: The value is not finite, outside the hard limits, or inside the gap.
        """
        low, high = self.hard
        if low == high and value != low:
            raise ModelError(f"{self.name}: {value:g} is not implemented; leave it at {low:g}")
        if not (math.isfinite(value) and low <= value <= high):
            raise ModelError(f"{self.name}: {value:g} is outside its limits {low:g} .. {high:g}; choose a value inside")
        if self.gap is not None and self.gap[0] < value < self.gap[1]:
            from_, to = self.gap
            raise ModelError(f"{self.name}: {value:g} is between {from_:g} and {to:g}; choose a value outside")

    def with_value(self, value: float) -> Parameter:
        """The same parameter at another value.

        Args:
            value: In the parameter's unit.

        Returns:
            The parameter, as free, frozen or linked as before.
        """
        return replace(self, value=value)

    def linked_to(self, link: Link) -> Parameter:
        """The same parameter, given by others.

        Args:
            link: What it equals.

        Returns:
            The linked parameter; its value is not yet that of the link.

        Raises:
            ModelError: The parameter is a switch.
        """
        if self.is_switch:
            raise ModelError(f"{self.name} selects a formula and cannot be linked; freeze it at one of its values")
        return replace(self, frozen=False, link=link)

    def thawed(self) -> Parameter:
        """The same parameter, free.

        Returns:
            The free parameter.

        Raises:
            ModelError: The parameter is a switch.
        """
        if self.is_switch:
            raise ModelError(f"{self.name} selects a formula and cannot be free; freeze it at one of its values")
        return replace(self, frozen=False, link=None)


def declare(
    name: str,
    unit: str,
    value: float,
    hard: Range,
    soft: Range,
    box: Range | None = None,
    scale: Scale = "linear",
    meaning: str = "",
) -> Parameter:
    """A row of a component's table.

    Args:
        name: XSPEC's name.
        unit: XSPEC's unit.
        value: XSPEC's default.
        hard: XSPEC's hard limits.
        soft: XSPEC's soft limits.
        box: The prior's range; `None` takes the soft limits.
        scale: In what the prior is uniform.
        meaning: One line for people.

    Returns:
        The free parameter, not yet in a model.
    """
    return Parameter(name, "", unit, value, False, hard, soft, soft if box is None else box, scale, meaning=meaning)


def declare_norm(unit: str, box: Range, meaning: str) -> Parameter:
    """The norm of an additive component, its last parameter (XSPEC: default 1, limits 0 .. 1e20, hard 1e24).

    Args:
        unit: What the norm counts.
        box: The prior's range: XSPEC's limits span more decades than any source.
        meaning: One line for people.

    Returns:
        The free parameter, not yet in a model.
    """
    norm = declare("norm", unit, 1.0, (0.0, 1e24), (0.0, 1e20), box, "log", meaning)
    return replace(norm, is_norm=True)


def declare_place(name: str, value: float, limits: Range, box: Range, meaning: str) -> Parameter:
    """The energy of a line or an edge.

    Args:
        name: XSPEC's name.
        value: XSPEC's default [keV].
        limits: XSPEC's, hard and soft [keV].
        box: The prior's range [keV].
        meaning: One line for people.

    Returns:
        The free parameter, not yet in a model.
    """
    return replace(declare(name, "keV", value, limits, limits, box, meaning=meaning), is_place=True)


def declare_depth(
    name: str, unit: str, value: float, limits: Range, box: Range, scale: Scale, meaning: str
) -> Parameter:
    """How deep a factor goes: it is 1 everywhere where this is 0.

    Args:
        name, unit, value: XSPEC's.
        limits: XSPEC's, hard and soft.
        box: The prior's range.
        scale: In what the prior is uniform.
        meaning: One line for people.

    Returns:
        The free parameter, not yet in a model.
    """
    return replace(declare(name, unit, value, limits, limits, box, scale, meaning), is_depth=True)


def declare_switch(name: str, value: float, hard: Range, meaning: str) -> Parameter:
    """A parameter that selects a formula.

    Args:
        name: XSPEC's name.
        value: XSPEC's default.
        hard: XSPEC's limits.
        meaning: What its values select.

    Returns:
        The frozen parameter, not yet in a model.
    """
    return Parameter(name, "", "", value, True, hard, hard, hard, "linear", is_switch=True, meaning=meaning)
